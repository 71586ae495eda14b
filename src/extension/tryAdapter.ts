/** Base and adapter side by side: classes of texts, or what they write after a prompt. */
import * as vscode from 'vscode';
import type { Device } from '../protocol/experiment';
import type { TryResult, WrittenPair, WriteSettings } from '../protocol/panel';
import { baseFor } from './adapterCommands';
import { requireTrust, type Lab } from './lab';
import { ReportedError } from './reports';
import { pairOfAdapter, taskOfAdapter } from './runFolders';
import { Writing } from './writeTexts';

/** What is being written for the panel: one text at a time. */
const writing = new WeakMap<Lab, Writing>();

/** Makes an adapter the one that the panel tries with the run that it shows. */
export async function chooseForTry(lab: Lab, adapter: string): Promise<void> {
  const [task, pair] = await Promise.all([taskOfAdapter(adapter), pairOfAdapter(adapter)]);
  const { run } = lab;
  run?.tryWith(adapter === run.view.adapter ? null : { folder: adapter, task, pair });
}

/** What an adapter was trained for: what it says itself, else the current experiment's task. */
export async function taskFor(lab: Lab, adapter: string): Promise<string> {
  return await taskOfAdapter(adapter) ?? lab.document?.reading.values.task ?? 'SEQ_CLS';
}

export const writes = (task: string): boolean => task === 'CAUSAL_LM' || task === 'SEQ_2_SEQ_LM';

/** Class probabilities of each text, or pair of texts, from the base (without adapter) and with the adapter. */
export async function tryTexts(lab: Lab, { texts, pairs }: { texts: string[]; pairs?: string[] }, adapter = adapterToTry(lab)): Promise<TryResult> {
  const folders = await foldersToTry(lab, adapter);
  return lab.tries.use(lab.engineOptions, async engine => {
    const adapted = await engine.request('predict', { ...folders, texts, pairs });
    // A base without a head of its own has no names for its classes: both columns carry the adapter's.
    const { probabilities } = adapted.flatMap(({ words }) => words ?? []).find(({ tag }) => tag !== null) ?? adapted[0];
    const task = adapted[0].words ? 'TOKEN_CLS' : 'SEQ_CLS';
    return { base: await engine.request('predict', { ...folders, adapter: null, task, texts, pairs, labels: Object.keys(probabilities), problem_type: adapted[0].problem_type }), adapter: adapted };
  });
}

/**
 * What the adapter and the base write after a prompt. Where the experiment has conversations the prompt is a turn of the user.
 * `onText` gets both texts as they grow. A text that is still being written is stopped.
 */
export async function writeAfter(lab: Lab, prompt: string, settings: WriteSettings, onText: (written: WrittenPair) => void = () => {}, adapter = adapterToTry(lab)): Promise<WrittenPair> {
  stopWriting(lab);
  // A stop may come while it is still looked for what to write with.
  const mine = new Writing(lab.tries, lab.engineOptions, onText);
  writing.set(lab, mine);
  try {
    const folders = await foldersToTry(lab, adapter);
    const { task, dataset } = lab.document?.reading.values ?? {};
    const chat = task === 'CAUSAL_LM' && dataset!.messages_column !== null && await taskFor(lab, folders.adapter) === 'CAUSAL_LM';
    return await mine.run({ ...folders, prompt, chat, settings });
  } finally { if (writing.get(lab) === mine) writing.delete(lab); }
}

/** Ends what is being written. */
export function stopWriting(lab: Lab): void {
  writing.get(lab)?.stop();
}

/** One text as a line for a message: `positive 97.3 % (base: negative 51.0 %)`. */
export function describeTry({ base, adapter }: TryResult): string {
  // A value, or several classes together, have no probability of their own.
  const best = ({ label, probabilities }: TryResult['base'][number]): string => (label in probabilities ? `${label} ${(100 * probabilities[label]).toFixed(1)} %` : label || 'none');
  return `${best(adapter[0])} (base: ${best(base[0])})`;
}

/** Without the panel: asks for one text and tells what comes of it. */
export async function askAndTry(lab: Lab, adapter: string): Promise<TryResult | WrittenPair | undefined> {
  const generates = writes(await taskFor(lab, adapter));
  const ask = (prompt: string): Thenable<string | undefined> => vscode.window.showInputBox({ title: 'Try adapter', prompt });
  const pair = generates ? undefined : await pairOfAdapter(adapter);
  const input = await ask(generates ? 'A prompt to continue with the base and with the adapter' : pair ? `${pair[0]}: the first text of a pair to classify with the base and with the adapter` : 'A text to classify with the base and with the adapter');
  if (!input) return undefined;
  const second = pair ? await ask(`${pair[1]}: the second text of the pair`) : undefined;
  if (pair && !second) return undefined;
  const options = { location: vscode.ProgressLocation.Notification, title: 'Trying the adapter', cancellable: generates };
  if (!generates) {
    const result = await vscode.window.withProgress(options, () => tryTexts(lab, { texts: [input], pairs: second === undefined ? undefined : [second] }, adapter));
    await vscode.window.showInformationMessage(describeTry(result));
    return result;
  }
  const written = await vscode.window.withProgress(options, (_progress, token) => {
    token.onCancellationRequested(() => stopWriting(lab));
    return writeAfter(lab, input, {}, undefined, adapter);
  });
  await vscode.window.showInformationMessage(`With adapter: ${written.adapter.text.trim() || '(nothing)'}`, { modal: true, detail: `Base: ${written.base.text.trim() || '(nothing)'}` });
  return written;
}

/** They are tried on the experiment's device, with its threads: a person who has turned away from a GPU, or keeps cores for other work, does not want them here either. */
async function foldersToTry(lab: Lab, adapter: string | undefined): Promise<{ base: string; adapter: string; device?: Device; threads?: number | null }> {
  requireTrust();
  if (!adapter) throw new ReportedError({ code: 'try.no-adapter', cause: 'there is no trained adapter yet', action: 'start a run, or choose an adapter in the Runs tree' });
  const base = await baseFor(lab, adapter);
  if (!base) throw new ReportedError({ code: 'try.no-base', file: adapter, cause: 'no base model was chosen', action: 'choose the checkpoint that the adapter was trained on' });
  const { device, threads } = lab.document?.reading.values.engine ?? {};
  return { base, adapter, device, threads };
}

/** The adapter that the panel tries: that of the run which it shows, unless another one was chosen. */
export function adapterToTry({ run }: Lab): string | undefined {
  return run?.view.chosen?.folder ?? run?.view.adapter ?? undefined;
}
