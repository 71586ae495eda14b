/** The table of the speed rows as the README has it, and which rows fall below what is asked of them. */
import { median } from './arithmetic';
import type { Measurement } from './measure';
import type { Row } from './rows';

/** PEFT in bf16: autocast as for a checkpoint in float32, or with frozen weights in bfloat16, too. Names as peft_bench.py's `--precision` has them. */
export const BF16 = { bf16: 'PEFT, bf16 autocast', 'bf16-base': 'PEFT, bf16 base and autocast' };
export type Bf16 = keyof typeof BF16;

/** All rounds of a row. `bf16` is PEFT in one of these, `fp32` ours on the same row with a base in fp32, each where it was measured. `refused` says why this machine cannot compute ours. */
export interface RowResult { row: Row; ours: Measurement[]; theirs: Measurement[]; bf16?: Measurement[]; fp32?: Measurement[]; refused?: string }

const GB = (bytes: number): string => `${(bytes / 1e9).toFixed(2)} GB`;
const number = (value: number): string => value.toFixed(value < 100 ? 1 : 0);
const speed = ({ unit }: Row, list: readonly Measurement[]): number => median(list.map(m => (unit === 'tokens/s' ? m.tokens_per_second : m.examples_per_second)));

/** Heads of the columns, the first of which has none. */
export function tableHead(bf16?: Bf16): string[] {
  const columns = ['LoRA Lab', 'PEFT', 'ours ÷ PEFT', 'must', ...(bf16 ? [BF16[bf16], 'ours ÷ that'] : []), 'peak memory, ours / PEFT', 'start to first step, ours / PEFT'];
  return [`| | ${columns.join(' | ')} |`, `| --- |${' --- |'.repeat(columns.length)}`];
}

/** Ours ÷ what must be reached is compared with: PEFT, or our own fp32. Undefined where nothing is asked, or that was not measured. */
function reached({ row, ours, theirs, fp32, refused }: RowResult): number | undefined {
  const other = row.must_of_fp32 ? fp32 : theirs;
  return row.must === undefined || !other?.length || refused ? undefined : speed(row, ours) / speed(row, other);
}

/** Whether a row is slower than is asked of it. */
export function isBelow(result: RowResult): boolean {
  const ratio = reached(result);
  return ratio !== undefined && ratio < result.row.must!;
}

function must(result: RowResult): string {
  const { must, must_of_fp32 } = result.row;
  if (must === undefined) return '';
  const ratio = reached(result);
  const asked = must_of_fp32 ? `${must} of our fp32: ${ratio?.toFixed(2) ?? 'not measured'}` : `${must}`;
  return isBelow(result) ? `${asked}, **missed**` : asked;
}

/** One line of the table. */
export function tableRow(result: RowResult): string {
  const { row, ours, theirs, bf16 } = result;
  if (result.refused) return `| ${row.name} | ${result.refused} |${' |'.repeat(bf16 ? 7 : 5)}`;
  const own = speed(row, ours);
  const middle = (list: readonly Measurement[], key: 'peak_memory_bytes' | 'first_step_seconds'): number => median(list.map(m => m[key]));
  const beside = (list: readonly Measurement[], more = (): string => ''): string[] => (list.length ? [`${number(speed(row, list))}${more()}`, `**${(own / speed(row, list)).toFixed(2)}**`] : ['not measured', '']);
  const both = (value: (list: readonly Measurement[]) => string): string => [ours, theirs].filter(({ length }) => length).map(value).join(' / ');
  const cells = [
    row.name, `${number(own)} ${row.unit}`, ...beside(theirs), must(result), ...(bf16 ? beside(bf16, () => `, ${GB(middle(bf16, 'peak_memory_bytes'))}`) : []),
    both(list => GB(middle(list, 'peak_memory_bytes'))), both(list => `${middle(list, 'first_step_seconds').toFixed(1)} s`),
  ];
  return `| ${cells.join(' | ')} |`;
}
