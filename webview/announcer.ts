/** The charts in words, for screen readers: now and then while training, and at once when the status changes. */
import type { RunStatus } from '../src/protocol/panel';
import { STATUS_TEXT } from './actions';
import { h, setText } from './dom';
import { describeStep } from './describe';
import type { Part } from './view';

const PAUSE_MS = 15_000;

export function announcer(): Part {
  const element = h('p', { class: 'visually-hidden', id: 'live', role: 'status', 'aria-live': 'polite' });
  let status: RunStatus | undefined;
  let spoken = 0;
  return {
    element,
    update({ run, series, ready }) {
      if (!ready) return;
      const now = Date.now();
      if (run.status === status && now - spoken < PAUSE_MS) return;
      status = run.status;
      spoken = now;
      setText(element, [STATUS_TEXT[run.status], describeStep(series.lastTrain, series.lastEval)].filter(Boolean).join('. '));
    },
  };
}
