/** The count that measured speeds are compared with is that of the formulas, term by term; and what weights in few bits take, by the graph. */
import assert from 'node:assert/strict';
import { test } from 'node:test';
import { readsOf } from '../../src/engine/executors/trace/graph';
import { traceProgram } from '../../src/engine/executors/trace/trace';
import { planAdapter } from '../../src/engine/model/lora';
import type { LoadedModel } from '../../src/engine/model/weights';
import { stepProgram } from '../../src/engine/training/step';
import { savingsWithout, type SavingName } from '../../src/protocol/savings';
import { stepOperations, type Operations } from '../bench/operations';
import { settings, tinyBert, tinyExamples } from '../support/tinyModel';

/** Of a BERT with adapters of this rank on query and value and two classes, for `count` examples of `length` tokens. */
function counted(model: LoadedModel, length: number, count: number, r: number, without: SavingName[] = []): Operations {
  const { lora, training } = settings({ r, target_modules: ['query', 'value'] });
  return stepOperations({ model, plan: planAdapter(model, lora), lora, training, train: true, longest: length, savings: savingsWithout(without) }, tinyExamples(Array<number>(count).fill(length), 2));
}

/** BERT-base but for its values and its vocabulary: no product depends on them. */
function bertBase(): LoadedModel {
  const shape = { hidden_size: 12, num_hidden_layers: 12, num_attention_heads: 12, intermediate_size: 48, max_position_embeddings: 128 };
  const small = tinyBert(shape, ['a', 'b']);
  const config = { ...small.config, hidden_size: 768, intermediate_size: 3072 };
  const parameters = small.family.parameters(config, 'SEQ_CLS', 2);
  return { ...small, config, parameters, weights: new Map(parameters.map(({ name, shape }) => [name, { source: 'memory', shape, data: new Float32Array(0) }])) };
}

test('BERT-base with all rows of its last layer: what torch counts for PEFT', () => {
  const tokens = 4 * 128;
  const { forward, backward } = counted(bertBase(), 128, 4, 8, ['last_layer_positions']);
  // torch.utils.flop_counter over PEFT's step, million operations a token: 175.187 and 176.735.
  assert.equal((forward / tokens / 1e6).toFixed(3), '175.187');
  assert.equal((backward / tokens / 1e6).toFixed(3), '176.735');
});

test('BERT-base in int4: ONNX Runtime is given at most 0.3 of the bytes that it holds of fp32', () => {
  const model = bertBase();
  const { lora, training } = settings({ r: 8, target_modules: ['query', 'value'] });
  const { program } = stepProgram({ model, plan: planAdapter(model, lora), lora, training, train: true, longest: 128, precision: 'int4' });
  const { graph, forward, backward } = traceProgram(program, 'cpu');
  const read = new Set([...forward, ...backward].flatMap(readsOf));
  const elements = (shape: readonly number[]): number => shape.reduce((product, size) => product * size, 1);
  const total = (values: readonly number[]): number => values.reduce((sum, value) => sum + value, 0);
  const packed = graph.packed.filter(({ data }) => read.has(data.name));
  const rounded = total(packed.map(({ data, scale }) => elements(data.shape) + 4 * elements(scale.shape)));
  const linear = new Set(packed.map(({ weight }) => weight));
  // Each of 12 layers has six, and the pooler is one.
  assert.equal(linear.size, 73);
  const of = (isLinear: boolean): number => total(model.parameters.filter(({ name }) => linear.has(name) === isLinear).map(({ shape }) => elements(shape)));
  assert.ok(rounded <= 1.125 * of(true) && rounded > 1.1 * of(true), `${rounded / of(true)} bytes an element`);
  // Embeddings of the whole vocabulary, in fp32 in either.
  const vocabulary = model.parameters.find(({ name }) => name.endsWith('word_embeddings.weight'))!;
  const others = 4 * (of(false) - elements(vocabulary.shape) + 30522 * 768);
  const share = (rounded + others) / (2 * 4 * of(true) + others);
  assert.ok(share <= 0.3, `${share}`);
});

interface Shape { layers: number; d: number; f: number; s: number; r: number; C: number }

/** By the formulas, for one example: adapters on query and value, the last layer for its first token alone where `early`, the scores of the others computed again where `again`, and with a term more for their mask, and one in dy vᵀ, in each of so many heads where `folded`. */
function byFormula({ layers: L, d, f, s, r, C }: Shape, { early, again, folded }: { early: boolean; again: boolean; folded: number }): Operations {
  const term = 2 * s * folded;
  const whole = early ? L - 1 : L;
  const linear = 8 * d * d + 4 * d * f, attention = 4 * s * d, adapters = 8 * r * d;
  // Keys and values of all tokens, everything else of one.
  const last = early ? { forward: s * (4 * d * d + 4 * r * d) + (4 * d * d + 4 * d * f) + 4 * s * d + 4 * r * d, backward: s * (4 * d * d + 8 * r * d) + (4 * d * d + 4 * d * f) + 8 * s * d + 8 * r * d } : { forward: 0, backward: 0 };
  return {
    forward: s * whole * (linear + attention + adapters + term) + last.forward + 2 * d * d + 2 * d * C,
    // Nothing is trained below the first layer's query, key and value; its key has no adapter.
    backward: s * (whole * (linear + 2 * attention + 2 * adapters + (again ? 2 * s * d : 0) + 2 * term) - 6 * d * d - 4 * r * d - 2 * s * d) + last.backward + 2 * d * d + 4 * d * C,
  };
}

test('the count is that of the formulas, whatever rank, length and size, and scores that are computed twice count twice', () => {
  for (const { without = [], early = true, again = false, folded = false, ...shape } of [
    { layers: 2, d: 16, f: 24, s: 20, r: 3, C: 2 }, { layers: 3, d: 16, f: 64, s: 20, r: 12, C: 2 }, { layers: 4, d: 32, f: 128, s: 7, r: 1, C: 3 },
    { layers: 3, d: 16, f: 64, s: 20, r: 4, C: 2, without: ['last_layer_positions'], early: false },
    // Whole rows in one block, then in four of them.
    { layers: 3, d: 16, f: 64, s: 1024, r: 4, C: 2, again: true }, { layers: 3, d: 16, f: 64, s: 2048, r: 4, C: 2, again: true, folded: true },
    { layers: 3, d: 16, f: 64, s: 2048, r: 4, C: 2, again: true, without: ['folded_masks'] },
    { layers: 3, d: 16, f: 64, s: 2048, r: 4, C: 2, without: ['attention_blocks'] },
  ] as (Shape & { without?: SavingName[]; early?: boolean; again?: boolean; folded?: boolean })[]) {
    const model = tinyBert({ num_hidden_layers: shape.layers, hidden_size: shape.d, intermediate_size: shape.f, max_position_embeddings: shape.s }, Array.from({ length: shape.C }, (_, i) => `class ${i}`));
    const one = byFormula(shape, { early, again, folded: folded ? Number(model.config.num_attention_heads) : 0 });
    // Of short texts three are in one portion; of long ones each is a portion.
    assert.deepEqual(counted(model, shape.s, 3, shape.r, without), { forward: 3 * one.forward, backward: 3 * one.backward }, JSON.stringify({ ...shape, without }));
  }
});
