/** One status bar item while a run is active, and the one notification when it ends unseen. */
import * as vscode from 'vscode';
import { mainMetric } from '../protocol/metrics';
import { formatReport, isActive, type RunView } from '../protocol/panel';
import { Disposables, throttle } from './disposables';
import type { ExperimentPanel } from './experimentPanel';
import type { ExperimentRun } from './experimentRun';
import type { Lab } from './lab';

/** Each change of the item goes to the window and is laid out there. */
const UPDATE_MS = 1000;

export class StatusBar {
  private readonly disposables = new Disposables();
  private readonly item = this.disposables.add(vscode.window.createStatusBarItem('loraLab.run', vscode.StatusBarAlignment.Left));
  private readonly updateSoon = this.disposables.add(throttle(UPDATE_MS, () => this.update()));
  /** Experiment and state that the tooltip speaks of. */
  private about = '';
  private readonly known = new WeakMap<ExperimentRun, Pick<RunView, 'attempt' | 'status' | 'silent'>>();

  constructor(private readonly lab: Lab, private readonly panel: ExperimentPanel) {
    this.item.name = 'LoRA Lab run';
    this.item.command = 'loraLab.openPanel';
    this.disposables.add(lab.onDidChangeRun(run => {
      this.updateSoon();
      this.announce(run);
    }));
  }

  dispose(): void {
    this.disposables.dispose();
  }

  private update(): void {
    const run = this.lab.activeRun;
    if (!run) {
      this.item.hide();
      return;
    }
    const text = describeRun(run);
    const paused = run.view.status === 'paused';
    // Once steps are counted the numbers move; a turning icon costs more than all else that is shown.
    this.item.text = `$(${paused ? 'debug-pause' : run.metrics.length ? 'pulse' : 'sync~spin'}) ${text}`;
    this.item.accessibilityInformation = { label: `LoRA run: ${text}` };
    const about = `${run.experimentFile} ${paused}`;
    if (about !== this.about) this.item.tooltip = tooltip(run);
    this.about = about;
    this.item.show();
  }

  private announce(run: ExperimentRun): void {
    const { attempt, status, error, summary, silent } = run.view;
    const before = this.known.get(run);
    this.known.set(run, { attempt, status, silent });
    if (silent && !before?.silent && !this.panel.visible) void notify(vscode.window.showWarningMessage, `LoRA run: ${formatReport(silent)}`);
    // An end of another attempt is one that was there before, shown again because this one was not begun.
    if (!before || before.attempt !== attempt || !isActive(before.status) || isActive(status) || this.panel.visible) return;
    if (status === 'failed' && error) void notify(vscode.window.showErrorMessage, `LoRA run failed. ${formatReport(error)}`);
    if (status === 'finished' && summary) {
      const metric = summary.eval && mainMetric(summary.eval);
      const measured = metric ? `, ${metric.name} ${metric.text}` : '';
      void notify(vscode.window.showInformationMessage, `LoRA run finished after ${summary.steps} steps: loss ${summary.train_loss.toFixed(3)}${measured}.`);
    }
  }
}

/** `step 120/500 · loss 1.83`, or what is being prepared. */
export function describeRun(run: ExperimentRun): string {
  const { status, started, progress, silent } = run.view;
  if (silent) return 'the GPU does not answer';
  const { trained: last } = run.latest;
  if (!last) return progress?.message ?? status;
  const word = status === 'running' ? '' : `${status} · `;
  return `${word}step ${last.step}/${started?.total_steps ?? '?'} · loss ${Number(last.loss).toFixed(2)}`;
}

function tooltip(run: ExperimentRun): vscode.MarkdownString {
  const paused = run.view.status === 'paused';
  const text = new vscode.MarkdownString(`LoRA run of \`${vscode.workspace.asRelativePath(run.experimentFile).replace(/`/g, '')}\`\n\n`
    + `[${paused ? 'Resume' : 'Pause'}](command:loraLab.${paused ? 'resume' : 'pause'}) · [Stop](command:loraLab.stop)`);
  text.isTrusted = { enabledCommands: ['loraLab.pause', 'loraLab.resume', 'loraLab.stop'] };
  return text;
}

async function notify(show: (message: string, ...items: string[]) => Thenable<string | undefined>, message: string): Promise<void> {
  if (await show(message, 'Open panel')) await vscode.commands.executeCommand('loraLab.openPanel');
}
