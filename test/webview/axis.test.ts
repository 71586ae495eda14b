/** Where the axes of charts end. */
import assert from 'node:assert/strict';
import { test } from 'node:test';
import { axisEnd } from '../../webview/axis';

test('the axis of a run of 10,000 steps is laid out a few times, leaves at most a third empty, and ends at the last step', () => {
  let [end, times] = [0, 0];
  for (let step = 1; step <= 10_000; step++) {
    if (step <= end) continue;
    times += 1;
    end = axisEnd([[{ x: 1, y: 1 }, { x: step, y: 1 }]], 0, 10_000);
    if (step >= 50) assert.ok(step / end > 0.66, `${step} of ${end}`);
  }
  assert.ok(times < 25, `${times} times`);
  assert.equal(end, 10_000);
  assert.equal(axisEnd([[{ x: 120, y: 1 }]], 0, 100), 120, 'points beyond the known end are shown');
  assert.deepEqual([axisEnd([[{ x: 101, y: 1 }]]), axisEnd([[{ x: 149, y: 1 }]]), axisEnd([[]])], [150, 150, 10], 'charts that are laid out at different steps end at the same one');
});
