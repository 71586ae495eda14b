/** What the settings on the panel cost, before anything is trained. Pure. */
import { countAdapter, ratioPercent, type AdapterCount } from '../src/protocol/adapterMath';
import type { ExperimentValues, ModelView } from '../src/protocol/panel';
import { estimateMemory, type MemoryEstimate } from './memory';

export interface Cost {
  count: AdapterCount;
  /** Trainable share in percent, as PEFT prints it. */
  percent: number;
  memory: MemoryEstimate;
  groups: { id: 'adapters' | 'saved' | 'frozen'; label: string; parameters: number }[];
}

/** Counts, size and memory of an experiment on its model. */
export function costOf(model: ModelView, values: ExperimentValues): Cost {
  const count = countAdapter(model, values.lora);
  const adapters = count.adapters.reduce((sum, adapter) => sum + adapter.parameters, 0);
  const { per_device_train_batch_size, max_length } = values.training;
  return {
    count,
    percent: ratioPercent(count.trainable_parameters, count.all_parameters),
    memory: estimateMemory(model, count.trainable_parameters, per_device_train_batch_size, max_length),
    groups: [
      { id: 'adapters', label: 'Adapters A and B', parameters: adapters },
      { id: 'saved', label: count.saved.length ? `Trained whole: ${count.saved.join(', ')}` : 'Trained whole: none', parameters: count.trainable_parameters - adapters },
      { id: 'frozen', label: 'Frozen base', parameters: model.base_parameters },
    ],
  };
}

/** Trainable share at each rank, everything else as it is. The count grows linearly with the rank, so two counts give all. */
export function ratioByRank(model: ModelView, values: ExperimentValues, ranks: readonly number[]): { rank: number; trainable: number; percent: number }[] {
  const at = (r: number): AdapterCount => countAdapter(model, { ...values.lora, r });
  const [first, second] = [at(1), at(2)];
  const slope = second.trainable_parameters - first.trainable_parameters;
  return ranks.map(rank => {
    const trainable = first.trainable_parameters + (rank - 1) * slope;
    return { rank, trainable, percent: ratioPercent(trainable, model.base_parameters + trainable) };
  });
}
