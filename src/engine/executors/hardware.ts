/** The GPUs of this machine as the system names them, without touching them. */
import { execFile } from 'node:child_process';
import { existsSync, readdirSync, realpathSync } from 'node:fs';
import { cpus, totalmem } from 'node:os';
import { basename, join } from 'node:path';
import { readAmdCard } from '../amdgpu';
import { readPseudoFile } from '../pseudoFiles';

export interface Hardware {
  name: string;
  /** What programs can have on it; of graphics in a processor also what they may use of the machine's memory. Null where that is not told. */
  memory_bytes: number | null;
  driver: string | null;
}

/** `integrated`: it has next to no memory of its own. */
type Found = Hardware & { integrated?: boolean };

/** Longer than `nvidia-smi` takes to wake a sleeping card; a hanging tool must not hold up the list. */
const TOOL_LIMIT_MS = 5000;
const VENDORS: Record<string, string> = { '0x10de': 'NVIDIA', '0x1002': 'AMD', '0x8086': 'Intel', '0x106b': 'Apple', '0x13b5': 'Arm', '0x5143': 'Qualcomm' };
/** Device files that only the driver of a real GPU opens. */
export const GPU_FILES = /^\/dev\/(dri\/renderD\d+|nvidia\d+|dxg|kfd|mali\d+|nvmap)$/;
/** Adapters of Windows that compute on the CPU or show another machine's screen. */
const NO_GPU = /Microsoft (Basic|Hyper-V)|Remote Display|Parsec|Virtual Display|VMware SVGA|VirtualBox|QXL/i;
const NVIDIA = /NVIDIA|GeForce|Quadro/i;
/** Adapters of Windows that are cards, by their makers' names for them; other graphics are in a processor. */
const OWN_MEMORY = /NVIDIA|GeForce|Quadro|Radeon.*\b(RX|Pro|VII)\b|\bArc\b.* [AB]\d{2,3}/i;

/** With its CPUs as the system counts them, hardware threads included; how many threads compute is another matter (cpuThreads.ts). */
export const cpuHardware = (): Hardware => ({ name: `${cpus()[0]?.model.trim() ?? process.arch}, ${cpus().length} ${cpus().length === 1 ? 'CPU' : 'CPUs'}`, memory_bytes: totalmem(), driver: null });

/** False where there certainly is no GPU, found in a millisecond. */
export function mayHaveGpu(): boolean {
  if (process.platform !== 'linux') return process.platform === 'darwin' || process.platform === 'win32';
  return ['/dev', '/dev/dri'].some(folder => existsSync(folder) && readdirSync(folder).some(name => GPU_FILES.test(join(folder, name))));
}

/** Real GPUs, those with memory of their own first. Never rejects: what cannot be found out is left out. */
export async function listGpus(): Promise<Hardware[]> {
  if (!mayHaveGpu()) return [];
  const found: Found[] = process.platform === 'linux' ? [...await nvidiaGpus(), ...readKernelGpus()]
    : process.platform === 'darwin' ? readMacGpus(await output('system_profiler', ['SPDisplaysDataType', '-json']))
    : toldByNvidia(await nvidiaGpus(), readWindowsGpus(await windowsAdapters()));
  return ownMemoryFirst(found);
}

/** Windows' list with NVIDIA's own entries for its cards, which know of more than 4 GiB. */
export const toldByNvidia = (cards: Found[], listed: Found[]): Found[] => (cards.length ? [...cards, ...listed.filter(({ name }) => !NVIDIA.test(name))] : listed);

/** Those that have memory of their own first, the largest of them before others. */
export const ownMemoryFirst = (found: Found[]): Hardware[] =>
  found.sort((a, b) => Number(a.integrated ?? false) - Number(b.integrated ?? false) || (b.memory_bytes ?? 0) - (a.memory_bytes ?? 0)).map(({ name, memory_bytes, driver }) => ({ name, memory_bytes, driver }));

/** Whether NVIDIA's driver is there: on Linux by its device files. */
export const hasNvidia = (): boolean => existsSync('/dev/nvidiactl') || existsSync('/dev/dxg');

/** The tool that tells of NVIDIA's cards, where there is one: on Windows the driver puts it beside the system's own. Tests and unusual machines name theirs. */
export const nvidiaSmi = (): string | undefined => process.env.LORA_LAB_NVIDIA_SMI ?? (process.platform === 'win32' ? windowsTool() : hasNvidia() ? 'nvidia-smi' : undefined);

/** `nvidia-smi.exe` of Windows' system folder, if the driver has put it there. */
export function windowsTool(root = process.env.SystemRoot ?? 'C:\\Windows'): string | undefined {
  const file = join(root, 'System32', 'nvidia-smi.exe');
  return existsSync(file) ? file : undefined;
}

/** What nvidia-smi is asked for, and the number of the card whose lines count: the first that programs see. */
export const NVIDIA_QUERY = ['--query-gpu=index,memory.used,memory.total,utilization.gpu', '--format=csv,noheader,nounits'];
export const visibleCard = (): string => /^\d+/.exec(process.env.CUDA_VISIBLE_DEVICES ?? '')?.[0] ?? '0';

async function nvidiaGpus(): Promise<Hardware[]> {
  const program = nvidiaSmi();
  return program === undefined ? [] : readNvidiaGpus(await output(program, ['--query-gpu=name,memory.total,driver_version', '--format=csv,noheader,nounits']));
}

/** Lines of `name, MiB, driver version`. */
export function readNvidiaGpus(csv: string): Hardware[] {
  return csv.split('\n').map(line => line.split(',').map(field => field.trim())).filter(fields => fields.length === 3)
    .map(([name, mebibytes, version]) => ({ name, memory_bytes: Number(mebibytes) * 2 ** 20 || null, driver: `nvidia ${version}` }));
}

/** Cards of the Linux kernel's own drivers. */
export function readKernelGpus(folder = '/sys/class/drm'): Found[] {
  if (!existsSync(folder)) return [];
  return readdirSync(folder).filter(name => /^renderD\d+$/.test(name)).flatMap(name => {
    const at = join(folder, name, 'device');
    const [vendor, model] = ['vendor', 'device'].map(file => readPseudoFile(join(at, file)));
    const driver = existsSync(join(at, 'driver')) ? basename(realpathSync(join(at, 'driver'))) : null;
    if (driver === 'nvidia') return [];
    const { total, integrated } = readAmdCard(at);
    return [{ name: `${VENDORS[vendor] ?? `GPU of vendor ${vendor}`} ${model}`.trim(), memory_bytes: total, driver, integrated }];
  });
}

export function readMacGpus(json: string): Hardware[] {
  const entries = (parse(json) as { SPDisplaysDataType?: { sppci_model?: string; spdisplays_mtlgpufamilysupport?: string }[] } | undefined)?.SPDisplaysDataType ?? [];
  // Apple's GPUs share the memory of the machine.
  return entries.map(gpu => ({ name: gpu.sppci_model ?? 'GPU', memory_bytes: totalmem(), driver: gpu.spdisplays_mtlgpufamilysupport ?? 'Metal' }));
}

const windowsAdapters = (): Promise<string> =>
  output('powershell', ['-NoProfile', '-Command', 'Get-CimInstance Win32_VideoController | Select-Object Name,AdapterRAM,DriverVersion | ConvertTo-Json']);

/** Whether Windows has no real GPU, so that Direct3D computes on the CPU. False where it cannot be found out. */
export const onlySoftware = async (list = windowsAdapters): Promise<boolean> => {
  const listed = await list();
  return adaptersOf(listed).length > 0 && readWindowsGpus(listed).length === 0;
};

const adaptersOf = (json: string): { Name?: string; AdapterRAM?: number; DriverVersion?: string }[] => [parse(json) ?? []].flat() as { Name?: string }[];

export function readWindowsGpus(json: string): Found[] {
  // AdapterRAM has 32 bits: 4 GiB and more all look like just under 4 GiB.
  return adaptersOf(json).filter(gpu => gpu.Name && !NO_GPU.test(gpu.Name))
    .map(gpu => {
      const integrated = !OWN_MEMORY.test(gpu.Name!);
      // Of a processor's graphics it is what the firmware set aside, and not what they may use of the machine's.
      return { name: gpu.Name!, memory_bytes: !integrated && gpu.AdapterRAM && gpu.AdapterRAM < 4293918720 ? gpu.AdapterRAM : null, driver: gpu.DriverVersion ?? null, integrated };
    });
}

const parse = (json: string): unknown => { try { return JSON.parse(json); } catch { return undefined; } };

function output(program: string, args: string[]): Promise<string> {
  return new Promise(resolve => execFile(program, args, { timeout: TOOL_LIMIT_MS, windowsHide: true }, (error, stdout) => resolve(error ? '' : stdout)));
}
