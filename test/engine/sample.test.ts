/** The sample workspace shows what LoRA does: guessing before, right after a run of less than a minute. */
import assert from 'node:assert/strict';
import { cpSync, existsSync, readdirSync, readFileSync, statSync } from 'node:fs';
import { join, sep } from 'node:path';
import { test } from 'node:test';
import { RunControl } from '../../src/engine/control';
import { SILENT } from '../../src/engine/reporter';
import { runExperiment } from '../../src/engine/run';
import { inTemporaryFolder } from '../support/faults';
import { ROOT } from '../support/paths';

const SAMPLE = join(ROOT, 'media/sample');

interface Row { text: string; label: string }
const rows = (name: string): Row[] => readFileSync(join(SAMPLE, name), 'utf8').trim().split('\n').map(line => JSON.parse(line) as Row);

test('the sample experiment, as committed, goes from chance to 0.90 and more within 60 seconds', () => inTemporaryFolder(async folder => {
  // Runs of a person who tried the sample stay where they are.
  cpSync(SAMPLE, folder, { recursive: true, filter: path => !['runs', '.lora'].some(name => path === join(SAMPLE, name) || path.startsWith(join(SAMPLE, name) + sep)) });
  const summary = await runExperiment({ experiment_file: join(folder, 'sentiment.lora.json'), resume: false, cwd: folder, control: new RunControl(), report: SILENT });

  assert.equal(summary.state, 'finished');
  assert.ok(Number(summary.eval_before?.accuracy) <= 0.6, `before: ${summary.eval_before?.accuracy}`);
  assert.ok(Number(summary.eval?.accuracy) >= 0.9, `after: ${summary.eval?.accuracy}`);
  assert.ok(summary.seconds < 60, `${summary.seconds} s`);
  assert.equal(summary.adapter, join(folder, 'runs/sentiment/adapter'));
  for (const name of ['adapter_config.json', 'adapter_model.safetensors']) assert.ok(existsSync(join(summary.adapter, name)), name);
}));

test('the sample checkpoint takes at most 5 MB', () => {
  const bytes = readdirSync(join(SAMPLE, 'model')).reduce((sum, name) => sum + statSync(join(SAMPLE, 'model', name)).size, 0);
  assert.ok(bytes <= 5e6, `${bytes} bytes`);
});

test('the sample has 3,000 and 600 different reviews, half of each label', () => {
  const [train, held] = [rows('train.jsonl'), rows('eval.jsonl')];
  assert.deepEqual([train.length, held.length], [3000, 600]);
  assert.equal(new Set([...train, ...held].map(row => row.text.toLowerCase())).size, 3600, 'a text occurs twice');
  for (const set of [train, held]) {
    for (const label of ['negative', 'positive']) assert.equal(set.filter(row => row.label === label).length, set.length / 2, label);
  }
});
