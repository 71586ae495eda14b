/**
 * Child processes that never outlive this one. Each is the leader of its own process group, and the whole group is ended
 * when it is stopped, when this process exits for any reason it can react to, and, through guard.mjs, when it is killed.
 */
import { spawn } from 'node:child_process';
import { once } from 'node:events';
import { setTimeout as sleep } from 'node:timers/promises';
import { fileURLToPath } from 'node:url';

const posix = process.platform !== 'win32';
const guard = fileURLToPath(new URL('./guard.mjs', import.meta.url));
const running = new Set();
const endings = new Set();

/**
 * Starts a program in a process group of its own.
 * @param {string} command program
 * @param {string[]} args
 * @param {import('node:child_process').SpawnOptions & { guarded?: boolean }} options `guarded`: the group ends even if this process is killed
 */
export function start(command, args, { guarded = false, ...options } = {}) {
  const stdio = options.stdio ?? ['ignore', 'inherit', 'inherit'];
  const child = guarded && posix
    ? spawn(process.execPath, [guard, command, ...args], { ...options, stdio: ['pipe', stdio[1], stdio[2]], detached: true })
    : spawn(command, args, { ...options, stdio, detached: posix });
  running.add(child);
  child.once('exit', () => running.delete(child));
  child.once('error', () => running.delete(child));
  return child;
}

/** Runs a program to its end. Rejects if it cannot be started, fails, or takes longer than `timeout` milliseconds. */
export async function run(command, args, { timeout = 600_000, quiet = false, ...options } = {}) {
  const child = start(command, args, { ...options, stdio: quiet ? ['ignore', 'pipe', 'pipe'] : ['ignore', 'inherit', 'inherit'] });
  let output = '';
  child.stdout?.on('data', (data) => { output += data; });
  child.stderr?.on('data', (data) => { output += data; });
  let late = false;
  const timer = setTimeout(() => { late = true; void stop(child); }, timeout);
  try {
    const [code, signal] = await once(child, 'close');
    if (late) throw new Error(`${command} ${args.join(' ')} was ended after ${timeout / 1000} s`);
    if (code !== 0) throw new Error(`${command} ${args.join(' ')} failed (${signal ?? `exit code ${code}`})${output ? `:\n${output.trimEnd()}` : ''}`);
    return output;
  } finally {
    clearTimeout(timer);
  }
}

function signalGroup(child, signal) {
  try {
    if (posix) process.kill(-child.pid, signal);
    else child.kill(signal);
  } catch { /* the group has already ended */ }
}

/** Ends a child and everything it started: asks first, insists after three seconds. */
export async function stop(child) {
  if (child.pid === undefined) return;
  signalGroup(child, 'SIGTERM');
  for (let waited = 0; waited < 3000 && alive(child); waited += 50) await sleep(50);
  signalGroup(child, 'SIGKILL');
}

/** Whether any process of the child's group is left. */
function alive(child) {
  if (!posix) return child.exitCode === null && child.signalCode === null;
  try {
    process.kill(-child.pid, 0);
    return true;
  } catch {
    return false;
  }
}

/** Registers work to be done before a signal ends this process, such as closing a browser. Returns a function that takes it back. */
export function onEnd(work) {
  endings.add(work);
  return () => endings.delete(work);
}

async function end(code) {
  await Promise.race([Promise.allSettled([...endings].map((work) => work())), sleep(5000)]);
  await Promise.allSettled([...running].map(stop));
  process.exit(code);
}

let ending = false;
/** Never resolves once a signal is ending this process: what fails because of that is no news to anybody. */
export const unlessEnding = () => (ending ? new Promise(() => {}) : Promise.resolve());
for (const [signal, code] of [['SIGINT', 130], ['SIGTERM', 143], ['SIGHUP', 129]]) {
  process.on(signal, () => {
    if (ending) return;
    ending = true;
    void end(code);
  });
}
process.on('exit', () => { for (const child of running) signalGroup(child, 'SIGKILL'); });
