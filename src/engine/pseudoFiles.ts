/** Files of the kernel's own (sysfs, procfs). They have no true size, so they are not read through files.ts. */
import { readFileSync } from 'node:fs';

/** The text without white space around it. Empty for what is not there, or is not for this user: it tells nothing. Never throws. */
export function readPseudoFile(path: string): string {
  try { return readFileSync(path, 'utf8').trim(); } catch { return ''; }
}
