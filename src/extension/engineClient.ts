/** The host's end of the channel to one engine process: typed requests and notifications over JSON-RPC. */
import type { ChildProcess } from 'node:child_process';
import * as path from 'node:path';
import type { LogOutputChannel } from 'vscode';
import { createMessageConnection, IPCMessageReader, IPCMessageWriter, ResponseError, type MessageConnection } from 'vscode-jsonrpc/node';
import { PROTOCOL_VERSION, type EngineNotifications, type EngineRequests, type ErrorReport } from '../protocol/engine';
import { deathReport, forkEngine, killTree, startReport } from './engineProcess';
import { ReportedError } from './reports';

/** How long an engine may take to write its last checkpoint when the window closes, or to remove what is unfinished. VS Code grants extensions 5 s. */
const POLITE_STOP_MS = 4000;
/** How long a killed process is waited for. */
const ABANDON_MS = 1000;

export interface EngineOptions {
  extensionPath: string;
  cwd: string | undefined;
  /** Where installed GPU runtimes lie. */
  runtimes: string;
  log: LogOutputChannel;
}

/** Every live engine, so that closing the window can end them all. */
const live = new Set<EngineClient>();
export const liveEngines = (): readonly EngineClient[] => [...live];

export class EngineClient {
  private readonly connection: MessageConnection;
  private readonly handlers = new Map<keyof EngineNotifications, Set<(params: never) => void>>();
  /** How to give up each request that is not answered. */
  private readonly pending = new Map<(error: Error) => void, keyof EngineRequests>();
  private death: ReportedError | undefined;
  private killed = false;
  /** Why it was ended on purpose. */
  private reason: ErrorReport | undefined;
  /** What its run works on, once that has begun. */
  private device: string | undefined;
  private readonly exited: Promise<void>;

  private constructor(private readonly child: ChildProcess, private readonly log: LogOutputChannel, cwd: string | undefined) {
    this.connection = createMessageConnection(new IPCMessageReader(child), new IPCMessageWriter(child));
    this.exited = new Promise(resolve => {
      child.once('exit', (code, signal) => this.afterLastMessage(() => {
        this.end(this.reason ?? deathReport(code, signal, this.device));
        resolve();
      }));
      child.once('error', error => {
        this.end(startReport(error, child.spawnfile, cwd));
        resolve();
      });
    });
    // Write errors of a dying child end up here; its exit says the rest.
    this.connection.onError(([error]) => this.log.warn(`engine channel: ${error.message}`));
    this.on('log', ({ level, message }) => this.log[level](`[engine ${child.pid}] ${message}`));
    this.on('started', ({ device }) => { this.device = device; });
    live.add(this);
  }

  /** Starts an engine and checks that it speaks this version of the protocol. `signal` kills it, also while it starts. */
  static async start({ extensionPath, cwd, runtimes, log }: EngineOptions, signal?: AbortSignal): Promise<EngineClient> {
    signal?.throwIfAborted();
    const client = new EngineClient(forkEngine(path.join(extensionPath, 'dist', 'engine', 'main.js'), { cwd, runtimes, log }), log, cwd);
    client.connection.listen();
    signal?.addEventListener('abort', () => client.kill(), { once: true });
    try {
      const { protocol, pid } = await client.request('hello', { protocol: PROTOCOL_VERSION });
      if (protocol !== PROTOCOL_VERSION) {
        throw new ReportedError({ code: 'engine.protocol', cause: `the engine speaks protocol ${protocol}, the extension ${PROTOCOL_VERSION}`, action: 'build or install the extension again' });
      }
      log.info(`engine ${pid} started`);
      return client;
    } catch (error) {
      client.kill();
      throw error;
    }
  }

  get pid(): number | undefined { return this.child.pid; }
  get alive(): boolean { return this.death === undefined && !this.killed; }
  /** A merge goes on, which leaves something behind if the process just ends. */
  get merging(): boolean { return [...this.pending.values()].includes('merge'); }

  /** Sends a request. Rejects with a ReportedError: the engine's own report, or why its process died. */
  request<K extends keyof EngineRequests>(method: K, params: EngineRequests[K][0]): Promise<EngineRequests[K][1]> {
    if (this.death) return Promise.reject(this.death);
    return new Promise((resolve, reject) => {
      this.pending.set(reject, method);
      const done = (): void => void this.pending.delete(reject);
      this.connection.sendRequest<EngineRequests[K][1]>(method, params).then(
        result => { done(); resolve(result); },
        error => {
          // A closed channel rejects too, with less to say than the exit that follows it.
          if (!(error instanceof ResponseError) || error.data === undefined && !this.child.connected) {
            void this.exited.then(() => { done(); reject(this.death ?? error); });
            return;
          }
          done();
          reject(remoteError(error));
        });
    });
  }

  /** Adds a handler; those of one notification are called in the order in which they came. Returns what takes it away again. */
  on<K extends keyof EngineNotifications>(method: K, handler: (params: EngineNotifications[K]) => void): () => void {
    let handlers = this.handlers.get(method) as Set<(params: EngineNotifications[K]) => void> | undefined;
    if (!handlers) {
      const all = handlers = new Set();
      this.handlers.set(method, all);
      // The connection keeps one handler for each notification, the last.
      this.connection.onNotification(method, (params: EngineNotifications[K]) => all.forEach(each => each(params)));
    }
    handlers.add(handler);
    return () => void handlers.delete(handler);
  }

  /** Asks a training engine to write a checkpoint and end, and kills it if that takes too long. */
  async shutdown(training: boolean): Promise<void> {
    if (training && !this.death) {
      const stopped = this.request('stop', {}).catch(() => undefined).then(() => this.idle());
      await Promise.race([stopped, this.exited, delay(POLITE_STOP_MS)]);
    }
    this.kill();
    await Promise.race([this.exited, delay(ABANDON_MS)]);
  }

  /** Lets the process remove what it has half written, then ends it. */
  async cancel(): Promise<void> {
    if (this.child.connected) this.child.disconnect();
    await Promise.race([this.exited, delay(POLITE_STOP_MS)]);
    this.kill();
  }

  /** Ends the process and everything it started, at once. */
  kill(): void {
    this.killed = true;
    killTree(this.child);
  }

  /** The same for a reason that whoever waits for an answer gets, also if a driver keeps the process from ending. */
  async abandon(report: ErrorReport): Promise<void> {
    this.reason = report;
    this.kill();
    await Promise.race([this.exited, delay(ABANDON_MS)]);
    this.end(report);
  }

  /** Resolves once no request is waiting for its answer. */
  private async idle(): Promise<void> {
    while (this.pending.size > 0 && !this.death) await delay(50);
  }

  /** Messages that were sent before the exit may still be in the channel. */
  private afterLastMessage(then: () => void): void {
    if (!this.child.connected) setImmediate(then);
    else {
      const timer = setTimeout(then, 500);
      this.child.once('disconnect', () => { clearTimeout(timer); setImmediate(then); });
    }
  }

  private end(report: ErrorReport): void {
    if (this.death) return;
    this.death = new ReportedError(report);
    live.delete(this);
    this.log.info(report.cause);
    for (const reject of this.pending.keys()) reject(this.death);
    this.pending.clear();
    this.connection.dispose();
  }
}

/** Runs `work` with an engine of its own, which ends with it, or before by `signal`. */
export async function withEngine<T>(options: EngineOptions, work: (engine: EngineClient) => Promise<T>, signal?: AbortSignal): Promise<T> {
  const engine = await EngineClient.start(options, signal);
  try {
    return await work(engine);
  } finally {
    engine.kill();
  }
}

function remoteError(error: ResponseError<unknown>): ReportedError {
  const data = error.data as Partial<ErrorReport> | undefined;
  if (data && typeof data.code === 'string' && typeof data.cause === 'string' && typeof data.action === 'string') return new ReportedError(data as ErrorReport, { cause: error });
  return new ReportedError({ code: 'engine.internal', cause: error.message, action: 'see the log (command "LoRA Lab: Show log")' }, { cause: error });
}

const delay = (ms: number): Promise<void> => new Promise(resolve => setTimeout(resolve, ms).unref());
