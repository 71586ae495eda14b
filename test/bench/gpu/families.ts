/** A small case of every family and task on a device and on the CPU: their losses must be the same. */
import { cpSync, existsSync, readdirSync, readFileSync, rmSync, writeFileSync } from 'node:fs';
import { join } from 'node:path';
import type { TrainRecord } from '../../../src/protocol/metrics';
import { built, fixture } from '../../support/paths';
import { run } from '../measure';
import { ownFolder } from '../places';
import { refusal } from './arms';

const STEPS = 3;
/** Largest relative difference of a loss. */
export const TOLERANCE = 1e-3;

export interface FamilyCase { name: string; family: string; task: string }
/** `difference` is that of the worst of a few steps; `error` says why there is none. */
export interface FamilyResult extends FamilyCase { difference?: number; error?: string }

/** The first reference case of each family and task. */
export function familyCases(): FamilyCase[] {
  const read = (name: string, file: string): Record<string, string> => JSON.parse(readFileSync(fixture('references', name, file), 'utf8')) as Record<string, string>;
  const seen = new Map<string, FamilyCase>();
  for (const name of readdirSync(fixture('references')).sort()) {
    const { task } = read(name, 'case.lora.json');
    const { model_type: family } = read(name, 'model/config.json');
    // Full fine-tuning and adapters that start from another one are cases of their own.
    if (!seen.has(`${family} ${task}`) && existsSync(fixture('references', name, 'adapter_final'))) seen.set(`${family} ${task}`, { name, family, task });
  }
  return [...seen.values()];
}

/** Trains the case on both and compares. Each run has a process of its own: what ends it ends nothing else. */
export async function compareFamily(of: FamilyCase, device: string): Promise<FamilyResult> {
  try {
    const [found, expected] = [await lossesOn(of.name, device), await lossesOn(of.name, 'cpu')];
    return { ...of, difference: Math.max(...expected.map((loss, i) => Math.abs(found[i] - loss) / Math.abs(loss))) };
  } catch (error) { return { ...of, error: refusal(error) }; }
}

async function lossesOn(name: string, device: string): Promise<number[]> {
  const at = join(ownFolder(), 'family');
  rmSync(at, { recursive: true, force: true });
  cpSync(fixture('references', name), at, { recursive: true });
  const file = join(at, 'case.lora.json');
  const experiment = JSON.parse(readFileSync(file, 'utf8')) as Record<string, object>;
  writeFileSync(file, JSON.stringify({ ...experiment, engine: { device }, training: { ...experiment.training, max_steps: STEPS, eval_strategy: 'no', save_strategy: 'no' } }));
  await run(process.execPath, [built('engine/cli.js'), 'train', file]);
  return readFileSync(join(at, 'run/metrics.jsonl'), 'utf8').trim().split('\n').map(line => Number((JSON.parse(line) as TrainRecord).loss));
}
