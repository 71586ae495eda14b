/** What `npm start` asks for through the environment of the extension host: an experiment to show, and to train at once. */
import { existsSync } from 'node:fs';
import * as fs from 'node:fs/promises';
import * as vscode from 'vscode';
import type { ErrorReport } from '../protocol/engine';
import { throttle } from './disposables';
import type { ExperimentPanel } from './experimentPanel';
import type { Lab } from './lab';
import { toReport } from './reports';
import { readState } from './state';

/**
 * `LORA_LAB_OPEN`: experiment file whose panel is shown.
 * `LORA_LAB_RUN`: file that receives the state of the run as JSON while it trains; naming one presses Start.
 */
export async function openAtStart(lab: Lab, panel: ExperimentPanel): Promise<void> {
  const { LORA_LAB_OPEN: experiment, LORA_LAB_RUN: report } = process.env;
  if (!experiment) return;
  await lab.current.choose(vscode.Uri.file(experiment));
  await vscode.commands.executeCommand('loraLab.model.focus');
  panel.show();
  // A reloaded window has the same environment; its run has been started already.
  if (report && !existsSync(report)) await runWithReport(lab, panel, report);
}

async function runWithReport(lab: Lab, panel: ExperimentPanel, file: string): Promise<void> {
  let writing: Promise<unknown> = Promise.resolve();
  const write = (more: { ended: boolean; error?: ErrorReport }): void => {
    const text = JSON.stringify({ ...readState(lab, panel).run, ...more });
    // Renamed into place, so that a reader never sees half of it.
    writing = writing.then(() => fs.writeFile(`${file}.tmp`, text)).then(() => fs.rename(`${file}.tmp`, file)).catch(error => lab.log.warn(error));
  };
  const writeSoon = throttle(250, () => write({ ended: false }));
  const listener = lab.onDidChangeRun(writeSoon);
  // With arguments the command tells its caller what kept it from starting.
  const refusal = await vscode.commands.executeCommand('loraLab.start', {}).then(() => undefined, toReport);
  listener.dispose();
  writeSoon.dispose();
  write({ ended: true, ...(refusal ? { error: refusal } : {}) });
  await writing;
}
