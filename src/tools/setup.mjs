/**
 * Makes the machine ready: the packages of package-lock.json, and the served workbench where no desktop VS Code is used.
 * Does nothing, in milliseconds, when everything is there. Needs npm and its registry only.
 *
 *   node src/tools/setup.mjs             packages and served workbench
 *   node src/tools/setup.mjs --engine    packages and the bundle of the engine
 */
import { existsSync, mkdirSync, readFileSync, renameSync, rmSync, statSync, utimesSync, writeFileSync } from 'node:fs';
import { dirname, join } from 'node:path';
import { fileURLToPath } from 'node:url';
import { CODE_SERVER, NODE_PACKAGE, root, workbenchCache } from './paths.mjs';
import { run } from './processes.mjs';

const quietly = ['--no-fund', '--no-audit', '--loglevel=error'];

// npm is a script on Windows and needs its shell there; the npm that runs this script is the one to go on with.
const npmScript = process.env.npm_execpath;
function npm(args, cwd) {
  // onnxruntime-node would fetch CUDA libraries from elsewhere; npm before version 11 does not read `allowScripts`.
  const env = { ...process.env, ONNXRUNTIME_NODE_INSTALL: 'skip' };
  if (npmScript && /\.c?js$/.test(npmScript)) return run(process.execPath, [npmScript, ...args], { cwd, env, quiet: true });
  return run('npm', args, { cwd, env, quiet: true, shell: process.platform === 'win32' });
}

const modified = (path) => (existsSync(path) ? statSync(path).mtimeMs : 0);

/** Installs the locked packages when node_modules is missing or older than the lock. */
export async function installPackages() {
  const lock = join(root, 'package-lock.json');
  const installed = join(root, 'node_modules/.package-lock.json');
  if (modified(installed) >= modified(lock) || sameLock(lock, installed)) return;
  console.error('set-up: npm ci');
  await npm(['ci', ...quietly], root);
  const now = new Date();
  utimesSync(installed, now, now);
}

/** A fresh checkout gives the lock a new time although nothing in it changed: compare what is installed with what it asks for. */
function sameLock(lock, installed) {
  if (!existsSync(installed)) return false;
  const wanted = JSON.parse(readFileSync(lock, 'utf8')).packages;
  const present = JSON.parse(readFileSync(installed, 'utf8')).packages;
  const missing = Object.keys(wanted).filter((name) => name && !wanted[name].optional && !wanted[name].peer && present[name]?.version !== wanted[name].version);
  return missing.length === 0;
}

/** Folder, server script and Node program of the served workbench; installs them first where they are missing. */
export async function installWorkbench() {
  if (!NODE_PACKAGE) throw new Error(`VS Code's server cannot be installed from npm on ${process.platform} ${process.arch}. Install VS Code and put its \`code\` command on the PATH.`);
  const place = workbenchFiles();
  if (existsSync(join(workbenchCache, 'ready'))) return place;
  console.error(`set-up: VS Code's server (npm packages code-server@${CODE_SERVER} and ${NODE_PACKAGE}) into ${workbenchCache}`);
  // Built under another name and renamed, so that an interrupted installation is never taken for a whole one.
  const unfinished = `${workbenchCache}.${process.pid}`;
  rmSync(unfinished, { recursive: true, force: true });
  mkdirSync(unfinished, { recursive: true });
  try {
    writeFileSync(join(unfinished, 'package.json'), '{ "private": true }\n');
    // Install scripts compile native modules of code-server's own front end, which is not used here.
    await npm(['install', '--ignore-scripts', ...quietly, `code-server@${CODE_SERVER}`, NODE_PACKAGE], unfinished);
    await npm(['install', '--omit=dev', '--ignore-scripts', ...quietly], join(unfinished, 'node_modules/code-server/lib/vscode'));
    writeFileSync(join(unfinished, 'ready'), '');
    mkdirSync(dirname(workbenchCache), { recursive: true });
    if (!existsSync(join(workbenchCache, 'ready'))) {
      rmSync(workbenchCache, { recursive: true, force: true });
      renameSync(unfinished, workbenchCache);
    }
  } finally {
    rmSync(unfinished, { recursive: true, force: true });
  }
  return place;
}

function workbenchFiles() {
  const modules = join(workbenchCache, 'node_modules');
  return {
    server: join(modules, 'code-server/lib/vscode/out/server-main.js'),
    node: join(modules, NODE_PACKAGE.split('@')[0], 'bin', process.platform === 'win32' ? 'node.exe' : 'node'),
  };
}

if (process.argv[1] === fileURLToPath(import.meta.url)) {
  await installPackages();
  if (process.argv.includes('--engine')) await (await import('./build.mjs')).build({ only: 'engine' });
  else await installWorkbench();
}
