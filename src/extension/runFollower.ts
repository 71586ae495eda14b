/** Follows the run of the current experiment while another process trains it, and finds out that one has begun. Without such a run it does nothing. */
import * as path from 'node:path';
import * as vscode from 'vscode';
import { LOCK_NAME } from '../machine/folderOwner';
import { Disposables } from './disposables';
import type { ExperimentPanel } from './experimentPanel';
import type { Lab } from './lab';

/** While the panel is seen: lines come twice a second at the most. */
const SHOWN_MS = 1000;
/** Otherwise nothing is read of the log. A process that was killed removes no lock, so nobody tells that it has ended. */
const HIDDEN_MS = 10_000;
/** While the panel is seen and nothing is trained: a run may begin in a folder that VS Code does not watch, or before it does. */
const IDLE_MS = 5000;

export class RunFollower {
  private readonly disposables = new Disposables();
  private timer: NodeJS.Timeout | undefined;
  /** What the timer was set to. */
  private waits: number | undefined;
  private looking = false;
  /** Something happened while it looked, which that may have missed. */
  private again = false;

  constructor(private readonly lab: Lab, private readonly panel: ExperimentPanel) {
    this.disposables.add({ dispose: () => clearTimeout(this.timer) });
    this.disposables.add(lab.onDidChangeRun(() => this.arrange()));
    this.disposables.add(lab.onDidChangeExperiment(() => this.arrange()));
    this.disposables.add(panel.onDidChangeVisibility(() => this.lookNow()));
    // A run that begins takes the lock of its folder, one that ends removes it. Folders outside of the workspace are looked at now and then, and when a person comes back to window or panel.
    const watcher = this.disposables.add(vscode.workspace.createFileSystemWatcher(`**/${LOCK_NAME}`));
    for (const event of [watcher.onDidCreate, watcher.onDidChange, watcher.onDidDelete]) this.disposables.add(event(uri => this.concerns(uri) && this.lookNow()));
    this.disposables.add(vscode.window.onDidChangeWindowState(({ focused }) => focused && this.lookNow()));
  }

  dispose(): void {
    this.disposables.dispose();
  }

  private get follows(): boolean { return this.lab.run?.view.elsewhere != null; }

  /** Whether a lock is that of the run which is shown, or which the experiment would have. */
  private concerns({ fsPath }: vscode.Uri): boolean {
    return [this.lab.run?.view.folder, this.lab.output].includes(path.dirname(fsPath));
  }

  private lookNow(): void {
    clearTimeout(this.timer);
    this.timer = undefined;
    this.again = false;
    void this.look();
  }

  private async look(): Promise<void> {
    if (this.looking) {
      this.again = true;
      return;
    }
    this.looking = true;
    try {
      if (this.follows) await this.lab.run?.look(this.panel.visible);
      else await this.lab.lookForRun();
    } finally {
      this.looking = false;
      if (this.again) this.lookNow();
      else this.arrange();
    }
  }

  /** How long until the next look; undefined where there is nothing to look for. */
  private get pace(): number | undefined {
    const { lab: { run, output }, panel: { visible } } = this;
    if (this.follows) return visible ? SHOWN_MS : HIDDEN_MS;
    return visible && output !== undefined && !run?.active ? IDLE_MS : undefined;
  }

  private arrange(): void {
    const { pace } = this;
    if (this.looking || this.timer && pace === this.waits) return;
    clearTimeout(this.timer);
    this.waits = pace;
    this.timer = pace === undefined ? undefined : setTimeout(() => {
      this.timer = undefined;
      void this.look();
    }, pace);
  }
}
