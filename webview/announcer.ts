/** What a person must hear who does not see the panel: that a run has begun, waits, goes on or has ended, each once; and evaluations from time to time. */
import { isTraining, type RunStatus } from '../src/protocol/panel';
import { STATUS_TEXT } from './actions';
import { describeStep } from './describe';
import { h, setText } from './dom';
import type { Part } from './view';

/** Evaluations that follow each other faster are not all told: who listens wants to do something else meanwhile. */
const PAUSE_MS = 15_000;

interface Said { file: string | undefined; attempt: number; phase: RunStatus; history: number; evaluated: number }

/** What a status means beside the one before: a run that evaluates still trains, one that saves may be paused, and members of a sweep begin one after the other. */
function phaseOf(status: RunStatus, before: RunStatus | undefined): RunStatus {
  if (status === 'evaluating' || status === 'preparing' && before === 'running') return 'running';
  return status === 'saving' ? (before === 'paused' || before === 'stopping' ? before : 'running') : status;
}

/** `say`: what has come of a press. */
export function announcer(): Part & { say(text: string): void } {
  const element = h('p', { class: 'visually-hidden', id: 'live', role: 'status', 'aria-live': 'polite' });
  let last: Said | undefined;
  let spoken = 0;
  /** The last attempt that was seen: an earlier one is that of an experiment which is opened again. */
  let newest = 0;
  const speak = (...parts: (string | false | undefined)[]): void => {
    spoken = Date.now();
    setText(element, parts.filter(Boolean).join('. '));
  };
  return {
    element,
    say(text) {
      // It may be pressed twice.
      setText(element, '');
      requestAnimationFrame(() => speak(text));
    },
    update({ run, series, experiment, ready }) {
      if (!ready) return;
      const before = last;
      const now = last = { file: experiment?.file, attempt: run.attempt, phase: phaseOf(run.status, before?.phase), history: series.history, evaluated: series.evaluations.length };
      const begins = now.attempt > newest;
      newest = Math.max(newest, now.attempt);
      // What a panel shows when it is opened is read where it stands.
      if (!before || before.file !== now.file) return;
      const ended = !isTraining(now.phase);
      // An end of another attempt is another experiment's, or of an earlier run that is shown again, because the new one was held.
      const same = now.attempt === before.attempt;
      if (now.phase !== before.phase || !same) {
        const title = before.phase === 'paused' && now.phase === 'running' ? 'Training goes on' : STATUS_TEXT[now.phase];
        // The card of an error speaks for itself.
        if (same && (now.phase === 'failed' && run.error || now.phase === 'paused' && run.blocked)) speak();
        else if (ended ? same && isTraining(before.phase) : same || begins) speak(title, (now.phase === 'paused' || ended) && describeStep(series.lastTrain, series.lastEval));
        // The same words are heard again only if others, or none, were there between.
        else setText(element, '');
      } else if (now.evaluated > before.evaluated && now.history === before.history && !ended && Date.now() - spoken >= PAUSE_MS) speak(describeStep(undefined, series.lastEval));
    },
  };
}
