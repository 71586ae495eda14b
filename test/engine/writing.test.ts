/** Evaluation by writing: against texts that the base is known to write, and what cannot be is refused. */
import assert from 'node:assert/strict';
import { existsSync, readFileSync, writeFileSync } from 'node:fs';
import { join } from 'node:path';
import { test } from 'node:test';
import { RunControl } from '../../src/engine/control';
import type { LabError } from '../../src/engine/errors';
import { loadTokenizer } from '../../src/engine/data/tokenizer';
import { generate } from '../../src/engine/generate';
import { SILENT } from '../../src/engine/reporter';
import { runSweep } from '../../src/engine/sweep';
import { isEvalRecord, type Summary } from '../../src/protocol/metrics';
import { inTemporaryFolder } from '../support/faults';
import { fixture } from '../support/paths';
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

test('with LongRoPE, texts that would cross the original context are refused before the first step', () => inTemporaryFolder(async folder => {
  const rows = (part: string): void => {
    const texts = Array.from({ length: 4 }, (_, i) => JSON.stringify({ prompt: 'a film', completion: `that is good ${'and good '.repeat(i)}` }));
    writeFileSync(join(folder, part), texts.join('\n'));
  };
  const start = (generation_max_length: number): ReturnType<typeof startRun> => {
    const file = copyCase(folder, { training: { ...WRITES, max_length: 24, generation_max_length }, dataset: { text_column: undefined, prompt_column: 'prompt', completion_column: 'completion' } }, 'phi3-longrope');
    for (const part of ['train.jsonl', 'eval.jsonl']) rows(part);
    return startRun(file, { onStep: () => assert.fail('a step was made') });
  };
  const { original_max_position_embeddings: beyond } = JSON.parse(readFileSync(fixture('references/phi3-longrope/model/config.json'), 'utf8')) as { original_max_position_embeddings: number };
  await assert.rejects(start(beyond + 4).ended, ({ report }: LabError) => {
    assert.deepEqual([report.code, report.where?.split(', ').pop()], ['training.predict-with-generate', 'training.generation_max_length']);
    assert.match(`${report.cause}. ${report.action}`, new RegExp(`is ${beyond + 4}, and in the evaluation data a prompt has \\d+ tokens and \\d+ more are asked for.*set generation_max_length to at most ${beyond}`));
    return true;
  });
  assert.equal(existsSync(join(folder, 'run')), false);
}));

test('each member of a sweep is also measured by what it writes before its first step', () => inTemporaryFolder(async folder => {
  const file = copyCase(folder, { training: { ...WRITES, max_steps: 2, generation_max_length: 12 }, top: { sweep: { 'training.learning_rate': [1e-3, 1e-2] } } }, 't5-qv');
  const { members } = await runSweep({ experiment_file: file, resume: false, cwd: folder, control: new RunControl(), report: SILENT });
  for (const { name } of members) {
    const { eval_before } = JSON.parse(readFileSync(join(folder, 'run', name, 'summary.json'), 'utf8')) as Summary;
    assert.ok(eval_before?.rougeL !== undefined && eval_before.perplexity !== undefined, JSON.stringify(eval_before));
  }
}));

test('beams, and writing where nothing is written, are refused by name', () => inTemporaryFolder(async folder => {
  const refused = async (name: string, training: object, where: string, words: RegExp, dataset = {}): Promise<void> => {
    const file = copyCase(join(folder, `${name}-${Math.random()}`), { training, dataset }, name);
    await assert.rejects(startRun(file).ended, (error: LabError) => error.report.code === 'training.predict-with-generate' && error.report.where!.includes(where) && words.test(error.report.cause), where);
  };
  await refused('t5-qv', { ...WRITES, generation_num_beams: 4 }, 'generation_num_beams', /is 4, and beam search/);
  await refused('linear', WRITES, 'predict_with_generate', /SEQ_CLS, which writes nothing/);
  await refused('gpt2-text', WRITES, 'predict_with_generate', /needs prompts/);
  await refused('t5-qv', { generation_max_length: 20 }, 'generation_max_length', /predict_with_generate alone/);
}));
