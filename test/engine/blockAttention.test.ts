/** Attention of long texts in blocks of rows and one head after the other: the results of whole rows and all heads, without their probabilities. */
import assert from 'node:assert/strict';
import { test } from 'node:test';
import { readsOf, type GraphNode, type Provider } from '../../src/engine/executors/trace/graph';
import { traceProgram } from '../../src/engine/executors/trace/trace';
import { planAdapter } from '../../src/engine/model/lora';
import type { LoadedModel } from '../../src/engine/model/weights';
import { blockFeeds, blocksFor, turnFeeds } from '../../src/engine/training/blocks';
import { stepProgram } from '../../src/engine/training/step';
import type { Example, TrainingStep } from '../../src/engine/training/step.types';
import { savingsWithout, type Savings } from '../../src/protocol/savings';
import { assertClose } from '../support/close';
import { noisyStep, oneUpdate } from '../support/compareSteps';
import { settings, tinyEncoder, tinyExamples } from '../support/tinyModel';
import { TINY_DECODERS, tinyDecoder, tinyTexts } from '../support/tinyDecoders';
import { TINY_T5, tinyPairs } from '../support/tinyT5';

/** In eight blocks, of texts that are shorter than that, too. */
const LONGEST = 2048;
const WHOLE = savingsWithout(['attention_blocks']), UNFOLDED = savingsWithout(['folded_masks']);

test('a text has blocks of 256 rows from 512 tokens on, at most eight', () => {
  assert.deepEqual([10, 511, 512, 700, 1024, 2048, 9000].map(longest => blocksFor(longest)), [undefined, undefined, 2, 3, 4, 8, 8]);
  assert.deepEqual([1023, 1024, 1025, 2048, 9000].map(longest => blocksFor(longest, false)), [undefined, undefined, 2, 4, 8], 'encoders, of which blocks leave nothing out: two heads in 8 MB');
});

test('every row is in one block, with the keys up to the last of them', () => {
  for (const [S, blocks] of [[8, 8], [9, 4], [30, 7], [1, 1]]) {
    const feeds = blockFeeds(S, blocks);
    const rows = Array.from({ length: blocks }, (_, i) => [...feeds[`block_rows_${i}`].data]);
    assert.deepEqual(rows.flat(), Array.from({ length: S }, (_, s) => s));
    rows.forEach((own, i) => assert.deepEqual([...feeds[`block_keys_${i}`].data], Array.from({ length: own.at(-1)! + 1 }, (_, s) => s)));
    assert.ok(rows.every(own => own.length > 0));
  }
});

test('heads are computed in turns of at most 8 MB of scores, or each by itself', () => {
  const turns = (B: number, S: number, query: number, key_value = query, blocks?: number): readonly number[] => turnFeeds(B, S, { query, key_value }, blocks).attention_turns.shape;
  assert.deepEqual(turns(1, 2048, 8), [8, 1], 'one head has 16 MB');
  assert.deepEqual(turns(1, 512, 12), [2, 6], 'one head has 1 MB');
  for (const S of [1024, 1500, 2048, 2800]) assert.deepEqual(turns(1, S, 12, 12, blocksFor(S, false)), [6, 2], `an encoder's blocks leave room for two heads of ${S} tokens`);
  assert.deepEqual(turns(20, 24, 12), [1, 240], 'short texts beside a long one: all heads of all examples');
  assert.deepEqual(turns(1, 2048, 14, 2, 8), [2, 1], 'a block of the seven heads that share keys has 14 MB');
  assert.deepEqual(turns(1, 740, 7), [7, 1], 'turns are equally large: three heads would fit, but not seven into threes');
  assert.deepEqual([...turnFeeds(2, 24, { query: 6, key_value: 3 }).attention_turns.data], [0, 1, 2, 0, 1, 2], 'the heads of each example are numbered');
});

/** Losses without and with gradients, their norm, and the gradients. */
async function gradientsOf(step: TrainingStep, examples: Example[], seed?: number): Promise<{ losses: number[]; gradients: Float32Array }> {
  const { loss } = await step.evaluate(examples);
  const { values, exp_avg } = await oneUpdate(step, examples, seed);
  return { losses: [loss, ...values], gradients: exp_avg };
}

/** Each with the config.json that has dropout of the probabilities. */
const CASES: Record<string, { model: (dropout: boolean) => LoadedModel; examples: (lengths: number[]) => Example[] }> = {
  bert: { model: dropout => tinyEncoder({ max_position_embeddings: 32, ...(dropout ? { attention_probs_dropout_prob: 0.2 } : {}) }), examples: tinyExamples },
  distilbert: { model: dropout => tinyEncoder({ model_type: 'distilbert', dim: 16, n_layers: 2, n_heads: 4, hidden_dim: 24, max_position_embeddings: 32, dropout: 0, attention_dropout: dropout ? 0.2 : 0, seq_classif_dropout: 0 }), examples: tinyExamples },
  't5 v1.1': { model: dropout => tinyDecoder({ ...TINY_T5['t5 v1.1'], dropout_rate: dropout ? 0.2 : 0 }, 'SEQ_2_SEQ_LM'), examples: lengths => tinyPairs(lengths.map(length => [length, Math.ceil(length / 2)])) },
  ...Object.fromEntries(Object.entries(TINY_DECODERS).map(([name, config]) => [name, {
    model: (dropout: boolean) => tinyDecoder({ ...config, ...(dropout ? { [config.model_type === 'gpt2' ? 'attn_pdrop' : 'attention_dropout']: 0.2 } : {}) }, 'CAUSAL_LM'), examples: (lengths: number[]) => tinyTexts(lengths),
  }])),
};

for (const [name, { model, examples }] of Object.entries(CASES)) {
  test(`blocks and turns give the losses and gradients of whole rows: ${name}`, async () => {
    for (const { lengths, training = {}, dropout = false } of [
      { lengths: [23, 8, 17] }, { lengths: [3, 2] }, { lengths: [23, 8], training: { gradient_checkpointing: true } }, { lengths: [23, 8, 17], dropout: true }, { lengths: [23, 8], dropout: true, training: { gradient_checkpointing: true } },
    ] as { lengths: number[]; training?: object; dropout?: boolean }[]) {
      const options = { lora: { r: 3, target_modules: 'all-linear' }, training, longest: LONGEST };
      const seed = dropout ? 5 : undefined;
      const of = async (savings?: Savings) => gradientsOf(await noisyStep(model(dropout), { ...options, savings }), examples(lengths), seed);
      const [whole, ...inBlocks] = [await of(WHOLE), await of(), await of(UNFOLDED)];
      for (const blocks of inBlocks) {
        assertClose(blocks.losses, whole.losses, 1e-5, 'losses and norm');
        assertClose(blocks.gradients, whole.gradients, 1e-4, 'gradient');
      }
      if (dropout) assert.ok(Math.abs(whole.losses[0] - whole.losses[1]) > 1e-4 * whole.losses[0], 'dropout changes the loss');
    }
  });
}

test('of T5 probabilities that are computed again change no loss by a millionth, whatever is longer, source or target', async () => {
  const { model } = CASES['t5 v1.1'];
  for (const pairs of [[[5, 23], [23, 9], [9, 16]], [[4, 31]], [[12, 2], [3, 1]]] as [number, number][][]) {
    for (const training of [{}, { gradient_checkpointing: true }]) {
      const of = async (savings?: typeof WHOLE) => gradientsOf(await noisyStep(model(false), { lora: { r: 3, target_modules: 'all-linear' }, training, longest: LONGEST, savings }), tinyPairs(pairs));
      const [again, kept] = [await of(), await of(WHOLE)];
      assertClose(again.losses.slice(0, 2), kept.losses.slice(0, 2), 1e-6, 'losses');
      assertClose(again.gradients, kept.gradients, 1e-5, 'gradient');
    }
  }
});

test('a long text of an encoder has no pass over its scores for the mask, nor for what softmax\'s gradient takes off', () => {
  const { lora } = settings({ r: 3, target_modules: 'all-linear' });
  const model = tinyEncoder({ num_hidden_layers: 3 });
  const passes = (savings?: Savings): number => {
    const { forward, backward } = traceProgram(stepProgram({ model, plan: planAdapter(model, lora), lora, train: true, longest: 2048, savings }).program);
    const inTurns = [...forward, ...backward].flatMap(node => node.body?.nodes ?? []);
    const read = new Set(inTurns.filter(({ op }) => ['Softmax', 'Mul'].includes(op)).flatMap(({ inputs }) => inputs));
    return inTurns.filter(({ op, outputs }) => ['Add', 'Sub'].includes(op) && outputs.some(name => read.has(name))).length;
  };
  assert.equal(passes(), 0);
  // Two layers of four blocks: a mask forward and backward, and a row's sum backward.
  assert.equal(passes(UNFOLDED), 2 * 4 * 3);
});

/** The loss's own softmax, in its gradient. */
const LOSS = 1;

/** Softmaxes of the forward pass, those of them that the backward pass reads, and how many it computes itself. */
function softmaxes(model: LoadedModel, options: { longest: number; longest_target?: number; savings?: typeof WHOLE }, provider?: Provider, target_modules: string | string[] = 'all-linear'): { computed: number; kept: number; again: number } {
  const { lora } = settings({ r: 3, target_modules });
  const { forward, backward } = traceProgram(stepProgram({ model, plan: planAdapter(model, lora), lora, train: true, ...options }).program, provider);
  const read = new Set(backward.flatMap(readsOf));
  const made = (nodes: GraphNode[]): GraphNode[] => nodes.flatMap(node => [...made(node.body?.nodes ?? []), ...(node.op === 'Softmax' ? [node] : [])]);
  return { computed: made(forward).length, kept: made(forward).filter(node => read.has(node.outputs[0])).length, again: made(backward).length - LOSS };
}

test('the backward pass keeps no probabilities of long texts, and those of whole rows', () => {
  const decoder = (name: string, change = {}): LoadedModel => tinyDecoder({ ...TINY_DECODERS[name], ...change }, 'CAUSAL_LM');
  for (const model of [decoder('qwen2'), decoder('gpt2', { attn_pdrop: 0.1 }), decoder('gemma2 with windows')]) {
    assert.deepEqual(softmaxes(model, { longest: 1024 }), { computed: 8, kept: 0, again: 8 });
    assert.deepEqual(softmaxes(model, { longest: 1024, savings: WHOLE }), { computed: 2, kept: 2, again: 0 });
    assert.deepEqual(softmaxes(model, { longest: 511 }), { computed: 2, kept: 2, again: 0 });
  }
  assert.deepEqual(softmaxes(tinyEncoder({ num_hidden_layers: 3 }), { longest: 1023 }), { computed: 3, kept: 3, again: 0 });
  // The last layer of an encoder has one row for each example.
  assert.deepEqual(softmaxes(tinyEncoder({ num_hidden_layers: 3 }), { longest: 1024 }), { computed: 3, kept: 1, again: 2 });
  assert.deepEqual(softmaxes(tinyEncoder({ num_hidden_layers: 3 }), { longest: 2048 }), { computed: 9, kept: 1, again: 8 }, 'four blocks');
  assert.deepEqual(softmaxes(tinyEncoder({ num_hidden_layers: 3 }), { longest: 1024, savings: WHOLE }), { computed: 3, kept: 3, again: 0 });
  // T5 with a layer in its encoder and two in its decoder, whose own attention has four blocks; over the source it has none.
  const t5 = (dropout: boolean): LoadedModel => CASES['t5 v1.1'].model(dropout);
  for (const model of [t5(false), t5(true)]) assert.deepEqual(softmaxes(model, { longest: 1024 }), { computed: 11, kept: 0, again: 11 });
  assert.deepEqual(softmaxes(t5(false), { longest: 1024, longest_target: 511 }), { computed: 5, kept: 2, again: 3 }, 'short targets');
  assert.deepEqual(softmaxes(t5(false), { longest: 512 }), { computed: 7, kept: 3, again: 4 }, 'a source that is too short for it');
  assert.deepEqual(softmaxes(t5(false), { longest: 1024, savings: WHOLE }), { computed: 5, kept: 5, again: 0 });
  assert.deepEqual(softmaxes(t5(false), { longest: 1024 }, 'webgpu'), { computed: 5, kept: 5, again: 0 });
  // A gradient of its position biases needs the scores whole.
  assert.deepEqual(softmaxes(t5(false), { longest: 1024 }, 'cpu', ['q', 'decoder.embed_tokens']), { computed: 5, kept: 3, again: 2 });
});

test('on a GPU decoders have blocks where neither dropout nor a bound is in the way, and encoders whole rows', () => {
  const decoder = (name: string, change = {}): LoadedModel => tinyDecoder({ ...TINY_DECODERS[name], ...change }, 'CAUSAL_LM');
  assert.deepEqual(softmaxes(decoder('qwen2'), { longest: 1024 }, 'webgpu'), { computed: 8, kept: 0, again: 8 });
  for (const model of [decoder('gpt2', { attn_pdrop: 0.1 }), tinyEncoder({})]) assert.deepEqual(softmaxes(model, { longest: 1024 }, 'webgpu'), { computed: 2, kept: 2, again: 0 });
});

test('what no gradient needs is left out of the turns too: keys of the first layer, where they have no adapter', () => {
  const model = tinyEncoder({ num_hidden_layers: 3 });
  const { lora } = settings({ r: 3, target_modules: ['query', 'value'] });
  const { backward } = traceProgram(stepProgram({ model, plan: planAdapter(model, lora), lora, train: true, longest: 1024 }).program);
  assert.deepEqual(backward.filter(node => node.body).map(({ outputs }) => outputs.length).sort(), [2, 3]);
});
