import assert from 'node:assert/strict';
import { cpSync } from 'node:fs';
import { join } from 'node:path';
import * as vscode from 'vscode';
import type { WrittenPair } from '../../src/protocol/panel';
import { inWorkspace, state, until } from './support';

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

  test('a setting that cannot be is refused by name', async () => {
    await assert.rejects(async () => write('the film', { top_p: 2 }), /top_p.*at most 1/);
  });
});
