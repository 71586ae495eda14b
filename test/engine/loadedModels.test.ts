/** Models that stay loaded between requests: the same answers, nothing stale, nothing kept where memory is short. */
import assert from 'node:assert/strict';
import { cpSync, readFileSync, writeFileSync } from 'node:fs';
import { join } from 'node:path';
import { test } from 'node:test';
import { LabError } from '../../src/engine/errors';
import { generate } from '../../src/engine/generate';
import { LoadedModels } from '../../src/engine/loadedModels';
import { predict } from '../../src/engine/predict';
import { inTemporaryFolder } from '../support/faults';
import { fixture } from '../support/paths';

/** Tells how often something was loaded and freed. */
class Counted {
  loads = 0;
  freed = 0;
  async load(): Promise<{ number: number; dispose(): Promise<void> }> {
    return { number: ++this.loads, dispose: async () => { this.freed += 1; } };
  }
}

test('what was loaded is used again, until one of its files changes', () => inTemporaryFolder(async folder => {
  const [models, counted] = [new LoadedModels(() => true), new Counted()];
  const use = (key: string): Promise<number> => models.use({ key, folders: [folder], load: () => counted.load() }, async model => model.number);
  assert.deepEqual([await use('a'), await use('b'), await use('a'), await use('b')], [1, 2, 1, 2]);
  assert.equal(await use('c'), 3);
  assert.deepEqual([counted.freed, models.size], [1, 2], 'the one that was used longest ago has gone');
  writeFileSync(join(folder, 'adapter_model.safetensors'), 'new');
  assert.equal(await use('c'), 4);
  await models.clear();
  assert.deepEqual([counted.freed, models.size], [4, 0]);
}));

test('nothing is kept where memory is short, after a failure, or once all was cleared away', async () => {
  const counted = new Counted();
  let spare = false;
  const models = new LoadedModels(() => spare);
  const use = (work: () => Promise<void> = async () => {}): Promise<void> => models.use({ key: 'a', folders: [], load: () => counted.load() }, work);
  await use();
  assert.deepEqual([counted.freed, models.size], [1, 0]);
  spare = true;
  await assert.rejects(use(async () => { throw new LabError({ code: 'device.lost', cause: 'the device is lost', action: 'start again' }); }));
  await use(() => models.clear());
  assert.deepEqual([counted.freed, models.size], [3, 0]);
  await assert.rejects(use(async () => { throw new LabError({ code: 'predict.too-long', cause: 'the prompt is too long', action: 'shorten it' }); }));
  assert.deepEqual([counted.freed, models.size], [3, 1], 'a request that cannot be met says nothing of the model');
  await Promise.all([use(), use()]);
  assert.deepEqual([counted.loads, counted.freed, models.size], [5, 4, 1], 'two at a time are loaded twice, and one is kept');
});

test('a model that cannot be freed hides neither an answer nor an error, and keeps none of the others in memory', async () => {
  const counted = new Counted();
  const models = new LoadedModels(() => true);
  const use = (key: string, lost: boolean, work: () => Promise<string>): Promise<string> => models.use({ key, folders: [], load: async () => (lost ? { dispose: async () => { throw new Error('cannot be freed'); } } : counted.load()) }, work);
  await assert.rejects(use('a', true, async () => { throw new LabError({ code: 'device.lost', cause: 'the device is lost', action: 'start again' }); }), /device is lost/);
  assert.equal(await use('a', true, async () => 'answer'), 'answer');
  await use('b', false, async () => '');
  await models.clear();
  assert.deepEqual([counted.freed, models.size], [1, 0]);
  assert.equal(await use('a', true, async () => { await models.clear(); return 'answer'; }), 'answer');
});

test('a kept language model writes what one that was loaded anew does, text after text', async () => {
  const models = new LoadedModels(() => true);
  const of = (adapter: boolean, prompt: string) => ({ base: fixture('references/llama-text/model'), adapter: adapter ? fixture('references/llama-text/adapter_final') : null, prompts: [prompt], max_new_tokens: 8 });
  for (const [adapter, prompt] of [[true, 'the film'], [false, 'the film'], [true, 'a'], [false, 'a long book was'], [true, 'the film']] as const) {
    assert.deepEqual(await generate(of(adapter, prompt), { loaded: models }), await generate(of(adapter, prompt)));
  }
  assert.equal(models.size, 2);
  let pieces = 0;
  const stopped = generate(of(true, 'the film'), { loaded: models, onText: () => { pieces += 1; }, between: () => { if (pieces > 1) throw new LabError({ code: 'predict.stopped', cause: 'stopped', action: 'try again' }); } });
  await assert.rejects(stopped, /Stopped/);
  assert.equal(models.size, 2, 'a stop keeps the model');
  await models.clear();
});

test('a kept classifier answers as one that was loaded anew, and an adapter that was saved anew is read anew', () => inTemporaryFolder(async folder => {
  const models = new LoadedModels(() => true);
  const [base, adapter] = [fixture('references/linear/model'), join(folder, 'adapter')];
  cpSync(fixture('references/linear/adapter_start'), adapter, { recursive: true });
  const once = async (texts: string[]) => {
    const kept = await predict({ base, adapter, texts }, { loaded: models });
    assert.deepEqual(kept, await predict({ base, adapter, texts }));
    return kept;
  };
  const before = await once(['a good film', 'no']);
  assert.deepEqual((await once(['no'])).length, 1);
  writeFileSync(join(adapter, 'adapter_model.safetensors'), readFileSync(fixture('references/linear/adapter_final/adapter_model.safetensors')));
  assert.notDeepEqual((await once(['a good film', 'no']))[0].logits, before[0].logits);
  await models.clear();
}));
