import assert from 'node:assert/strict';
import { test } from 'node:test';
import { EMPTY_RUN, type ExperimentView, type PanelAction, type RunView } from '../../src/protocol/panel';
import { buttonStates, progressOf, startBlocked } from '../../webview/actions';
import { experiment, run } from './support/fixtures';

/** Buttons that a person can press, in the order of the table. */
function pressable(at: RunView, shown: ExperimentView = experiment(), records = 0): PanelAction[] {
  return Object.entries(buttonStates(shown, at, records)).filter(([, state]) => state.visible && state.enabled).map(([action]) => action as PanelAction)
    .filter(action => !['openRunFolder', 'showLog', 'openFile', 'selectTargets'].includes(action));
}

test('each status offers what makes sense in it', () => {
  assert.deepEqual(pressable(EMPTY_RUN), ['start']);
  assert.deepEqual(pressable(run({ status: 'preparing' })), ['stop']);
  assert.deepEqual(pressable(run(), experiment(), 10), ['pause', 'stop', 'saveCheckpoint', 'copyMetrics']);
  assert.deepEqual(pressable(run({ status: 'paused' }), experiment(), 10), ['resume', 'stop', 'saveCheckpoint', 'copyMetrics']);
  assert.deepEqual(pressable(run({ status: 'stopping' })), []);
  assert.deepEqual(pressable(run({ status: 'elsewhere', elsewhere: { pid: 4711, own: true } }), experiment(), 10), ['copyMetrics']);
  assert.deepEqual(pressable(run({ status: 'elsewhere', elsewhere: { pid: 4711, own: false } }), experiment(), 10), ['start', 'copyMetrics']);
  assert.deepEqual(pressable(run({ status: 'stopping', silent: { code: 'device.silent', cause: 'c', action: 'a' } })), ['stop']);
  assert.deepEqual(pressable(run({ status: 'stopped', resumable: true, adapter: '/a' }), experiment(), 10), ['start', 'continueRun', 'saveAdapter', 'mergeAdapter', 'copyMetrics']);
  assert.deepEqual(pressable(run({ status: 'finished', adapter: '/a' }), experiment(), 10), ['start', 'saveAdapter', 'mergeAdapter', 'copyMetrics']);
});

test('Pause and Resume take each other\'s place', () => {
  assert.equal(buttonStates(experiment(), run(), 0).resume!.visible, false);
  assert.equal(buttonStates(experiment(), run({ status: 'paused' }), 0).pause!.visible, false);
});

test('a run elsewhere has no buttons to steer it, and says where it is stopped', () => {
  const states = buttonStates(experiment(), run({ status: 'elsewhere', elsewhere: { pid: 4711, own: true } }), 10);
  for (const action of ['pause', 'resume', 'stop', 'saveCheckpoint', 'continueRun'] as const) assert.equal(states[action]!.visible, false, action);
  assert.match(states.start!.reason!, /process 4711.*stopped there/);
});

test('no second checkpoint is asked for while one is written', () => {
  assert.ok(!pressable(run({ saving: true })).includes('saveCheckpoint'));
});

test('a button that cannot be pressed says why', () => {
  for (const status of ['none', 'preparing', 'running', 'stopping', 'finished', 'failed'] as const) {
    for (const [action, state] of Object.entries(buttonStates(experiment(), run({ status }), 0))) {
      if (state.visible && !state.enabled) assert.ok(state.reason, `${action} while ${status}`);
    }
  }
});

test('what stands in the way of a start is named', () => {
  assert.equal(startBlocked(experiment()), undefined);
  assert.match(startBlocked(experiment({ trusted: false }))!, /Restricted Mode/);
  assert.match(startBlocked(experiment({ problems: [{ path: ['lora', 'r'], cause: 'is 0', action: 'give at least 1' }] }))!, /Correct the problem/);
  assert.match(startBlocked(experiment({ model: null }))!, /still being read/);
  assert.match(startBlocked(experiment({ model: null, model_error: { code: 'x', cause: 'c', action: 'a' } }))!, /could not be read/);
});

test('progress counts steps and estimates the time left', () => {
  assert.deepEqual(progressOf(run(), 141, 12), { fraction: 0.25, step: 141, total: 564, left: 36 });
  assert.equal(progressOf(run(), 0, 0)?.left, null);
  assert.equal(progressOf(run({ status: 'finished' }), 564, 47), undefined);
});
