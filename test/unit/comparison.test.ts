/** Runs beside each other: what differs between their settings, and what is told of each. */
import assert from 'node:assert/strict';
import { test } from 'node:test';
import { compare, differingSettings, type RunToCompare } from '../../src/extension/comparison';
import type { EvalRecord, MetricRecord, Summary, TrainRecord } from '../../src/protocol/metrics';
import { settings } from '../support/tinyModel';

const train = (step: number, loss: number | string = 1 / step): TrainRecord => ({ step, epoch: step / 10, loss, grad_norm: 1, learning_rate: 1e-3, tokens: 8 * step, tokens_per_second: 100, time: 2 * step });
const evaluation = (step: number, measured: Partial<EvalRecord>): EvalRecord => ({ step, epoch: step / 10, eval_loss: 1, eval_runtime: 1, time: 2 * step, ...measured });
const run = (folder: string, records: MetricRecord[], own: Partial<RunToCompare> = {}): RunToCompare => ({ folder, experiment: null, state: 'finished', settings: settings(), records, summary: null, ...own });
const file = (change: (own: ReturnType<typeof settings>) => void = () => {}): unknown => {
  const own = structuredClone(settings());
  change(own);
  return own;
};

test('only keys whose values differ are told, in the order of the file, and not where a run lies', () => {
  assert.deepEqual(differingSettings([file(own => { own.output_dir = 'a'; }), file(own => { own.output_dir = 'b'; })]), []);
  const found = differingSettings([
    file(own => { Object.assign(own.lora, { r: 4, target_modules: ['query', 'value'] }); own.training.learning_rate = 1e-4; own.dataset.train = 'few/train.jsonl'; }),
    file(own => { Object.assign(own.lora, { r: 16, target_modules: 'all-linear' }); own.training.learning_rate = 1e-4; own.dataset.train = 'all/train.jsonl'; }),
    file(own => { Object.assign(own.lora, { r: 16, target_modules: null }); own.training.learning_rate = 5e-4; own.dataset.train = 'all/train.jsonl'; }),
  ]);
  assert.deepEqual(found, [
    { key: 'dataset.train', texts: ['few/train.jsonl', 'all/train.jsonl', 'all/train.jsonl'] },
    { key: 'lora.r', texts: ['4', '16', '16'] },
    { key: 'lora.target_modules', texts: ['query, value', 'all-linear', 'default'] },
    { key: 'training.learning_rate', texts: ['0.0001', '0.0001', '0.0005'] },
  ]);
});

test('a run that lacks a key had its default, one without its file says nothing, and the whole model has no rank', () => {
  const older = file(own => { delete (own.training as Partial<typeof own.training>).packing; });
  assert.deepEqual(differingSettings([older, file()]), []);
  assert.deepEqual(differingSettings([older, file(own => { own.training.packing = true; }), undefined]), [{ key: 'training.packing', texts: ['false', 'true', null] }]);
  const whole = { ...file() as object, lora: null };
  assert.deepEqual(differingSettings([whole, file(), file()]).map(({ key, texts }) => [key, ...texts]), [['lora', 'whole model', 'adapter', 'adapter']]);
});

test('of each run the last and the best evaluation are told, which is the highest accuracy or the lowest perplexity', () => {
  const summary = { steps: 20, seconds: 50, trainable_parameters: 512, peak_memory_bytes: 4e8 } as Summary;
  const classifier = compare([
    run('/runs/a', [train(10), evaluation(10, { eval_accuracy: 0.9 }), train(20, 0.25), evaluation(20, { eval_accuracy: 0.8 })], { summary, experiment: 'a' }),
    run('/runs/b', [train(10, 'NaN')], { state: 'failed' }),
  ]);
  assert.deepEqual(classifier.metric, { name: 'accuracy', greater_is_better: true, share: true });
  const [a, b] = classifier.runs;
  assert.deepEqual([a.name, a.experiment, a.steps, a.train_loss, a.last?.value, a.best?.value, a.best?.step, a.seconds, a.trainable_parameters, a.peak_memory_bytes], ['a', 'a', 20, 0.25, 0.8, 0.9, 10, 50, 512, 4e8]);
  assert.deepEqual(a.losses, [{ step: 10, epoch: 1, time: 20, value: 0.1 }, { step: 20, epoch: 2, time: 40, value: 0.25 }]);
  assert.deepEqual([b.steps, b.train_loss, b.last, b.best, b.seconds, b.trainable_parameters, b.losses], [10, 'NaN', null, null, 20, null, []]);
  const model = compare([4, 3].map((perplexity, i) => run(`/runs/${i}`, [train(1), evaluation(1, { eval_perplexity: perplexity, eval_token_accuracy: 0.5 }), evaluation(2, { eval_perplexity: perplexity + 1, eval_token_accuracy: 0.6 })])));
  assert.deepEqual([model.metric?.name, model.metric?.greater_is_better, ...model.runs.map(({ best }) => best?.value)], ['perplexity', false, 4, 3]);
});

test('runs that have no metric in common are compared by the loss of their evaluations, and without any by the training alone', () => {
  const mixed = compare([run('/a', [evaluation(1, { eval_accuracy: 0.9, eval_loss: 0.3 })]), run('/b', [evaluation(1, { eval_perplexity: 2, eval_loss: 0.7 })])]);
  assert.deepEqual([mixed.metric, ...mixed.runs.map(({ last }) => last?.value)], [{ name: 'eval loss', greater_is_better: false, share: false }, 0.3, 0.7]);
  assert.equal(compare([run('/a', [train(1)]), run('/b', [train(1)])]).metric, null);
});

test('runs of one name are told apart by the folders that they lie in', () => {
  assert.deepEqual(compare([run('/x/one/01-r-4', []), run('/x/two/01-r-4', []), run('/x/two/02-r-8', [])]).runs.map(({ name }) => name), ['one/01-r-4', 'two/01-r-4', '02-r-8']);
});

test('a long run is thinned out to points that its x axis, whichever that is, can hold', () => {
  const [{ losses }] = compare([run('/a', Array.from({ length: 10_000 }, (_, i) => train(i + 1, i < 5000 ? 2 : 1))), run('/b', [train(1)])]).runs;
  assert.equal(losses.length, 200);
  assert.deepEqual([losses[0], losses.at(-1)], [{ step: 50, epoch: 5, time: 100, value: 2 }, { step: 10_000, epoch: 1000, time: 20_000, value: 1 }]);
});
