/** What a person asks of a run while it runs. The training loop looks here between batches. */
import { LabError } from './errors';

export type Wanted = 'run' | 'pause' | 'stop';

/** Thrown out of the work in progress, such as an evaluation, once a stop was asked for. */
export class StopRequested extends Error {}

interface SaveRequest { done(checkpoint: string): void; failed(error: unknown): void }

export class RunControl {
  private wish: Wanted = 'run';
  private waiting: (() => void)[] = [];
  private saves: SaveRequest[] = [];
  private answers: ((answer: 'run' | 'stop') => void)[] = [];

  /** `waits`: somebody is there who can make room on a full disk. A run that is part of another hears the answer through `whole`. */
  constructor(public waits = false, private readonly whole?: RunControl) {}

  get wanted(): Wanted { return this.wish; }

  /** A stop is final. */
  want(wish: Wanted): void {
    if (wish !== 'pause') for (const answered of this.answers.splice(0)) answered(wish);
    if (this.wish !== 'stop') this.wish = wish;
    this.wake();
  }

  /** Resolves with the checkpoint's folder once the loop has written one. */
  save(): Promise<string> {
    return new Promise((done, failed) => {
      this.saves.push({ done, failed });
      this.wake();
    });
  }

  /** Something is wanted of the run that it does between two steps. */
  get asked(): boolean { return this.wish !== 'run' || this.saves.length > 0; }

  /** The save requests since the last call. */
  takeSaves(): SaveRequest[] { return this.saves.splice(0); }

  /** Fails the saves that nobody will answer any more: what they were asked of has ended. */
  refuseSaves(cause: string): void {
    for (const request of this.takeSaves()) request.failed(new LabError({ code: 'run.none', cause, action: 'use the checkpoints in its folder' }));
  }

  /** The next answer to a run that waits, even after a stop: to try again, or to give up. */
  answer(): Promise<'run' | 'stop'> {
    return this.whole?.answer() ?? new Promise(resolve => this.answers.push(resolve));
  }

  /** Resolves at the next request of any kind. */
  changed(): Promise<void> {
    return new Promise(resolve => this.waiting.push(resolve));
  }

  /** Throws StopRequested once a stop was asked for. */
  throwIfStopped(): void {
    if (this.wish === 'stop') throw new StopRequested();
  }

  private wake(): void {
    for (const resolve of this.waiting.splice(0)) resolve();
  }
}
