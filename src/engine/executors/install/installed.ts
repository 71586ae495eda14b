/** Runtimes that were installed: where they lie, and whether they are still whole. */
import { join } from 'node:path';
import { cacheFolder } from '../../cacheFolder';
import { LabError } from '../../errors';
import { listFolder, lookUp, readJsonObject, removeFile, statFile } from '../../files';
import { recover, writeFile } from '../../transaction';
import type { RuntimeName } from '../../../protocol/engine';

const MANIFEST = 'installed.json';

/** What was installed, and what of it must be there. */
export interface Installed {
  runtime: RuntimeName;
  version: string;
  variant: 'gpu' | 'cpu';
  /** Sizes of its files by path, and paths outside that it is linked to. */
  files: Record<string, number>;
  outside: string[];
  /** When, in milliseconds since 1970. */
  time: number;
}

/** `LORA_LAB_RUNTIME`, which the extension sets to its own storage, or the cache folder. */
export const runtimesFolder = (): string => process.env.LORA_LAB_RUNTIME || join(cacheFolder(), 'runtime');
export const runtimeFolder = (runtime: RuntimeName): string => join(runtimesFolder(), runtime);

/** The installed runtime, whole or not; undefined if there is none. */
export function findInstalled(runtime: RuntimeName): Installed | undefined {
  const file = join(runtimeFolder(runtime), MANIFEST);
  try { return lookUp(file) ? readJsonObject(file, 1 << 24) as unknown as Installed : undefined; } catch { return undefined; }
}

/** The first thing that is not as it was installed, or undefined if all is whole. */
export function firstMissing(installed: Installed, folder = runtimeFolder(installed.runtime)): string | undefined {
  const lost = Object.entries(installed.files).find(([name, size]) => lookUp(join(folder, name))?.size !== size);
  return lost ? join(folder, lost[0]) : installed.outside.find(path => !lookUp(path));
}

/** Writes the list of what lies in `folder`. */
export function writeInstalled(folder: string, installed: Omit<Installed, 'files' | 'time'>): Installed {
  const whole: Installed = { ...installed, files: sizesBelow(folder), time: Date.now() };
  writeFile(join(folder, MANIFEST), `${JSON.stringify(whole, null, 1)}\n`);
  return whole;
}

function sizesBelow(folder: string, prefix = ''): Record<string, number> {
  const sizes: Record<string, number> = {};
  for (const name of listFolder(join(folder, prefix))) {
    const { isDirectory, isLink, size } = statFile(join(folder, prefix, name), 'link');
    if (isDirectory) Object.assign(sizes, sizesBelow(folder, `${prefix}${name}/`));
    else if (!isLink) sizes[`${prefix}${name}`] = size;
  }
  return sizes;
}

/** Removes a runtime. Answers whether there was one. Errors: `disk.*`, also where it is in use on Windows. */
export function uninstall(runtime: RuntimeName): boolean {
  const folder = runtimeFolder(runtime);
  if (lookUp(runtimesFolder())) recover(runtimesFolder());
  if (!lookUp(folder)) return false;
  removeFile(folder);
  return true;
}

/** Changes whenever a runtime is installed or removed: what was found out about a device before says nothing then. */
export const installedStamp = (runtime: RuntimeName): string => String(findInstalled(runtime)?.time ?? '');

/** Error `runtime.platform` on a machine that the runtimes are not made for. */
export function requirePlatform(): void {
  if (process.platform === 'linux' && process.arch === 'x64') return;
  throw new LabError({
    code: 'runtime.platform', where: `${process.platform} ${process.arch}`, cause: 'these runtimes are installed on Linux with an x64 processor only',
    action: 'set "device" to "webgpu" or "auto", which need nothing; for TensorFlow run "npm install @tensorflow/tfjs-node" in the workspace folder',
  });
}
