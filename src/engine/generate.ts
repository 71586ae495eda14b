/** Greedy generation of an encoder-decoder: the encoder runs once, the decoder once for each new token. */
import { LabError } from './errors';
import { createExecutor } from './executors/devices';
import type { CompiledProgram, Executor, Feeds, InputSpec, Program } from './executors/executor';
import { forwardContext, SCALING } from './model/context';
import type { Config, ForwardContext, Seq2SeqFamily } from './model/family';
import type { AdapterPlan } from './model/lora.types';
import type { LoadedModel } from './model/weights';
import { batchFeeds, batchInputs, encoderLayout, type BatchLayout } from './training/layout';
import { largest } from './training/evaluate';
import type { Example } from './training/step.types';
import type { Tensor } from '@tensorflow/tfjs-core';

export interface GeneratorOptions {
  model: LoadedModel;
  /** Null for the base model alone. */
  plan: AdapterPlan | null;
  /** Values of the adapter, flat [plan.trainable_parameters]. */
  trainables: Float32Array;
  device: string;
}

export interface GenerateOptions {
  max_new_tokens: number;
  /** Called for each new token of each source; may throw to end the generation. */
  onToken?: (source: number, token: number) => void;
}

/** Input [T, d] of the decoder's program. */
const ENCODED = 'encoded';

/** A source while its target is written. */
interface Writing { source: number; input_ids: Int32Array; encoded: Float32Array; written: number[] }

export class Seq2SeqGenerator {
  private constructor(
    private readonly options: GeneratorOptions, private readonly executor: Executor, private readonly layout: BatchLayout,
    private readonly encoder: CompiledProgram, private readonly decoder: CompiledProgram,
  ) {}

  /** Reads and prepares the weights. Error `predict.task`: the model is no encoder-decoder. */
  static async create(options: GeneratorOptions): Promise<Seq2SeqGenerator> {
    const { model, plan, device } = options;
    const { family, config, task } = model;
    const { seq2seq } = family;
    if (!seq2seq) throw new LabError({ code: 'predict.task', file: model.folder, cause: `"${String(config.model_type)}" is no encoder-decoder`, action: 'use a checkpoint of t5 or mt5' });
    const layout: BatchLayout = { ...family.layout(config, task), read: 'last' };
    const program = (name: string, inputs: InputSpec[], forward: (context: ForwardContext, inputs: Record<string, Tensor>) => Record<string, Tensor>): Program => ({
      name, weights: model.weights,
      inputs: [...inputs, ...(plan ? [{ name: 'trainables', dtype: 'float32' as const, shape: [plan.trainable_parameters] }, { name: SCALING, dtype: 'float32' as const, shape: [plan.modules.length] }] : [])],
      parts: plan ? { input: 'trainables', parts: plan.trainables } : undefined,
      forward: (given, weight) => forward(forwardContext({
        inputs: given, weight, plan, layout, lora_dropout: 0, dropoutSite: () => null, parameters: new Map(model.parameters.map(spec => [spec.name, spec])),
      }), given),
    });
    const executor = await createExecutor(device);
    const encoder = await executor.compile(program('encoder', batchInputs(encoderLayout(layout)), context => ({ [ENCODED]: seq2seq.encode(context, config) })));
    const width: InputSpec = { name: ENCODED, dtype: 'float32', shape: ['T', hiddenSize(model)] };
    const decoder = await executor.compile(program('decoder', [...batchInputs(layout), width], (context, inputs) => ({ logits: seq2seq.decode(context, config, inputs[ENCODED]) })));
    return new Seq2SeqGenerator(options, executor, layout, encoder, decoder);
  }

  get device(): string { return this.executor.device; }

  /** For each source the tokens with the largest logit, one after the other, up to an end-of-text token (included) or `max_new_tokens`. */
  async generate(sources: readonly Int32Array[], { max_new_tokens, onToken }: GenerateOptions): Promise<number[][]> {
    const { config, family } = this.options.model;
    const [start, ends] = [(family.seq2seq as Seq2SeqFamily).startToken(config), endTokens(config)];
    const all = await this.encode(sources);
    let open = all;
    for (let n = 0; n < max_new_tokens && open.length; n++) {
      const logits = await this.next(open, start);
      const vocabulary = logits.length / open.length;
      open.forEach(({ source, written }, row) => {
        written.push(largest(logits.subarray(row * vocabulary, (row + 1) * vocabulary)));
        onToken?.(source, written[n]);
      });
      open = open.filter(({ written }) => !ends.has(written[n]));
    }
    return all.map(({ written }) => written);
  }

  private async encode(sources: readonly Int32Array[]): Promise<Writing[]> {
    const examples = sources.map((input_ids): Example => ({ input_ids, token_type_ids: null, label: 0 }));
    const { [ENCODED]: states } = await this.encoder.run({ ...batchFeeds(examples, encoderLayout(this.layout)), ...this.adapterFeeds() });
    const d = hiddenSize(this.options.model);
    let first = 0;
    return sources.map((input_ids, source) => {
      const encoded = states.subarray(first * d, (first + input_ids.length) * d);
      first += input_ids.length;
      return { source, input_ids, encoded, written: [] };
    });
  }

  /** Logits [open.length, vocab_size] of the next token of each. */
  private async next(open: readonly Writing[], start: number): Promise<Float32Array> {
    const d = hiddenSize(this.options.model);
    const encoded = new Float32Array(open.reduce((sum, { encoded }) => sum + encoded.length, 0));
    open.reduce((place, { encoded: own }) => { encoded.set(own, place); return place + own.length; }, 0);
    const examples = open.map(({ input_ids, written }): Example => ({ input_ids, token_type_ids: null, label: 0, decoder_input_ids: Int32Array.from([start, ...written]) }));
    const feeds = { ...batchFeeds(examples, this.layout), ...this.adapterFeeds(), [ENCODED]: { data: encoded, shape: [encoded.length / d, d] } };
    return (await this.decoder.run(feeds)).logits;
  }

  private adapterFeeds(): Feeds {
    const { plan, trainables } = this.options;
    if (!plan) return {};
    return { trainables: { data: trainables, shape: [trainables.length] }, [SCALING]: { data: Float32Array.from(plan.modules, module => module.scaling), shape: [plan.modules.length] } };
  }

  async dispose(): Promise<void> {
    await this.encoder.dispose();
    await this.decoder.dispose();
    await this.executor.dispose();
  }
}

/** Width of the states: that of the embeddings, which come first. */
const hiddenSize = ({ parameters }: LoadedModel): number => parameters[0].shape[1];

/** `eos_token_id` may be one number or several. */
const endTokens = ({ eos_token_id }: Config): Set<unknown> => new Set([eos_token_id ?? 1].flat());
