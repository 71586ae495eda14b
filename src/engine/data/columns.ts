/** Which keys of `dataset` each task reads. */
import type { DatasetSettings, TrainingSettings } from '../../protocol/experiment';
import type { Task } from '../model/family';
import { LabError } from '../errors';
import type { ExperimentFile } from '../experimentFile';
import { languageForm } from './languageExamples';

const COLUMNS = {
  SEQ_CLS: ['text_column', 'text_pair_column', 'label_column'],
  TOKEN_CLS: ['tokens_column', 'tags_column'],
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
  checkWriting(task, dataset, training);
}

/** Errors `training.predict-with-generate`: there is nothing to write, or no way to write it. */
function checkWriting(task: Task, dataset: DatasetSettings, { predict_with_generate, generation_max_length, generation_num_beams }: TrainingSettings): void {
  const refuse = (key: string, cause: string, action: string): LabError => new LabError({ code: 'training.predict-with-generate', where: `training.${key}`, cause, action });
  if ((generation_num_beams ?? 1) > 1) throw refuse('generation_num_beams', `is ${generation_num_beams}, and beam search is not supported`, 'remove it or set it to 1: texts are written greedily');
  if (!predict_with_generate) {
    if (generation_max_length !== null) throw refuse('generation_max_length', 'is used with predict_with_generate alone', 'remove it, or set predict_with_generate to true');
    return;
  }
  if (task !== 'SEQ_2_SEQ_LM' && task !== 'CAUSAL_LM') throw refuse('predict_with_generate', `is not used by ${task}, which writes nothing`, 'remove it');
  if (task === 'CAUSAL_LM' && languageForm(dataset) === 'text') throw refuse('predict_with_generate', 'needs prompts, and text_column has whole texts', 'give prompt_column and completion_column, or messages_column');
}
