/** Which devices this machine has, which one `auto` takes, and the executor that a run gets. */
import * as ort from 'onnxruntime-node';
import { LabError } from '../errors';
import { DEVICES, type Precision } from '../../protocol/experiment';
import type { DeviceName, DeviceReport, DevicesReport } from '../../protocol/devices';
import { checkThreads, coreThreads, formatThreads } from './cpuThreads';
import { hasCudaProvider } from './cuda';
import type { Executor } from './executor';
import { cpuHardware, listGpus, mayHaveGpu } from './hardware';
import { offeredTensorFlow, type TensorFlowLibrary } from './install/compile';
import { knownProbe, probe, recall, type ProbeResult } from './probe';
import { onnxVersion, startExecutor, type ExecutorOptions } from './start';

type Probe = (device: DeviceName) => Promise<ProbeResult>;

/** What can be seen of a machine without starting anything on it. */
interface Machine { gpu: boolean; cuda: boolean; webgpu: boolean }
const thisMachine = (): Machine => ({ gpu: mayHaveGpu(), cuda: hasCudaProvider(), webgpu: ort.listSupportedBackends().some(backend => backend.name === 'webgpu') });

/**
 * What `auto` takes: CUDA if a probe step runs on it, else WebGPU on a real GPU, else the CPU. What certainly is not there
 * is not probed, so that a machine without a GPU waits for nothing.
 */
export async function chooseDevice(ask: Probe = knownProbe, machine = thisMachine()): Promise<DevicesReport['auto']> {
  // Tests and servers that several people share say what automatic means.
  const forced = process.env.LORA_LAB_AUTO;
  if (forced === 'cpu' || forced === 'webgpu' || forced === 'cuda') return { device: forced, why: 'LORA_LAB_AUTO says so' };
  if (!machine.gpu) return { device: 'cpu', why: 'no GPU was found' };
  const refused: string[] = [];
  for (const device of ['cuda', 'webgpu'] as const) {
    if (!machine[device]) continue;
    const result = await ask(device);
    if (result.ok && !result.software) return { device, why: 'a probe step ran on it' };
    refused.push(`${device}: ${result.ok ? `${result.driver ?? 'its driver'} computes in software` : result.cause}`);
  }
  return { device: 'cpu', why: refused.join('; ') || 'no GPU can be used by this version' };
}

/**
 * The executor for `device`. A named device that cannot be used is a LabError that says what is missing or failed, never a
 * silent run on the CPU, and so is one that lacks the precision, or more threads than there are CPUs (`device.threads`); `auto` says in the executor's `device` why it took what it took.
 */
export async function createExecutor(device: string, precision: Precision = 'fp32', options: ExecutorOptions = {}): Promise<Executor> {
  checkThreads(options.threads);
  if (device === 'reference') return startExecutor('reference');
  // For tests: ONNX Runtime on the CPU computes what half precision stores, and rounds as a GPU does but for the sums.
  if (device === 'half-reference') return startExecutor('cpu', options);
  if (device === 'auto') {
    const { device: chosen, why } = await chooseDevice();
    checkPrecision(chosen, precision, why);
    await checkHalf(chosen, precision);
    return described(await startExecutor(chosen, options), await nameOf(chosen), `auto: ${why}`);
  }
  if (!isDevice(device)) throw new LabError({ code: 'device.unavailable', where: 'engine.device', cause: `"${device}" is no device`, action: `choose one of ${DEVICES.join(', ')}` });
  checkPrecision(device, precision);
  if (device !== 'cpu') {
    const result = await knownProbe(device);
    if (!result.ok) throw new LabError({ code: result.missing ? 'device.missing' : 'device.failed', where: 'engine.device', cause: `${device} cannot be used: ${result.cause}`, action: result.action });
  }
  await checkHalf(device, precision);
  return described(await startExecutor(device, options), await nameOf(device));
}

/** Which formats of the frozen weights the devices have kernels for. */
const PRECISIONS_OF: Record<DeviceName, readonly Precision[]> = { cpu: ['fp32', 'int8', 'int4'], webgpu: ['fp32', 'fp16', 'int4'], cuda: ['fp32'], tensorflow: ['fp32'] };

/** Error `device.precision` if the device cannot multiply weights of this format. `why` is the reason of `auto`, if that chose it. */
function checkPrecision(device: DeviceName, precision: Precision, why?: string): void {
  if (PRECISIONS_OF[device].includes(precision)) return;
  const other = (Object.keys(PRECISIONS_OF) as DeviceName[]).filter(name => PRECISIONS_OF[name].includes(precision));
  const quoted = (names: readonly string[]): string => names.map(name => `"${name}"`).join(' or ');
  throw new LabError({
    code: 'device.precision', where: 'engine.precision', cause: `"${precision}" cannot be computed on ${device}, which ${why === undefined ? '' : `"auto" took (${why}) and which `}knows ${LIST.format(PRECISIONS_OF[device])}`,
    // A GPU that automatic did not find or take is no way out.
    action: why !== undefined && device === 'cpu' ? `set engine.precision to ${quoted(PRECISIONS_OF[device])}; "${precision}" needs ${other.join(' or ')}`
      : `set engine.device to ${quoted(other)}, or engine.precision to "fp32"`,
  });
}

const LIST = new Intl.ListFormat('en-GB');

/** Error `device.precision` if this device has no half precision; what the kernels could do does not help then. */
async function checkHalf(device: DeviceName, precision: Precision): Promise<void> {
  if (precision !== 'fp16') return;
  const result = await knownProbe(device);
  if (!result.ok || result.half === 'ready') return;
  throw new LabError({
    code: 'device.precision', where: 'engine.precision', cause: `"fp16" cannot be computed on ${await nameOf(device) ?? device}: ${result.half}`,
    action: 'update its driver, or set engine.precision to "int4" for less memory, or to "fp32"',
  });
}

/** Whether what an executor calls its device can compute `fp16`, as far as the probe before it is remembered. Asks nothing. */
export function hasHalf(device: string): boolean {
  const known = device.startsWith('webgpu') ? recall('webgpu') : undefined;
  return known?.ok === true && known.half === 'ready';
}

const isDevice = (name: string): name is DeviceName => name !== 'auto' && (DEVICES as readonly string[]).includes(name);

/** The hardware behind a device, for people: `NVIDIA L4`, or `SwiftShader, in software`. */
async function nameOf(device: DeviceName): Promise<string | undefined> {
  if (device === 'cpu' || device === 'tensorflow') return undefined;
  const result = await knownProbe(device);
  if (result.ok && result.software) return `${result.driver ?? 'a driver'}, in software`;
  return (await listGpus())[0]?.name;
}

function described(executor: Executor, hardware?: string, note?: string): Executor {
  const device = [hardware ? executor.device.replace(' (', ` on ${hardware} (`) : executor.device, note].filter(Boolean).join('; ');
  return { device, piece: executor.piece, hold: data => executor.hold(data), compile: program => executor.compile(program), dispose: () => executor.dispose() };
}

/** Probes every device of this machine anew. Takes seconds for each that is there. `offer` finds a TensorFlow of Python that could be linked with. */
export async function listDevices(ask: Probe = probe, offer = offeredTensorFlow): Promise<DevicesReport> {
  const gpus = await listGpus();
  const cpu = cpuHardware();
  const threads = coreThreads();
  const answers = new Map<DeviceName, ProbeResult>();
  for (const device of ['cuda', 'webgpu', 'tensorflow'] as const) answers.set(device, await ask(device));
  const devices: DeviceReport[] = [{ device: 'cpu', state: 'ready', ...cpu, software: false, half_precision: false, detail: `onnxruntime ${onnxVersion()}${threads ? `, ${formatThreads(threads)}` : ''}` }];
  for (const [device, result] of answers) {
    // What computes in software has the processor's memory.
    const hardware = device === 'tensorflow' && !(result.ok && result.runs.includes('gpu')) ? cpu : result.ok && result.software ? { ...cpu, name: `${result.driver ?? 'a driver'}, in software` } : gpus[0];
    devices.push({
      device, name: hardware?.name ?? null, memory_bytes: hardware?.memory_bytes ?? null,
      driver: (result.ok ? result.driver : null) ?? hardware?.driver ?? null, software: result.ok && result.software,
      half_precision: result.ok && result.half === 'ready',
      state: result.ok ? 'ready' : result.missing ? 'needs' : 'failed',
      detail: result.ok ? `${result.runs}${result.half && result.half !== 'ready' ? `; fp16: ${result.half}` : ''}`
        : `${result.cause}; ${result.action}${device === 'tensorflow' && result.missing ? linkOffer(await offer()) : ''}`,
    });
  }
  const auto = await chooseDevice(async device => answers.get(device)!);
  return { auto, devices };
}

/** The newer CUDA of a TensorFlow that is there already spares a download. */
const linkOffer = (library: TensorFlowLibrary | undefined): string =>
  (library ? `; TensorFlow ${library.version} of Python is in ${library.folder}: "lab -- install tensorflow --link ${library.folder}" uses it, with the CUDA that it was made for` : '');
