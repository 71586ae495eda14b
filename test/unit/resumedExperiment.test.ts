/** A run goes on with the experiment that it began with, also where an earlier version wrote its `experiment.json`. */
import assert from 'node:assert/strict';
import { test } from 'node:test';
import { LabError } from '../../src/engine/errors';
import { compareExperiments } from '../../src/engine/trainerState';
import { written, type Experiment } from '../../src/protocol/experiment';
import { settings } from '../support/tinyModel';

type Json = Record<string, Record<string, unknown>>;
const earlier = (experiment: Experiment, without: Record<string, string[]>): Json => {
  const json = JSON.parse(JSON.stringify(written(experiment))) as Json;
  for (const [section, keys] of Object.entries(without)) for (const key of keys) delete (section === 'top' ? json : json[section])[key];
  return json;
};
const refuses = (where: string, says: RegExp) => (error: unknown): boolean => error instanceof LabError && error.report.code === 'resume.experiment-changed' && error.report.where === where && says.test(error.report.cause);
const LATER = { top: ['problem_type'], dataset: ['tokens_column', 'text_pair_column'], lora: ['trainable_token_indices', 'layers_pattern'], training: ['packing'], engine: ['precision', 'prefix_cache'] };

test('keys that an old experiment.json lacks mean their defaults', () => {
  assert.deepEqual(compareExperiments(settings(), earlier(settings(), LATER), 'a.lora.json'), []);
  const { engine: _, ...old } = earlier(settings(), LATER);
  assert.deepEqual(compareExperiments(settings(), old, 'a.lora.json'), [], 'a whole section that came later');
});

test('a key that is no longer at its default is a change, and the message tells what it was', () => {
  assert.throws(() => compareExperiments(settings({}, { packing: true }), earlier(settings(), LATER), 'a.lora.json'), refuses('training.packing', /it was false/));
  assert.throws(() => compareExperiments(settings({ r: 3 }), earlier(settings({ r: 2 }), LATER), 'a.lora.json'), refuses('lora.r', /it was 2/));
});

test('a run may go on without a saving that it began with, and the other way round', () => {
  const without = (names: Experiment['engine']['without']): Experiment => ({ ...settings(), engine: { ...settings().engine, without: names } });
  assert.deepEqual(compareExperiments(without(['portions']), earlier(settings(), { engine: ['without'] }), 'a.lora.json'), ['engine.without']);
  assert.deepEqual(compareExperiments(settings(), earlier(without(['portions', 'split_bias']), {}), 'a.lora.json'), ['engine.without']);
});

test('adapters are not the default of a run that trains the whole model, nor the other way round', () => {
  const full: Experiment = { ...settings(), lora: { ...settings().lora, full: true } };
  assert.deepEqual(compareExperiments(full, earlier(full, { training: ['packing'] }), 'a.lora.json'), []);
  assert.throws(() => compareExperiments(settings(), earlier(full, {}), 'a.lora.json'), refuses('lora.r', /it was null/));
  assert.throws(() => compareExperiments(full, earlier(settings(), {}), 'a.lora.json'), refuses('lora', /it was an object/));
});
