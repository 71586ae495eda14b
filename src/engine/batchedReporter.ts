/** Tells of fast steps in batches: a message passes two threads, two processes and the editor, and costs the same however many steps it tells of. */
import type { Reporter } from './reporter';
import type { MetricRecord } from '../protocol/metrics';

/** A step that comes this long after the last message is told of at once: while a run is young, and later. */
export const FIRST_MS = 500;
export const BATCH_MS = 1000;
/** Messages that come at the pace of a young run. Losses fall fastest in them, and short runs have no others. */
export const FIRST_MESSAGES = 20;
const PROGRESS_MS = 500;

export interface BatchedReporter extends Reporter {
  /** Sends what still waits. */
  flush(): void;
}

/**
 * A reporter that hands records on at most every `BATCH_MS`, the first of them every `FIRST_MS`, in order and none left out: whatever else is told, and `flush`, comes after the
 * records before it. Of the progress of one piece of work a message is handed on at most every `PROGRESS_MS`.
 */
export function batchedReporter(report: Reporter, now: () => number = () => performance.now()): BatchedReporter {
  let waiting: MetricRecord[] = [];
  let [last, sent] = [-Infinity, 0];
  let timer: NodeJS.Timeout | undefined;
  let told = { message: '', time: -Infinity };
  const flush = (): void => {
    clearTimeout(timer);
    timer = undefined;
    if (waiting.length === 0) return;
    const records = waiting;
    waiting = [];
    last = now();
    sent += 1;
    report.metrics({ records });
  };
  const after = <K extends keyof Reporter>(method: K): Reporter[K] => ((params: never) => {
    flush();
    (report[method] as (params: never) => void)(params);
  }) as Reporter[K];
  return {
    started: after('started'), state: after('state'), log: after('log'), blocked: after('blocked'), member: after('member'), flush,
    metrics({ records }) {
      waiting.push(...records);
      const wait = last + (sent < FIRST_MESSAGES ? FIRST_MS : BATCH_MS) - now();
      if (wait <= 0) flush();
      else timer ??= setTimeout(flush, wait);
    },
    progress(progress) {
      if (progress.message === told.message && progress.fraction !== 1 && now() < told.time + PROGRESS_MS) return;
      told = { message: progress.message, time: now() };
      flush();
      report.progress(progress);
    },
  };
}
