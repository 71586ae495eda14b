/** Evaluation by writing: against texts that the base is known to write, and what cannot be is refused. */
import assert from 'node:assert/strict';
import { readFileSync, writeFileSync } from 'node:fs';
import { join } from 'node:path';
import { test } from 'node:test';
import type { LabError } from '../../src/engine/errors';
import { loadTokenizer } from '../../src/engine/data/tokenizer';
import { generate } from '../../src/engine/generate';
import { isEvalRecord } from '../../src/protocol/metrics';
import { inTemporaryFolder } from '../support/faults';
import { copyCase, readMetrics, startRun } from '../support/runs';

const WRITES = { predict_with_generate: true, max_steps: 6, eval_strategy: 'steps', eval_steps: 3 };

/** Tokens of the longest text: a target with its start token, or prompt and completion. */
const LONGEST = 36;

/** Rows of a case's evaluation whose targets are what the base writes by itself; every second one has a word more. */
async function rowsAsWritten(folder: string, prompt: string, target: string): Promise<void> {
  const file = join(folder, 'eval.jsonl');
  const tokenizer = loadTokenizer(join(folder, 'model'));
  const given = (text: string): number => (target === 'target' ? 1 : tokenizer.before.length + tokenizer.tokens(text).length);
  const rows = readFileSync(file, 'utf8').trim().split('\n').map(line => JSON.parse(line) as Record<string, string>).filter(row => given(row[prompt]) < LONGEST - 4).slice(0, 8);
  const lines: string[] = [];
  for (const [i, row] of rows.entries()) {
    const [{ completion }] = await generate({ base: join(folder, 'model'), adapter: null, prompts: [row[prompt]], max_new_tokens: LONGEST - given(row[prompt]) });
    lines.push(JSON.stringify({ ...row, [target]: completion + (i % 2 ? ' film' : '') }));
  }
  writeFileSync(file, lines.join('\n'));
}

for (const [name, prompt, target] of [['t5-qv', 'source', 'target'], ['gpt2-completion', 'prompt', 'completion']]) {
  test(`${name}: exact match and ROUGE of what is written`, () => inTemporaryFolder(async folder => {
    const lengths = { generation_max_length: LONGEST, max_length: 64, ...(name === 't5-qv' ? { max_target_length: 64 } : {}) };
    const file = copyCase(folder, { training: { ...WRITES, ...lengths, metric_for_best_model: 'rougeL', save_strategy: 'steps', save_steps: 3, load_best_model_at_end: true } }, name);
    await rowsAsWritten(folder, prompt, target);
    const summary = await startRun(file).ended;
    const before = summary.eval_before!;
    assert.equal(before.exact_match, 0.5);
    assert.ok(before.rougeL! > 0.5 && before.rougeL! < 1 && before.rouge1! >= before.rougeL!, JSON.stringify(before));
    const evaluations = readMetrics(join(folder, 'run')).filter(isEvalRecord);
    assert.equal(evaluations.length, 2);
    const best = evaluations.reduce((a, b) => (b.eval_rougeL! > a.eval_rougeL! ? b : a));
    assert.deepEqual(summary.best, { step: best.step, metric: 'rougeL', value: best.eval_rougeL });
    assert.ok(summary.eval!.perplexity! > 1 && summary.eval!.rouge2 !== undefined);
  }));
}

test('beams, and writing where nothing is written, are refused by name', () => inTemporaryFolder(async folder => {
  const refused = async (name: string, training: object, where: string, words: RegExp, dataset = {}): Promise<void> => {
    const file = copyCase(join(folder, `${name}-${Math.random()}`), { training, dataset }, name);
    await assert.rejects(startRun(file).ended, (error: LabError) => error.report.code === 'training.predict-with-generate' && error.report.where!.includes(where) && words.test(error.report.cause), where);
  };
  await refused('t5-qv', { ...WRITES, generation_num_beams: 4 }, 'generation_num_beams', /is 4, and beam search/);
  await refused('linear', WRITES, 'predict_with_generate', /SEQ_CLS, which writes nothing/);
  await refused('gpt2-text', WRITES, 'predict_with_generate', /needs prompts/);
  await refused('t5-qv', { ...WRITES, eval_strategy: 'no' }, 'predict_with_generate', /needs evaluations/);
  await refused('t5-qv', { generation_max_length: 20 }, 'generation_max_length', /predict_with_generate alone/);
}));
