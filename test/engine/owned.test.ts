/** Where a later session of a step or of a generator cannot be made, those before it are freed. */
import assert from 'node:assert/strict';
import { test } from 'node:test';
import * as ort from 'onnxruntime-node';
import { Generator } from '../../src/engine/generation/generator';
import { noisyStep } from '../support/compareSteps';
import { TINY_T5 } from '../support/tinyT5';
import { tinyDecoder } from '../support/tinyDecoders';
import { tinyBert } from '../support/tinyModel';

/** How many sessions `make` has made and freed when making the one of this number fails. */
async function failing(number: number, make: () => Promise<unknown>): Promise<{ made: number; freed: number }> {
  const { InferenceSession } = ort;
  const { create } = InferenceSession;
  const seen = { made: 0, freed: 0 };
  const counting = async (...args: Parameters<typeof create>): Promise<ort.InferenceSession> => {
    if (seen.made + 1 === number) throw new Error('no room for it');
    const session = await create.apply(InferenceSession, args);
    seen.made++;
    const release = session.release.bind(session);
    session.release = () => { seen.freed++; return release(); };
    return session;
  };
  InferenceSession.create = counting as typeof create;
  try {
    await assert.rejects(make(), /no room for it/);
  } finally {
    InferenceSession.create = create;
  }
  return seen;
}

test('a step whose optimizer cannot be made frees its program', async () => {
  assert.deepEqual(await failing(2, () => noisyStep(tinyBert())), { made: 1, freed: 1 });
});

test('a step whose frozen prefix cannot be made frees the rest', async () => {
  const make = () => noisyStep(tinyBert({ num_hidden_layers: 2 }), { lora: { target_modules: ['layer.1.attention.self.query'] }, split_prefix: true });
  assert.deepEqual(await failing(2, make), { made: 1, freed: 1 });
  assert.deepEqual(await failing(3, make), { made: 2, freed: 2 });
});

test('a generator that cannot write frees the encoder', async () => {
  const model = tinyDecoder(TINY_T5['t5 v1.0'], 'SEQ_2_SEQ_LM');
  assert.deepEqual(await failing(2, () => Generator.create({ model, plan: null, trainables: new Float32Array(0), device: 'cpu' })), { made: 1, freed: 1 });
});
