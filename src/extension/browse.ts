/** The paths of an experiment, chosen in a file dialog. */
import * as path from 'node:path';
import * as vscode from 'vscode';
import type { Lab } from './lab';
import { DATA_FILES, relativeTo } from './newExperiment';

/** Asks for the folder or file that the path at `key` names, and writes it relative to the experiment file. Nothing changes if the person gives up. */
export async function browse(lab: Lab, key: readonly string[]): Promise<void> {
  const document = lab.document!;
  const ofModel = key[0] === 'base_model';
  const { base_model, dataset } = document.reading.values;
  const present = ofModel ? base_model : key[1] === 'eval' ? dataset.eval : dataset.train;
  const [picked] = await vscode.window.showOpenDialog({
    title: ofModel ? 'Base model, a folder with config.json and *.safetensors' : key[1] === 'eval' ? 'Evaluation data' : 'Training data',
    canSelectFolders: ofModel, canSelectFiles: !ofModel, filters: ofModel ? undefined : { Data: DATA_FILES }, openLabel: 'Use',
    defaultUri: vscode.Uri.file(path.dirname(document.resolve(present ?? 'data'))),
  }) ?? [];
  if (picked) await lab.edit(document, [{ path: [...key], value: relativeTo(document.folder, picked.fsPath) }]);
}
