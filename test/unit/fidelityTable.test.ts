/** The README's table of measured differences names the cases that there are, no more and no fewer. */
import assert from 'node:assert/strict';
import { readdirSync, readFileSync } from 'node:fs';
import { join } from 'node:path';
import { test } from 'node:test';
import { fidelityTable } from '../fidelity/table';
import { fixture, ROOT } from '../support/paths';
import { caseOf, modelTypeOf } from '../support/referenceCase';

test('the table of the README has every family, task and number of cases', () => {
  const names = readdirSync(fixture('references'));
  const lines = fidelityTable(names.map(name => ({ family: modelTypeOf(name), task: caseOf(name).task, loss: 0, logits: 0, adapter: 0 })));
  // Digits belong to the machine that measured.
  const withoutDigits = (line: string): string => line.replace(/\d+\.\de[+-]\d+/g, '#').replace(/\|\s*(?=\|)/g, '| ').trim();
  const readme = readFileSync(join(ROOT, 'README.md'), 'utf8').split('\n').map(withoutDigits);
  const wanted = lines.map(line => withoutDigits(line.replace(/0\.0e\+0/g, '1.0e-6')));
  const at = readme.indexOf(wanted[0]);
  assert.ok(at >= 0, 'there is no such table; npm run fidelity prints it');
  assert.deepEqual(readme.slice(at, at + wanted.length), wanted);
  assert.ok(!readme[at + wanted.length].startsWith('|'), 'a row too many');
  assert.match(readme.join('\n'), new RegExp(`twenty steps of ${names.length} small`));
});
