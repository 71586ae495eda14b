/** A GPU that does not answer: it hangs, or is slow. */
import assert from 'node:assert/strict';
import { fork } from 'node:child_process';
import { test } from 'node:test';
import { setTimeout as sleep } from 'node:timers/promises';
import { createMessageConnection, IPCMessageReader, IPCMessageWriter } from 'vscode-jsonrpc/node';
import type { Summary } from '../../src/protocol/metrics';
import { ended, folder, lines, onlyMessage, PATIENCE_MS, prepared, resumesExactly, STEPS, train } from '../support/lostGpuRuns';
import { built } from '../support/paths';

/** Seconds that the first step, which compiles all shaders, does not take. */
const SLOWEST = '6';

for (const at of ['submit-hangs', 'wait-hangs'] as const) {
  test(`a GPU that hangs (${at}) is told of and ends with the second Ctrl+C${at === 'submit-hangs' ? ', and the run goes on from its last checkpoint with the same losses' : ''}`, async t => {
    const given = await prepared(t, at);
    if (!given) return;
    const { gpu, file, run } = given;
    const child = train(file, { LORA_LAB_GPU_PATIENCE: SLOWEST, ...gpu.env });
    const over = ended(child);
    const told = new Promise<void>(resolve => { let err = ''; child.stderr!.on('data', data => { if ((err += data).includes('GPU')) resolve(); }); });
    await lines(run, 3, child);
    gpu.lose(at);
    await Promise.race([told, over]);
    child.kill('SIGINT');
    // Less would be the same press, passed on by npm.
    await sleep(500);
    const urgent = Date.now();
    child.kill('SIGINT');
    const { code, signal, out, err } = await over;
    assert.deepEqual([code, signal, out], [null, 'SIGINT', ''], err);
    assert.ok(Date.now() - urgent < 5000, `it took ${Date.now() - urgent} ms to end`);
    assert.match(onlyMessage(err), /^warn: The GPU has not answered since \d\d:\d\d:\d\d\. If it is only slow, wait: .* Ctrl\+C, and once more a second later, ends the run, and --resume goes on from its last checkpoint if there is one/);
    if (at === 'submit-hangs') await resumesExactly(file, run);
  });
}

test('a GPU that is slow is told of, and told of again once it has answered; the run goes on to its end', async t => {
  const given = await prepared(t, 'slow');
  if (!given) return;
  const { gpu, file, run } = given;
  const child = fork(built('engine/main.js'), [], { cwd: folder, stdio: ['ignore', 'ignore', 'ignore', 'ipc'], env: { ...process.env, LORA_LAB_GPU_PATIENCE: SLOWEST, ...gpu.env } });
  const timer = setTimeout(() => child.kill('SIGKILL'), PATIENCE_MS);
  const connection = createMessageConnection(new IPCMessageReader(child), new IPCMessageWriter(child));
  const told: (number | null)[] = [];
  try {
    connection.onNotification('silent', ({ since }: { since: number | null }) => {
      told.push(since);
      if (since !== null) gpu.wake();
    });
    connection.listen();
    const trained = connection.sendRequest<Summary>('train', { experiment_file: file, resume: false });
    await Promise.race([lines(run, 3, child), trained]);
    const lost = Date.now();
    gpu.lose('wait-hangs');
    assert.equal((await trained).steps, STEPS);
    // A machine on which much else goes on makes it slow by itself, too.
    assert.ok(told.length >= 2 && told.length % 2 === 0, told.join());
    assert.deepEqual(told.map(since => since === null), told.map((_, i) => i % 2 === 1), 'each time it is told of, and that it has answered');
    assert.ok(told.some(since => since !== null && Math.abs(since - lost) < 5000), `${told.join()}; it began to hang at ${lost}`);
  } finally {
    clearTimeout(timer);
    child.kill('SIGKILL');
    connection.dispose();
  }
});
