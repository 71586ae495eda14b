/** The memory that a run really needs: one training step on the batches that need most, in a process of its own. */
import type { MemoryMeasurement } from '../protocol/engine';
import { readExperimentFile } from './experimentFile';
import { hasHalf } from './executors/devices';
import { listGpus } from './executors/hardware';
import { GpuMemory } from './gpuMemory';
import { prepare, rowsOf, type Prepared } from './prepare';
import { wantsPrefix } from './prefixCache';
import { SILENT } from './reporter';
import { stepOptions } from './stepOptions';
import { portionTokens } from './training/portions';
import { createTrainingStep } from './training/step';
import { sweepSize } from '../protocol/sweep';
import { tokensOf } from './training/step.types';

/**
 * Peak memory of this process, and what it has of a GPU's, after one step with the longest examples and with those that fill a portion best, of a sweep with the highest rank. Trains nothing that is kept and writes nothing.
 * Errors: those of `prepare` and of the device.
 */
export async function measureMemory({ experiment_file }: { experiment_file: string }): Promise<MemoryMeasurement> {
  const source = readExperimentFile(experiment_file);
  const { lora, training } = source.experiment;
  if (source.sweep) lora.r = sweepSize(source.sweep, lora.r).r;
  const card = GpuMemory.before(source.experiment.engine.device);
  const prepared = prepare(source, null, SILENT);
  const gpu = await card;
  const options = stepOptions(source.experiment, prepared);
  const step = await createTrainingStep({ ...options, split_prefix: wantsPrefix(source.experiment, rowsOf(prepared)) });
  try {
    const batches = largestBatches(prepared, training.per_device_train_batch_size, portionTokens(options, { gradients: true })).map(places => places.map(i => prepared.train.get(i)));
    for (const [micro_step, batch] of batches.entries()) await step.accumulate(batch, 1 / Math.max(1, step.count(batch)), { seed: training.seed, step: 1, micro_step });
    await step.update({ learning_rate: training.learning_rate, step: 1 });
    const onCpu = step.device.startsWith('cpu');
    return {
      peak_memory_bytes: process.resourceUsage().maxRSS * 1024, device: step.device, longest: Math.max(...batches.flat().flatMap(({ input_ids, decoder_input_ids }) => [input_ids.length, decoder_input_ids?.length ?? 0])),
      // What a step took stays with the device's allocator as long as the session does.
      gpu_memory_bytes: onCpu ? null : await gpu.taken(),
      device_memory_bytes: onCpu ? null : (await listGpus())[0]?.memory_bytes ?? null, half_precision: hasHalf(step.device), rows: rowsOf(prepared),
    };
  } finally {
    await step.dispose();
  }
}

/**
 * Numbers of the examples of the batches that may need most, each of `size` examples or packed rows: those with the longest texts, and those
 * that fill a portion of `portion` tokens best, for long texts may have portions of their own that are less full. Of packed rows these are the ones with the most tokens.
 */
export function largestBatches({ train, rows }: Pick<Prepared, 'rows'> & { train: Pick<Prepared['train'], 'length' | 'get'> }, size: number, portion: number): number[][] {
  const lengths = Array.from({ length: train.length }, (_, i) => tokensOf(train.get(i)));
  const first = (of: (row: ArrayLike<number>) => number): number[] =>
    (rows ?? lengths.map((_, i) => [i])).map(row => ({ row: Array.from(row), most: of(row) })).sort((a, b) => b.most - a.most).slice(0, size).flatMap(({ row }) => row);
  const tokens = (row: ArrayLike<number>): number => Array.from(row).reduce((sum, i) => sum + lengths[i], 0);
  const longest = first(row => Math.max(...Array.from(row, i => lengths[i])));
  if (rows) return [longest, first(tokens)];
  return [longest, ...(portion < tokens(longest) ? [fullest(lengths, size, portion)] : [])].filter(batch => batch.length > 0);
}

/** Of all lengths to begin with, the one from which the longest that still fit leave the least room. */
function fullest(lengths: readonly number[], size: number, portion: number): number[] {
  const having: number[][] = Array.from({ length: portion + 1 }, () => []);
  lengths.forEach((length, i) => having[length]?.push(i));
  let best: { room: number; places: number[] } = { room: portion, places: [] };
  for (let begin = portion; begin > 0 && best.room > 0; begin--) {
    if (!having[begin].length) continue;
    let room = portion;
    const places: number[] = [];
    for (let length = begin; length > 0 && places.length < size; length--) {
      const some = having[length].slice(0, Math.min(size - places.length, Math.floor(room / length)));
      places.push(...some);
      room -= some.length * length;
    }
    if (room < best.room) best = { room, places };
  }
  return best.places;
}
