/** The engine that texts are tried in. It keeps base and adapter loaded from one try to the next, until it was idle for a while or its memory is needed. */
import { EngineClient, withEngine, type EngineOptions } from './engineClient';
import { endedSilent } from '../protocol/silentGpu';
import { ReportedError } from './reports';

/** A person who looks at an answer for longer has gone on to something else. */
const IDLE_MS = 5 * 60_000;

export class TryEngine {
  private kept: { engine: Promise<EngineClient>; options: string } | undefined;
  /** Of the engine that is kept, once it runs. */
  pid: number | undefined;
  private busy = false;
  private idle: NodeJS.Timeout | undefined;

  constructor(private readonly idle_ms = IDLE_MS) {}

  /** Runs `work` with the engine, started if there is none. Two tries at a time have an engine each. */
  async use<T>(options: EngineOptions, asked: (engine: EngineClient) => Promise<T>): Promise<T> {
    const work = (engine: EngineClient): Promise<T> => watched(engine, asked);
    if (this.busy) return withEngine(options, work);
    const key = JSON.stringify([options.cwd, options.runtimes]);
    if (this.kept && this.kept.options !== key) this.end();
    clearTimeout(this.idle);
    this.busy = true;
    const mine = this.kept ??= { engine: EngineClient.start(options), options: key };
    try {
      const engine = await mine.engine;
      if (this.kept === mine) this.pid = engine.pid;
      return await work(engine);
    } catch (error) {
      // In a process that has lost its GPU nothing runs on it again.
      if (error instanceof ReportedError && error.report.code === 'device.lost' && this.kept === mine) this.end();
      throw error;
    } finally {
      this.busy = false;
      const engine = await mine.engine.catch(() => undefined);
      // While the work went on the engine may have ended, or its memory may have been asked for.
      if (this.kept !== mine || !engine?.alive) engine?.kill();
      else this.idle = setTimeout(() => this.end(), this.idle_ms).unref();
      if (this.kept === mine && !engine?.alive) this.kept = this.pid = undefined;
    }
  }

  /** Ends the engine and frees its memory: at once, or when the try that goes on has ended. */
  end(): void {
    const { kept } = this;
    this.kept = this.pid = undefined;
    clearTimeout(this.idle);
    if (kept && !this.busy) void kept.engine.then(engine => engine.kill(), () => undefined);
  }
}

/** Nothing is lost with an engine that only answers: one whose GPU hangs is ended, so that the person is told and not left waiting. */
async function watched<T>(engine: EngineClient, work: (engine: EngineClient) => Promise<T>): Promise<T> {
  const unwatch = engine.on('silent', ({ since }) => { if (since !== null) void engine.abandon(endedSilent(since, 'try again')); });
  try { return await work(engine); } finally { unwatch(); }
}
