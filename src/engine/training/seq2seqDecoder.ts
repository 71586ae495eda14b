/** An encoder-decoder taken apart for generation: the encoder runs once for each source, the decoder once for each new token. */
import type { Tensor } from '@tensorflow/tfjs-core';
import type { Precision } from '../../protocol/experiment';
import { createExecutor } from '../executors/devices';
import type { CompiledProgram, Executor, Feeds, InputSpec, Program } from '../executors/executor';
import { forwardContext, precisionOf, SCALING } from '../model/context';
import type { ForwardContext, Seq2SeqFamily } from '../model/family';
import type { AdapterPlan } from '../model/lora.types';
import type { LoadedModel } from '../model/weights';
import { batchFeeds, batchInputs, encoderOnly, type BatchLayout } from './layout';
import type { Example } from './step.types';

export interface Seq2SeqDecoderOptions {
  model: LoadedModel;
  /** The two halves of the model's family. */
  seq2seq: Seq2SeqFamily;
  /** Null for the base model alone. */
  plan: AdapterPlan | null;
  /** Values of the adapter, flat [plan.trainable_parameters]. */
  trainables: Float32Array;
  device: string;
  precision?: Precision;
}

/** A source as the encoder leaves it: its tokens, and their states [tokens, d]. */
export interface Encoded { input_ids: Int32Array; states: Float32Array }

/** Input [T, d] of the decoder's program. */
const ENCODED = 'encoded';

export class Seq2SeqDecoder {
  private constructor(
    private readonly options: Seq2SeqDecoderOptions, private readonly executor: Executor, private readonly layout: BatchLayout,
    private readonly encoder: CompiledProgram, private readonly decoder: CompiledProgram, private readonly d: number,
  ) {}

  /** Reads and prepares the weights. */
  static async create(options: Seq2SeqDecoderOptions): Promise<Seq2SeqDecoder> {
    const { model, seq2seq, plan, device, precision = 'fp32' } = options;
    const { family, config, task } = model;
    const layout: BatchLayout = { ...family.layout(config, task), read: 'last' };
    const parameters = new Map(model.parameters.map(spec => [spec.name, spec]));
    const program = (name: string, inputs: InputSpec[], forward: (context: ForwardContext, inputs: Record<string, Tensor>) => Record<string, Tensor>): Program => ({
      name, weights: model.weights,
      inputs: [...inputs, ...(plan ? [{ name: 'trainables', dtype: 'float32' as const, shape: [plan.trainable_parameters] }, { name: SCALING, dtype: 'float32' as const, shape: [plan.modules.length] }] : [])],
      parts: plan ? { input: 'trainables', parts: plan.trainables } : undefined,
      forward: (given, weight) => forward(forwardContext({ inputs: given, weight, plan, layout, parameters, precisionOf: precisionOf(model, precision), lora_dropout: 0, dropoutSite: () => null }), given),
    });
    const executor = await createExecutor(device, precision);
    // Every parameter of the encoder and the decoder works on states of this width.
    const d = model.parameters[0].shape[1];
    const encoder = await executor.compile(program('encoder', batchInputs(encoderOnly(layout)), context => ({ [ENCODED]: seq2seq.encode(context, config) })));
    const decoder = await executor.compile(program('decoder', [...batchInputs(layout), { name: ENCODED, dtype: 'float32', shape: ['T', d] }], (context, inputs) => ({ logits: seq2seq.decode(context, config, inputs[ENCODED]) })));
    return new Seq2SeqDecoder(options, executor, layout, encoder, decoder, d);
  }

  async encode(sources: readonly Int32Array[]): Promise<Encoded[]> {
    const examples = sources.map((input_ids): Example => ({ input_ids, token_type_ids: null, label: 0 }));
    const { [ENCODED]: states } = await this.encoder.run({ ...batchFeeds(examples, encoderOnly(this.layout)), ...this.adapterFeeds() });
    let first = 0;
    return sources.map(input_ids => ({ input_ids, states: states.subarray(first * this.d, (first += input_ids.length) * this.d) }));
  }

  /** Logits [targets.length, vocab_size] of the token after each target; `ids` begin with the start token. */
  async next(targets: readonly { source: Encoded; ids: ArrayLike<number> }[]): Promise<Float32Array> {
    const states = new Float32Array(targets.reduce((sum, { source }) => sum + source.states.length, 0));
    let place = 0;
    for (const { source } of targets) {
      states.set(source.states, place);
      place += source.states.length;
    }
    const examples = targets.map(({ source, ids }): Example => ({ input_ids: source.input_ids, token_type_ids: null, label: 0, decoder_input_ids: Int32Array.from(ids) }));
    const feeds = { ...batchFeeds(examples, this.layout), ...this.adapterFeeds(), [ENCODED]: { data: states, shape: [states.length / this.d, this.d] } };
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
