import assert from 'node:assert/strict';
import { describe, test } from 'node:test';
import { setTimeout as sleep } from 'node:timers/promises';
import { DeviceCalls } from '../../src/engine/deviceCall';
import { DeviceWatch } from '../../src/engine/deviceWatch';

/** A call that has its answer once `answer` is called, and a watch on it as another thread has it. */
function asking(what: 'begin' | 'run', patience_s: number) {
  const memory = new SharedArrayBuffer(16);
  const told: (number | null)[] = [];
  const watch = new DeviceWatch(new DeviceCalls(memory), since => told.push(since), patience_s);
  let answer = (): void => {};
  const asked = Date.now();
  const call = new DeviceCalls(memory).during(what, () => new Promise<void>(resolve => { answer = resolve; }));
  watch.start();
  return { watch, told, asked, answer: () => { answer(); return call; } };
}

// They do little but wait.
describe('a watch on a GPU', { concurrency: true }, () => {
  test('a GPU is told of once, with the time since when it has been silent, and again when it has answered', async () => {
    const { watch, told, asked, answer } = asking('run', 0.1);
    await sleep(1300);
    assert.equal(told.length, 1);
    assert.ok(Math.abs(told[0]! - asked) < 200, `${told[0]! - asked} ms after it was asked`);
    await answer();
    await sleep(700);
    assert.deepEqual(told.slice(1), [null]);
    watch.stop();
  });

  test('beginning may take longer than a step, unless the end was asked for', async () => {
    const { watch, told, answer } = asking('begin', 0.5);
    await sleep(1200);
    assert.deepEqual(told, []);
    watch.hurry();
    await sleep(700);
    assert.equal(told.length, 1);
    await answer();
    watch.stop();
    assert.deepEqual(told.slice(1), [null], 'an answer at the end of the run is told too');
  });

  test('while one of several calls begins, the GPU may take as long as that, whichever of the others is answered', async () => {
    const calls = new DeviceCalls();
    const answers: (() => void)[] = [];
    const [begun, ran] = (['begin', 'run'] as const).map(asked => calls.during(asked, () => new Promise<void>(resolve => answers.push(resolve))));
    assert.equal(calls.current?.asked, 'begin');
    answers[1]();
    await ran;
    assert.equal(calls.current?.asked, 'begin');
    answers[0]();
    await begun;
    assert.equal(calls.current, undefined);
  });

  test('what a silent GPU is asked for meanwhile is no answer of it', async () => {
    const calls = new DeviceCalls();
    const told: (number | null)[] = [];
    const watch = new DeviceWatch(calls, since => told.push(since), 0.1);
    let answer = (): void => {};
    const first = calls.during('run', () => new Promise<void>(resolve => { answer = resolve; }));
    watch.start();
    await sleep(700);
    const second = calls.during('run', () => first);
    await sleep(700);
    assert.deepEqual(told.map(since => since !== null), [true]);
    answer();
    await second;
    await sleep(700);
    assert.deepEqual(told.map(since => since !== null), [true, false]);
    watch.stop();
  });

  test('a GPU that answers in time is nothing to tell of', async () => {
    const { watch, told, answer } = asking('run', 0.6);
    await sleep(200);
    await answer();
    await sleep(1200);
    assert.deepEqual(told, []);
    watch.stop();
  });

  test('a GPU that is known to be slow gets more time, and is not told of at each step', async () => {
    const memory = new SharedArrayBuffer(16), told: (number | null)[] = [];
    const calls = new DeviceCalls(memory), watch = new DeviceWatch(new DeviceCalls(memory), since => told.push(since), 0.6);
    watch.start();
    for (let step = 0; step < 3; step++) await calls.during('run', () => sleep(1300));
    watch.stop();
    assert.deepEqual(told.map(since => since === null), [false, true]);
  });

  test('what is asked when the run ends is told of no more', async () => {
    const { watch, told, answer } = asking('run', 0.1);
    await sleep(700);
    watch.stop();
    await sleep(700);
    await answer();
    assert.deepEqual(told.map(since => since === null), [false], 'nobody waits for this answer any more');
  });

  test('a clock that goes on while the machine sleeps makes no GPU silent', async () => {
    const memory = new SharedArrayBuffer(16), told: (number | null)[] = [];
    // A call of an hour ago, of which nothing was seen: the machine slept.
    new Float64Array(memory).set([Number(process.hrtime.bigint()) / 1e6 - 3_600_000, 0]);
    const watch = new DeviceWatch(new DeviceCalls(memory), since => told.push(since), 5);
    watch.start();
    await sleep(1300);
    assert.deepEqual(told, []);
    watch.stop();
  });
});
