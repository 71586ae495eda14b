/** One status bar item while a run is active, and a notification when it ends or waits unseen. */
import * as vscode from 'vscode';
import { formatReport, type RunView } from '../protocol/panel';
import { Disposables, throttle } from './disposables';
import { experimentName } from './experimentDocument';
import type { ExperimentPanel } from './experimentPanel';
import type { ExperimentRun } from './experimentRun';
import type { Lab } from './lab';
import { describeRun, newsOf, type News } from './runNews';

/** Each change of the item goes to the window and is laid out there. */
const UPDATE_MS = 1000;

export class StatusBar {
  private readonly disposables = new Disposables();
  private readonly item = this.disposables.add(vscode.window.createStatusBarItem('loraLab.run', vscode.StatusBarAlignment.Left));
  private readonly updateSoon = this.disposables.add(throttle(UPDATE_MS, () => this.update()));
  /** Experiment and state that the tooltip speaks of. */
  private about = '';
  private readonly known = new WeakMap<ExperimentRun, RunView>();

  constructor(private readonly lab: Lab, private readonly panel: ExperimentPanel) {
    this.item.name = 'LoRA Lab run';
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
    const { view: { status, blocked }, experimentFile } = run;
    const paused = status === 'paused';
    // Once steps are counted the numbers move; a turning icon costs more than all else that is shown.
    this.item.text = `$(${paused ? 'debug-pause' : run.metrics.length ? 'pulse' : 'sync~spin'}) ${text}`;
    this.item.accessibilityInformation = { label: `LoRA run: ${text}` };
    const about = `${experimentFile} ${paused} ${blocked?.cause ?? ''}`;
    if (about !== this.about) {
      this.item.tooltip = tooltip(run);
      this.item.command = { title: 'Open panel', command: 'loraLab.openPanel', arguments: [experimentFile] };
    }
    this.about = about;
    this.item.show();
  }

  private announce(run: ExperimentRun): void {
    const news = newsOf(experimentName(run.experimentFile), this.known.get(run), run.view);
    this.known.set(run, run.view);
    // The panel may show another experiment.
    const seen = this.panel.visible && this.lab.run === run;
    if (news && !seen) void tell(news, run.experimentFile);
  }
}

function tooltip(run: ExperimentRun): vscode.MarkdownString {
  const { status, blocked } = run.view;
  const paused = status === 'paused';
  const text = new vscode.MarkdownString(`LoRA run of \`${vscode.workspace.asRelativePath(run.experimentFile).replace(/`/g, '')}\`\n\n`
    + `[${blocked ? 'Retry' : paused ? 'Resume' : 'Pause'}](command:loraLab.${paused ? 'resume' : 'pause'}) · [Stop](command:loraLab.stop)`);
  if (blocked) text.appendText(`\n\n${formatReport(blocked)}`);
  text.isTrusted = { enabledCommands: ['loraLab.pause', 'loraLab.resume', 'loraLab.stop'] };
  return text;
}

async function tell({ kind, text, retry }: News, experimentFile: string): Promise<void> {
  const { showErrorMessage, showWarningMessage, showInformationMessage } = vscode.window;
  const show = { error: showErrorMessage, warning: showWarningMessage, information: showInformationMessage }[kind];
  const choice = await show(text, ...retry ? ['Retry'] : [], 'Open panel');
  if (choice === 'Retry') await vscode.commands.executeCommand('loraLab.resume');
  else if (choice) await vscode.commands.executeCommand('loraLab.openPanel', experimentFile);
}
