/** Starting the worker thread. A file of its own, without the rest of the engine, so that the thread boots while the rest is loaded. */
import { join } from 'node:path';
import { MessageChannel, Worker } from 'node:worker_threads';
import { CALLS_BYTES } from './deviceCall';
import { sendNothing } from './executors/usageData';
import { touchFor } from './memoryAhead';

export interface StartedWorker {
  worker: Worker;
  /** Memory of the run's peaks, which both threads see; see `Peaks`. */
  peaks: SharedArrayBuffer;
  /** Memory of `DeviceCalls`, likewise. */
  calls: SharedArrayBuffer;
}

/** Bytes of `Peaks`. */
export const PEAKS_BYTES = 40;

/** Starts `dist/engine/worker.js`. */
export function startWorker(): StartedWorker {
  sendNothing();
  const peaks = new SharedArrayBuffer(PEAKS_BYTES);
  const calls = new SharedArrayBuffer(CALLS_BYTES);
  const { port1, port2 } = new MessageChannel();
  touchFor(port1);
  return { worker: new Worker(join(__dirname, 'worker.js'), { workerData: { peaks, calls, memory: port2 }, transferList: [port2] }), peaks, calls };
}
