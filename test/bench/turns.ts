/** Several runs at once of which one computes at a time, a few steps in each turn: a machine whose speed drifts within minutes does so for all of them. */
import { fork, type ChildProcess } from 'node:child_process';
import { once } from 'node:events';
import { createMessageConnection, IPCMessageReader, IPCMessageWriter, type MessageConnection } from 'vscode-jsonrpc/node';
import type { EngineNotifications, EngineRequests } from '../../src/protocol/engine';
import { isEvalRecord } from '../../src/protocol/metrics';
import { built } from '../support/paths';
import { stepsOfTurn } from './arithmetic';
import { started } from './places';

/** A turn is at least this long and has at least so many steps that count. */
const TURN_MS = 3000, LEAST_STEPS = 2;

/** A run that rests unless it has a turn. */
class RestingRun {
  private readonly child: ChildProcess = fork(built('engine/main.js'), [], { stdio: ['ignore', 'ignore', 'inherit', 'ipc'] });
  private readonly connection: MessageConnection;
  /** `time` of the steps of this turn, and before them that of the last one before it. */
  private times: number[] = [0];
  private readonly waiting = new Set<() => boolean>();
  private readonly failed: Promise<never>;
  private state: EngineNotifications['state']['state'] = 'preparing';

  constructor(experiment_file: string) {
    started.add(this.child);
    this.connection = createMessageConnection(new IPCMessageReader(this.child), new IPCMessageWriter(this.child));
    this.connection.onNotification('metrics', ({ records }: EngineNotifications['metrics']) => {
      for (const record of records) if (!isEvalRecord(record)) this.times.push(record.time);
      this.look();
    });
    this.connection.onNotification('state', ({ state }: EngineNotifications['state']) => { this.state = state; this.look(); });
    this.connection.listen();
    const train: EngineRequests['train'][0] = { experiment_file, resume: false };
    this.failed = this.connection.sendRequest('train', train).then(() => { throw new Error('the run ended before its last turn: it has too few steps'); });
    this.failed.catch(() => { /* whoever waits for it is told */ });
  }

  /** Lets it make steps and returns the seconds of each but the first, which finds cold caches and sleeping threads. */
  async turn(): Promise<number[]> {
    if (this.state === 'paused') await this.connection.sendRequest('resume', {});
    const begun = performance.now();
    await this.until(() => this.times.length > 1 + LEAST_STEPS && performance.now() - begun > TURN_MS);
    await this.connection.sendRequest('pause', {});
    await this.until(() => this.state === 'paused');
    const seconds = stepsOfTurn(this.times);
    this.times = [this.times.at(-1)!];
    return seconds;
  }

  async end(): Promise<void> {
    const closed = once(this.child, 'close');
    this.child.kill('SIGKILL');
    await closed;
    this.connection.dispose();
    started.delete(this.child);
  }

  private until(isSo: () => boolean): Promise<void> {
    if (isSo()) return Promise.resolve();
    return Promise.race([this.failed, new Promise<void>(resolve => this.waiting.add(() => isSo() && (resolve(), true)))]);
  }

  private look(): void { for (const isDone of this.waiting) if (isDone()) this.waiting.delete(isDone); }
}

/**
 * Starts the experiments, one after the other, and lets each make a few steps in each of `turns` turns, in order. Returns for each experiment the seconds of its
 * steps of each turn. The experiments need more steps than that takes: they are ended.
 */
export async function stepsInTurns(experiments: readonly string[], turns: number): Promise<number[][][]> {
  const runs: RestingRun[] = [];
  const seconds: number[][][] = experiments.map(() => []);
  try {
    for (const experiment of experiments) {
      runs.push(new RestingRun(experiment));
      // Loading and first steps, which are not like the others.
      await runs.at(-1)!.turn();
    }
    for (let turn = 0; turn < turns; turn++) for (const [i, run] of runs.entries()) seconds[i].push(await run.turn());
    return seconds;
  } finally {
    await Promise.all(runs.map(run => run.end()));
  }
}
