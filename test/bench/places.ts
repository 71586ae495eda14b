/** Where the bench writes: checkpoints, which every bench uses and none changes, and beside them a folder of each bench's own. */
import type { ChildProcess } from 'node:child_process';
import { constants, copyFileSync, existsSync, linkSync, lstatSync, mkdirSync, readdirSync, rmSync, writeFileSync } from 'node:fs';
import { hostname, tmpdir } from 'node:os';
import { join } from 'node:path';
import { BASES, makeBase, OF_THIS_PROCESS, type BaseName } from './bases';

/** Checkpoints stay here for the next bench; making one takes longer than measuring with it. */
export const shared = join(tmpdir(), 'lora-lab-bench');
/** The folder of one bench, or a checkpoint that one was making: its host and process. Other names are none of the bench's. */
const OF_PROCESS = new RegExp(`^(?:bench|${Object.keys(BASES).map(name => name.replace('.', '\\.')).join('|')})\\.(.+)\\.(\\d+)$`);
/** What a bench wrote here before each had a folder of its own. Nothing says whose it is, but no measurement leaves it alone for a day. */
const OLDER = /^(?:run|train\.jsonl|eval\.jsonl|bench\.lora\.json|bench\.\d+)$/;
const A_DAY_MS = 24 * 3600_000;

/** What a bench has started and still works. It ends with the bench, whose folder it writes to. */
export const started = new Set<ChildProcess>();

let own: string | undefined;

/** The folder for data, experiments and runs of this bench, made when it is first asked for. It goes when the process ends, and what an earlier one left that was killed goes too. */
export function ownFolder(): string {
  if (own) return own;
  mkdirSync(shared, { recursive: true });
  readdirSync(shared).filter(isLeft).forEach(name => remove(join(shared, name)));
  const made = own = join(shared, `bench.${OF_THIS_PROCESS}`);
  remove(made);
  mkdirSync(made);
  process.once('exit', () => {
    for (const child of started) child.kill('SIGKILL');
    remove(made);
  });
  for (const signal of ['SIGINT', 'SIGTERM'] as const) process.once(signal, () => process.exit(130));
  return made;
}

/** The base in the folder of this bench, made if no bench has made it, with a config.json of its own that `writeExperiment` may write again. */
export async function ownBase(base: BaseName): Promise<string> {
  const folder = join(ownFolder(), base);
  if (!existsSync(folder)) await linkBase(base, folder);
  return folder;
}

/** Makes a folder with the files of the base that all share, and a config.json of its own, without dropout. */
export async function linkBase(base: BaseName, folder: string): Promise<void> {
  const made = join(shared, base), { config, dropout } = BASES[base];
  mkdirSync(shared, { recursive: true });
  await makeBase(made, BASES[base]);
  mkdirSync(folder);
  for (const name of readdirSync(made).filter(file => file !== 'config.json')) linkOrCopy(join(made, name), join(folder, name));
  writeFileSync(join(folder, 'config.json'), JSON.stringify({ ...config, ...Object.fromEntries(dropout.map(key => [key, 0])) }));
}

/** Some file systems have no hard links; a copy may share its blocks. What is wrong otherwise, the copy says. */
function linkOrCopy(file: string, to: string): void {
  try { linkSync(file, to); } catch { copyFileSync(file, to, constants.COPYFILE_FICLONE); }
}

/** Whether no living process uses it any more; of another host, a container's with a /tmp in common, that is not known. */
function isLeft(name: string): boolean {
  if (OLDER.test(name)) return Date.now() - lstatSync(join(shared, name)).mtimeMs > A_DAY_MS;
  const [, host, pid] = OF_PROCESS.exec(name) ?? [];
  return host === hostname() && !isAlive(Number(pid));
}

/** A process that was just ended may still have been making a file in it. */
const remove = (path: string): void => rmSync(path, { recursive: true, force: true, maxRetries: 5 });

function isAlive(pid: number): boolean {
  try { return process.kill(pid, 0); } catch (error) { return (error as NodeJS.ErrnoException).code === 'EPERM'; }
}
