/**
 * What a run needs in memory as it is computed before Start, beside the peak of the engine's process in a short run:
 *
 *   npm run bench -- --memory [--rows 1,2] [--out table.md]
 *   npm run bench -- --memory --devices webgpu       by how much the need grows on SwiftShader, which keeps the memory of its device in the process
 */
import { join } from 'node:path';
import { readExperimentFile } from '../../src/engine/experimentFile';
import { inspectCheckpoint } from '../../src/engine/inspect';
import { estimateMemory, type MemoryEstimate } from '../../src/protocol/memoryEstimate';
import { sweepSize } from '../../src/protocol/sweep';
import { swiftShader } from '../support/lostGpu';
import { measureOurs, prepare } from './measure';
import { ownFolder } from './places';
import { dense, inOrder, ROWS, type Row } from './rows';

const [bert, gpt2, qwen2, long] = [ROWS[0], ROWS[5], ROWS[7], ROWS[13]];
const recomputed = { gradient_checkpointing: true };
/** Dropout of the base, of its attention too, and of the adapters. */
const dropped = { dropout: 0.1 };
const dora = { lora: { use_dora: true } };
const pairs = (length: number): Partial<Row> => ({ base: 't5-small', target_modules: ['q', 'v'], lengths: dense(6, length), targets: dense(6, length), batch: 2 });
/** Beside the rows of the bench: long portions, with and without recomputation and dropout, an encoder-decoder, models trained whole, much trained in adapters, base weights in few bits, what is trained in an output layer, and DoRA. */
const MORE: Row[] = [
  { ...bert, name: 'BERT-base, 3 × 512 tokens', lengths: dense(9, 512), batch: 3 },
  { ...bert, name: 'the same, recomputed', lengths: dense(9, 512), batch: 3, training: recomputed },
  { ...gpt2, name: 'GPT-2 small, 8 × 256 tokens, recomputed', training: recomputed },
  { ...qwen2, name: 'Qwen2-0.5B shape, all-linear, 2 × 512 tokens, recomputed', training: recomputed },
  { ...bert, name: 'BERT-base, 2 × 1,024 tokens', base: 'bert-base-1024', lengths: dense(6, 1024), batch: 2 },
  { ...bert, name: 'the same with dropout 0.1', base: 'bert-base-1024', lengths: dense(6, 1024), batch: 2, ...dropped },
  { ...long, name: 'GPT-2 small, c_attn, 2 × 1,024 tokens, dropout 0.1', ...dropped },
  { ...gpt2, name: 'T5-small, q and v, 2 sources and targets of 512 tokens', ...pairs(512) },
  { ...gpt2, name: 'the same with dropout 0.1', ...pairs(512), ...dropped },
  { ...gpt2, name: 'T5-small, q and v, 2 sources and targets of 1,024 tokens', ...pairs(1024) },
  { ...gpt2, name: 'the same with dropout 0.1', ...pairs(1024), ...dropped },
  ...(['bert-mini', 'bert-small', 'bert-base'] as const).map((base): Row => ({ ...bert, name: `${base}, "lora": null, 16 × 128 tokens`, base, full: true })),
  ...(['bert-small', 'bert-base'] as const).map((base): Row => ({ ...bert, name: `${base}, all-linear, r = 64, 16 × 128 tokens`, base, target_modules: 'all-linear', rank: 64 })),
  { ...bert, name: 'BERT-base, query and value, r = 256, 16 × 128 tokens', rank: 256 },
  { ...gpt2, name: 'GPT-2 small, c_attn, 8 × 256 tokens, base weights in `int4`', engine: { precision: 'int4', compare_precision: 'off' } },
  { ...qwen2, name: 'Qwen2-0.5B shape, all-linear, 2 × 512 tokens, base weights in `int4`', engine: { precision: 'int4', compare_precision: 'off' } },
  ...[
    { name: 'c_attn and an adapter on the output layer', target_modules: ['c_attn', 'lm_head'] }, { name: 'c_attn and the output layer trained', lora: { modules_to_save: ['lm_head'] } }, { name: '"lora": null', full: true as const },
  ].map(({ name, ...part }): Row => ({ ...gpt2, base: 'gpt2-untied', name: `GPT-2 of 4 layers of width 256 and an output layer of its own, ${name}, 8 × 256 tokens`, ...part })),
  { ...bert, name: 'BERT-base, query and value with DoRA, 16 × 128 tokens', ...dora },
  { ...bert, name: 'the same with dropout 0.1', ...dora, ...dropped },
  { ...bert, name: 'BERT-base, all-linear with DoRA, 16 × 128 tokens', target_modules: 'all-linear', ...dora },
  { ...gpt2, name: 'GPT-2 small, c_attn with DoRA, 8 × 256 tokens', ...dora },
];
export const MEMORY_ROWS: Row[] = [...ROWS, ...MORE];

/** Enough for the peak: a few steps, or all where later epochs keep more or batches differ. */
const short = (row: Row): Row => (row.counts_first || new Set(row.lengths).size > 1 ? row : { ...row, steps: 2 });

/** As the panel has it before Start: from the checkpoint's headers and the experiment. Where all texts are of one length it is told so: at 512 and 1,024 tokens slightly shorter ones need more. */
function estimated({ lengths }: Row): MemoryEstimate {
  const source = readExperimentFile(join(ownFolder(), 'bench.lora.json'));
  const { experiment } = source;
  const model = inspectCheckpoint({ folder: source.resolve(experiment.base_model), task: experiment.task, dataset: { ...experiment.dataset, train: source.resolve(experiment.dataset.train) } });
  return estimateMemory(model, { ...experiment, ...(source.sweep ? { sweep: sweepSize(source.sweep, experiment.lora.r) } : {}) }, new Set(lengths).size === 1 ? lengths[0] : undefined);
}

/** Prints a row for each: computed, measured, and their ratio. */
export async function measureMemoryRows(chosen: readonly Row[]): Promise<string[]> {
  const table = ['| | computed | measured | computed ÷ measured |', '| --- | --- | --- | --- |'];
  const GB = (bytes: number): string => `${(bytes / 1e9).toFixed(2)} GB`;
  for (const row of inOrder(chosen).map(short)) {
    await prepare(row);
    const estimate = estimated(row);
    const { peak_memory_bytes } = await measureOurs(row);
    table.push(`| ${row.name} | ${GB(estimate.total)} | ${GB(peak_memory_bytes)} | ${(estimate.total / peak_memory_bytes).toFixed(2)} |`);
    console.log(table.at(-1), JSON.stringify(estimate, (_, value: unknown) => (typeof value === 'number' ? Math.round(value / 1e6) : value)));
  }
  return table;
}

/** Driver and shaders, the same in all of them, are left out by comparing with the first. */
const GPU_ROWS: Row[] = [
  { ...bert, name: 'a BERT of 4 × 256, 1 × 32 tokens', base: 'bert-mini', batch: 1, lengths: dense(2, 32), steps: 2 },
  { ...bert, name: 'a BERT of 8 × 512, 1 × 32 tokens', base: 'bert-medium', batch: 1, lengths: dense(2, 32), steps: 2 },
  { ...bert, name: 'a BERT of 4 × 256, 1 × 512 tokens', base: 'bert-mini', batch: 1, lengths: dense(2, 512), steps: 2 },
];

/** Prints by how much each row needs more than the first one: computed for the memory of a GPU, and the peak of the process. */
export async function measureGpuMemory(device: string): Promise<void> {
  const VK_ICD_FILENAMES = swiftShader();
  if (VK_ICD_FILENAMES === undefined) throw new Error("there is no SwiftShader (Debian's chromium package has it)");
  console.log('| | computed | the process | more than the first, computed | measured |\n| --- | --- | --- | --- | --- |');
  let first: { computed: number; peak: number } | undefined;
  const MB = (bytes: number): string => `${Math.round(bytes / 1e6)} MB`;
  for (const row of GPU_ROWS) {
    const on = { ...row, engine: { device } };
    await prepare(on);
    const [computed, { peak_memory_bytes: peak }] = [estimated(on).total, await measureOurs(on, { VK_ICD_FILENAMES })];
    first ??= { computed, peak };
    console.log(`| ${row.name} | ${MB(computed)} | ${MB(peak)} | ${MB(computed - first.computed)} | ${MB(peak - first.peak)} |`);
  }
}
