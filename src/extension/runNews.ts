/** What is told of a run: in the status bar while it goes on, and once when it ends or waits and nobody sees it. Pure. */
import { mainMetric } from '../protocol/metrics';
import { formatReport, isActive, type RunView } from '../protocol/panel';
import type { ExperimentRun } from './experimentRun';

export interface News {
  kind: 'error' | 'warning' | 'information';
  text: string;
  /** Resume tries again what the run waits for. */
  retry?: true;
}

/** `step 120/500 · loss 1.83`, or what is being prepared or waited for. */
export function describeRun({ view, latest }: Pick<ExperimentRun, 'view' | 'latest'>): string {
  const { status, started, progress, silent, blocked } = view;
  if (silent) return 'the GPU does not answer';
  if (blocked) return 'paused: the disk is full';
  const { trained: last } = latest;
  if (!last) return progress?.message ?? status;
  const word = status === 'running' ? '' : `${status} · `;
  return `${word}step ${last.step}/${started?.total_steps ?? '?'} · loss ${Number(last.loss).toFixed(2)}`;
}

/** What has happened to the run of the experiment `name` since it was seen `before`, if a person is to know. */
export function newsOf(name: string, before: RunView | undefined, { attempt, status, error, summary, silent, blocked }: RunView): News | undefined {
  if (silent && !before?.silent) return { kind: 'warning', text: `LoRA run of ${name}: ${formatReport(silent)}` };
  if (blocked && !before?.blocked) return { kind: 'warning', text: `LoRA run of ${name}: ${formatReport(blocked)}`, retry: true };
  // An end of another attempt is one that was there before, shown again because this one was not begun.
  if (!before || before.attempt !== attempt || !isActive(before.status) || isActive(status)) return undefined;
  if (status === 'failed' && error) return { kind: 'error', text: `LoRA run of ${name} failed. ${formatReport(error)}` };
  if (status !== 'finished' || !summary) return undefined;
  const metric = summary.eval && mainMetric(summary.eval);
  const measured = metric ? `, ${metric.name} ${metric.text}` : '';
  return { kind: 'information', text: `LoRA run of ${name} finished after ${summary.steps} steps: loss ${summary.train_loss.toFixed(3)}${measured}.` };
}
