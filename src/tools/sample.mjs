/** A copy of the sample workspace for whatever must not write into the repository. */
import { cpSync, mkdirSync } from 'node:fs';
import { join } from 'node:path';
import { sample } from './paths.mjs';

/** Copies media/sample without its runs to `folder` and returns `folder`. */
export function copySample(folder) {
  mkdirSync(folder, { recursive: true });
  cpSync(sample, folder, { recursive: true, filter: (path) => path !== join(sample, 'runs') && path !== join(sample, '.lora') });
  return folder;
}
