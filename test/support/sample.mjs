/** A copy of the sample workspace, so that tests never write into the repository. */
import { cpSync, existsSync, mkdirSync } from 'node:fs';
import { join } from 'node:path';
import { sample } from '../../src/tools/paths.mjs';

/** Copies media/sample without its runs to `folder` and returns `folder`. */
export function copySample(folder) {
  mkdirSync(folder, { recursive: true });
  if (existsSync(sample)) cpSync(sample, folder, { recursive: true, filter: (path) => path !== join(sample, 'runs') && path !== join(sample, '.lora') });
  return folder;
}
