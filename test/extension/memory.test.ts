import assert from 'node:assert/strict';
import { existsSync } from 'node:fs';
import * as vscode from 'vscode';
import type { MemoryProbe } from '../../src/extension/memoryProbe';
import { ENDLESS, inWorkspace, lab, state, until, useExperiment } from './support';

const start = (args: object = {}): Thenable<unknown> => vscode.commands.executeCommand('loraLab.start', args);

suite('Memory before Start', () => {
  let memory: MemoryProbe, machine: MemoryProbe['machine'], measure: MemoryProbe['measure'], learn: MemoryProbe['learn'];
  let measurements = 0;
  setup(async () => {
    ({ memory } = await lab());
    ({ machine, measure, learn } = memory);
    measurements = 0;
    memory.measure = (...args) => { measurements++; return measure.apply(memory, args); };
  });
  teardown(async () => {
    Object.assign(memory, { machine, measure, learn });
    await until('no engine is left', async () => (await state()).engines.length === 0);
  });
  const withFree = (bytes: number): void => { memory.machine = { available: () => bytes, spared: 0 }; };

  test('a run that would not fit is measured and held; it starts when told to, and then its own peak is what is known', async () => {
    await useExperiment('held', [{ path: ['training', 'max_length'], value: 48 }]);
    withFree(1e8);
    await start();
    const { run, memory: { held, measured } } = await state();
    assert.equal(run.status, 'none', JSON.stringify(run));
    assert.ok(held && held.measured && !held.exceeded && held.available === 1e8, JSON.stringify(held));
    const more = held.needed - measured!.peak_memory_bytes;
    assert.ok(more > 30e6 && more < 32e6, `the step, and what a run leaves to be cleared away: ${more}`);
    assert.equal(existsSync(inWorkspace('runs/held')), false);
    assert.equal(measurements, 1);
    await start();
    assert.deepEqual([(await state()).memory.held, measurements], [held, 1], 'what was measured is remembered');
    await start({ anyway: true });
    const after = await state();
    assert.equal(after.run.status, 'finished', JSON.stringify(after.run.error));
    assert.equal(after.memory.held, null);
    assert.equal(after.memory.measured!.peak_memory_bytes, after.run.summary!.peak_memory_bytes);
  });

  test('a peak that counts a step in fp32 replaces nothing that was measured', async () => {
    await useExperiment('compared', [{ path: ['training', 'max_length'], value: 52 }]);
    withFree(1e8);
    await start();
    const { held, measured } = (await state()).memory;
    assert.ok(held && measured);
    memory.learn = (subject, result, whole) => learn.call(memory, subject, { ...result, peak_memory_bytes: 9e9, peak_with_fp32: true }, whole);
    await start({ anyway: true });
    assert.equal((await state()).run.status, 'finished');
    await start();
    const after = (await state()).memory;
    assert.deepEqual([after.measured?.peak_memory_bytes, after.held?.needed], [measured.peak_memory_bytes, held.needed]);
  });

  test('what may be edited meanwhile is held no longer, and where there is room nothing is measured', async () => {
    await useExperiment('roomy', [{ path: ['training', 'max_length'], value: 40 }]);
    withFree(1e8);
    await start();
    assert.ok((await state()).memory.held);
    await useExperiment('roomy', [{ path: ['training', 'max_length'], value: 24 }]);
    assert.equal((await state()).memory.held, null);
    withFree(8e9);
    await start();
    assert.deepEqual([(await state()).run.status, measurements], ['finished', 1]);
  });

  test('while it is found out whether a run fits, nothing is shown of what the run before it took', async () => {
    await useExperiment('sampled', [...ENDLESS, { path: ['training', 'max_length'], value: 28 }]);
    const ended = start();
    await until('it trains and the machine is watched', async () => { const { run } = await state(); return run.samples > 0 && run.metrics > 0; });
    await vscode.commands.executeCommand('loraLab.stop');
    await ended;
    withFree(1e8);
    await useExperiment('sampled', [...ENDLESS, { path: ['training', 'max_length'], value: 20 }]);
    const held = start();
    const { run } = await until('an engine measures', async () => { const now = await state(); return now.memory.measuring ? now : undefined; });
    assert.deepEqual([run.status, run.samples, run.metrics > 0], ['preparing', 0, true]);
    await held;
    assert.equal((await state()).run.status, 'stopped');
  });

  test('a step that takes what is left of the memory is ended, and Stop ends a step before a run', async () => {
    await useExperiment('exceeding', [{ path: ['training', 'max_length'], value: 44 }]);
    memory.machine = { available: () => 1e8, spared: 2e8 };
    await start();
    const { memory: { held }, run } = await state();
    assert.ok(held?.exceeded && run.status === 'none', JSON.stringify([held, run]));
    withFree(1e8);
    const going = start();
    await until('an engine measures', async () => (await state()).memory.measuring && (await state()).engines[0]);
    await vscode.commands.executeCommand('loraLab.stop');
    await going;
    assert.deepEqual([(await state()).run.status, (await state()).memory.measuring], ['none', false]);
  });
});
