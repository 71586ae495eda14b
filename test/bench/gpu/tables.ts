/** Markdown of what was measured on a device. */
import { median } from '../arithmetic';
import type { Row } from '../rows';
import type { Arm, GpuMeasurement } from './arms';
import { TOLERANCE, type FamilyResult } from './families';

/** `error` says why an arm was not measured, or not to its end. */
export interface ArmResult { arm: Arm; measured: GpuMeasurement[]; error?: string }

const GB = (bytes: number | null): string => (bytes === null ? '' : `${(bytes / 1e9).toFixed(2)} GB`);

/** Families by tasks: largest relative difference of a loss, and below the table why some have none. */
export function familyTable(device: string, results: FamilyResult[]): string[] {
  const tasks = [...new Set(results.map(({ task }) => task))];
  const right = results.filter(({ difference }) => difference !== undefined && difference <= TOLERANCE);
  const cell = (family: string, task: string): string => {
    const found = results.find(result => result.family === family && result.task === task);
    if (!found) return '';
    return found.difference === undefined ? '**failed**' : found.difference <= TOLERANCE ? found.difference.toExponential(1) : `**${found.difference.toExponential(1)}**`;
  };
  return [
    `Losses of the first steps on ${device} against the CPU's, largest relative difference: ${right.length} of ${results.length} cases are within ${TOLERANCE}.`, '',
    `| | ${tasks.map(task => `\`${task}\``).join(' | ')} |`, `| --- |${' --- |'.repeat(tasks.length)}`,
    ...[...new Set(results.map(({ family }) => family))].map(family => `| ${family} | ${tasks.map(task => cell(family, task)).join(' | ')} |`),
    ...results.filter(({ error }) => error !== undefined).map(({ name, error }) => `\n${name}: ${error}`),
  ];
}

/** One line for each row and arm. */
export function speedTable(rows: { row: Row; arms: ArmResult[] }[]): string[] {
  return [
    '| | | tokens/s | ÷ PEFT fp32 | ÷ PEFT bf16 | memory of the card | of the process | start to first step | first loss, against PEFT fp32 |', '| --- | --- | --- | --- | --- | --- | --- | --- | --- |',
    ...rows.flatMap(({ row, arms }) => arms.map((result, i) => `| ${i ? '' : row.name} | ${result.arm.name} | ${cells(result, arms).join(' | ')} |`)),
  ];
}

function cells({ arm, measured, error }: ArmResult, all: ArmResult[]): string[] {
  if (!measured.length) return [`not measured: ${error}`, '', '', '', '', '', ''];
  const of = (result: ArmResult | undefined, value: (m: GpuMeasurement) => number): number | undefined => (result?.measured.length ? median(result.measured.map(value)) : undefined);
  const speed = (result: ArmResult | undefined): number | undefined => of(result, m => m.tokens_per_second);
  const own = speed({ arm, measured })!;
  const peft = (side: Arm['side']): ArmResult | undefined => all.find(result => result.arm.side === side);
  const share = (side: Arm['side']): string => {
    const other = speed(peft(side));
    return other === undefined || arm.side === side ? '' : `**${(own / other).toFixed(2)}**`;
  };
  const card = measured.map(m => m.card_memory_bytes).filter(bytes => bytes !== null);
  const first = peft('PEFT fp32')?.measured[0]?.losses[0];
  return [
    `${own.toFixed(own < 100 ? 1 : 0)}${error === undefined ? '' : ` (then: ${error})`}`, share('PEFT fp32'), share('PEFT bf16'), card.length ? GB(median(card)) : 'not told', GB(of({ arm, measured }, m => m.peak_memory_bytes)!),
    `${of({ arm, measured }, m => m.first_step_seconds)!.toFixed(1)} s`, first === undefined || arm.side === 'PEFT fp32' ? '' : (Math.abs(measured[0].losses[0] - first) / first).toExponential(1),
  ];
}
