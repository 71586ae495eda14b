/** Merged checkpoints of every kind of adapter compute what transformers and PEFT computed with the adapter (test/fixtures/references). */
import assert from 'node:assert/strict';
import { readFileSync } from 'node:fs';
import { join } from 'node:path';
import { test } from 'node:test';
import { LabError } from '../../src/engine/errors';
import { families } from '../../src/engine/model/families';
import { mergeAdapter } from '../../src/engine/model/merge';
import { predict } from '../../src/engine/predict';
import { inTemporaryFolder } from '../support/faults';
import { fixture } from '../support/paths';

for (const name of ['rslora-layers', 'bias-all', 'lora-bias', 'dora', 'gpt2-dora', 'embeddings', 'embeddings-loraplus', 'embeddings-dora', 'bert-tokens']) {
  test(`${name}: the merged checkpoint gives PEFT's logits`, () => inTemporaryFolder(async folder => {
    const at = (...parts: string[]): string => fixture('references', name, ...parts);
    const { final_logits } = JSON.parse(readFileSync(at('expected.json'), 'utf8')) as { final_logits: number[][] };
    const texts = readFileSync(at('train.jsonl'), 'utf8').trim().split('\n').slice(0, final_logits.length).map(line => (JSON.parse(line) as { text: string }).text);
    const out = join(folder, 'merged');
    const report = await mergeAdapter({ base: at('model'), adapter: at('adapter_final'), out, families });
    assert.deepEqual(report.replaced_modules.filter(module => !module.endsWith('embeddings')), [name === 'gpt2-dora' ? 'score' : 'classifier']);
    const predictions = await predict({ base: out, adapter: null, texts, max_length: 32 });
    predictions.forEach((prediction, i) => prediction.logits.forEach((logit, k) => assert.ok(Math.abs(logit - final_logits[i][k]) < (name === 'embeddings-dora' ? 5e-3 : 1e-4), `text ${i}: logit ${logit}, expected ${final_logits[i][k]}`)));
  }));
}

test('adapters of encoder and decoder on the embeddings that they share are not merged', () => inTemporaryFolder(async folder => {
  const at = (...parts: string[]): string => fixture('references', 't5-embeddings', ...parts);
  const isProblem = (error: unknown): boolean => error instanceof LabError && error.report.code === 'merge.shared-embeddings' && error.report.where === 'encoder.embed_tokens';
  await assert.rejects(mergeAdapter({ base: at('model'), adapter: at('adapter_final'), out: join(folder, 'merged'), families }), isProblem);
}));

test('a bias of B that the base has no place for is not merged', () => inTemporaryFolder(async folder => {
  const at = (...parts: string[]): string => fixture('references', 'qwen2-biases', ...parts);
  const isProblem = (error: unknown): boolean => error instanceof LabError && error.report.code === 'merge.no-bias' && /o_proj/.test(error.report.where ?? '');
  await assert.rejects(mergeAdapter({ base: at('model'), adapter: at('adapter_final'), out: join(folder, 'merged'), families }), isProblem);
}));
