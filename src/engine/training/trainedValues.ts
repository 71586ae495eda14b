/** What a step trains, where the executor computes: values, AdamW's moments and the gradient so far never leave it between steps. */
import type { TrainingSettings } from '../../protocol/experiment';
import type { Executor, Outputs, Resident } from '../executors/executor';
import { GRADIENTS } from '../executors/program';
import type { AdapterPlan } from '../model/lora.types';
import { NEXT, RATES } from './optimizer';
import type { OptimizerState } from './step.types';
import type { Widening } from './widening';

const STATE = ['trainables', 'exp_avg', 'exp_avg_sq'] as const;
type Values = Record<typeof STATE[number], Resident>;

/** PEFT's `loraplus_lr_embedding`. */
const EMBEDDING_RATE = 1e-6;

export interface TrainedOptions {
  plan: AdapterPlan;
  training: TrainingSettings;
  /** Start values, flat [plan.trainable_parameters]. */
  trainables: Float32Array;
  /** Where the programs work on more parameters than the plan has: those beyond are zero, and so are their gradients. */
  widening: Widening | null;
}

export class TrainedValues {
  private good: Values | null = null;
  private gradients: Resident;

  private constructor(private current: Values, private readonly zeros: Resident, private readonly fixed: Record<string, Resident>, private readonly executor: Executor, private readonly widening: Widening | null) {
    this.gradients = zeros;
  }

  /** The start: no moments and no gradient. */
  static async create(executor: Executor, { plan, training, trainables, widening }: TrainedOptions): Promise<TrainedValues> {
    const held: Resident[] = [];
    const hold = async (values: Float32Array): Promise<Resident> => {
      const resident = await executor.hold(widening?.widen(values) ?? values);
      held.push(resident);
      return resident;
    };
    try {
      const [start, zeros] = [await hold(trainables), await hold(new Float32Array(trainables.length))];
      const fixed: Record<string, Resident> = { decay: training.weight_decay > 0 ? await hold(decayOf(plan)) : zeros };
      if (training.loraplus_lr_ratio !== null) fixed[RATES] = await hold(ratesOf(plan, training.loraplus_lr_ratio, training.learning_rate));
      return new TrainedValues({ trainables: start, exp_avg: zeros, exp_avg_sq: zeros }, zeros, fixed, executor, widening);
    } catch (error) {
      for (const resident of held) resident.dispose();
      throw error;
    }
  }

  get trainables(): Resident { return this.current.trainables; }
  get accumulated(): Resident { return this.gradients; }

  /** What the optimizer's program reads of them. */
  get feeds(): Record<string, Resident> { return { ...this.current, ...this.fixed, gradients: this.gradients }; }

  /** Takes the accumulated gradient of a run of the step. */
  accumulate({ kept }: Outputs): void { this.replace(() => { this.gradients = kept[GRADIENTS]; }); }

  /** Takes what a run of the optimizer made of them, unless it is not finite; the gradient is used up. */
  update(kept: Outputs['kept'], finite: boolean): void {
    this.replace(() => {
      if (finite) this.current = eachOf(name => kept[NEXT[name]]);
      this.gradients = this.zeros;
    });
    if (!finite) for (const resident of Object.values(kept)) resident.dispose();
  }

  /** Keeps the values as they are now, to go back to. */
  mark(): void { this.replace(() => { this.good = this.current; }); }

  goBack(): void {
    this.replace(() => {
      this.current = this.good ?? this.current;
      this.gradients = this.zeros;
    });
  }

  async read(): Promise<OptimizerState> {
    const { current, widening } = this;
    const values = async (name: keyof Values): Promise<Float32Array> => { const whole = await current[name].read(); return widening?.narrow(whole) ?? whole; };
    return { trainables: await values('trainables'), exp_avg: await values('exp_avg'), exp_avg_sq: await values('exp_avg_sq') };
  }

  async restore(state: OptimizerState): Promise<void> {
    const held: Partial<Values> = {};
    try {
      for (const name of STATE) held[name] = await this.executor.hold(this.widening?.widen(state[name]) ?? state[name]);
    } catch (error) {
      for (const resident of Object.values(held)) resident.dispose();
      throw error;
    }
    this.replace(() => {
      this.current = held as Values;
      this.gradients = this.zeros;
    });
  }

  dispose(): void { for (const resident of this.inUse()) resident.dispose(); }

  /** Makes a change, and frees what nothing uses after it. */
  private replace(change: () => void): void {
    const before = this.inUse();
    change();
    const after = this.inUse();
    for (const resident of before) if (!after.has(resident)) resident.dispose();
  }

  private inUse(): Set<Resident> {
    return new Set([this.zeros, this.gradients, ...[this.fixed, this.current, this.good ?? {}].flatMap(values => Object.values(values))]);
  }
}

const eachOf = (of: (name: keyof Values) => Resident): Values => ({ trainables: of('trainables'), exp_avg: of('exp_avg'), exp_avg_sq: of('exp_avg_sq') });

/** 1 where weight decay applies. */
function decayOf({ trainables, trainable_parameters }: AdapterPlan): Float32Array {
  const decay = new Float32Array(trainable_parameters);
  for (const { offset, size, decay: applies } of trainables) if (applies) decay.fill(1, offset, offset + size);
  return decay;
}

/** LoRA+'s factors of the learning rate. As in PEFT whatever is no matrix learns as B does, the head's bias too, and adapters of embeddings at a rate of their own. */
function ratesOf({ trainables, trainable_parameters }: AdapterPlan, ratio: number, learning_rate: number): Float32Array {
  const rates = new Float32Array(trainable_parameters).fill(1);
  for (const { name, shape, offset, size } of trainables) {
    if (name.includes('lora_embedding_')) rates.fill(EMBEDDING_RATE / learning_rate, offset, offset + size);
    else if (name.includes('lora_B') || shape.length === 1) rates.fill(ratio, offset, offset + size);
  }
  return rates;
}
