/** What the worker thread answers: everything that reads, computes or writes. Native calls block it; the main thread stays free. */
import { parentPort, workerData, type MessagePort } from 'node:worker_threads';
import { ResponseError } from 'vscode-jsonrpc/node';
import { batchedReporter } from './batchedReporter';
import { threadConnection } from './channel';
import { RunControl } from './control';
import { tellCallsIn } from './deviceCall';
import { LabError } from './errors';
import { unlinkCudaProvider } from './executors/cuda';
import { installRuntime, runtimeStates } from './executors/install/install';
import { uninstall } from './executors/install/installed';
import { probe } from './executors/probe';
import { generate } from './generate';
import { inspectCheckpoint } from './inspect';
import { LoadedModels } from './loadedModels';
import { measureMemory } from './measureMemory';
import { families } from './model/families';
import { touchBy } from './memoryAhead';
import { mergeAdapter } from './model/merge';
import { predict } from './predict';
import { previewData } from './preview';
import { Peaks } from './telemetry';
import { runExperiment } from './run';
import { runSweep } from './sweep';
import type { EngineNotifications, EngineRequests, ErrorReport } from '../protocol/engine';

type Handlers = { [K in Exclude<keyof EngineRequests, 'hello'>]: (params: EngineRequests[K][0]) => EngineRequests[K][1] | Promise<EngineRequests[K][1]> };

const connection = threadConnection(parentPort!);
const shared = workerData as { peaks: SharedArrayBuffer; calls: SharedArrayBuffer; memory: MessagePort };
const peaks = new Peaks(shared.peaks);
tellCallsIn(shared.calls);
touchBy(shared.memory);
/** The run that is going on. One at a time. */
let control: RunControl | undefined;
let installing: AbortController | undefined;
/** Models that texts are tried with, one request after the other. */
const loaded = new LoadedModels();
/** Requests to end what is being written. */
let stops = 0;

/** Hears of the first step. */
let stepped = (): void => {};

const notify = <K extends keyof EngineNotifications>(method: K) => (params: EngineNotifications[K]): void => { void connection.sendNotification(method, params); };
const report = batchedReporter({
  started: notify('started'), metrics: params => { notify('metrics')(params); stepped(); }, state: notify('state'), progress: notify('progress'), log: notify('log'), blocked: notify('blocked'), member: notify('member'),
});

function running(): RunControl {
  if (control) return control;
  throw new LabError({ code: 'run.none', cause: 'no run is active', action: 'start one' });
}

/** One run or sweep at a time. */
async function alone<T>(run: (control: RunControl) => Promise<T>, waits = false): Promise<T> {
  if (control) throw new LabError({ code: 'run.active', cause: 'this engine is training already', action: 'stop that run first' });
  control = new RunControl(waits);
  try {
    // Training needs the memory.
    await loaded.clear();
    return await run(control);
  } finally {
    control = undefined;
    report.flush();
  }
}

const handlers: Handlers = {
  inspect: inspectCheckpoint,
  preview: params => previewData(params),
  train: ({ wait_when_full, ...options }) => alone(control => runExperiment({ ...options, cwd: process.cwd(), control, report, peaks }), wait_when_full),
  sweep: ({ wait_when_full, ...options }) => alone(control => runSweep({ ...options, cwd: process.cwd(), control, report, peaks }), wait_when_full),
  pause: () => { running().want('pause'); return null; },
  resume: () => { running().want('run'); return null; },
  stop: () => { running().want('stop'); return null; },
  save: async () => ({ checkpoint: await running().save() }),
  measure: measureMemory,
  merge: params => mergeAdapter({ ...params, families }),
  predict: params => predict(params, { loaded, warn: message => report.log({ level: 'warn', message }) }),
  generate({ device, ...params }) {
    const begun = stops;
    return generate(params, { device, onText: notify('text'), loaded, between: () => { if (stops !== begun) throw new LabError({ code: 'predict.stopped', cause: 'the text was stopped', action: 'try another one' }); } });
  },
  stopGenerating: () => { stops += 1; return null; },
  async install(params) {
    installing = new AbortController();
    try { return await installRuntime(params, { signal: installing.signal, progress: report.progress, probe }); } finally { installing = undefined; }
  },
  cancelInstall: () => { installing?.abort(); return null; },
  uninstall({ runtime }) {
    if (runtime === 'cuda') unlinkCudaProvider();
    return { removed: uninstall(runtime) };
  },
  runtimes: runtimeStates,
};

for (const [method, handler] of Object.entries(handlers) as [string, (params: unknown) => unknown][]) {
  connection.onRequest(method, async (params: unknown) => {
    try { return await handler(params); } catch (error) {
      const data = toReport(error);
      throw new ResponseError(-32000, data.cause, data);
    }
  });
}

/** Begins to answer. `onStep` is called once, after the first step of a run. */
export function answerRequests(onStep: () => void): void {
  stepped = () => { stepped = () => {}; onStep(); };
  connection.listen();
}

function toReport(error: unknown): ErrorReport {
  if (error instanceof LabError) return error.report;
  const cause = error instanceof Error ? error.message : String(error);
  report.log({ level: 'error', message: error instanceof Error ? error.stack ?? cause : cause });
  return { code: 'engine.internal', cause, action: 'this is a fault of the engine; its log says more' };
}
