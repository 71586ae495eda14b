/**
 * What amdgpu tells of a card in sysfs (Documentation/gpu/amdgpu: `mem_info_*`, `gpu_busy_percent`). A processor with graphics has a little memory set aside
 * as its own, and beside it uses the machine's (GTT).
 */
import { join } from 'node:path';
import { readPseudoFile } from './pseudoFiles';

export interface AmdCard {
  /** Bytes of memory of its own; null for what another driver drives. */
  own: number | null;
  /** Bytes that programs can have on it: its own, of graphics in a processor also what they may use of the machine's. */
  total: number | null;
  /** Bytes of these in use, by whatever. */
  used: number | null;
  /** Share of the time that it was busy. */
  busy: number | null;
  integrated: boolean;
}

/** Of the card behind `device`, a folder of sysfs. Never throws: what is not told is null. */
export function readAmdCard(device: string): AmdCard {
  const of = (file: string): number | null => bytes(readPseudoFile(join(device, file)));
  const busy = of('gpu_busy_percent');
  // Of a card in a slot the driver tells at least one of them (Vega 10 the second only), of a processor's graphics neither.
  const integrated = busy !== null && readPseudoFile(join(device, 'mem_busy_percent')) === '' && readPseudoFile(join(device, 'pcie_bw')) === '';
  const shared = (file: string): number => (integrated ? of(file) ?? 0 : 0);
  const [own, used] = [of('mem_info_vram_total') || null, of('mem_info_vram_used')];
  return {
    own, integrated, total: own === null ? null : own + shared('mem_info_gtt_total'), used: used === null ? null : used + shared('mem_info_gtt_used'),
    busy: busy === null ? null : Math.min(1, busy / 100),
  };
}

const bytes = (text: string): number | null => (/^\d+$/.test(text) && Number.isSafeInteger(Number(text)) ? Number(text) : null);
