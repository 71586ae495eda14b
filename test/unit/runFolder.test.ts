import assert from 'node:assert/strict';
import { spawn } from 'node:child_process';
import { once } from 'node:events';
import { appendFileSync, existsSync, mkdirSync, readdirSync, readFileSync, rmSync, truncateSync, writeFileSync } from 'node:fs';
import { hostname } from 'node:os';
import { join } from 'node:path';
import { test } from 'node:test';
import { LabError } from '../../src/engine/errors';
import { MetricsLog, WRITE_MS } from '../../src/engine/metricsLog';
import { openRunFolder, type RunFolder } from '../../src/engine/runFolder';
import { writeFile } from '../../src/engine/transaction';
import { isEvalRecord, type EvalRecord, type Summary, type TrainRecord } from '../../src/protocol/metrics';
import { inTemporaryFolder, withFault } from '../support/faults';
import { settings } from '../support/tinyModel';

const record = (step: number, loss: number | string = 1 / step): TrainRecord => ({ step, epoch: step / 10, loss, grad_norm: 1, learning_rate: 1e-3, tokens: 8 * step, tokens_per_second: 100, time: step });
const isProblem = (code: string, says = /./) => (error: unknown): boolean => error instanceof LabError && error.report.code === code && says.test(error.report.cause);
const open = (path: string, resume = false) => openRunFolder(path, { resume });
const save = async (run: RunFolder, ...checkpoint: Parameters<RunFolder['writeCheckpoint']>): Promise<void> => { await (await run.writeCheckpoint(...checkpoint)).durable; };
const content = (text: string) => (folder: string): void => { writeFile(join(folder, 'a.txt'), text); mkdirSync(join(folder, 'sub')); writeFile(join(folder, 'sub/b.txt'), text + text); };

test('one run from start to resume', async () => {
  await inTemporaryFolder(async folder => {
    const path = join(folder, 'runs/first');
    const run = open(path);
    run.writeExperiment(settings());
    for (const step of [1, 2, 3]) run.appendMetrics(record(step));
    await save(run, 2, content('two'));
    run.appendMetrics(record(4, NaN));
    run.writeMetrics();
    run.close();
    appendFileSync(join(path, 'metrics.jsonl'), '{"step":5,"lo');

    const again = open(path, true);
    assert.equal(again.previous, null);
    assert.deepEqual(again.readMetrics().map(r => [r.step, (r as TrainRecord).loss]), [[1, 1], [2, 0.5], [3, 1 / 3], [4, 'NaN']]);
    const found = again.latestCheckpoint();
    assert.deepEqual([found.step, found.warnings], [2, []]);
    again.supersede({ step: found.step, evaluated: 0 });
    again.appendMetrics(record(3, 7));
    again.writeMetrics();
    assert.deepEqual(again.readMetrics().map(r => r.step), [1, 2, 3]);
    assert.deepEqual(readFileSync(join(path, 'metrics.jsonl'), 'utf8').trim().split('\n').map(line => (JSON.parse(line) as TrainRecord).loss), [1, 0.5, 7]);
    assert.match(readFileSync(join(path, 'metrics.superseded.jsonl'), 'utf8'), /"step":3.*\n.*"step":4.*"NaN"/);
    again.close();
    assert.ok(!existsSync(join(path, '.lock')));
  });
});

test('a run in the same folder keeps the earlier one under a new name', async () => {
  await inTemporaryFolder(folder => {
    const path = join(folder, 'first');
    for (const expected of [null, `${path}.1`, `${path}.2`]) {
      const run = open(path);
      assert.equal(run.previous, expected);
      run.writeExperiment(settings());
      run.appendMetrics(record(expected ? Number(expected.slice(-1)) + 1 : 1));
      run.writeMetrics();
      run.close();
    }
    const steps = ['first.1', 'first.2', 'first'].map(name => (JSON.parse(readFileSync(join(folder, name, 'metrics.jsonl'), 'utf8')) as TrainRecord).step);
    assert.deepEqual(steps, [1, 2, 3]);
    assert.deepEqual(readdirSync(join(folder, 'first.1')).sort(), ['experiment.json', 'metrics.jsonl']);
  });
});

test('folders that are no place for a run stay as they are', async () => {
  await inTemporaryFolder(folder => {
    writeFileSync(join(folder, 'data.csv'), 'a,b');
    assert.throws(() => open(folder), isProblem('run.folder-not-empty', /data\.csv/));
    writeFileSync(join(folder, 'experiment.json'), '{}');
    writeFileSync(join(folder, 'mine.lora.json'), '{}');
    assert.throws(() => open(folder), isProblem('run.folder-not-empty', /mine\.lora\.json/));
    assert.deepEqual(readdirSync(folder).sort(), ['data.csv', 'experiment.json', 'mine.lora.json']);
    assert.throws(() => open(join(folder, 'none'), true), isProblem('run.nothing-to-resume'));
    assert.ok(!existsSync(join(folder, 'none')));
    assert.throws(() => open(join(folder, 'data.csv')), (error: unknown) => error instanceof LabError && error.report.code.startsWith('disk.'));
  });
});

test('two runs never share a folder; a dead owner\'s lock is taken over', async () => {
  await inTemporaryFolder(async folder => {
    const path = join(folder, 'run');
    const run = open(path);
    assert.throws(() => open(path), isProblem('run.in-use', new RegExp(`process ${process.pid} `)));
    run.close();
    open(path).close();

    const child = spawn(process.execPath, ['-e', 'setTimeout(() => {}, 60000)']);
    const lock = (owner: object) => writeFileSync(join(path, '.lock'), JSON.stringify({ host: hostname(), time: 'now', started: null, ...owner }));
    lock({ pid: child.pid });
    assert.throws(() => open(path), isProblem('run.in-use', new RegExp(`process ${child.pid} `)));
    child.kill('SIGKILL');
    await once(child, 'exit');
    open(path).close();
    lock({ pid: process.pid, host: 'elsewhere' });
    assert.throws(() => open(path), isProblem('run.in-use', /on elsewhere/));
    if (process.platform === 'linux') {
      lock({ pid: process.pid, started: 'another boot:1' }); // the number was given to another process
      open(path).close();
    }
    writeFileSync(join(path, '.lock'), ''); // the disk was full, or power was lost
    open(path).close();
  });
});

test('a damaged checkpoint is passed over, with a warning that says why', async () => {
  await inTemporaryFolder(async folder => {
    const run = open(join(folder, 'run'));
    assert.deepEqual(run.latestCheckpoint(), { folder: null, step: 0, warnings: [] });
    for (const step of [2, 10, 9]) await save(run, step, content(`step ${step}`));
    assert.equal(run.latestCheckpoint().step, 10);
    const last = join(run.path, 'checkpoint-10');
    const damages: [() => void, RegExp][] = [
      [() => writeFileSync(join(last, 'sub/b.txt'), 'Step 10step 10'), /sub\/b\.txt: the content has changed/],
      [() => truncateSync(join(last, 'a.txt'), 3), /a\.txt: the file has 3 bytes instead of 7/],
      [() => rmSync(join(last, 'a.txt')), /a\.txt: the file is missing/],
      [() => truncateSync(join(last, 'manifest.json'), 20), /manifest\.json: is not valid JSON/],
      [() => rmSync(join(last, 'manifest.json')), /manifest\.json: the file is missing/],
    ];
    for (const [damage, says] of damages) {
      damage();
      const found = run.latestCheckpoint();
      assert.equal(found.step, 9);
      assert.match(found.warnings.join('\n'), says);
    }
    await save(run, 10, content('step 10'));
    assert.deepEqual(run.latestCheckpoint().warnings, []);
    run.close();
  });
});

test('whichever disk operation fails while a checkpoint is saved, the newest good one is found', async () => {
  await inTemporaryFolder(async folder => {
    const path = join(folder, 'run');
    let run = open(path);
    run.writeExperiment(settings());
    await save(run, 1, content('one'));
    for (const dies of [false, true]) {
      for (let n = 1, points = 0; ; n++, points++) {
        const { reached, error } = await withFault(n, 'ENOSPC', () => save(run, 2, content('two')), dies);
        if (!reached) { assert.ok(points > 12, `${points} points`); break; }
        // After a crash another process opens the folder.
        run.close();
        run = open(path, true);
        assert.deepEqual(readdirSync(path).filter(name => /^\.(tmp|old)/.test(name)), [], 'nothing unfinished is left');
        const found = run.latestCheckpoint();
        assert.deepEqual(found.warnings, []);
        if (error === undefined) assert.equal(found.step, 2, 'an acknowledged save is there');
        assert.ok(found.step === 1 || readFileSync(join(found.folder!, 'a.txt'), 'utf8') === 'two');
        rmSync(join(path, 'checkpoint-2'), { recursive: true, force: true });
      }
      rmSync(join(path, 'checkpoint-2'), { recursive: true, force: true });
    }
    run.close();
  });
});

test('lines that could not be written leave no trace, and are there once they can be', async () => {
  await inTemporaryFolder(async folder => {
    const run = open(join(folder, 'run'));
    run.appendMetrics(record(1));
    run.writeMetrics();
    for (const step of [2, 3]) run.appendMetrics(record(step));
    const { error } = await withFault(1, 'ENOSPC', () => run.writeMetrics());
    assert.ok(isProblem('disk.full')(error));
    assert.match((error as LabError).report.file!, /metrics\.jsonl$/);
    assert.deepEqual(run.readMetrics().map(r => r.step), [1]);
    run.appendMetrics(record(4));
    run.writeMetrics();
    assert.deepEqual(run.readMetrics().map(r => r.step), [1, 2, 3, 4]);
    run.close();
  });
});

test('a checkpoint and a summary are never ahead of the log', async () => {
  await inTemporaryFolder(async folder => {
    const run = open(join(folder, 'run'));
    for (const step of [1, 2]) run.appendMetrics(record(step));
    await save(run, 2, () => assert.deepEqual(run.readMetrics().map(r => r.step), [1, 2], 'before a file of the checkpoint is there'));
    run.appendMetrics(record(3));
    run.writeSummary({} as Summary);
    assert.deepEqual(run.readMetrics().map(r => r.step), [1, 2, 3]);
    run.close();
  });
});

test('where a step takes as long as the one before, no line waits for more than half a second, and those of fast steps are written together', async () => {
  await inTemporaryFolder(folder => {
    for (const [every, writes] of [[10, 21], [200, 25], [300, 34], [2000, 5]] as const) {
      let now = 0, done = 0, waits: number[] = [];
      const log = new MetricsLog(join(folder, `${every}.jsonl`), () => now);
      for (let step = 1; now < 10_000; step++, now += every) {
        waits.push(now);
        if (!log.append(record(step))) continue;
        log.write();
        assert.ok(now - waits[0] <= WRITE_MS, `a line waited for ${now - waits[0]} ms where a step takes ${every}`);
        waits = [];
        done++;
      }
      assert.equal(done, writes, `writes in ten seconds where a step takes ${every} ms`);
      log.close();
    }
  });
});

test('what waits when a step begins is younger than half a second, whatever the steps before took', async () => {
  await inTemporaryFolder(folder => {
    let now = 0, waits: number[] = [], longest = 0;
    const log = new MetricsLog(join(folder, 'uneven.jsonl'), () => now);
    for (const [step, takes] of [...Array.from({ length: 60 }, () => 10), 30_000, 10, 10, 490, 10, 600, 200, 200, 90, 5, 499, 1, 2, 30_000, 10].entries()) {
      now += takes;
      waits.push(now);
      if (log.append(record(step + 1))) { log.write(); waits = []; }
      if (waits.length) longest = Math.max(longest, now - waits[0]);
      assert.ok(takes < WRITE_MS || waits.length === 0, `the lines that waited while a step took ${takes} ms are written after it`);
      assert.equal(log.read().length, step + 1 - waits.length);
    }
    assert.ok(longest > 0 && longest < WRITE_MS, `a line had waited for ${longest} ms when the next step began`);
    log.close();
  });
});

test('where a run goes on from, later steps and evaluations leave the log, and the summary of the part before its name', async () => {
  await inTemporaryFolder(folder => {
    const run = open(join(folder, 'run'));
    const evaluation = (step: number): EvalRecord => ({ step, epoch: step / 10, eval_loss: 1, eval_runtime: 1, time: step });
    for (const step of [1, 2, 3]) { run.appendMetrics(record(step)); run.appendMetrics(evaluation(step)); }
    run.writeSummary({ state: 'finished', steps: 3 } as Summary);
    run.supersede({ step: 2, evaluated: 1 });
    assert.deepEqual(run.readMetrics().map(r => [r.step, isEvalRecord(r)]), [[1, false], [1, true], [2, false]], 'the checkpoint of step 2 was written before its evaluation');
    assert.equal(readFileSync(join(run.path, 'metrics.superseded.jsonl'), 'utf8').trim().split('\n').length, 3);
    assert.deepEqual(['summary.json', 'summary.superseded.json'].map(name => existsSync(join(run.path, name))), [false, true]);
    run.supersede({ step: 2, evaluated: 1 });
    assert.ok(existsSync(join(run.path, 'summary.superseded.json')), 'where there is none, the older one stays');
    run.close();
  });
});

test('a folder that cannot be written shows when it is opened', async () => {
  await inTemporaryFolder(async folder => {
    for (let n = 1; ; n++) {
      const path = join(folder, `run${n}`);
      const { reached, error, result } = await withFault(n, 'EROFS', () => open(path));
      result?.close();
      if (!reached) break;
      assert.ok(error === undefined || error instanceof LabError, String(error));
      if (error) assert.equal((error as LabError).report.code, 'disk.read-only');
      open(path).close();
    }
    const run = open(join(folder, 'space'));
    run.needSpace(1000);
    assert.throws(() => run.needSpace(1e18), isProblem('disk.full', /MB are free/));
    run.close();
  });
});
