/** How the editor follows the log of a run that another process writes. */
import assert from 'node:assert/strict';
import { appendFileSync, closeSync, openSync, renameSync, rmSync, writeFileSync, writeSync } from 'node:fs';
import { join } from 'node:path';
import { test } from 'node:test';
import { MetricsTail } from '../../src/extension/metricsTail';
import { inTemporaryFolder } from '../support/faults';

const line = (step: number, time = step / 7): string => `${JSON.stringify({ step, epoch: step / 50, loss: 1 / step, grad_norm: 1.25, learning_rate: 1e-3, tokens: 420 * step, tokens_per_second: 5200 + step, time })}\n`;
const lines = (from: number, to: number, later = 0): string => Array.from({ length: to - from + 1 }, (_, i) => line(from + i, (from + i) / 7 + later)).join('');

/** A log, and what a look at it tells: whether it is another one, and the steps. */
const inLog = (use: (file: string, look: () => Promise<(number | boolean)[]>) => Promise<void>): Promise<void> => inTemporaryFolder(async folder => {
  const file = join(folder, 'metrics.jsonl');
  const tail = new MetricsTail(file);
  await use(file, async () => {
    const { records, reset } = await tail.read();
    return [reset, ...records.map(({ step }) => step)];
  });
});

test('each look at a log tells of the lines that have become whole since, however they were cut, and reads nothing again', () => inLog(async (file, look) => {
  assert.deepEqual(await look(), [false], 'there is no log yet');
  writeFileSync(file, line(1) + line(2).slice(0, 40));
  assert.deepEqual(await look(), [false, 1]);
  assert.deepEqual(await look(), [false]);
  appendFileSync(file, line(2).slice(40));
  assert.deepEqual(await look(), [false, 2]);
  const named = Buffer.from(`{"step":3,"eval_loss":1,"eval_f1_per_class":{"größer":1}}\n`);
  const within = named.indexOf('ö') + 1;
  appendFileSync(file, Buffer.concat([Buffer.from(lines(3, 6)), named.subarray(0, within)]));
  assert.deepEqual(await look(), [false, 3, 4, 5, 6]);
  appendFileSync(file, named.subarray(within));
  assert.deepEqual(await look(), [false, 3]);
  // What was read long ago could be anything by now.
  const fd = openSync(file, 'r+');
  writeSync(fd, 'x'.repeat(20), 0);
  closeSync(fd);
  appendFileSync(file, line(7));
  assert.deepEqual(await look(), [false, 7]);
}));

test('a log that was rewritten from a checkpoint, begun anew or removed is told of from its start', () => inLog(async (file, look) => {
  const rewrite = (text: string): void => {
    writeFileSync(`${file}.tmp`, text);
    renameSync(`${file}.tmp`, file);
  };
  writeFileSync(file, lines(1, 9));
  await look();
  rewrite(lines(1, 4));
  assert.deepEqual(await look(), [true, 1, 2, 3, 4]);
  // The part after the checkpoint has the same losses, and is as long as before or longer by the next look.
  rewrite(lines(1, 2) + lines(3, 6, 60));
  assert.deepEqual(await look(), [true, 1, 2, 3, 4, 5, 6]);
  rmSync(file);
  assert.deepEqual(await look(), [true]);
  writeFileSync(file, lines(1, 3));
  assert.deepEqual(await look(), [false, 1, 2, 3]);
  writeFileSync(file, lines(1, 8, 90));
  assert.deepEqual(await look(), [true, 1, 2, 3, 4, 5, 6, 7, 8]);
}));

test('a log of 100,000 steps is read whole while timers go on, and then a step at a time', () => inLog(async (file, look) => {
  writeFileSync(file, lines(1, 100_000));
  let ticks = 0;
  const timer = setInterval(() => { ticks += 1; }, 1);
  const all = await look();
  clearInterval(timer);
  assert.deepEqual([all.length, all[1], all.at(-1)], [100_001, 1, 100_000]);
  assert.ok(ticks >= 5, `the process did something else ${ticks} times meanwhile`);
  appendFileSync(file, line(100_001));
  assert.deepEqual(await look(), [false, 100_001]);
}));
