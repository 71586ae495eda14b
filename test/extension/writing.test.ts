import assert from 'node:assert/strict';
import { cpSync } from 'node:fs';
import { join } from 'node:path';
import * as vscode from 'vscode';
import type { WrittenPair } from '../../src/protocol/panel';
import { inWorkspace, isAlive, state, until } from './support';

/** A conversation model of the reference cases, with the adapter that Python trained on it. */
async function useConversations(): Promise<string> {
  const folder = inWorkspace('conversations');
  cpSync(join(vscode.extensions.getExtension('lora-lab.lora-lab')!.extensionPath, 'test/fixtures/references/qwen3-messages'), folder, { recursive: true });
  const file = join(folder, 'case.lora.json');
  await vscode.commands.executeCommand('loraLab.openExperiment', vscode.Uri.file(file));
  await until('its model has been read', async () => (await state()).experiment === file && (await state()).model.state === 'ready');
  return join(folder, 'adapter_final');
}

suite('Writing', () => {
  let adapter: string;
  suiteSetup(async () => { adapter = await useConversations(); });

  const write = (text: string, settings: object = {}): Thenable<WrittenPair> => vscode.commands.executeCommand('loraLab.tryAdapter', { adapter, text, settings });

  test('Try adapter continues a prompt with the base and with the adapter', async () => {
    const first = await write('the film', { max_new_tokens: 5 });
    for (const side of [first.base, first.adapter]) assert.ok(side.stopped === 'length' || side.stopped === 'end', String(side.stopped));
    assert.deepEqual(await write('the film', { max_new_tokens: 5 }), first, 'greedy is the same each time');
    const drawn = [await write('the film', { temperature: 2, seed: 1 }), await write('the film', { temperature: 2, seed: 2 })];
    assert.notDeepEqual(drawn[0], drawn[1], 'another seed, another text');
  });

  test('base and adapter stay loaded from one try to the next, and a run ends the engine that holds them', async () => {
    const first = await write('the film', { max_new_tokens: 5 });
    const pid = (await state()).trying;
    assert.ok(pid !== null && isAlive(pid));
    assert.deepEqual(await write('the film', { max_new_tokens: 5 }), first);
    const [a, b] = await Promise.all([write('the film', { max_new_tokens: 5 }), write('a book', { max_new_tokens: 5 })]);
    // Which of two commands of one moment comes later is not said; that one is answered.
    assert.ok([a, b].some(({ adapter: { stopped } }) => stopped === 'length' || stopped === 'end'), JSON.stringify([a, b]));
    assert.equal((await state()).trying, pid, 'a text that is stopped by the next one does not cost the loaded model');
    await vscode.commands.executeCommand('loraLab.start', {});
    await until('its memory is free', () => !isAlive(pid));
    assert.equal((await state()).trying, null);
  });

  test('a setting that cannot be is refused by name', async () => {
    await assert.rejects(async () => write('the film', { top_p: 2 }), /top_p.*at most 1/);
  });
});
