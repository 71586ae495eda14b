/** The README's table of measured differences has a cell for every family and task that there are cases of, and no other. */
import assert from 'node:assert/strict';
import { readdirSync, readFileSync } from 'node:fs';
import { join } from 'node:path';
import { test } from 'node:test';
import { fidelityTable } from '../fidelity/table';
import { fixture, ROOT } from '../support/paths';
import { caseOf, modelTypeOf } from '../support/referenceCase';

test('the table of the README has every family and task that is measured', () => {
  const names = readdirSync(fixture('references'));
  const lines = fidelityTable(names.map(name => ({ family: modelTypeOf(name), task: caseOf(name).task, loss: 0, logits: 0, adapter: 0 })));
  // Digits belong to the machine and the day that measured.
  const withoutDigits = (line: string): string => line.replace(/\d+: |\d+\.\de[+-]\d+/g, '#').replace(/\|\s*(?=\|)/g, '| ').trim();
  const readme = readFileSync(join(ROOT, 'README.md'), 'utf8').split('\n').map(withoutDigits);
  const wanted = lines.map(withoutDigits);
  const at = readme.indexOf(wanted[0]);
  assert.ok(at >= 0, 'there is no such table; npm run fidelity prints it');
  assert.deepEqual(readme.slice(at, at + wanted.length), wanted);
  assert.ok(!readme[at + wanted.length].startsWith('|'), 'a row too many');
});
