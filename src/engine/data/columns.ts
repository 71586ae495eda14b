/** Which keys of `dataset` each task reads. */
import type { Task } from '../model/family';
import { LabError } from '../errors';
import type { ExperimentFile } from '../experimentFile';
import { languageForm } from './languageExamples';

const COLUMNS = {
  SEQ_CLS: ['text_column', 'text_pair_column', 'label_column'],
  CAUSAL_LM: ['text_column', 'prompt_column', 'completion_column', 'messages_column'],
  SEQ_2_SEQ_LM: ['source_column', 'target_column'],
} as const satisfies Record<Task, readonly string[]>;

const TASKS = Object.keys(COLUMNS) as Task[];
const ALL = [...new Set(Object.values(COLUMNS).flat())];

/** Errors `dataset.columns`: a key is given that the task does not read, or keys contradict each other; `experiment.problem-type`. */
export function checkColumns({ experiment: { task, problem_type, dataset, training }, gives }: ExperimentFile): void {
  if (task !== 'SEQ_CLS' && problem_type !== null) throw new LabError({ code: 'experiment.problem-type', where: 'problem_type', cause: `is not used by ${task}`, action: 'remove it, or set "task" to SEQ_CLS' });
  const reads = (of: Task, key: string): boolean => (COLUMNS[of] as readonly string[]).includes(key);
  const foreign = ALL.find(key => !reads(task, key) && gives(`dataset.${key}`) && dataset[key] !== null);
  const refuse = (where: string, other: Task | undefined): LabError =>
    new LabError({ code: 'dataset.columns', where, cause: `is not used by ${task}`, action: `remove it, or set "task" to ${other}` });
  if (foreign) throw refuse(`dataset.${foreign}`, TASKS.find(other => reads(other, foreign)));
  if (task !== 'SEQ_2_SEQ_LM' && training.max_target_length !== null) throw refuse('training.max_target_length', 'SEQ_2_SEQ_LM');
  if (task !== 'CAUSAL_LM' && training.packing) throw refuse('training.packing', 'CAUSAL_LM');
  if (task === 'CAUSAL_LM') languageForm(dataset);
}
