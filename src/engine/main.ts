/**
 * The engine as a child process of the extension host: answers over Node IPC. This thread only passes messages on, so that
 * it is never busy; the worker thread does the work.
 */
import { createMessageConnection, IPCMessageReader, IPCMessageWriter } from 'vscode-jsonrpc/node';
import { DeviceWatch } from './deviceWatch';
import { startThread } from './engineThread';
import { Telemetry } from './telemetry';
import { abandon } from './transaction';
import { PROTOCOL_VERSION, type EngineRequests, type RunStarted } from '../protocol/engine';

/** How long the last checkpoint, or removing half a merge, may take when the host is gone. */
const LAST_WORDS_MS = 3000;

const FORWARDED: Exclude<keyof EngineRequests, 'hello'>[] = ['inspect', 'preview', 'train', 'sweep', 'pause', 'resume', 'stop', 'save', 'measure', 'merge', 'predict', 'generate', 'stopGenerating', 'install', 'cancelInstall', 'uninstall', 'runtimes'];
/** Requests whose effect shows later: they are answered at once, however busy the worker is. */
const AT_ONCE = ['pause', 'resume', 'stop'];
/** Requests in which a GPU that does not answer is told of. */
const WATCHED = ['train', 'sweep', 'predict', 'generate', 'measure'];

if (!process.send) {
  console.error('This is the engine of LoRA Lab, started by its extension. For the command line: npm run lab -- --help');
  process.exit(2);
}
const host = createMessageConnection(new IPCMessageReader(process), new IPCMessageWriter(process));
const { connection: worker, peaks, calls, end: endWorker } = startThread();
const telemetry = new Telemetry(peaks, sample => { void host.sendNotification('telemetry', sample).catch(() => { /* the host is gone */ }); });
const watch = new DeviceWatch(calls, since => { void host.sendNotification('silent', { since }).catch(() => { /* the host is gone */ }); });
let training = false;
/** Of the watched ones, those that are not answered. */
let open = 0;
/** Merges that are being written. */
const merging = new Set<EngineRequests['merge'][0]>();

host.onRequest('hello', ({ protocol }: EngineRequests['hello'][0]): EngineRequests['hello'][1] => {
  if (protocol !== PROTOCOL_VERSION) setTimeout(() => process.exit(0), 100);
  return { protocol: PROTOCOL_VERSION, pid: process.pid };
});
for (const method of FORWARDED) {
  host.onRequest(method, async (params: unknown) => {
    // A second run is refused by the worker and changes nothing of the first.
    const trains = !training && (method === 'train' || method === 'sweep');
    if (trains) { training = true; telemetry.start(); }
    const watched = WATCHED.includes(method);
    if (watched && open++ === 0) watch.start();
    if (method === 'stop') watch.hurry();
    if (method === 'merge') merging.add(params as EngineRequests['merge'][0]);
    const answer = worker.sendRequest<unknown>(method, params);
    if (AT_ONCE.includes(method) && training) {
      answer.catch(() => { /* the run ended first */ });
      return null;
    }
    // A ResponseError of the worker passes through with its report.
    return answer.finally(() => {
      if (trains) { training = false; telemetry.stop(); }
      if (watched && --open === 0) watch.stop();
      if (method === 'merge') merging.delete(params as EngineRequests['merge'][0]);
    });
  });
}
worker.onNotification((method, params) => {
  if (method === 'started') telemetry.follow((params as RunStarted).device);
  void host.sendNotification(method, params as object).catch(() => { /* the host is gone */ });
});
host.listen();

/** When the window is gone, or the system asks to end, a run writes a last checkpoint if that is quick, and merges remove what is unfinished; then nothing of this process may stay. */
let ending = false;
function endSoon(): void {
  if (ending) return;
  ending = true;
  const end = (): void => { process.kill(process.pid, 'SIGKILL'); };
  setTimeout(end, training || merging.size ? LAST_WORDS_MS : 0);
  if (training) {
    void worker.sendRequest('stop', {}).catch(end);
    setInterval(() => { if (!training) end(); }, 50);
  } else if (merging.size) {
    const outs = [...merging].map(({ out }) => out);
    // Nobody is there to be told what fails; the next merge into that folder clears it away.
    void endWorker().then(() => outs.forEach(abandon)).finally(end);
  }
}
process.on('disconnect', endSoon);
for (const signal of ['SIGTERM', 'SIGHUP'] as const) process.on(signal, endSoon);
