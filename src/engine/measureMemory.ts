/** The memory that a run really needs: one training step on the batch that needs most, in a process of its own. */
import type { MemoryMeasurement } from '../protocol/engine';
import { readExperimentFile } from './experimentFile';
import { hasHalf } from './executors/devices';
import { listGpus } from './executors/hardware';
import { GpuMemory } from './gpuMemory';
import type { ExampleSet } from './data/examples';
import { prepare, rowsOf } from './prepare';
import { wantsPrefix } from './prefixCache';
import { SILENT } from './reporter';
import { stepOptions } from './stepOptions';
import { createTrainingStep } from './training/step';
import { sweepSize } from '../protocol/sweep';
import { tokensOf, type Example } from './training/step.types';

/**
 * Peak memory of this process, and what it has of a GPU's, after one step with the longest examples, of a sweep with the highest rank. Trains nothing that is kept and writes nothing.
 * Errors: those of `prepare` and of the device.
 */
export async function measureMemory({ experiment_file }: { experiment_file: string }): Promise<MemoryMeasurement> {
  const source = readExperimentFile(experiment_file);
  const { lora, training } = source.experiment;
  if (source.sweep) lora.r = sweepSize(source.sweep, lora.r).r;
  const card = GpuMemory.before(source.experiment.engine.device);
  const prepared = prepare(source, null, SILENT);
  const { train } = prepared;
  const gpu = await card;
  const step = await createTrainingStep({ ...stepOptions(source.experiment, prepared), split_prefix: wantsPrefix(source.experiment, rowsOf(prepared)) });
  try {
    const batch = longestExamples(train, training.per_device_train_batch_size);
    await step.accumulate(batch, 1 / Math.max(1, step.count(batch)), { seed: training.seed, step: 1, micro_step: 0 });
    await step.update({ learning_rate: training.learning_rate, step: 1 });
    const onCpu = step.device.startsWith('cpu');
    return {
      peak_memory_bytes: process.resourceUsage().maxRSS * 1024, device: step.device, longest: Math.max(...batch.flatMap(({ input_ids, decoder_input_ids }) => [input_ids.length, decoder_input_ids?.length ?? 0])),
      // What a step took stays with the device's allocator as long as the session does.
      gpu_memory_bytes: onCpu ? null : await gpu.taken(),
      device_memory_bytes: onCpu ? null : (await listGpus())[0]?.memory_bytes ?? null, half_precision: hasHalf(step.device),
    };
  } finally {
    await step.dispose();
  }
}

/** The `count` examples with the most tokens. */
function longestExamples(set: ExampleSet, count: number): Example[] {
  const lengths = Array.from({ length: set.length }, (_, i) => tokensOf(set.get(i)));
  return lengths.map((_, i) => i).sort((a, b) => lengths[b] - lengths[a] || a - b).slice(0, count).map(i => set.get(i));
}
