/** What is shown of a run that is in a folder and that no process trains any more. Pure. */
import type { RunStarted } from '../protocol/engine';
import type { Summary } from '../protocol/metrics';
import { EMPTY_RUN, type RunView } from '../protocol/panel';
import type { RunFolder } from './runFolders';

/** One without a summary was ended, or crashed, before it could write one. */
export const endedRun = ({ folder, status, checkpoints }: RunFolder, summary: Summary | null): RunView => ({
  ...EMPTY_RUN, status: status === 'active' ? 'failed' : status, folder, summary, started: startedFrom(summary, folder),
  error: summary ? null : {
    code: 'run.no-summary', file: folder, cause: 'its process was ended, or crashed, before it could write one',
    action: checkpoints.length ? 'continue from the last checkpoint, or start again' : 'start again; it has written no checkpoint', lastGoodCheckpoint: checkpoints.at(-1)?.folder,
  },
});

/** What a finished run still tells about its start. */
export function startedFrom(summary: Summary | null, folder: string): Omit<RunStarted, 'history'> | null {
  if (!summary) return null;
  const { trainable_parameters, all_parameters, device, steps, epochs } = summary;
  return { run_folder: folder, total_steps: steps, num_train_epochs: epochs, trainable_parameters, all_parameters, device, half_precision: false, train_examples: 0, eval_examples: 0, longest: 0, labels: [] };
}
