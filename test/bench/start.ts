/**
 * From the command to the end of the first step, with the files in the system's cache, and as the first start after a reboot and
 * an installation has it: all files read from the disk, and no code kept by an earlier start.
 *
 *   npm run bench -- --start [--rounds 3] [--without NAME,NAME]
 *
 * Linux, and LORA_LAB_PYTHON, whose Python also tells the system to forget the files.
 */
import { cpSync, realpathSync, rmSync } from 'node:fs';
import { join } from 'node:path';
import { ROOT } from '../support/paths';
import { median } from './arithmetic';
import { measureOurs, measurePeft, prepare, python, run, type Program } from './measure';
import { ownFolder } from './places';
import { ROWS } from './rows';
import { withoutSavings } from './savings';
import type { SavingName } from '../../src/protocol/savings';

/** What the engine is made of, below the repository. */
const PARTS = ['package.json', ...['cli', 'commands', 'worker', 'requests', 'probe'].map(name => `dist/engine/${name}.js`), 'node_modules/onnxruntime-common', 'node_modules/onnxruntime-node'];

/** Node and the engine as files of this bench alone: the system does not forget what a running process has in its memory, and the bench itself runs on the same Node and loads the same library. */
function ownProgram(): Program {
  const folder = join(ownFolder(), 'program');
  const other = /onnxruntime-node\/bin\/.*\/(?:linux|darwin|win32)(?:\/[^/]+)?$/, own = new RegExp(`/${process.platform}(?:/${process.arch})?$`);
  for (const part of PARTS) cpSync(realpathSync(join(ROOT, part)), join(folder, part), { recursive: true, dereference: true, filter: path => !other.test(path) || own.test(path) });
  cpSync(process.execPath, join(folder, 'node'));
  return { node: join(folder, 'node'), cli: join(folder, 'dist/engine/cli.js') };
}

/** Prints seconds of both sides, ours without these savings, warm and cold, and their ratios. */
export async function measureStart(rounds: number, without: SavingName[]): Promise<void> {
  if (!python) throw new Error('set LORA_LAB_PYTHON to a Python with torch, transformers and peft');
  const row = withoutSavings({ ...ROWS[0], steps: 2 }, without);
  await prepare(row);
  const program = ownProgram(), cache = join(ownFolder(), 'cache');
  const ours = async (): Promise<number> => (await measureOurs(row, { LORA_LAB_CACHE: cache }, program)).first_step_seconds;
  const theirs = async (): Promise<number> => (await measurePeft(row)).first_step_seconds;
  // The first ones fill the caches.
  await ours();
  await theirs();
  console.log('| from the command to the end of the first step | LoRA Lab | PEFT | ours ÷ PEFT |\n| --- | --- | --- | --- |');
  for (const cold of [false, true]) {
    const forget = async (): Promise<void> => {
      if (!cold) return;
      rmSync(cache, { recursive: true, force: true });
      await run(python!, [join(ROOT, 'test/bench/forget.py'), ownFolder()]);
    };
    const seconds: { ours: number[]; theirs: number[] } = { ours: [], theirs: [] };
    for (let round = 0; round < rounds; round++) {
      await forget();
      seconds.ours.push(await ours());
      await forget();
      seconds.theirs.push(await theirs());
    }
    const [own, other] = [median(seconds.ours), median(seconds.theirs)];
    const all = (list: number[]): string => list.map(value => value.toFixed(2)).join(', ');
    console.log(`| ${cold ? 'files read from the disk, no code kept' : 'files in the cache'} | ${own.toFixed(1)} s | ${other.toFixed(1)} s | ${(own / other).toFixed(2)} |`);
    console.log(`  ours ${all(seconds.ours)}; PEFT ${all(seconds.theirs)}`);
  }
}
