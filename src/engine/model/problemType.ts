/** What the labels of a classifier are: one class, several, or a number. */
import { PROBLEM_TYPES, type ProblemType } from '../../protocol/experiment';
import { oneOf } from './config';
import type { Config } from './family';

/**
 * The first of: what the experiment says, what the adapter was trained with, `problem_type` of config.json, regression for a
 * stored head with one output, one class. A word always has one tag. `classes` is the number of outputs of the stored head, null if there is none.
 * Error: `checkpoint.config` for a `problem_type` that is none.
 */
export function problemTypeOf(config: Config, { task = 'SEQ_CLS', asked = null, trained = null, classes = null }: { task?: string; asked?: ProblemType | null; trained?: ProblemType | null; classes?: number | null }): ProblemType {
  if (task === 'TOKEN_CLS') return 'single_label_classification';
  const stored = config.problem_type == null ? null : oneOf(config, 'problem_type', PROBLEM_TYPES, PROBLEM_TYPES[0]);
  return asked ?? trained ?? stored ?? (classes === 1 ? 'regression' : 'single_label_classification');
}

/** The one output of a regression, as transformers names it. */
export const VALUE_LABELS: readonly string[] = ['LABEL_0'];
