/** Speaking with the worker thread, for the child process of the extension and for the command line. */
import { ResponseError, type MessageConnection } from 'vscode-jsonrpc/node';
import { threadConnection } from './channel';
import { DeviceCalls } from './deviceCall';
import { LabError } from './errors';
import { startWorker, type StartedWorker } from './startWorker';
import { Peaks } from './telemetry';
import type { EngineNotifications, EngineRequests, ErrorReport } from '../protocol/engine';

export interface EngineThread {
  connection: MessageConnection;
  /** Where the worker finds the peaks of its run. */
  peaks: Peaks;
  /** Where it tells what the GPU has not answered. */
  calls: DeviceCalls;
  /** Rejects with a LabError for what a person can mend, else with an Error. */
  request<K extends keyof EngineRequests>(method: K, params: EngineRequests[K][0]): Promise<EngineRequests[K][1]>;
  on<K extends keyof EngineNotifications>(method: K, handler: (params: EngineNotifications[K]) => void): void;
  /** Ends the thread, whatever it does. */
  end(): Promise<unknown>;
}

/** Exit code of a process whose worker ran out of heap: what V8 itself exits with. */
const OUT_OF_HEAP = 134;

/** Waits until a thread that is not needed has answered or has ended: a process that exits while it loads native code is aborted. */
export async function settled({ worker }: StartedWorker): Promise<void> {
  const connection = threadConnection(worker);
  connection.listen();
  const ended = new Promise<void>(done => worker.once('error', () => done()).once('exit', () => done()));
  await Promise.race([connection.sendRequest('stop', {}).catch(() => undefined), ended]);
}

/** The engine's thread. If it dies, so does the process: nobody could answer any more. */
export function startThread({ worker, peaks, calls } = startWorker()): EngineThread {
  worker.on('error', (error: NodeJS.ErrnoException) => {
    console.error(error.stack ?? error.message);
    process.exit(error.code === 'ERR_WORKER_OUT_OF_MEMORY' ? OUT_OF_HEAP : 70);
  });
  const connection = threadConnection(worker);
  connection.listen();
  return {
    connection, peaks: new Peaks(peaks), calls: new DeviceCalls(calls),
    request: (method, params) => connection.sendRequest<never>(method, params).catch((error: unknown) => {
      const data = error instanceof ResponseError ? error.data as ErrorReport | undefined : undefined;
      throw data && data.code !== 'engine.internal' ? new LabError(data) : error;
    }),
    on: (method, handler) => { connection.onNotification(method, handler); },
    end: () => worker.terminate(),
  };
}
