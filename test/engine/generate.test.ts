/** Completions: token for token what transformers' generate writes, and what sampling must keep to. */
import assert from 'node:assert/strict';
import { cpSync, readdirSync, readFileSync, writeFileSync } from 'node:fs';
import { join } from 'node:path';
import { test } from 'node:test';
import { loadChatTemplate } from '../../src/engine/data/chatTemplate';
import { loadTokenizer } from '../../src/engine/data/tokenizer';
import { LabError } from '../../src/engine/errors';
import { generate } from '../../src/engine/generate';
import { predictTask } from '../../src/engine/model/predictTask';
import { predict } from '../../src/engine/predict';
import { random } from '../../src/engine/random';
import { chooseToken } from '../../src/engine/sampling';
import { inTemporaryFolder } from '../support/faults';
import { fixture } from '../support/paths';

interface Expected { prompts?: string[]; texts?: string[]; generated: number[][]; generated_by_base: number[][] }
const expectedOf = (name: string): Expected => JSON.parse(readFileSync(fixture('references', name, 'expected.json'), 'utf8')) as Expected;

for (const name of readdirSync(fixture('references')).filter(name => expectedOf(name).prompts)) {
  test(`${name}: greedy completions are transformers', with and without adapter`, async () => {
    const { prompts, texts, generated, generated_by_base } = expectedOf(name);
    const [base, adapter] = [fixture('references', name, 'model'), fixture('references', name, 'adapter_final')];
    const pieces: string[] = ['', '', ''];
    const adapted = await generate({ base, adapter, prompts: prompts!, max_new_tokens: 12 }, { onText: ({ prompt, text }) => { pieces[prompt] += text; } });
    assert.deepEqual(adapted.map(({ tokens }) => tokens), generated);
    assert.deepEqual(adapted.map(({ completion }) => completion), pieces, 'the pieces make up the whole');
    const alone = await generate({ base, adapter: null, prompts: prompts!, max_new_tokens: 12 });
    assert.deepEqual(alone.map(({ tokens }) => tokens), generated_by_base);
    if (texts) assert.deepEqual(adapted.map(({ completion }) => completion), texts);
    const { task } = JSON.parse(readFileSync(fixture('references', name, 'case.lora.json'), 'utf8')) as { task: string };
    assert.equal(predictTask(base, adapter), task);
  });
}

test('a prompt as a turn of the user goes through the chat template', async () => {
  const base = fixture('references/qwen3-messages/model');
  const text = loadChatTemplate(base, loadTokenizer(base).config)([{ role: 'user', content: 'the film' }], true);
  const tokens = async (options: object): Promise<number[]> => (await generate({ base, adapter: null, prompts: ['the film'], max_new_tokens: 6, ...options }))[0].tokens;
  assert.deepEqual(await tokens({ chat: true }), await tokens({ prompts: [text] }));
  assert.notDeepEqual(await tokens({ chat: true }), await tokens({}));
  await assert.rejects(generate({ base: fixture('references/t5-qv/model'), adapter: null, prompts: ['a'], chat: true }), /encoder-decoder, which has no conversations/);
});

test('what is drawn follows from the seed and the place of the prompt, not from the other prompts', async () => {
  const options = { base: fixture('references/llama-text/model'), adapter: null, max_new_tokens: 8, temperature: 1 };
  const tokens = async (prompts: string[], seed: number): Promise<number[][]> => (await generate({ ...options, prompts, seed })).map(completion => completion.tokens);
  const both = await tokens(['the film', 'a book'], 1);
  assert.deepEqual(await tokens(['the film', 'a book'], 1), both);
  assert.deepEqual((await tokens(['the film'], 1))[0], both[0]);
  assert.notDeepEqual(await tokens(['the film', 'a book'], 2), both);
});

test('an adapter is used only for the task that it was trained for', async () => {
  const of = (name: string) => ({ base: fixture('references', name, 'model'), adapter: fixture('references', name, 'adapter_final') });
  const isTask = (error: LabError): boolean => error.report.code === 'adapter.task';
  await assert.rejects(generate({ ...of('llama-classes'), prompts: ['a'] }), isTask);
  await assert.rejects(predict({ ...of('llama-text'), texts: ['a'] }), isTask);
});

test('temperature, top_k and top_p', () => {
  const logits = Float32Array.of(0, 2, 1, -1);
  const draw = (settings: { temperature: number; top_k?: number; top_p?: number }, seed = 1): number[] => {
    const stream = random(seed, 'draw');
    const counts = [0, 0, 0, 0];
    for (let i = 0; i < 4000; i++) counts[chooseToken(logits, { top_k: 0, top_p: 1, ...settings }, stream)]++;
    return counts.map(count => count / 4000);
  };
  assert.deepEqual(draw({ temperature: 0 }), [0, 1, 0, 0]);
  const weights = Array.from(logits, Math.exp);
  const total = weights.reduce((a, b) => a + b, 0);
  draw({ temperature: 1 }).forEach((share, i) => assert.ok(Math.abs(share - weights[i] / total) < 0.03));
  const [zero, one, two, three] = draw({ temperature: 1, top_k: 2 });
  assert.ok(zero === 0 && three === 0 && Math.abs(one / two - Math.E) < 0.4);
  // The first has 0.64 of all, the first two 0.88.
  assert.deepEqual(draw({ temperature: 1, top_p: 0.6 }), [0, 1, 0, 0]);
  const nucleus = draw({ temperature: 1, top_p: 0.8 });
  assert.ok(nucleus[1] > 0 && nucleus[2] > 0 && nucleus[0] === 0 && nucleus[3] === 0);
  assert.ok(draw({ temperature: 100 })[3] > 0.2, 'high temperatures level all');
});

test('a checkpoint\'s repetition_penalty is followed as transformers follows it, unless another is asked for', () => inTemporaryFolder(async base => {
  cpSync(fixture('references/qwen2-completion/model'), base, { recursive: true });
  const prompts = ['good hotel bed', 'the story is', 'warm quiet'];
  const tokens = async (options: object = {}): Promise<number[][]> => (await generate({ base, adapter: null, prompts, max_new_tokens: 20, ...options })).map(completion => completion.tokens);
  const configured = (values: object): void => writeFileSync(join(base, 'generation_config.json'), JSON.stringify(values));
  const alone = await tokens();
  // Of transformers' model.generate(do_sample=False) with this generation_config.json.
  const penalized = [
    [173, 120, 315, 26, 258, 315, 226, 302, 217, 26, 171, 262, 205, 145, 217, 41, 308, 296, 296, 296],
    [26, 208, 252, 208, 252, 118, 293, 252, 252, 46, 86, 193, 193, 193, 193, 193, 193, 193, 193, 193],
    [209, 145, 53, 223, 72, 270, 296, 141, 223, 262, 202, 315, 162, 242, 46, 230, 209, 53, 120, 217],
  ];
  assert.deepEqual(await tokens({ repetition_penalty: 1.1 }), penalized);
  configured({ bos_token_id: 0, do_sample: false, repetition_penalty: 1.1 });
  assert.deepEqual(await tokens(), penalized);
  assert.deepEqual(await tokens({ repetition_penalty: 1 }), alone);
  assert.notDeepEqual(await tokens({ temperature: 1 }), await tokens({ temperature: 1, repetition_penalty: 1 }), 'what is drawn too');
  configured({ repetition_penalty: 0 });
  await assert.rejects(tokens(), (error: LabError) => error.report.file === join(base, 'generation_config.json') && /repetition_penalty/.test(error.report.where!) && /number above 0/.test(error.report.action));
}));

test('of an encoder-decoder the target alone is penalized, not its source', async () => {
  const write = async (repetition_penalty: number): Promise<number[][]> => (await generate({ base: fixture('references/t5-qv/model'), adapter: null, prompts: ['good hotel bed', 'the story is'], max_new_tokens: 10, repetition_penalty })).map(completion => completion.tokens);
  // Of transformers' model.generate(do_sample=False, repetition_penalty=1.5).
  assert.deepEqual(await write(1.5), [[46, 46, 58, 60, 88, 81, 37, 85, 90, 65], [118, 8, 12, 115, 107, 81, 59, 88, 59, 30]]);
});

test('completions end at the model\'s last position; settings and prompts that cannot be are refused', async () => {
  const options = { base: fixture('references/llama-text/model'), adapter: null };
  const [completion] = await generate({ ...options, prompts: ['the film'], max_new_tokens: 500, temperature: 1, seed: 5 });
  assert.ok(completion.tokens.length <= 64);
  assert.equal(completion.stopped === 'end', completion.tokens.at(-1) === 0);
  for (const [wrong, code] of [[{ prompts: [] }, 'predict.no-texts'], [{ top_p: 0 }, 'predict.setting'], [{ temperature: -1 }, 'predict.setting'], [{ max_new_tokens: 0 }, 'predict.setting'], [{ prompts: ['the film was good '.repeat(20)] }, 'predict.too-long']] as const) {
    await assert.rejects(generate({ ...options, prompts: ['a'], ...wrong as object }), (error: LabError) => error.report.code === code, JSON.stringify(wrong));
  }
});

test('a text that would cross the original context of LongRoPE is refused, with what would be possible', async () => {
  const write = (prompts: string[], max_new_tokens: number) => generate({ base: fixture('references', 'phi3-longrope', 'model'), adapter: null, prompts, max_new_tokens });
  const long = 'the a an this that it was is are were very quite too not';
  const isProblem = (message: RegExp) => (error: unknown): boolean => error instanceof LabError && error.report.code === 'predict.context' && message.test(error.message);
  const [within] = await write(['the film'], 2);
  assert.equal(within.tokens.length, 2);
  await assert.rejects(write(['the film'], 40), isProblem(/40 more are asked for.*change after 12 tokens.*at most \d/s));
  await assert.rejects(write(['the film', long], 2), isProblem(/^prompt 2: a prompt has \d+ tokens and the one before it \d.*short and the long ones apart/s));
});
