/** Where the axes of charts end. */
import assert from 'node:assert/strict';
import { test } from 'node:test';
import { axisEnd } from '../../webview/axis';

test('the axis of a run of 10,000 steps is laid out a few times, leaves at most a third empty, and ends at the last step', () => {
  let [end, times] = [0, 0];
  for (let step = 1; step <= 10_000; step++) {
    if (step <= end) continue;
    times += 1;
    end = axisEnd(step, 10_000);
    if (step >= 50) assert.ok(step / end > 0.66, `${step} of ${end}`);
  }
  assert.ok(times < 25, `${times} times`);
  assert.equal(end, 10_000);
  assert.equal(axisEnd(120, 100), 120, 'steps beyond the known end are shown');
  assert.deepEqual([axisEnd(101), axisEnd(149), axisEnd(0)], [150, 150, 10]);
});
