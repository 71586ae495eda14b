/**
 * What this process takes of a GPU, as the Linux kernel itself tells: each open file of a DRM device (AMD, Intel and other drivers of the kernel)
 * has memory and busy time of its client in /proc/self/fdinfo (Documentation/gpu/drm-usage-stats.rst), amdgpu beside it those of the whole card
 * in /sys/class/drm. No tool is started.
 */
import { existsSync, readdirSync, readlinkSync, realpathSync } from 'node:fs';
import { basename, join } from 'node:path';
import type { GpuSample } from '../protocol/metrics';
import { readAmdCard, type AmdCard } from './amdgpu';
import { readPseudoFile } from './pseudoFiles';

/** Where the kernel tells; tests make folders of their own. */
export interface DrmFolders { dev: string; process: string; cards: string }
const KERNEL: DrmFolders = { dev: '/dev/dri', process: '/proc/self', cards: '/sys/class/drm' };

/** Busy and passed time of an engine: nanoseconds, or the GPU's own cycles, of which the driver tells how many have passed. */
interface EngineTime { busy: number; cycles: number | null; capacity: number }

/** One client of a device: an open file, however many descriptors it has. */
export interface DrmClient {
  driver: string;
  /** Unique on its device. */
  id: string;
  /** Bytes of its buffers, in whatever memory they lie; null where the driver does not tell. */
  memory_bytes: number | null;
  engines: Map<string, EngineTime>;
}

const UNITS: Record<string, number> = { '': 1, KiB: 2 ** 10, MiB: 2 ** 20 };
/** What says how much of a region a client has, the best first: `memory` is what older kernels call `resident`; `total` counts what was never touched too. */
const MEMORY_KEYS = ['resident', 'memory', 'total'];

/** The content of one file in fdinfo; undefined if it is no DRM client's. A line that is not as documented is left out. */
export function readDrmClient(text: string): DrmClient | undefined {
  const lines = new Map(text.split('\n').flatMap(line => { const [, key, value] = /^(drm-[^\s:]+):\s*(.*?)\s*$/.exec(line) ?? []; return key ? [[key, value] as const] : []; }));
  const driver = lines.get('drm-driver'), id = lines.get('drm-client-id');
  // A client without a number cannot be told from its duplicates.
  if (!driver || !id || !/^\d+$/.test(id)) return undefined;
  const regions = new Map<string, [rank: number, bytes: number]>();
  const engines: DrmClient['engines'] = new Map();
  for (const [key, value] of lines) {
    const [, kind, name] = /^drm-(resident|memory|total|engine|cycles)-(.+)$/.exec(key) ?? [];
    if (!kind || /^(engine-capacity|total-cycles)-/.test(key.slice(4))) continue;
    if (kind === 'engine' || kind === 'cycles') {
      const busy = number(value, kind === 'engine' ? /^(\d+) ns$/ : /^(\d+)$/);
      const cycles = kind === 'cycles' ? number(lines.get(`drm-total-cycles-${name}`), /^(\d+)$/) : null;
      // Cycles without the clock that they are counted by say nothing.
      if (busy === null || kind === 'cycles' && cycles === null) continue;
      engines.set(name, { busy, cycles, capacity: number(lines.get(`drm-engine-capacity-${name}`), /^(\d+)$/) || 1 });
    } else {
      const [, digits, unit = ''] = /^(\d+)(?: (KiB|MiB))?$/.exec(value) ?? [];
      const rank = MEMORY_KEYS.indexOf(kind);
      if (digits !== undefined && rank < (regions.get(name)?.[0] ?? Infinity)) regions.set(name, [rank, Number(digits) * UNITS[unit]]);
    }
  }
  return {
    driver, id, engines,
    memory_bytes: regions.size ? [...regions.values()].reduce((sum, [, bytes]) => sum + bytes, 0) : null,
  };
}

function number(text: string | undefined, pattern: RegExp): number | null {
  const value = Number(pattern.exec(text ?? '')?.[1] ?? NaN);
  return Number.isSafeInteger(value) ? value : null;
}

/** A device that this process has open: its clients, each once however many descriptors lead to it. */
interface Open { device: string; clients: DrmClient[] }

/** Follows this process's clients. */
export class DrmUsage {
  /** Largest busy time of each client's engine so far, and the time at which it was read. */
  private last = new Map<string, { busy: number; at: number }>();

  /** Folder of the device behind each file of /dev/dri. */
  private readonly nodes = new Map<string, string>();
  /** Whether a GPU had worked for this process when it was last read. */
  private worked = false;
  /** Whether all GPUs tell when they work, and none had for this process: something else computes. */
  private idle = false;

  private constructor(private readonly folders: DrmFolders) {}

  /** Undefined where the kernel has no DRM device, so that nothing is asked there. */
  static open(folders = KERNEL): DrmUsage | undefined { return existsSync(folders.dev) ? new DrmUsage(folders) : undefined; }

  /**
   * Of the device on which this process has most memory: Vulkan opens every GPU, and those that nothing is computed on hold next to nothing. The share of
   * time is that since it was asked before (`now` in nanoseconds). Undefined if no device is open, or its driver tells no memory. Never throws.
   */
  read(now = performance.now() * 1e6): GpuSample | undefined {
    const before = this.last;
    this.last = new Map();
    const opened = this.opened();
    this.worked = opened.some(hasWorked);
    this.idle = !this.worked && opened.length > 0 && opened.every(({ clients }) => clients.some(({ engines }) => engines.size > 0));
    const found = opened.map(({ device, clients }) => ({ memory: memoryOf(clients), utilization: this.utilization(device, clients, before, now), card: readAmdCard(device) }));
    const own = found.filter(({ memory }) => memory !== null).sort((a, b) => b.memory! - a.memory!)[0];
    // A GPU that shares the machine's memory may have more than what is its own.
    if (own) return { of: 'process', memory_bytes: own.memory!, memory_total_bytes: (own.card.total ?? 0) >= own.memory! ? own.card.total : null, utilization: own.utilization };
    const card = largest(found.map(one => one.card));
    return card && { of: 'card', memory_bytes: card.used, memory_total_bytes: card.total, utilization: card.busy };
  }

  /** Whether what was read last is about the GPU that computes: one that could tell of work and tells of none is not it, and beside a card of NVIDIA's only one that has worked is. */
  isInUse(besideNvidia: boolean): boolean { return this.worked || !this.idle && !besideNvidia; }

  /** Bytes in use on the whole of the card with most memory, where amdgpu drives one: what `taken` compares with. */
  cardMemory(): number | null {
    const cards = list(this.folders.cards).filter(name => /^card\d+$/.test(name)).map(name => readAmdCard(join(this.folders.cards, name, 'device')));
    return largest(cards)?.used ?? null;
  }

  /** Bytes that this process has of a GPU now, or by how much its card has more in use than `before`; null where neither is told, and instead of 0. */
  taken(before: number | null): number | null {
    const now = this.read();
    if (!now || now.of === 'card' && before === null) return null;
    return (now.of === 'process' ? now.memory_bytes : Math.max(0, now.memory_bytes - before!)) || null;
  }

  private opened(): Open[] {
    const { process, dev, cards } = this.folders;
    const devices = new Map<string, Map<string, DrmClient>>();
    for (const fd of list(join(process, 'fd'))) {
      const node = linkOf(join(process, 'fd', fd));
      if (!node.startsWith(`${dev}/`)) continue;
      const device = this.nodes.get(node) ?? (real(join(cards, basename(node), 'device')) || node);
      this.nodes.set(node, device);
      const clients = devices.get(device) ?? new Map<string, DrmClient>();
      devices.set(device, clients);
      const client = readDrmClient(readPseudoFile(join(process, 'fdinfo', fd)));
      if (client) clients.set(client.id, client);
    }
    return [...devices].map(([device, clients]) => ({ device, clients: [...clients.values()] }));
  }

  /** Share of its time that the busiest engine of a device worked for this process; null at the first reading and where the driver does not tell. */
  private utilization(device: string, clients: DrmClient[], before: DrmUsage['last'], now: number): number | null {
    const shares = new Map<string, number>();
    for (const { id, engines } of clients) {
      for (const [engine, { busy, cycles, capacity }] of engines) {
        const key = `${device} ${id} ${engine}`, earlier = before.get(key), at = cycles ?? now;
        // A driver may step back for a while: the larger value holds until it is passed.
        this.last.set(key, { busy: Math.max(busy, earlier?.busy ?? 0), at });
        if (earlier && at > earlier.at) shares.set(engine, (shares.get(engine) ?? 0) + Math.max(0, busy - earlier.busy) / (at - earlier.at) / capacity);
      }
    }
    return shares.size ? Math.min(1, Math.max(...shares.values())) : null;
  }
}

const hasWorked = ({ clients }: Open): boolean => clients.some(({ engines }) => [...engines.values()].some(({ busy }) => busy > 0));

/** Of the cards that tell, that with most memory of its own. */
function largest(cards: readonly AmdCard[]): AmdCard & { used: number } | undefined {
  return cards.filter((card): card is AmdCard & { used: number } => card.used !== null).sort((a, b) => (b.own ?? 0) - (a.own ?? 0))[0];
}

function memoryOf(clients: readonly DrmClient[]): number | null {
  const known = clients.flatMap(({ memory_bytes }) => memory_bytes ?? []);
  return known.length ? known.reduce((a, b) => a + b) : null;
}

// What has gone, or is not for this user, tells nothing.
const list = (folder: string): string[] => { try { return readdirSync(folder); } catch { return []; } };
const real = (path: string): string => { try { return realpathSync.native(path); } catch { return ''; } };
const linkOf = (path: string): string => { try { return readlinkSync(path); } catch { return ''; } };
