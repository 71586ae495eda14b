/**
 * What a run takes of the machine, measured by the main thread of the engine's process, which is free while the worker computes:
 * a sample a second costs some microseconds, with a GPU that the kernel tells of up to a millisecond. Peaks lie in memory that both threads see, for the summary.
 */
import { spawn, type ChildProcess } from 'node:child_process';
import { availableParallelism, totalmem } from 'node:os';
import { DrmUsage } from './drmUsage';
import { NVIDIA_QUERY, nvidiaSmi, visibleCard } from './executors/hardware';
import { PEAKS_BYTES } from './startWorker';
import type { GpuOwner, GpuSample, MachinePeaks, TelemetrySample } from '../protocol/metrics';

const SAMPLE_MS = 1000;
/** nvidia-smi keeps running and tells at this pace: starting it each time would cost more than the telling. */
const GPU_MS = 2000;

const OWNERS: readonly GpuOwner[] = ['card', 'process'];

/** Peaks of a run: cores in use, bytes of GPU memory, share of the GPU, whose memory it is; and what was in use on the card before the run. Zero where nothing was told. */
export class Peaks {
  private readonly values: Float64Array;
  constructor(readonly memory = new SharedArrayBuffer(PEAKS_BYTES)) { this.values = new Float64Array(memory); }

  reset(): void { this.values.fill(0); this.cardBefore(null); }
  /** Bytes in use on the card before anything of the run was on it. */
  cardBefore(bytes: number | null): void { this.values[4] = bytes ?? NaN; }
  take({ cpu_cores, gpu }: TelemetrySample): void {
    const owner = gpu ? OWNERS.indexOf(gpu.of) : this.values[3];
    // What another source told is not comparable.
    if (owner !== this.values[3]) this.values.set([0, 0, owner], 1);
    [cpu_cores, gpu?.memory_bytes ?? 0, gpu?.utilization ?? 0].forEach((value, i) => { this.values[i] = Math.max(this.values[i], value); });
  }
  /** Keys of `summary.json`; those that are unknown are left out. */
  summary(): MachinePeaks {
    const [cpu, memory, utilization, owner, before] = this.values;
    const own = OWNERS[owner] === 'process' ? memory : memory - before;
    return { ...(cpu ? { peak_cpu_cores: round(cpu) } : {}), ...(memory ? { peak_gpu_memory_bytes: memory, gpu_memory_of: OWNERS[owner], peak_gpu_utilization: utilization, ...(own >= 0 ? { own_gpu_memory_bytes: own } : {}) } : {}) };
  }
}

const round = (value: number): number => Math.round(value * 100) / 100;

export class Telemetry {
  private timer: NodeJS.Timeout | undefined;
  private tool: ChildProcess | undefined;
  /** What the tool told last. */
  private gpu: GpuSample | undefined;
  private drm: DrmUsage | undefined;
  private followed = false;
  private begun = 0;
  private last = { time: 0, cpu: process.cpuUsage() };

  constructor(private readonly peaks: Peaks, private readonly send: (sample: TelemetrySample) => void, private readonly openDrm = () => DrmUsage.open()) {}

  /** Begins to measure; an earlier run is forgotten. */
  start(): void {
    this.stop();
    this.peaks.reset();
    this.begun = performance.now();
    this.last = { time: this.begun, cpu: process.cpuUsage() };
    this.timer = setInterval(() => this.sample(), SAMPLE_MS);
    this.timer.unref();
  }

  /** The run is on this device: a GPU is watched too, where the platform has a tool that tells, or the kernel itself does. Members of a sweep all say so. */
  follow(device: string): void {
    if (!this.timer || this.followed || device.startsWith('cpu')) return;
    this.followed = true;
    this.drm = this.openDrm();
    const program = nvidiaSmi();
    if (program === undefined) return;
    const wanted = visibleCard();
    const tool = this.tool = spawn(program, [...NVIDIA_QUERY, `--loop-ms=${GPU_MS}`], { stdio: ['ignore', 'pipe', 'ignore'], windowsHide: true });
    // What it told last is no longer so; where it could not be started the card's figures stay away.
    const over = (): void => { if (this.tool === tool) this.tool = this.gpu = undefined; };
    tool.on('error', over).on('close', over);
    let rest = '';
    tool.stdout!.setEncoding('utf8').on('data', (text: string) => {
      const lines = (rest + text).split('\n');
      rest = lines.pop()!;
      // What an ended tool had still to say is about an earlier run.
      if (this.tool === tool) for (const line of lines) this.gpu = readGpu(line, wanted) ?? this.gpu;
    });
    tool.unref();
  }

  stop(): void {
    clearInterval(this.timer);
    this.tool?.kill('SIGKILL');
    this.timer = this.tool = this.gpu = this.drm = undefined;
    this.followed = false;
  }

  /** Beside the tool, also before it tells, the kernel's figures count once a GPU of its own drivers has worked for this process: the other one is not in use. Nor is one that could tell of work and tells of none. */
  private gpuNow(): GpuSample | undefined {
    const own = this.drm?.read();
    return own && this.drm!.isInUse(this.tool !== undefined) ? own : this.gpu;
  }

  private sample(): void {
    const gpu = this.gpuNow();
    const now = { time: performance.now(), cpu: process.cpuUsage() };
    const used = now.cpu.user + now.cpu.system - this.last.cpu.user - this.last.cpu.system;
    const sample: TelemetrySample = {
      time: round((now.time - this.begun) / 1000), memory_bytes: process.memoryUsage.rss(), peak_memory_bytes: process.resourceUsage().maxRSS * 1024, machine_memory_bytes: totalmem(),
      cpu_cores: round(used / 1000 / Math.max(1, now.time - this.last.time)), cores: availableParallelism(), ...(gpu ? { gpu } : {}),
    };
    this.last = now;
    this.peaks.take(sample);
    this.send(sample);
  }
}

/** One line of `index, MiB used, MiB in all, percent`, if it is about the wanted GPU. Some cards do not tell their utilization. */
export function readGpu(line: string, index: string): GpuSample | undefined {
  const fields = line.split(',').map(field => field.trim());
  if (fields.length !== 4 || fields[0] !== index || !Number.isFinite(Number(fields[1]))) return undefined;
  const [used, total, percent] = fields.slice(1).map(Number);
  return { of: 'card', memory_bytes: used * 2 ** 20, memory_total_bytes: Number.isFinite(total) ? total * 2 ** 20 : null, utilization: Number.isFinite(percent) ? percent / 100 : null };
}
