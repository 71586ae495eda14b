/** What a person sees of a run in a terminal: one line that is written over, and a line for each evaluation. */
import type { WriteStream } from 'node:tty';
import type { EngineThread } from './engineThread';
import { isEvalRecord, type EvalRecord, type TelemetrySample } from '../protocol/metrics';
import { formatCount } from '../protocol/adapterMath';
import { formatReport } from './errors';
import { silentReport } from '../protocol/silentGpu';

const BAR = 24;

/** Follows a run; `begun` hears of its device (a notification has one handler). Without a terminal only whole lines are written: start, evaluations, warnings. */
export function showProgress(engine: EngineThread, stream: WriteStream | NodeJS.WriteStream, begun: (device: string) => void = () => {}): { end(): void; telemetry(sample: TelemetrySample): void; silent(since: number | null): void } {
  const terminal = stream.isTTY === true;
  let total = 0;
  let live = '';
  let memory = '';
  const clear = (): void => { if (live) stream.write('\r\x1b[2K'); live = ''; };
  const line = (text: string): void => { const kept = live; clear(); stream.write(`${text}\n`); show(kept); };
  const show = (text: string): void => {
    if (!terminal || !text) return;
    live = text.slice(0, Math.max(20, (stream.columns ?? 100) - 1));
    stream.write(`\r\x1b[2K${live}`);
  };

  engine.on('started', started => {
    begun(started.device);
    total = started.total_steps;
    line(formatCount(started));
    line(`${started.train_examples} training and ${started.eval_examples} evaluation examples, ${total} steps on ${started.device}, into ${started.run_folder}`);
  });
  engine.on('member', ({ name, number, members }) => line(`member ${number + 1} of ${members.length}: ${name}`));
  engine.on('progress', ({ message, fraction }) => show(fraction === null ? `${message} …` : `${message} ${Math.round(100 * fraction)} %`));
  engine.on('log', ({ level, message }) => line(level === 'info' ? message : `${level}: ${message}`));
  engine.on('metrics', ({ records }) => {
    for (const record of records) {
      if (isEvalRecord(record)) line(`step ${record.step}: ${metricsOf(record)}`);
      else {
        const filled = Math.round((BAR * record.step) / Math.max(1, total));
        const left = (record.time / record.step) * (total - record.step);
        show(`${'█'.repeat(filled)}${'░'.repeat(BAR - filled)} ${record.step}/${total}  loss ${number(record.loss)}  ${Math.round(record.tokens_per_second)} tokens/s  ${memory}${duration(left)} left`);
      }
    }
  });
  const silent = (since: number | null): void => line(since === null ? 'the GPU has answered' : `warn: ${formatReport(silentReport(since, 'Ctrl+C, and once more a second later, ends the run, and --resume goes on from its last checkpoint if there is one'))}`);
  return { end: clear, silent, telemetry: ({ memory_bytes, gpu }) => { memory = `${gigabytes(memory_bytes)}${gpu ? ` + GPU ${gigabytes(gpu.memory_bytes)}${gpu.of === 'card' ? ' (whole card)' : ''}` : ''}  `; } };
}

/** `eval_loss 0.4123, eval_accuracy 0.8430` */
function metricsOf(record: EvalRecord): string {
  return Object.entries(record).flatMap(([name, value]) => (name.startsWith('eval_') && name !== 'eval_runtime' && typeof value !== 'object' ? [`${name} ${number(value as number | string)}`] : [])).join(', ');
}

const gigabytes = (bytes: number): string => `${(bytes / 1e9).toFixed(1)} GB`;
const number = (value: number | string): string => (typeof value === 'number' ? value.toPrecision(4) : value);
function duration(exact: number): string {
  const seconds = Math.ceil(exact);
  return seconds < 60 ? `${seconds} s` : `${Math.floor(seconds / 60)} min ${seconds % 60} s`;
}
