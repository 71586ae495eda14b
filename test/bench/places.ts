/** Where the bench writes: checkpoints, which every bench uses and none changes, and beside them a folder of each bench's own. */
import { existsSync, linkSync, mkdirSync, readdirSync, rmSync, writeFileSync } from 'node:fs';
import { tmpdir } from 'node:os';
import { join } from 'node:path';
import { BASES, makeBase, type BaseName } from './bases';

/** Checkpoints stay here for the next bench; making one takes longer than measuring with it. */
export const shared = join(tmpdir(), 'lora-lab-bench');
/** The folder of one bench, or a checkpoint that one was making, ends with the number of its process. */
const OF_PROCESS = /\.(\d+)$/;

let own: string | undefined;

/** The folder for data, experiments and runs of this bench, made when it is first asked for. It goes when the process ends, and what an earlier one left that was killed goes too. */
export function ownFolder(): string {
  if (own) return own;
  mkdirSync(shared, { recursive: true });
  for (const name of readdirSync(shared)) {
    const pid = Number(OF_PROCESS.exec(name)?.[1] ?? NaN);
    if (pid && !isAlive(pid)) rmSync(join(shared, name), { recursive: true, force: true });
  }
  const made = own = join(shared, `bench.${process.pid}`);
  rmSync(made, { recursive: true, force: true });
  mkdirSync(made);
  process.once('exit', () => rmSync(made, { recursive: true, force: true, maxRetries: 5 }));
  for (const signal of ['SIGINT', 'SIGTERM'] as const) process.once(signal, () => process.exit(130));
  return made;
}

/** The base in the folder of this bench, made if no bench has made it: the files of the one that all share, with a config.json of its own. */
export async function ownBase(base: BaseName): Promise<string> {
  const made = await sharedBase(base);
  const folder = join(ownFolder(), base);
  if (existsSync(folder)) return folder;
  mkdirSync(folder);
  for (const name of readdirSync(made).filter(file => file !== 'config.json')) linkSync(join(made, name), join(folder, name));
  writeFileSync(join(folder, 'config.json'), JSON.stringify(BASES[base].config));
  return folder;
}

/** The folder of a base that all benches share. */
export async function sharedBase(base: BaseName): Promise<string> {
  const folder = join(shared, base);
  mkdirSync(shared, { recursive: true });
  await makeBase(folder, BASES[base]);
  return folder;
}

function isAlive(pid: number): boolean {
  try { return process.kill(pid, 0); } catch (error) { return (error as NodeJS.ErrnoException).code === 'EPERM'; }
}
