/** What is told of a run that nobody sees. */
import assert from 'node:assert/strict';
import { test } from 'node:test';
import { describeRun, newsOf } from '../../src/extension/runNews';
import { EMPTY_RUN, type RunView } from '../../src/protocol/panel';

const running: RunView = { ...EMPTY_RUN, attempt: 1, status: 'running' };
const FULL: RunView['blocked'] = {
  code: 'disk.full', file: 'runs/a', where: 'step 20', cause: 'the disk is full, so the run is paused: about 1.3 MB are needed for checkpoint-20, 0.2 MB are free', action: 'free some space, then press Retry; Stop ends the run without it',
};
const full: RunView = { ...running, status: 'paused', blocked: FULL };

test('a full disk is told of with a way to try again, each time that it holds the run', () => {
  assert.deepEqual(newsOf('a', running, { ...running, blocked: FULL }), {
    kind: 'warning', retry: true,
    text: 'LoRA run of a: runs/a: step 20: the disk is full, so the run is paused: about 1.3 MB are needed for checkpoint-20, 0.2 MB are free. Free some space, then press Retry; Stop ends the run without it.',
  });
  assert.equal(newsOf('a', { ...running, blocked: FULL }, full), undefined, 'the same wait');
  assert.equal(newsOf('a', full, running), undefined);
  assert.equal(newsOf('a', running, full)?.retry, true, 'still full');
  assert.equal(describeRun({ view: full, latest: { trained: undefined, evaluated: undefined } }), 'paused: the disk is full');
});

test('a run\'s end is told of once, one that was there before is not', () => {
  const failed: RunView = { ...running, status: 'failed', error: { code: 'x', cause: 'the loss became NaN', action: 'lower learning_rate' } };
  assert.deepEqual(newsOf('a', running, failed), { kind: 'error', text: 'LoRA run of a failed. The loss became NaN. Lower learning_rate.' });
  assert.equal(newsOf('a', failed, failed), undefined);
  assert.equal(newsOf('a', { ...running, attempt: 2, status: 'preparing' }, failed), undefined, 'a start that was held');
  assert.equal(newsOf('a', undefined, failed), undefined);
});
