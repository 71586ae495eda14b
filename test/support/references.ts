/** A few steps of a reference case on one device, to compare with the same steps on another. */
import assert from 'node:assert/strict';
import { cpSync, readFileSync, writeFileSync } from 'node:fs';
import { join } from 'node:path';
import { readAdapter } from '../../src/engine/model/adapter';
import { fixture } from './paths';
import { startRun, trainRecords } from './runs';

export interface Outcome { losses: number[]; grad_norms: number[]; device: string; adapter: Map<string, Float32Array> }

/** Trains `name` in a folder of its own below `folder`. */
export async function trainReference(folder: string, name: string, device: string, max_steps: number, engine: object = {}): Promise<Outcome> {
  const copy = join(folder, [device, ...Object.values(engine) as string[]].join('-'));
  cpSync(fixture('references', name), copy, { recursive: true });
  const file = join(copy, 'case.lora.json');
  const experiment = JSON.parse(readFileSync(file, 'utf8')) as Record<string, object>;
  writeFileSync(file, JSON.stringify({
    ...experiment, engine: { device, ...engine }, training: { ...experiment.training, max_steps, eval_strategy: 'no', save_strategy: 'no' },
  }));
  const summary = await startRun(file).ended;
  const records = trainRecords(join(copy, 'run'));
  assert.equal(records.length, max_steps);
  const adapter = new Map([...readAdapter(summary.adapter).tensors].map(([key, { data }]) => [key, data]));
  return { losses: records.map(r => Number(r.loss)), grad_norms: records.map(r => Number(r.grad_norm)), device: summary.device, adapter };
}

/** Losses and norms one by one within `tolerance` of their own size, adapter tensors within 1e-3 of their largest value. */
export function assertSame(found: Outcome, expected: Outcome, tolerance: number): void {
  for (const what of ['losses', 'grad_norms'] as const) {
    expected[what].forEach((value, i) => assert.ok(Math.abs(found[what][i] - value) <= tolerance * Math.abs(value), `${what}, step ${i + 1}: ${found[what][i]} on ${found.device}, ${value} on ${expected.device}`));
  }
  assert.deepEqual([...found.adapter.keys()], [...expected.adapter.keys()]);
  for (const [key, values] of expected.adapter) {
    const largest = values.reduce((most, value) => Math.max(most, Math.abs(value)), 1e-12);
    values.forEach((value, i) => assert.ok(Math.abs(found.adapter.get(key)![i] - value) <= 1e-3 * largest, `${key}[${i}]: ${found.adapter.get(key)![i]}, expected ${value}`));
  }
}
