/**
 * From the command to the end of the first step, with the files in the system's cache and without them, as after a reboot:
 *
 *   npm run bench -- --start [--rounds 3] [--without NAME,NAME]
 *
 * Linux, and LORA_LAB_PYTHON, whose Python also tells the system to forget the files.
 */
import { join } from 'node:path';
import { ROOT } from '../support/paths';
import { measureOurs, measurePeft, median, prepare, python, run } from './measure';
import { ownFolder } from './places';
import { ROWS } from './rows';
import { withoutSavings } from './savings';
import type { SavingName } from '../../src/protocol/savings';

/** Both sides' programs, libraries and checkpoint. */
const read = (): string[] => [ownFolder(), join(ROOT, 'dist'), join(ROOT, 'node_modules/onnxruntime-node'), process.execPath];

/** Prints seconds of both sides, ours without these savings, warm and cold, and their ratios. */
export async function measureStart(rounds: number, without: SavingName[]): Promise<void> {
  if (!python) throw new Error('set LORA_LAB_PYTHON to a Python with torch, transformers and peft');
  const row = withoutSavings({ ...ROWS[0], steps: 2 }, without);
  await prepare(row);
  console.log('| from the command to the end of the first step | LoRA Lab | PEFT | ours ÷ PEFT |\n| --- | --- | --- | --- |');
  for (const cold of [false, true]) {
    const seconds: { ours: number[]; theirs: number[] } = { ours: [], theirs: [] };
    const forget = async (): Promise<void> => { if (cold) await run(python!, [join(ROOT, 'test/bench/forget.py'), ...read()]); };
    for (let round = 0; round < rounds; round++) {
      await forget();
      seconds.ours.push((await measureOurs(row)).first_step_seconds);
      await forget();
      seconds.theirs.push((await measurePeft(row)).first_step_seconds);
    }
    const [ours, theirs] = [median(seconds.ours), median(seconds.theirs)];
    console.log(`| ${cold ? 'files read from the disk' : 'files in the cache'} | ${ours.toFixed(1)} s | ${theirs.toFixed(1)} s | ${(ours / theirs).toFixed(2)} |`);
  }
}
