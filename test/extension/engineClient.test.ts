import assert from 'node:assert/strict';
import * as vscode from 'vscode';
import { EngineClient, type EngineOptions } from '../../src/extension/engineClient';
import { ReportedError } from '../../src/extension/reports';
import { TryEngine } from '../../src/extension/tryEngine';
import { inWorkspace, useExperiment } from './support';

function optionsOf(name: string): EngineOptions {
  const log = vscode.window.createOutputChannel(`Test of ${name}`, { log: true });
  return { extensionPath: vscode.extensions.getExtension('lora-lab.lora-lab')!.extensionPath, cwd: inWorkspace(), runtimes: inWorkspace('runtimes'), log };
}

suite('The channel to the engine', () => {
  test('every handler of a notification is called, in the order in which they were added', async () => {
    const experiment_file = await useExperiment('handlers');
    const engine = await EngineClient.start(optionsOf('the engine channel'));
    const heard: string[] = [];
    try {
      for (const name of ['first', 'second']) engine.on('started', () => heard.push(name));
      await engine.request('train', { experiment_file, resume: false });
    } finally {
      // The channel stays until VS Code ends: the engine's own end is logged.
      engine.kill();
    }
    assert.deepEqual(heard, ['first', 'second']);
  });

  test('a workspace folder that is gone is named when the engine cannot start in it', async () => {
    const gone = inWorkspace('renamed-meanwhile');
    const refused = EngineClient.start({ ...optionsOf('a folder that is gone'), cwd: gone });
    await assert.rejects(refused, ({ report }: ReportedError) => {
      assert.deepEqual([report.code, report.file], ['engine.folder', gone]);
      assert.match(`${report.cause}; ${report.action}`, /no longer there.*open the folder/);
      return true;
    });
  });

  test('the engine that texts are tried in is kept for the next one, but not once it has lost its GPU', async () => {
    const options = optionsOf('tries');
    const tries = new TryEngine();
    const pids: (number | undefined)[] = [];
    const use = (fails?: string): Promise<void> => tries.use(options, async engine => {
      pids.push(engine.pid);
      if (fails) throw new ReportedError({ code: fails, cause: 'as if', action: 'none' });
    });
    try {
      await use();
      await assert.rejects(use('predict.text'));
      await assert.rejects(use('device.lost'));
      await use();
    } finally {
      tries.end();
    }
    const [first, second, third, fourth] = pids;
    assert.ok(first !== undefined && first === second && second === third && fourth !== undefined && fourth !== third, JSON.stringify(pids));
  });
});
