/** One engine child process: started with a clean environment, its output drained into the log, ended with everything it started. */
import { fork, spawnSync, type ChildProcess } from 'node:child_process';
import { existsSync } from 'node:fs';
import type { LogOutputChannel } from 'vscode';
import type { ErrorReport } from '../protocol/engine';

/** Forks the engine with the Node that runs the extension host. `cwd` is where default run folders go, `runtimes` where GPU runtimes are installed. */
export function forkEngine(script: string, { cwd, runtimes, log }: { cwd: string | undefined; runtimes: string; log: LogOutputChannel }): ChildProcess {
  const child = fork(script, [], {
    cwd,
    env: { LORA_LAB_RUNTIME: runtimes, ...engineEnvironment(process.env) },
    execPath: process.execPath,
    // Debugging arguments of the extension host are not for the child.
    execArgv: [],
    stdio: ['ignore', 'pipe', 'pipe', 'ipc'],
  });
  drain(child.stdout, line => log.info(`[engine ${child.pid}] ${line}`));
  drain(child.stderr, line => log.warn(`[engine ${child.pid}] ${line}`));
  return child;
}

/** The environment of the extension host without what would make the child behave like an editor process. */
export function engineEnvironment(env: NodeJS.ProcessEnv): NodeJS.ProcessEnv {
  const kept = Object.entries(env).filter(([name]) => name !== 'NODE_OPTIONS' && !/^(VSCODE|ELECTRON)_/.test(name));
  return { ...Object.fromEntries(kept), ELECTRON_RUN_AS_NODE: '1' };
}

/** Ends the child and whatever it started, at once. */
export function killTree(child: ChildProcess): void {
  if (child.exitCode !== null || child.signalCode !== null || child.pid === undefined) return;
  if (process.platform === 'win32') spawnSync('taskkill', ['/PID', String(child.pid), '/T', '/F'], { windowsHide: true });
  else child.kill('SIGKILL');
}

/** Why the engine process could not be started. Of a working folder that is gone the system says that the program is not there. */
export function startReport(error: Error, program: string, cwd: string | undefined): ErrorReport {
  if (cwd !== undefined && !existsSync(cwd)) {
    return { code: 'engine.folder', file: cwd, cause: 'the workspace folder is no longer there: it was moved, renamed or deleted, or its drive is not connected', action: 'put it back, or open the folder where it is now (command "File: Open Folder...")' };
  }
  return { code: 'engine.start', file: program, cause: `the engine process did not start: ${error.message}`, action: 'install the extension again' };
}

/** Why the engine ended although it still owed answers, and what to do about it. `device` is what its run works on (`RunStarted`), where that is known. */
export function deathReport(code: number | null, signal: NodeJS.Signals | null, device?: string): ErrorReport {
  const ended = signal ? `was ended by signal ${signal}` : `ended with exit code ${code}`;
  const { likely, action } = explainDeath(code, signal, kindOf(device));
  return { code: 'engine.died', cause: `the engine process ${ended}${likely ? `: ${likely}` : ''}`, action };
}

/** TensorFlow on the CPU counts as unknown: that the engine's own "cpu" may do better is worth saying. */
const kindOf = (device = ''): 'cpu' | 'gpu' | 'unknown' => (device.startsWith('cpu ') ? 'cpu' : /^(webgpu|cuda|tensorflow gpu) /.test(device) ? 'gpu' : 'unknown');

function explainDeath(code: number | null, signal: NodeJS.Signals | null, device: ReturnType<typeof kindOf>): { likely: string; action: string } {
  const smaller = 'lower per_device_train_batch_size or max_length', resume = 'then resume from the last checkpoint, or start again';
  if (signal === 'SIGKILL') {
    return { likely: 'most likely the system ran out of memory, or someone ended the process', action: `${smaller}, close other programs, ${resume}` };
  }
  if (signal === 'SIGTERM' || signal === 'SIGINT') return { likely: 'another program asked it to end', action: 'start again, or resume from the last checkpoint' };
  if (code === 134 || signal === 'SIGABRT') {
    const driver = { cpu: ['', ''], gpu: [', or because the driver of the GPU failed', ', update that driver or set engine.device to "cpu"'], unknown: [', on a GPU also because the driver failed', ', on a GPU update its driver or set engine.device to "cpu"'] }[device];
    return { likely: `the process aborted, often because its heap was full${driver[0]}`, action: `${smaller}${driver[1]}, ${resume}` };
  }
  if (signal === 'SIGSEGV' || signal === 'SIGBUS' || signal === 'SIGILL' || code === 3221225477) {
    if (device === 'cpu') return { likely: 'a crash in native code', action: 'resume from the last checkpoint, or start again; if it comes again, see the log (command "LoRA Lab: Show log") for its last words' };
    return { likely: 'a crash in native code, often a driver or device library', action: `set engine.device to "cpu"${device === 'unknown' ? ', if it is not' : ''}, then resume or start again` };
  }
  return { likely: '', action: 'see the log (command "LoRA Lab: Show log") for its last words, then start again' };
}

function drain(stream: NodeJS.ReadableStream | null, line: (text: string) => void): void {
  let rest = '';
  stream?.setEncoding('utf8');
  stream?.on('data', (text: string) => {
    const lines = (rest + text).split(/\r?\n/);
    rest = lines.pop()!;
    lines.filter(Boolean).forEach(line);
  });
  stream?.on('end', () => rest && line(rest));
}
