/** Which buttons a person can press, and why not. Pure. */
import { isActive, isTraining, sentence, settingsFixed, WHOLE_MODEL as WHOLE_MODEL_REPORT, type ExperimentView, type PanelAction, type RunStatus, type RunView } from '../src/protocol/panel';

export interface ButtonState {
  visible: boolean;
  enabled: boolean;
  /** What it asks for goes on just now. */
  busy?: boolean;
  /** Why the button cannot be pressed. */
  reason?: string;
}

/** How each status reads. */
export const STATUS_TEXT: Record<RunStatus, string> = {
  none: 'Not started', preparing: 'Preparing', running: 'Training', paused: 'Paused', evaluating: 'Evaluating', saving: 'Saving', stopping: 'Stopping',
  elsewhere: 'Running elsewhere', finished: 'Finished', stopped: 'Stopped', failed: 'Failed',
};

/** Why the buttons that steer a run are not there. */
export const trainedElsewhere = (pid: number): string => `Trained by process ${pid}, in a terminal or another window: it is stopped there.`;

/** Why no adapter can be set up. */
export const WHOLE_MODEL = sentence(WHOLE_MODEL_REPORT.cause);

/** Why a run cannot be started, or undefined if it can. */
export function startBlocked(experiment: ExperimentView | null): string | undefined {
  if (!experiment) return 'No experiment is open.';
  if (!experiment.trusted) return 'This workspace is in Restricted Mode: trust it to train.';
  if (experiment.problems.length) return `Correct ${experiment.problems.length === 1 ? 'the problem' : `the ${experiment.problems.length} problems`} in the experiment file first.`;
  if (experiment.model_error) return 'The base model could not be read.';
  if (!experiment.model) return 'The base model is still being read.';
  return undefined;
}

/** State of every button of the tool bar. */
export function buttonStates(experiment: ExperimentView | null, run: RunView, records: number): Partial<Record<PanelAction, ButtonState>> {
  const active = isActive(run.status);
  const blocked = startBlocked(experiment);
  const { elsewhere } = run;
  const fixed = settingsFixed(run);
  // No button reaches another process.
  const here = elsewhere === null;
  const start: ButtonState = active ? { visible: true, enabled: false, reason: 'A run is active.' } : elsewhere?.own ? { visible: true, enabled: false, reason: trainedElsewhere(elsewhere.pid) } : { visible: true, enabled: !blocked, reason: blocked };
  const saving = run.saving || run.status === 'saving';
  const moving = run.status === 'running' || run.status === 'evaluating';
  const adapter: ButtonState = run.adapter
    ? { visible: true, enabled: !active, reason: active ? 'Available when the run has ended.' : undefined }
    : { visible: true, enabled: false, reason: experiment?.values.lora.full ? 'The whole model is trained: it lies in the run folder, under model.' : 'Available when a run has written an adapter.' };
  return {
    start,
    pause: { visible: here && run.status !== 'paused', enabled: moving, reason: moving ? undefined : 'Only a training run can be paused.' },
    resume: { visible: run.status === 'paused', enabled: true },
    stop: { visible: here, enabled: active && (run.status !== 'stopping' || run.silent !== null), reason: active ? 'The run is stopping.' : 'No run is active.' },
    saveCheckpoint: { visible: active, enabled: (moving || run.status === 'paused') && !saving, busy: saving, reason: saving ? 'A checkpoint is being written.' : 'Available while training.' },
    // After a failure the button stands beside the error.
    continueRun: { visible: !active && run.resumable && !(run.status === 'failed' && run.error), enabled: !blocked, reason: blocked },
    saveAdapter: adapter,
    mergeAdapter: adapter,
    copyMetrics: { visible: true, enabled: records > 0, reason: 'There are no metrics yet.' },
    openRunFolder: { visible: run.folder !== null, enabled: true },
    showLog: { visible: true, enabled: true },
    openFile: { visible: true, enabled: true },
    selectTargets: {
      visible: true, enabled: !fixed && !!experiment?.model && !experiment.values.lora.full, reason: experiment?.values.lora.full ? WHOLE_MODEL : fixed ? sentence(fixed.cause) : 'The base model has not been read.',
    },
  };
}

/** Step, share done and time left of a run that trains. */
export function progressOf(run: RunView, step: number, seconds: number): { fraction: number | null; step: number; total: number; left: number | null } | undefined {
  if (!run.started || !isTraining(run.status)) return undefined;
  const total = run.started.total_steps;
  const fraction = total > 0 ? Math.min(1, step / total) : null;
  return { fraction, step, total, left: fraction && step > 0 ? (seconds / step) * (total - step) : null };
}
