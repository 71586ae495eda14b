/** Whether an experiment has the evaluations that its keys ask for or need: the same in the editor, the panel and a terminal. Pure. */
import type { Experiment, Problem, TrainingSettings } from './experiment';

/** When to evaluate where the file does not say: without evaluation data never. */
export const defaultStrategy = (evaluation_data: unknown): TrainingSettings['eval_strategy'] => ((evaluation_data ?? null) === null ? 'no' : 'epoch');

/**
 * Keys that nothing would come of, which transformers' Trainer refuses too: a strategy without evaluation data, what evaluations decide where there are none, and the
 * best checkpoint where evaluated steps have none. `halving`: the sweep compares its members after epochs.
 */
export function evaluationProblems({ dataset, training }: Pick<Experiment, 'dataset' | 'training'>, halving: boolean): Problem[] {
  const problems: Problem[] = [];
  const wrong = (key: string, cause: string, action: string): void => { problems.push({ path: key.split('.'), cause, action }); };
  const { eval_strategy, save_strategy, save_steps, load_best_model_at_end } = training;
  const data = (dataset.eval ?? null) !== null;
  if (!data && (eval_strategy === 'epoch' || eval_strategy === 'steps')) wrong('training.eval_strategy', `is "${eval_strategy}", and there is no evaluation data`, 'give dataset.eval, or set it to "no"');
  if (halving && (!data || eval_strategy !== 'epoch')) wrong('sweep.halving', 'needs an evaluation at the end of each epoch', `${data ? 'set training.eval_strategy to "epoch"' : 'give dataset.eval'}, or remove it`);
  if (!data || eval_strategy === 'no') {
    const needing = ['load_best_model_at_end', 'early_stopping_patience', 'metric_for_best_model', 'predict_with_generate'] as const;
    for (const key of needing) if ((training[key] ?? false) !== false) wrong(`training.${key}`, 'needs evaluations, and there are none', `${data ? 'set eval_strategy to "epoch" or "steps"' : 'give dataset.eval'}, or remove it`);
    return problems;
  }
  if (!load_best_model_at_end) return problems;
  const evals = training.eval_steps ?? training.logging_steps;
  const needed = 'load_best_model_at_end needs a checkpoint of what was evaluated';
  if (save_strategy !== eval_strategy) wrong('training.save_strategy', `is "${save_strategy}" and eval_strategy is "${eval_strategy}"; ${needed}`, 'set both to the same');
  else if (save_strategy === 'steps' && save_steps % evals !== 0) wrong('training.save_steps', `is ${save_steps}, not a multiple of eval_steps ${evals}; ${needed}`, 'make it a multiple');
  return problems;
}
