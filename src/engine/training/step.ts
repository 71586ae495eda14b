/** The training step: forward, loss and backward as one program, AdamW as another, on whichever executor was asked for. */
import * as tf from '@tensorflow/tfjs-core';
import { hasClasses, type LoraSettings, type Precision, type TrainingSettings } from '../../protocol/experiment';
import { ALL_SAVINGS, BLOCKED_FROM, type Savings } from '../../protocol/savings';
import { createExecutor } from '../executors/devices';
import type { CompiledProgram, Executor, Inputs, Program, Results } from '../executors/executor';
import { GRADIENTS } from '../executors/program';
import { DynamicSizes, Graph } from '../executors/trace/graph';
import { getRecorder } from '../executors/trace/recorder';
import { formatsOf, forwardContext, SCALING, type ContextOptions } from '../model/context';
import { vocabularyLogits } from '../model/decoder';
import { topIsLabel } from '../ops/topIsLabel';
import { vocabularyLoss } from '../ops/vocabularyLoss';
import type { AdapterPlan } from '../model/lora.types';
import { OUTPUT_LAYER } from '../model/trainedTokens';
import type { LoadedModel } from '../model/weights';
import { building } from '../owned';
import { blocksFor } from './blocks';
import { batchFeeds, batchInputs, batchSizes, dependsOnBatch, lossCount, type BatchLayout } from './layout';
import { dropoutFeeds, dropoutInputs, type DropoutSeed, type DropoutSite } from './dropout';
import { lossesOf, targetWidth } from './loss';
import { createOptimizer, type Optimizer } from './optimizer';
import { padded, padRows } from './padding';
import { portions, portionTokens } from './portions';
import { tableFeeds, tableSpecs, type TableSite } from './tableRows';
import { TrainedValues } from './trainedValues';
import { Widening } from './widening';
import { afterPrefix, findPrefix, PREFIX_STATES, prefixProgram, type Prefix, type RecordedLayer } from './prefix';
import { PrefixStates } from './prefixStates';
import { tokensOf, type BatchResult, type Example, type OptimizerState, type TrainingStep } from './step.types';

export interface StepOptions {
  model: LoadedModel;
  /** Null for the base model alone (only with `train: false`). */
  plan: AdapterPlan | null;
  training: TrainingSettings;
  lora: LoraSettings;
  device: string;
  /** Number format of the frozen linear layers; default fp32. */
  precision?: Precision;
  /** Start values, flat [plan.trainable_parameters]. */
  trainables: Float32Array;
  /** False builds the forward pass only, which gives the logits of language models too. */
  train: boolean;
  /** Which tokens the head reads, if not what the task asks for. */
  read?: BatchLayout['read'];
  /** What is left out or arranged otherwise to save time or memory; default all. */
  savings?: Savings;
  /** Threads that compute on the CPU; default and null: one for each core. */
  threads?: number | null;
  /** Tokens of the longest text; default 0. Long ones are worth other arrangements. */
  longest?: number;
  /** Tokens of the longest target of an encoder-decoder; default `longest`. */
  longest_target?: number;
  /** Tokens that are computed at a time; default as `portionTokens` has it. */
  portion_tokens?: number;
  /** Classes of a frozen output layer that are computed at a time while training; default `CHUNK_CLASSES`, or Infinity without that saving. */
  chunk_classes?: number;
  /** Splits the step after the layers that nothing is trained in, if there are such and no dropout is applied there. */
  split_prefix?: boolean;
}

/** Of a vocabulary of 50,000 the logits then take a sixth of their memory, and products of this width are as fast as wider ones. */
const CHUNK_CLASSES = 8192;

/** Builds the step. The frozen weights are read and prepared here, which takes seconds for a large model. */
export function createTrainingStep(options: StepOptions): Promise<TrainingStep> {
  return building(async owned => {
    const programs = owned.add(await compilePrograms(options));
    return createStep(options, programs, null, () => programs.dispose());
  });
}

/** What a step has of its own among others that share base and target modules. */
export type StepMember = Pick<StepOptions, 'plan' | 'training' | 'trainables'> & { plan: AdapterPlan };

/**
 * Steps that share one base in memory, one program and what the frozen layers make of the examples. `options.plan` has the highest rank
 * of the members in every module; each member keeps its own values, gradient, clipping and AdamW.
 */
export function createSharedSteps(options: Omit<StepOptions, 'trainables' | 'train'> & { plan: AdapterPlan }, members: readonly StepMember[]): Promise<{ steps: TrainingStep[]; dispose(): Promise<void> }> {
  return building(async owned => {
    const programs = owned.add(await compilePrograms({ ...options, train: true }));
    const steps: Step[] = [];
    for (const member of members) {
      const widening = member.plan.trainable_parameters === options.plan.trainable_parameters ? null : new Widening(member.plan, options.plan);
      steps.push(owned.add(await createStep({ ...options, ...member, train: true }, programs, widening, async () => {})));
    }
    return { steps, dispose: () => owned.dispose() };
  });
}

function createStep(options: StepOptions, programs: Programs, widening: Widening | null, disposePrograms: () => Promise<void>): Promise<Step> {
  const { plan, training, trainables, train } = options;
  const { executor, built } = programs;
  return building(async owned => {
    const optimizer = train ? owned.add(await createOptimizer(executor, built.trained, training)) : undefined;
    const values = plan && await TrainedValues.create(executor, { plan, training, trainables, widening });
    return new Step(options, programs, optimizer, values, disposePrograms);
  });
}

interface Programs {
  executor: Executor;
  step: CompiledProgram;
  built: StepProgram;
  prefix: PrefixStates | null;
  dispose(): Promise<void>;
}

function compilePrograms(options: Omit<StepOptions, 'trainables'>): Promise<Programs> {
  return building(async owned => {
    const executor = owned.add(await createExecutor(options.device, options.precision, options));
    const built = stepProgram(options);
    const step = owned.add(await executor.compile(built.program));
    const prefix = built.prefix && owned.add(new PrefixStates(await executor.compile(built.prefix.program), built.prefix, built.layout, portionTokens(options, { gradients: false })));
    return { executor, step, built, prefix, dispose: () => owned.dispose() };
  });
}

/** What a forward pass tells of itself: `dropoutSite` makes the listener of one pass. */
type Listeners = { dropoutSite: () => ContextOptions['dropoutSite'] } & Pick<ContextOptions, 'tableSite' | 'aroundBlock'>;

interface StepProgram {
  program: Program;
  /** Values that the program takes and gives gradients of: of a sweep as many as its largest member has. */
  trained: number;
  sites: DropoutSite[];
  tables: TableSite[];
  layout: BatchLayout;
  /** The frozen layers that the program leaves out, and the program that computes them. */
  prefix: (Prefix & { program: Program }) | null;
  /** They could not be left out because of dropout in them. */
  prefix_dropout: boolean;
}

/** The program of forward, loss and gradients, the dropout sites in it, and the trained tables that it reads. Exported for tests and for printing. */
export function stepProgram({ model, plan, lora, training, train, read, precision = 'fp32', split_prefix = false, savings = ALL_SAVINGS, longest = 0, longest_target = longest, chunk_classes = savings.chunked_loss ? CHUNK_CLASSES : Infinity }: Omit<StepOptions, 'device' | 'training' | 'trainables' | 'portion_tokens'> & { training?: Pick<TrainingSettings, 'gradient_checkpointing'> }): StepProgram {
  const { family, config, task, problem_type } = model;
  const own = family.layout(config, task);
  // Who asks for certain tokens means them, padding or not.
  const unlabelled = train && !hasClasses(task) && !savings.labelled_positions;
  const may_remake = train && savings.attention_blocks && longest >= BLOCKED_FROM[own.causal && !own.decoder ? 'decoder' : 'encoder'];
  const layout: BatchLayout = { ...own, ...(read ? { read, pad_token_id: null } : {}), unlabelled, may_remake, blocks: may_remake ? blocksFor(longest, own.causal) : undefined, targets: targetWidth(problem_type, model.labels.length),
    ...(own.decoder && train && savings.attention_blocks ? { decoder_blocks: blocksFor(longest_target) } : {}) };
  const size = plan?.trainable_parameters ?? 0;
  const parameters = new Map(model.parameters.map(spec => [spec.name, spec]));
  const formats = formatsOf(model, precision);
  const program = (sites: DropoutSite[], tables: TableSite[], prefix: Prefix | null, { dropoutSite, ...heard }: Listeners): Program => ({
    name: 'step',
    weights: model.weights,
    inputs: [
      ...batchInputs(layout),
      { name: 'loss_scale', dtype: 'float32', shape: [] },
      ...dropoutInputs(sites, layout),
      ...tableSpecs(tables),
      ...(prefix ? [{ name: PREFIX_STATES, dtype: 'float32' as const, shape: ['T', prefix.width] }] : []),
      ...(plan ? [
        { name: 'trainables', dtype: 'float32' as const, shape: [size] },
        { name: SCALING, dtype: 'float32' as const, shape: [plan.modules.length] },
        ...(train ? [{ name: 'accumulated', dtype: 'float32' as const, shape: [size] }] : []),
      ] : []),
    ],
    parts: plan ? { input: 'trainables', parts: plan.trainables } : undefined,
    ...(plan && train ? { gradient: { of: 'loss', addTo: 'accumulated' }, keep: [GRADIENTS] } : {}),
    forward(inputs, weight): Record<string, tf.Tensor> {
      const context = forwardContext({
        inputs, weight, plan, layout, parameters, formats, lora_dropout: lora.lora_dropout, dropoutSite: dropoutSite(), savings, ...heard,
        gradient_checkpointing: train && training?.gradient_checkpointing, ...(prefix ? { aroundBlock: afterPrefix(prefix, inputs[PREFIX_STATES]) } : {}),
      });
      const output = train && task !== 'SEQ_CLS' ? family.output?.(context, config) : undefined;
      if (output && isFrozen(output.weight, plan) && parameters.get(output.weight)!.shape[0] > chunk_classes) {
        const { losses, right } = vocabularyLoss({ x: output.states, w: weight(output.weight), labels: inputs.labels }, { chunk: chunk_classes, softcap: output.softcap, half: formats.half_tables });
        return { loss: tf.mul(tf.sum(weighed(losses, inputs)), inputs.loss_scale), right: tf.sum(weighed(right, inputs)) };
      }
      const logits = output ? vocabularyLogits(context, output) : family.logits(context, config, task);   // [R, num_labels or vocab_size]
      const losses = lossesOf(problem_type, logits, inputs);                        // [R]
      const loss = tf.mul(tf.sum(weighed(losses, inputs)), inputs.loss_scale);
      if (hasClasses(task)) return { loss, logits };
      const right = tf.sum(weighed(topIsLabel({ logits, labels: inputs.labels }, {}), inputs));
      // The logits of a whole vocabulary would take longer to copy out than to compute.
      return train ? { loss, right } : { loss, right, logits };
    },
  });

  // A first trace finds the places where dropout is applied and trained tables are read, which the program's inputs depend on, and the layers that are frozen.
  const sites: DropoutSite[] = [];
  const tables: TableSite[] = [];
  const layers: RecordedLayer[] = [];
  const aroundBlock = (_: tf.Tensor, compute: () => tf.Tensor): tf.Tensor => {
    const result = compute();
    layers.push({ result: getRecorder().graphValue(result), sites: sites.length });
    return result;
  };
  const graph = train ? survey(program([], [], null, {
    dropoutSite: () => site => { sites.push(site); return null; }, tableSite: site => { tables.push(site); return false; }, aroundBlock,
  })) : null;
  const found = graph && split_prefix && !dependsOnBatch(layout) ? findPrefix(graph, plan!.trainables.map(t => t.name), layers) : null;
  const prefix = found && !found.dropout ? found : null;
  let next = 0;
  return {
    program: program(sites, tables, prefix, { dropoutSite: () => { next = 0; return () => (train ? next++ : null); }, tableSite: () => train }), trained: size, sites, tables, layout,
    prefix: prefix && { ...prefix, program: prefixProgram(model, prefix, layout, { parameters, formats }) }, prefix_dropout: found !== null && found.dropout,
  };
}

/** Of all tokens that were read those that have a target: values [R]. */
const weighed = (values: tf.Tensor, { label_weights }: Record<string, tf.Tensor>): tf.Tensor => (label_weights ? tf.mul(values, label_weights) : values);

/** Whether neither the parameter nor an adapter of its module is trained. */
const isFrozen = (parameter: string, plan: AdapterPlan | null): boolean =>
  !plan?.trainables.some(trained => trained.parameter === parameter) && !plan?.modules.some(module => `${module.name}.weight` === parameter)
  && !plan?.tokens?.some(({ readers }) => readers.includes(OUTPUT_LAYER));

/** Runs a program's forward function on the recorder. */
function survey(program: Program): Graph {
  const recorder = getRecorder();
  const symbols = program.inputs.flatMap(i => i.shape).filter(d => typeof d === 'string');
  const graph = new Graph(new DynamicSizes(symbols, [...program.weights.values()].flatMap(w => (w.source === 'file' ? w.ref.shape : w.shape))));
  recorder.record(graph, () => {
    const tensor = (name: string, shape: number[]): tf.Tensor => recorder.tensorOf({ name, dtype: 'float32', shape });
    const inputs: Record<string, tf.Tensor> = {};
    for (const { name, dtype, shape } of program.inputs) inputs[name] = recorder.tensorOf(graph.input(name, dtype, shape));
    for (const part of program.parts?.parts ?? []) inputs[part.name] = tensor(part.name, part.shape);
    program.forward(inputs, name => {
      const weight = program.weights.get(name)!;
      graph.weights.set(name, name);
      return tensor(name, weight.source === 'file' ? weight.ref.shape : weight.shape);
    });
  });
  return graph;
}

class Step implements TrainingStep {
  private readonly scaling: Float32Array;

  constructor(
    private readonly options: StepOptions, private readonly programs: Programs, private readonly optimizer: Optimizer | undefined,
    /** Null where there is no plan. */
    private readonly values: TrainedValues | null, private readonly disposePrograms: () => Promise<void>,
  ) {
    this.scaling = Float32Array.from(options.plan?.modules ?? [], m => m.scaling);
  }

  get device(): string { return this.programs.executor.device; }
  get prefix(): PrefixStates | null { return this.programs.prefix; }
  get prefix_dropout(): boolean { return this.programs.built.prefix_dropout; }
  get depends_on_batch(): boolean { return dependsOnBatch(this.programs.built.layout); }

  count(examples: Example[]): number { return lossCount(examples, this.programs.built.layout); }

  async accumulate(examples: Example[], loss_scale: number, dropout: { seed: number; step: number; micro_step: number } | null): Promise<BatchResult> {
    return this.inPortions(examples, portionTokens(this.options, { gradients: true }), async (portion, longest, number) => {
      const outputs = await this.programs.step.runKeeping(await this.feeds(portion, longest, loss_scale, dropout && { ...dropout, portion: number }), { gradients: true });
      this.values!.accumulate(outputs);
      return outputs.results;
    });
  }

  async evaluate(examples: Example[]): Promise<BatchResult> {
    return this.inPortions(examples, portionTokens(this.options, { gradients: false }), async (portion, longest) => this.programs.step.run(await this.feeds(portion, longest, 1, null), { gradients: false }));
  }

  /** Runs the examples portion by portion; the logits come back in the order of the examples. */
  private async inPortions(examples: Example[], tokens: number, run: (portion: Example[], longest: number, number: number) => Promise<Results>): Promise<BatchResult> {
    const longest = Math.max(...examples.map(example => example.input_ids.length));
    const rows = examples.map(example => this.count([example]));
    const total = rows.reduce((sum, count) => sum + count, 0);
    const begins = rows.map((_, place) => rows.slice(0, place).reduce((sum, count) => sum + count, 0));
    const result: BatchResult = { loss: 0, logits: new Float32Array(0), right: 0 };
    for (const [number, places] of portions(examples.map(tokensOf), tokens, this.options.training.packing).entries()) {
      const read = places.reduce((sum, place) => sum + rows[place], 0);
      // A portion whose targets were all cut off adds nothing, as in Trainer; its graph would have no rows.
      if (read === 0) continue;
      const { loss, logits, right } = await run(places.map(place => examples[place]), longest, number);
      result.loss += loss[0];
      result.right += right?.[0] ?? 0;
      if (!logits) continue;
      const width = logits.length / read;
      if (!result.logits.length) result.logits = new Float32Array(total * width);
      let row = 0;
      for (const place of places) {
        result.logits.set(logits.subarray(row * width, (row + rows[place]) * width), begins[place] * width);
        row += rows[place];
      }
    }
    return result;
  }

  private async feeds(real: Example[], longest: number, loss_scale: number, dropout: DropoutSeed | null): Promise<Inputs> {
    const { options: { train, savings = ALL_SAVINGS }, programs: { built: { sites, tables, layout }, prefix }, values } = this;
    const examples = savings.padding_free ? real : padded(real, layout);
    const batch = batchFeeds(examples, layout, longest);
    return {
      ...batch,
      ...dropoutFeeds(sites, layout, batchSizes(examples, layout), dropout),
      ...tableFeeds(tables, batch),
      ...(prefix ? { [PREFIX_STATES]: { data: padRows(await prefix.of(real), prefix.prefix.width, examples), shape: [batchSizes(examples, layout).T, prefix.prefix.width] } } : {}),
      loss_scale: { data: Float32Array.of(loss_scale), shape: [] },
      ...(values ? { trainables: values.trainables, [SCALING]: { data: this.scaling, shape: [this.scaling.length] }, ...(train ? { accumulated: values.accumulated } : {}) } : {}),
    };
  }

  async update({ learning_rate, step }: { learning_rate: number; step: number }): Promise<{ grad_norm: number }> {
    const { adam_beta1, adam_beta2 } = this.options.training;
    const { grad_norm, kept } = await this.optimizer!.update(this.values!.feeds, { learning_rate, correction1: 1 - adam_beta1 ** step, correction2: 1 - adam_beta2 ** step });
    this.values!.update(kept, Number.isFinite(grad_norm));
    return { grad_norm };
  }

  state(): Promise<OptimizerState> { return this.values!.read(); }
  restore(state: OptimizerState): Promise<void> { return this.values!.restore(state); }
  mark(): void { this.values!.mark(); }
  goBack(): void { this.values!.goBack(); }

  async dispose(): Promise<void> {
    this.values?.dispose();
    await this.optimizer?.dispose();
    await this.disposePrograms();
  }
}
