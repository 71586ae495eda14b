/** The README's table of families and tasks with their largest differences from transformers and PEFT. */
import { families } from '../../src/engine/model/families';
import type { Task } from '../../src/engine/model/family';

export interface Difference {
  family: string;
  task: Task;
  /** Largest relative difference of a step's loss. */
  loss: number;
  /** Largest difference of a logit. */
  logits: number;
  /** Largest difference of a trained value, as a share of the largest value of its tensor. */
  adapter: number;
}

const TASKS: readonly Task[] = ['SEQ_CLS', 'TOKEN_CLS', 'CAUSAL_LM', 'SEQ_2_SEQ_LM'];

/** Lines of Markdown: one row a family, in each cell the number of cases and the worst of them. */
export function fidelityTable(differences: readonly Difference[]): string[] {
  const types = families.flatMap(({ model_types }) => model_types).filter(type => differences.some(({ family }) => family === type));
  const cell = (family: string, task: Task): string => {
    const cases = differences.filter(difference => difference.family === family && difference.task === task);
    const worst = (key: 'loss' | 'logits' | 'adapter'): string => Math.max(...cases.map(difference => difference[key])).toExponential(1);
    return cases.length ? `${cases.length}: ${worst('loss')}, ${worst('logits')}, ${worst('adapter')}` : '';
  };
  return [`| | ${TASKS.map(task => `\`${task}\``).join(' | ')} |`, `| --- | ${TASKS.map(() => '---').join(' | ')} |`, ...types.map(type => `| ${type} | ${TASKS.map(task => cell(type, task)).join(' | ')} |`)];
}
