/** Runs on Parquet files: the same as on the same rows in a .jsonl file. */
import assert from 'node:assert/strict';
import { cpSync, readFileSync, writeFileSync } from 'node:fs';
import { join } from 'node:path';
import { test } from 'node:test';
import { LabError } from '../../src/engine/errors';
import { inTemporaryFolder } from '../support/faults';
import { fixture } from '../support/paths';
import { copyCase, startRun, trainRecords, type CaseChanges } from '../support/runs';

const ROWS = JSON.parse(readFileSync(fixture('parquet/expected.json'), 'utf8')) as Record<string, object[]>;

/** Losses of a run on a Parquet file and on its rows as lines of JSON. */
async function bothLosses(folder: string, parquet: string, changes: CaseChanges, reference: string): Promise<number[][]> {
  const losses: number[][] = [];
  for (const name of [parquet, parquet.replace('.parquet', '.jsonl')]) {
    const at = join(folder, name);
    const file = copyCase(at, { ...changes, dataset: { ...changes.dataset, train: name, eval: name } }, reference);
    if (name === parquet) cpSync(fixture('parquet', name), join(at, name));
    else writeFileSync(join(at, name), ROWS[parquet].map(row => JSON.stringify(row)).join('\n'));
    await startRun(file).ended;
    losses.push(trainRecords(join(at, 'run')).map(({ loss }) => loss as number));
  }
  return losses;
}

const training = { num_train_epochs: 2, max_steps: -1, eval_strategy: 'epoch', save_strategy: 'no' };

test('class numbers, lists of classes and conversations train as their rows in .jsonl do', () => inTemporaryFolder(async folder => {
  const cases: [string, CaseChanges, string][] = [
    ['reviews.parquet', { training, dataset: { text_column: 'sentence', label_column: 'label' } }, 'linear'],
    ['messages.parquet', { training, dataset: { messages_column: 'messages' } }, 'llama-messages'],
  ];
  for (const [name, changes, reference] of cases) {
    const [parquet, jsonl] = await bothLosses(join(folder, reference), name, changes, reference);
    assert.ok(parquet.length >= 2, name);
    assert.deepEqual(parquet, jsonl, name);
  }
}));

test('the adapter knows the names that datasets wrote, and a changed file ends a resume', () => inTemporaryFolder(async folder => {
  const dataset = { text_column: 'sentence', label_column: 'label', train: 'reviews.parquet', eval: null };
  const file = copyCase(folder, { top: { task: 'SEQ_CLS' }, training: { ...training, eval_strategy: 'no', max_steps: 3, per_device_train_batch_size: 2 }, dataset }, 'linear');
  cpSync(fixture('parquet/reviews.parquet'), join(folder, 'reviews.parquet'));
  await startRun(file, { onStep: ({ step }, control) => { if (step === 1) control.want('stop'); } }).ended;
  const state = JSON.parse(readFileSync(join(folder, 'run/checkpoint-1/trainer_state.json'), 'utf8')) as { labels: string[] };
  assert.deepEqual(state.labels, ['negative', 'positive']);
  cpSync(fixture('parquet/reviews-swapped.parquet'), join(folder, 'reviews.parquet'));
  // The same numbers under other names.
  await assert.rejects(startRun(file, { resume: true }).ended, (error: LabError) => error.report.code === 'resume.data-changed');
}));
