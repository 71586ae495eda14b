/** How much of a GPU's memory a step or a run takes: what this process has there, where the kernel tells, else by how much what is in use on the card grows. */
import { execFile } from 'node:child_process';
import { DrmUsage } from './drmUsage';
import { NVIDIA_QUERY, nvidiaSmi, visibleCard } from './executors/hardware';
import { readGpu } from './telemetry';

/** A sleeping card takes a second or two to answer. */
const LIMIT_MS = 5000;

export class GpuMemory {
  private constructor(private readonly nvidia: number | null, private readonly drm: DrmUsage | undefined, /** Bytes in use on the card before; null where nothing tells. */ readonly before: number | null) {}

  /** Asks what is in use before anything of a run is on the device. Of the CPU, and where nothing tells, at once. Never rejects. */
  static async before(device: string, openDrm = () => DrmUsage.open(), limit_ms = LIMIT_MS): Promise<GpuMemory> {
    if (device === 'cpu') return new GpuMemory(null, undefined, null);
    const drm = openDrm();
    const nvidia = await askNvidia(limit_ms);
    return new GpuMemory(nvidia, drm, nvidia ?? drm?.cardMemory() ?? null);
  }

  /** Bytes taken since; null where that cannot be told, also where less was in use than before. What else runs on a card of NVIDIA's counts if it takes or frees memory meanwhile. Never rejects. */
  async taken(): Promise<number | null> {
    const own = this.drm?.taken(this.before) ?? null;
    // With a card of NVIDIA's beside it, a GPU that has not worked for this process is not the one.
    if (own !== null && this.drm!.isInUse(this.nvidia !== null)) return own;
    const now = this.nvidia === null ? null : await askNvidia();
    return now === null || now <= this.nvidia! ? null : now - this.nvidia!;
  }
}

/** Bytes in use on the card; null without one. */
function askNvidia(limit_ms = LIMIT_MS): Promise<number | null> {
  const program = nvidiaSmi();
  if (program === undefined) return Promise.resolve(null);
  return new Promise(resolve => {
    const asked = execFile(program, NVIDIA_QUERY, { windowsHide: true }, (error, output) => {
      clearTimeout(limit);
      const card = error ? undefined : output.split('\n').flatMap(line => readGpu(line, visibleCard()) ?? [])[0];
      resolve(card?.memory_bytes ?? null);
    });
    // Where this thread was busy for longer than that, an answer that has come meanwhile is read first.
    const limit = setTimeout(() => setImmediate(() => asked.kill('SIGKILL')), limit_ms);
  });
}
