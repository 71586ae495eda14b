/** A language model taken apart for writing: one program reads new tokens beside the kept keys and values of those before; of an encoder-decoder another one reads the sources. */
import { reshape, type Tensor } from '@tensorflow/tfjs-core';
import type { Precision } from '../../protocol/experiment';
import type { Savings } from '../../protocol/savings';
import { createExecutor } from '../executors/devices';
import type { CompiledProgram, Executor, Feeds, InputSpec, Program } from '../executors/executor';
import { formatsOf, forwardContext, SCALING, type ContextOptions } from '../model/context';
import type { ForwardContext } from '../model/family';
import type { AdapterPlan } from '../model/lora.types';
import type { LoadedModel, Weight } from '../model/weights';
import { building } from '../owned';
import { gatherRows } from '../ops/gatherRows';
import { joinSlots } from '../ops/joinSlots';
import { batchFeeds, batchInputs, encoderOnly, type BatchLayout } from '../training/layout';
import { slotRows, tokenRows } from '../training/slots';
import { cacheNames, cacheShape, generationFeeds, generationInputs, sourceNames } from './cacheLayout';
import { KeyValueCache } from './keyValueCache';

export interface GeneratorOptions {
  /** Of a language model. */
  model: LoadedModel;
  /** Null for the base model alone. */
  plan: AdapterPlan | null;
  /** Values of the adapter, flat [plan.trainable_parameters]. They are constants here: what depends on them alone is computed once. */
  trainables: Float32Array;
  device: string;
  /** Number format of the frozen linear layers; default fp32. */
  precision?: Precision;
  /** Default all. */
  savings?: Savings;
  /** Threads that compute on the CPU; default and null: one for each core. */
  threads?: number | null;
}

/** Constants are part of the graph, which must stay below 2 GB; more trained values than this are an input. */
const MOST_CONSTANTS = 2 ** 27;

export class Generator {
  private constructor(
    private readonly options: GeneratorOptions, private readonly executor: Executor, readonly layout: BatchLayout,
    private readonly program: CompiledProgram, private readonly encoder: CompiledProgram | null,
  ) {}

  /** Reads and prepares the weights. */
  static create(options: GeneratorOptions): Promise<Generator> {
    const { model: { family, config, task } } = options;
    const layout: BatchLayout = { ...family.layout(config, task), read: 'last' };
    return building(async owned => {
      const executor = owned.add(await createExecutor(options.device, options.precision, options));
      const encoder = family.seq2seq ? owned.add(await executor.compile(encoderProgram(options, layout))) : null;
      return new Generator(options, executor, layout, await executor.compile(generationProgram(options, layout)), encoder);
    });
  }

  get device(): string { return this.executor.device; }

  /** Begins texts that are written side by side. Of an encoder-decoder `sources` are what its encoder reads; else only their number counts. */
  async begin(sources: readonly Int32Array[]): Promise<Batch> {
    const adapter = adapterFeeds(this.options);
    return new Batch(this.program, this.layout, adapter, new KeyValueCache(sources.length, cacheShape(this.layout)), this.encoder && await this.encode(this.encoder, sources, adapter));
  }

  private async encode(encoder: CompiledProgram, sources: readonly Int32Array[], adapter: Feeds): Promise<Feeds> {
    const { layers, heads, head_dim } = cacheShape(this.layout);
    const examples = sources.map(input_ids => ({ input_ids, token_type_ids: null, label: 0 }));
    const { attention_bias, ...feeds } = batchFeeds(examples, encoderOnly(this.layout));
    const results = await encoder.run({ ...feeds, ...adapter, attention_bias });
    const names = Array.from({ length: layers }, (_, i) => sourceNames(i)).flat();
    return { attention_bias, ...Object.fromEntries(names.map(name => [name, { data: results[name], shape: [sources.length, heads, attention_bias.shape[3], head_dim] }])) };
  }

  async dispose(): Promise<void> {
    await this.program.dispose();
    await this.encoder?.dispose();
    await this.executor.dispose();
  }
}

/** Texts that are written side by side. */
export class Batch {
  constructor(
    private readonly program: CompiledProgram, private readonly layout: BatchLayout, private readonly adapter: Feeds,
    private readonly cache: KeyValueCache, private source: Feeds | null,
  ) {}

  /** Reads the next tokens of each text, at least one. Returns the logits [texts, vocab_size] of the token after them. */
  async next(tokens: readonly ArrayLike<number>[]): Promise<Float32Array> {
    const { cache, layout } = this;
    const results = await this.program.run({ ...generationFeeds(tokens, cache.lengths, cache.slots, layout), ...cache.feeds(), ...this.source, ...this.adapter });
    cache.append(results, tokens.map(({ length }) => length));
    return results.logits;
  }

  /** Goes on with the texts of these numbers, in rising order, alone. */
  keep(texts: readonly number[]): void {
    if (texts.length === this.cache.lengths.length) return;
    this.cache.keep(texts);
    if (this.source) this.source = Object.fromEntries(Object.entries(this.source).map(([name, feed]) => [name, rowsOf(feed, texts)]));
  }
}

/** These entries of the first axis. */
function rowsOf({ data, shape: [rows, ...rest] }: Feeds[string], chosen: readonly number[]): Feeds[string] {
  const size = data.length / rows;
  const kept = new Float32Array(chosen.length * size);
  chosen.forEach((from, to) => kept.set(data.subarray(from * size, (from + 1) * size), to * size));
  return { data: kept, shape: [chosen.length, ...rest] };
}

/** Reads new tokens: `logits` [B, vocab_size], and the new keys and values of every layer. Exported for tests. */
export function generationProgram(options: GeneratorOptions, layout: BatchLayout): Program {
  const { model: { family, config, task } } = options;
  return program('generation', options, layout, generationInputs(layout), (contextOf, inputs) => {
    const kept: Record<string, Tensor> = {};
    let layer = 0;
    const context = contextOf({
      cache(keys, values) {
        const names = cacheNames(layer++);
        return [keys, values].map((fresh, i) => {
          kept[names[i]] = fresh;
          return joinSlots({ past: inputs[`past_${names[i]}`], fresh, numbers: inputs.key_numbers }, {});
        });
      },
      sourceHeads: i => sourceNames(i).map(name => inputs[name]),
    });
    const logits = family.seq2seq ? family.seq2seq.decode(context, config, null) : family.logits(context, config, task);
    return { logits, ...kept };
  });
}

/** Reads sources: keys and values of every layer of the decoder for them, [B, heads, E, head_dim]. */
function encoderProgram(options: GeneratorOptions, layout: BatchLayout): Program {
  const { model: { family: { seq2seq }, config } } = options;
  const { layers, heads, head_dim } = cacheShape(layout);
  return program('encoder', options, layout, batchInputs(encoderOnly(layout)), (contextOf, inputs) => {
    const context = contextOf({});
    const states = seq2seq!.encode(context, config);
    const slots = (x: Tensor): Tensor => gatherRows({ x: reshape(x, [-1, head_dim]), rows: inputs[slotRows(heads)], inverse: inputs[tokenRows(heads)] }, {});
    return Object.fromEntries(Array.from({ length: layers }, (_, i) => seq2seq!.sourceHeads(context, config, i, states).map((x, k) => [sourceNames(i)[k], slots(x)])).flat());
  });
}

type Forward = (contextOf: (more: Pick<ContextOptions, 'cache' | 'sourceHeads'>) => ForwardContext, inputs: Record<string, Tensor>) => Record<string, Tensor>;

function program(name: string, options: GeneratorOptions, layout: BatchLayout, inputs: InputSpec[], forward: Forward): Program {
  const { model, plan, trainables, precision = 'fp32' } = options;
  const parameters = new Map(model.parameters.map(spec => [spec.name, spec]));
  const fixed = trainables.length <= MOST_CONSTANTS ? adapterWeights(options) : null;
  return {
    name, weights: fixed ? new Map([...model.weights, ...fixed]) : model.weights,
    inputs: [...inputs, ...(fixed ? [] : [{ name: 'trainables', dtype: 'float32' as const, shape: [trainables.length] }, { name: SCALING, dtype: 'float32' as const, shape: [plan!.modules.length] }])],
    parts: fixed ? undefined : { input: 'trainables', parts: plan!.trainables },
    forward(given, weight) {
      const all = fixed ? { ...given, ...Object.fromEntries([...fixed.keys()].map(key => [key, weight(key)])) } : given;
      return forward(more => forwardContext({ inputs: all, weight, plan, layout, parameters, formats: formatsOf(model, precision), lora_dropout: 0, dropoutSite: () => null, ...more }), all);
    },
  };
}

/** The adapter's tensors and scalings by the names that the forward pass finds them under. */
function adapterWeights({ plan, trainables }: GeneratorOptions): Map<string, Weight> {
  if (!plan) return new Map();
  const parts = plan.trainables.map(({ name, shape, offset, size }): [string, Weight] => [name, { source: 'memory', shape, data: trainables.subarray(offset, offset + size) }]);
  return new Map([...parts, [SCALING, { source: 'memory', shape: [plan.modules.length], data: Float32Array.from(plan.modules, module => module.scaling) }]]);
}

function adapterFeeds({ plan, trainables }: GeneratorOptions): Feeds {
  if (!plan || trainables.length <= MOST_CONSTANTS) return {};
  return { trainables: { data: trainables, shape: [trainables.length] }, [SCALING]: { data: Float32Array.from(plan.modules, module => module.scaling), shape: [plan.modules.length] } };
}
