/** The best evaluation so far and early stopping, as transformers' Trainer and its EarlyStoppingCallback decide them. */
import { LabError } from '../errors';
import type { Experiment, ProblemType } from '../../protocol/experiment';
import { greaterIsBetter, type EvalResult } from '../../protocol/metrics';

/** Part of a run's state, so that a resumed run decides as an uninterrupted one. */
export interface BestState {
  /** An evaluation has been judged. */
  judged: boolean;
  /** The best value of the metric and the step it was measured at; null until there is one. */
  best: { value: number; step: number; eval: EvalResult } | null;
  /** Evaluations in a row that were no better. */
  waited: number;
  /** The best of the steps that were evaluated and that a checkpoint was written at. */
  saved: BestState['best'];
}

export const NONE_YET: BestState = { judged: false, best: null, waited: 0, saved: null };

/** What an evaluation measures depends on: the task, of classifiers of texts the problem type. */
type Kind = ProblemType | 'TOKEN_CLS' | 'CAUSAL_LM' | 'SEQ_2_SEQ_LM';

/** What can be asked for as `metric_for_best_model`, with or without `eval_` before it. */
const METRICS: Record<Kind, readonly (keyof EvalResult)[]> = {
  single_label_classification: ['loss', 'accuracy', 'f1', 'matthews_correlation'],
  multi_label_classification: ['loss', 'accuracy', 'f1'],
  regression: ['loss', 'pearson', 'spearman'],
  TOKEN_CLS: ['loss', 'accuracy', 'precision', 'recall', 'f1'],
  CAUSAL_LM: ['loss', 'perplexity', 'token_accuracy'],
  SEQ_2_SEQ_LM: ['loss', 'perplexity', 'token_accuracy'],
};

/** What `predict_with_generate` adds. */
const WRITTEN = ['exact_match', 'rouge1', 'rouge2', 'rougeL'] as const;

export interface BestRule {
  metric: keyof EvalResult;
  greater_is_better: boolean;
  patience: number | null;
  threshold: number;
  load: boolean;
}

/** What an experiment asks for. Error `training.metric` for a metric that the task does not have. */
export function bestRule({ training }: Pick<Experiment, 'training'>, kind: Kind): BestRule {
  const { early_stopping_patience: patience, early_stopping_threshold: threshold, load_best_model_at_end: load, metric_for_best_model, greater_is_better } = training;
  const asked = (metric_for_best_model ?? 'loss').replace(/^eval_/, '');
  const possible = [...METRICS[kind], ...(training.predict_with_generate ? WRITTEN : [])];
  const metric = possible.find(name => name === asked);
  if (!metric) throw new LabError({ code: 'training.metric', where: 'training.metric_for_best_model', cause: `"${metric_for_best_model}" is not measured here`, action: `give one of: ${possible.join(', ')}` });
  return { metric, greater_is_better: greater_is_better ?? greaterIsBetter(metric), patience, threshold, load };
}

/** The state after an evaluation. A metric that the data did not define is never better. */
export function judge(state: BestState, rule: BestRule, result: EvalResult, step: number): BestState {
  const before = state.best;
  const best = betterOf(before, rule, result, step);
  const better = best !== before && Math.abs(best!.value - (before?.value ?? Infinity)) > rule.threshold;
  return { ...state, judged: true, waited: !state.judged || better ? 0 : state.waited + 1, best };
}

/** The state once a checkpoint of `step`, of which an evaluation gave `result`, is being written. */
export const checkpointed = (state: BestState, rule: BestRule, result: EvalResult, step: number): BestState => ({ ...state, saved: betterOf(state.saved, rule, result, step) });

/** `before`, unless the metric of `result` is better. */
function betterOf(before: BestState['best'], { metric, greater_is_better }: BestRule, result: EvalResult, step: number): BestState['best'] {
  const value = Number(result[metric] ?? NaN);
  const better = before ? (greater_is_better ? value > before.value : value < before.value) : !Number.isNaN(value);
  return better ? { value, step, eval: result } : before;
}

/** Whether the run ends here. */
export const stopsEarly = ({ waited }: BestState, { patience }: Pick<BestRule, 'patience'>): boolean => patience !== null && waited >= patience;
