/** Where the engine keeps what it can make or fetch again. */
import { homedir } from 'node:os';
import { join } from 'node:path';

/** `LORA_LAB_CACHE`, or the system's folder for caches. */
export const cacheFolder = (): string => process.env.LORA_LAB_CACHE ?? join(
  process.platform === 'win32' ? process.env.LOCALAPPDATA ?? homedir() : process.platform === 'darwin' ? join(homedir(), 'Library/Caches') : process.env.XDG_CACHE_HOME ?? join(homedir(), '.cache'),
  'lora-lab',
);
