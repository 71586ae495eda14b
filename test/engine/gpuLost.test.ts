/** A GPU that is lost in the middle of a run or before its first step. */
import assert from 'node:assert/strict';
import { fork } from 'node:child_process';
import { existsSync, readdirSync } from 'node:fs';
import { test } from 'node:test';
import { createMessageConnection, IPCMessageReader, IPCMessageWriter } from 'vscode-jsonrpc/node';
import { PROTOCOL_VERSION, type ErrorReport } from '../../src/protocol/engine';
import type { Summary } from '../../src/protocol/metrics';
import { ended, folder, lines, newest, onlyMessage, PATIENCE_MS, prepared, resumesExactly, train } from '../support/lostGpuRuns';
import { built } from '../support/paths';

for (const at of ['submit', 'wait'] as const) {
  test(`a GPU that is lost (${at}) ends a run on the command line with one message${at === 'submit' ? ', and a fresh engine goes on from the last checkpoint with the same losses' : ''}`, async t => {
    const given = await prepared(t, at);
    if (!given) return;
    const { gpu, file, run } = given;
    const child = train(file, gpu.env);
    const over = ended(child);
    await lines(run, 3, child);
    gpu.lose(at);
    const { code, signal, out, err } = await over;
    assert.deepEqual([code, signal, out], [2, null, ''], err);
    const checkpoint = newest(run);
    assert.match(onlyMessage(err), /^error: .*webgpu stopped working: the GPU was lost.*Resume from the last checkpoint/);
    assert.ok(err.includes(`The last good checkpoint is ${checkpoint}`), err);
    if (at === 'submit') await resumesExactly(file, run);
  });
}

test('the extension host is told of a lost GPU with the checkpoint to resume from, by an engine that still answers', async t => {
  const given = await prepared(t, 'host');
  if (!given) return;
  const { gpu, file, run } = given;
  const child = fork(built('engine/main.js'), [], { cwd: folder, stdio: ['ignore', 'ignore', 'pipe', 'ipc'], env: { ...process.env, ...gpu.env } });
  const exited = new Promise<string>(resolve => child.once('exit', (code, signal) => resolve(String(signal ?? code))));
  const timer = setTimeout(() => child.kill('SIGKILL'), PATIENCE_MS);
  const connection = createMessageConnection(new IPCMessageReader(child), new IPCMessageWriter(child));
  try {
    let said = '';
    child.stderr!.on('data', data => { said += data; });
    connection.listen();
    const trained = connection.sendRequest<Summary>('train', { experiment_file: file, resume: false }).then(() => assert.fail('it trained on a lost GPU'), (error: { data?: ErrorReport }) => error.data);
    const died = exited.then(how => assert.fail(`the engine ended with ${how}: ${said}`));
    // Once the engine is to end, nobody waits for this any more.
    died.catch(() => {});
    await Promise.race([lines(run, 3, child), trained, died]);
    gpu.lose('submit');
    const report = await Promise.race([trained, died]);
    assert.deepEqual([report?.code, report?.lastGoodCheckpoint], ['device.lost', newest(run)], JSON.stringify(report));
    assert.deepEqual(await connection.sendRequest('hello', { protocol: PROTOCOL_VERSION }), { protocol: PROTOCOL_VERSION, pid: child.pid });
    child.disconnect();
    assert.equal(await exited, 'SIGKILL', 'the engine ends when its host does');
  } finally {
    clearTimeout(timer);
    child.kill('SIGKILL');
    connection.dispose();
  }
});

for (const at of ['create', 'submit', 'wait'] as const) {
  test(`a GPU that is lost before the first step (${at}) ends the run with one message, and nothing that looks like a checkpoint or a result is left`, async t => {
    const given = await prepared(t, `first-${at}`);
    if (!given) return;
    const { gpu, file, run } = given;
    gpu.lose(at);
    const { code, signal, err } = await ended(train(file, gpu.env));
    assert.deepEqual([code, signal], [2, null], err);
    assert.match(onlyMessage(err), /^error: .*webgpu stopped working: the GPU was lost.*or start again if there is none/);
    assert.ok(!err.includes('last good checkpoint'), err);
    assert.equal(existsSync(run) && readdirSync(run).some(name => !/^(experiment\.json|metrics\.jsonl)$/.test(name)), false);
  });
}
