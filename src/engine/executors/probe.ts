/** Runs a probe step on a device in a process of its own, and remembers the answer. */
import { spawn } from 'node:child_process';
import { createHash } from 'node:crypto';
import { dirname, join } from 'node:path';
import * as ort from 'onnxruntime-node';
import { cacheFolder } from '../cacheFolder';
import { lookUp, makeFolder, readJsonObject } from '../files';
import { writeFileAtomic } from '../transaction';
import type { DeviceName } from '../../protocol/devices';
import { installedStamp } from './install/installed';

export type ProbeResult =
  | {
    ok: true; runs: string; software: boolean; driver: string | null;
    /** `ready`, or why half precision cannot be computed; absent where there are no kernels for it. */
    half?: string;
  }
  /** `missing`: something is not installed, rather than broken. */
  | { ok: false; cause: string; action: string; missing: boolean };

/** A driver that compiles all kernels on a busy machine takes several seconds; one that hangs takes forever. */
const LIMIT_MS = 30_000;
/** Answers go stale when drivers change, which not every system shows; failures may be mended at any time. */
const TRUSTED_MS = { ok: 7 * 86_400_000, failed: 600_000 };
const LAST_WORDS = 50_000;
/** What is asked. Answers to other questions are not taken. */
const ANSWERS = 'step, half, values that stay';

/** Probes the device now. A crash or a hang is a result too; never rejects. */
export async function probe(device: DeviceName, { limit_ms = LIMIT_MS, script = probeScript() } = {}): Promise<ProbeResult> {
  const result = await runProbe(script, device, limit_ms);
  remember(device, result);
  return result;
}

/** What is remembered, or a new answer. */
export async function knownProbe(device: DeviceName): Promise<ProbeResult> {
  return recall(device) ?? probe(device);
}

/** `dist/engine/probe.js`, from whichever bundle below `dist` this is part of. */
function probeScript(): string {
  for (let folder = __dirname; ; folder = dirname(folder)) {
    const script = join(folder, 'engine/probe.js');
    if (lookUp(script)) return script;
    if (folder === dirname(folder)) throw new Error(`no engine/probe.js above ${__dirname}: build it with npm run build`);
  }
}

function runProbe(script: string, device: DeviceName, limit_ms: number): Promise<ProbeResult> {
  const child = spawn(process.execPath, [script, device], { env: { ...process.env, ELECTRON_RUN_AS_NODE: '1', NODE_OPTIONS: '' }, stdio: ['ignore', 'pipe', 'pipe'], windowsHide: true });
  let out = '', err = '', late = false;
  child.stdout.setEncoding('utf8').on('data', (text: string) => { out += text; });
  child.stderr.setEncoding('utf8').on('data', (text: string) => { err = (err + text).slice(-LAST_WORDS); });
  const timer = setTimeout(() => { late = true; child.kill('SIGKILL'); }, limit_ms);
  return new Promise(resolve => {
    const failed = (cause: string): void => resolve({ ok: false, cause, action: 'update its driver, or set "device" to "cpu"', missing: false });
    child.once('error', error => { clearTimeout(timer); failed(`the probe could not be started: ${error.message}`); });
    child.once('close', (code, signal) => {
      clearTimeout(timer);
      if (late) return failed(`a probe step did not end within ${limit_ms / 1000} s`);
      const answer = out.trimEnd().split('\n').pop() ?? '';
      // Drivers that have computed and answered may still crash while the process is taken down.
      if (answer.startsWith('{') && answer.endsWith('}')) return resolve(withLibraries(JSON.parse(answer) as ProbeResult, err));
      const words = err.trim().split('\n').pop();
      failed(`a probe step ended the process with ${signal ? `signal ${signal}` : `exit code ${code}`}${words ? `; its last words: ${words}` : ''}`);
    });
  });
}

/** ONNX Runtime and TensorFlow name the libraries that they could not load on standard error only. */
function withLibraries(result: ProbeResult, errors: string): ProbeResult {
  if (result.ok) return result;
  const files = new Set([...errors.matchAll(/([\w.+-]+\.so[.\d]*): cannot open shared object file/g)].map(match => match[1]));
  return files.size ? { ...result, missing: true, cause: `${result.cause} (not found: ${[...files].join(', ')})` } : result;
}

/** One file for each device and everything that its answer depends on and that can be seen at once. */
function cacheFile(device: DeviceName): string {
  const seen = [ANSWERS, ort.env.versions.common, process.version, process.arch];
  for (const name of ['VK_ICD_FILENAMES', 'VK_DRIVER_FILES', 'VK_ADD_DRIVER_FILES', 'LD_LIBRARY_PATH', 'CUDA_VISIBLE_DEVICES', 'LORA_LAB_ORT_CUDA', 'LORA_LAB_TFJS_NODE']) seen.push(process.env[name] ?? '');
  if (device === 'tensorflow' || device === 'cuda') seen.push(installedStamp(device));
  return join(cacheFolder(), `device-${device}-${createHash('sha256').update(seen.join('\0')).digest('hex').slice(0, 16)}.json`);
}

/** The remembered answer, if there is one that is not stale. */
export function recall(device: DeviceName): ProbeResult | undefined {
  try {
    const { time, result } = readJsonObject(cacheFile(device), 1 << 16) as { time: number; result: ProbeResult };
    const age = Date.now() - time;
    return age >= 0 && age < (result.ok ? TRUSTED_MS.ok : TRUSTED_MS.failed) ? result : undefined;
  } catch {
    return undefined;
  }
}

function remember(device: DeviceName, result: ProbeResult): void {
  try {
    makeFolder(cacheFolder());
    writeFileAtomic(cacheFile(device), JSON.stringify({ time: Date.now(), result }));
  } catch { /* a machine without a cache probes each time */ }
}
