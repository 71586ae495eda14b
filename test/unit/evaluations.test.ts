/** Keys that ask for evaluations, or need them, where there are none. */
import assert from 'node:assert/strict';
import { writeFileSync } from 'node:fs';
import { join } from 'node:path';
import { test } from 'node:test';
import { LabError } from '../../src/engine/errors';
import { readExperimentFile } from '../../src/engine/experimentFile';
import { editJson, readExperiment } from '../../src/extension/jsonEdit';
import { parseExperiment, written } from '../../src/protocol/experiment';
import { inTemporaryFolder } from '../support/faults';

const experiment = (training: object, evaluated: boolean, sweep?: object) =>
  ({ base_model: 'model', dataset: { train: 'a.jsonl', ...(evaluated ? { eval: 'b.jsonl' } : {}) }, training, ...(sweep ? { sweep: { 'lora.r': [2, 4], ...sweep } } : {}) });

const REFUSED: [training: object, evaluated: boolean, key: string, says: RegExp, sweep?: object][] = [
  [{ eval_strategy: 'epoch' }, false, 'training.eval_strategy', /is "epoch", and there is no evaluation data.*give dataset\.eval, or set it to "no"/],
  [{ eval_strategy: 'steps', eval_steps: 4 }, false, 'training.eval_strategy', /is "steps"/],
  [{ early_stopping_patience: 2 }, false, 'training.early_stopping_patience', /needs evaluations.*give dataset\.eval, or remove it/],
  [{ metric_for_best_model: 'accuracy' }, false, 'training.metric_for_best_model', /needs evaluations/],
  [{ predict_with_generate: true }, false, 'training.predict_with_generate', /needs evaluations/],
  [{ load_best_model_at_end: true }, false, 'training.load_best_model_at_end', /needs evaluations/],
  [{ load_best_model_at_end: true, eval_strategy: 'no', save_strategy: 'no' }, true, 'training.load_best_model_at_end', /needs evaluations.*set eval_strategy to "epoch" or "steps", or remove it/],
  [{ load_best_model_at_end: true, eval_strategy: 'epoch', save_strategy: 'steps' }, true, 'training.save_strategy', /checkpoint of what was evaluated/],
  [{ load_best_model_at_end: true, eval_strategy: 'steps', eval_steps: 4, save_strategy: 'steps', save_steps: 10 }, true, 'training.save_steps', /not a multiple of eval_steps 4/],
  [{}, false, 'sweep.halving', /end of each epoch.*give dataset\.eval, or remove it/, { halving: {} }],
  [{ eval_strategy: 'steps' }, true, 'sweep.halving', /set training\.eval_strategy to "epoch"/, { halving: {} }],
];

test('what nothing would come of without evaluations is one problem with its key and a way out, the same in editor and terminal', () => inTemporaryFolder(folder => {
  for (const [training, evaluated, key, says, sweep] of REFUSED) {
    const text = JSON.stringify(experiment(training, evaluated, sweep));
    const [problem, ...others] = readExperiment(text).problems;
    assert.deepEqual([problem?.path.join('.'), others.length], [key, 0], text);
    assert.match(`${problem.cause}: ${problem.action}`, says, text);
    writeFileSync(join(folder, 'a.lora.json'), text);
    assert.throws(() => readExperimentFile(join(folder, 'a.lora.json')), ({ report }: LabError) => {
      assert.deepEqual([report.where, report.cause, report.action], [`line 1, ${key}`, problem.cause, problem.action]);
      return true;
    });
  }
}));

test('without evaluation data a file that says nothing of evaluations has none; with it they come after each epoch', () => {
  for (const [training, evaluated, strategy] of [[{}, false, 'no'], [{}, true, 'epoch'], [{ eval_strategy: 'no', save_strategy: 'no' }, false, 'no'], [{ eval_strategy: 'steps' }, true, 'steps']] as const) {
    const json = experiment(training, evaluated);
    const { experiment: parsed, problems } = parseExperiment(json);
    assert.deepEqual(problems, [], JSON.stringify(json));
    assert.equal(parsed!.training.eval_strategy, strategy);
    assert.equal(readExperiment(JSON.stringify(json)).values.training.eval_strategy, strategy, 'as the panel shows it');
    assert.deepEqual(parseExperiment(written(parsed!)).problems, [], 'what a run writes down is an experiment, too');
  }
});

test('a choice that does not go with another is shown as the file has it, so that another one can be chosen', () => {
  const conflicts: [object, string[], unknown, unknown][] = [
    [experiment({ eval_strategy: 'epoch' }, false), ['training', 'eval_strategy'], 'epoch', 'no'],
    [experiment({ load_best_model_at_end: true, eval_strategy: 'steps' }, true), ['training', 'save_strategy'], 'epoch', 'steps'],
    [{ ...experiment({}, false), lora: null, engine: { precision: 'int8' } }, ['engine', 'precision'], 'int8', 'fp32'],
  ];
  for (const [json, path, shown, way_out] of conflicts) {
    const text = JSON.stringify(json);
    const { problems, values } = readExperiment(text);
    assert.deepEqual(problems.map(problem => problem.path), [path]);
    assert.equal((values as unknown as Record<string, Record<string, unknown>>)[path[0]][path[1]], shown);
    assert.deepEqual(readExperiment(editJson(text, [{ path, value: way_out }])).problems, []);
  }
  assert.equal(readExperiment(JSON.stringify(experiment({ eval_strategy: 'sometimes' }, false))).values.training.eval_strategy, 'no', 'what is no choice has the default in its place');
});
