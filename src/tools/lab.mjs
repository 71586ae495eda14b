/**
 * npm run --silent lab -- train|merge|predict|inspect|devices …: the engine on the command line (src/engine/cli.ts).
 * Sets up and builds what is missing or older than its sources first; only standard error hears of it.
 */
import { spawnSync } from 'node:child_process';
import { existsSync, readdirSync, statSync } from 'node:fs';
import { createRequire } from 'node:module';
import { join } from 'node:path';
import { root } from './paths.mjs';

const program = join(root, 'dist/engine/cli.js');
const modified = (path) => (existsSync(path) ? statSync(path).mtimeMs : 0);
const newest = (folder) => Math.max(...readdirSync(folder, { recursive: true, withFileTypes: true }).filter((entry) => entry.isFile())
  .map((entry) => modified(join(entry.parentPath ?? entry.path, entry.name))));

const packages = modified(join(root, 'node_modules/.package-lock.json'));
const sources = Math.max(...['src/engine', 'src/protocol'].map((folder) => newest(join(root, folder))), modified(join(root, 'src/tools/build.mjs')));
if (packages < modified(join(root, 'package-lock.json')) || modified(program) < Math.max(sources, packages)) {
  // In a process of its own, whose signal handlers would be in the engine's way here.
  const { status } = spawnSync(process.execPath, [join(root, 'src/tools/setup.mjs'), '--engine'], { stdio: ['ignore', 2, 2] });
  if (status !== 0) process.exit(1);
}
if (process.env.npm_lifecycle_event === 'lab') {
  // npm runs scripts in the package's folder; paths are meant from where the person stands.
  if (process.env.INIT_CWD) process.chdir(process.env.INIT_CWD);
  // npm passes a signal on to its shell only, whose end must not leave a run behind that nobody sees.
  const shell = process.ppid;
  const watch = setInterval(() => {
    if (process.ppid === shell) return;
    clearInterval(watch);
    process.kill(process.pid, 'SIGTERM');
  }, 500).unref();
}
// In this process, so that signals, exit code and standard streams are the engine's own.
process.argv[1] = program;
createRequire(import.meta.url)(program);
