/**
 * Pages of memory that another thread touches before they are needed. The system gives a process each page when it is first touched: packing the weights
 * of BERT-base takes 175,000 of them, half of the time. malloc keeps what is freed for the next that asks on the same thread, so the thread that
 * will need memory takes blocks of it, and the main thread, which is idle meanwhile, touches and frees them one after the other.
 */
import { MessageChannel, type MessagePort } from 'node:worker_threads';

/** What every system's pages are at least. */
const PAGE = 4096;
/**
 * glibc gives what is larger back to the system at once. It does so with much smaller blocks, too, until one of nearly this size has been freed
 * (M_MMAP_THRESHOLD in mallopt(3)).
 */
const MOST_KEPT = 2 ** 25 - 2 ** 16;
/** Smaller blocks are not worth a message. */
const LEAST = 2 ** 17;

/** Where blocks go to be touched. */
let helper: MessagePort | undefined;
export const touchBy = (port: MessagePort): void => { helper = port; };

/** Other systems' malloc gives such blocks back whenever they are freed, and Electron keeps buffers apart from what malloc gives (V8's memory cage). */
const kept = (): boolean => process.platform === 'linux' && !process.versions.electron;

/**
 * Has memory touched that this thread's mallocs of these sizes will then get, until the function that it returns is called. Whatever is not used
 * stays with the process, so the sizes must be what is needed: malloc leaves gaps where a block does not fit.
 */
export async function touchAhead(sizes: readonly number[]): Promise<() => void> {
  const blocks = sizes.filter(size => size >= LEAST && size < MOST_KEPT);
  if (!helper || !kept() || !blocks.length) return () => {};
  const port = helper;
  await release(take(MOST_KEPT));
  for (const size of blocks) {
    const block = take(size);
    // One by one: V8 collects garbage when it has handed out much memory that it still owns.
    port.postMessage(block, [block]);
  }
  // A heap of malloc's at whose end nothing is used goes back to the system. The largest block fits in no gap before it.
  const end = take(Math.max(...blocks));
  port.postMessage('touch');
  return () => {
    port.postMessage('stop');
    void release(end);
  };
}

/** Touches what `touchAhead` of another thread sends. */
export function touchFor(port: MessagePort): void {
  let blocks: ArrayBuffer[] = [];
  const next = (): void => {
    const block = blocks.shift();
    if (!block) return;
    const bytes = new Uint8Array(block);
    for (let i = 0; i < bytes.length; i += PAGE) bytes[i] = 0;
    void release(block);
    setImmediate(next);
  };
  port.on('message', (message: ArrayBuffer | 'touch' | 'stop') => {
    if (message === 'touch') next();
    else if (message === 'stop') blocks = [];
    else blocks.push(message);
  });
  port.unref();
}

const take = (bytes: number): ArrayBuffer => Buffer.allocUnsafeSlow(bytes).buffer as ArrayBuffer;

/** Frees memory now and not when it is collected as garbage: a message in a port that is closed. */
async function release(memory: ArrayBuffer): Promise<void> {
  const { port1, port2 } = new MessageChannel();
  port1.postMessage(memory, [memory]);
  port2.close();
  await new Promise(resolve => port2.once('close', resolve));
}
