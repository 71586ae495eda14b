import { existsSync } from 'node:fs';
import { dirname, join } from 'node:path';

/** Root of the repository: the nearest folder above the bundle, or above the working directory, that holds package.json. */
export const ROOT = nearest(__dirname) ?? nearest(process.cwd()) ?? process.cwd();

/** Absolute path of a file below `test/fixtures`. */
export const fixture = (...parts: string[]): string => join(ROOT, 'test/fixtures', ...parts);

/** Absolute path of a built file, e.g. `built('engine/worker.js')`. */
export const built = (...parts: string[]): string => join(ROOT, 'dist', ...parts);

function nearest(folder: string): string | undefined {
  if (existsSync(join(folder, 'package.json'))) return folder;
  const parent = dirname(folder);
  return parent === folder ? undefined : nearest(parent);
}
