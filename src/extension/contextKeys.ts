/** Context keys that package.json's `when` and `enablement` clauses read. */
import * as vscode from 'vscode';
import type { Lab } from './lab';
import { Disposables, throttle } from './disposables';

export function followContextKeys(lab: Lab): vscode.Disposable {
  const disposables = new Disposables();
  const known = new Map<string, unknown>();
  const update = disposables.add(throttle(100, () => {
    const active = lab.activeRun?.view.status;
    const run = lab.run?.view;
    set('hasExperiment', lab.document !== undefined);
    set('model', lab.model.state);
    set('active', active !== undefined);
    set('status', active ?? run?.status ?? 'none');
    set('silent', (lab.activeRun?.view.silent ?? null) !== null);
    set('hasAdapter', (run?.adapter ?? null) !== null);
    set('resumable', run?.resumable === true && active === undefined);
  }));
  function set(key: string, value: unknown): void {
    if (known.get(key) === value) return;
    known.set(key, value);
    void vscode.commands.executeCommand('setContext', `loraLab.${key}`, value);
  }
  disposables.add(lab.onDidChangeExperiment(update));
  disposables.add(lab.onDidChangeRun(update));
  update();
  return disposables;
}
