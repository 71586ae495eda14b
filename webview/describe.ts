/** Records in a sentence. Pure. */
import { shownMetrics, type EvalRecord, type TrainRecord } from '../src/protocol/metrics';
import { formatNumber } from './format';

const measured = (evaluation: EvalRecord): string => shownMetrics(evaluation).map(({ name, text }) => `, ${name} ${text}`).join('');

/** `Step 120, loss 0.412, learning rate 4e-4. Evaluation at step 100: loss 0.388, accuracy 84.2 %.` */
export function describeStep(train: TrainRecord | undefined, evaluation: EvalRecord | undefined): string {
  return [
    train && `Step ${train.step}, loss ${formatNumber(train.loss)}, learning rate ${formatNumber(train.learning_rate)}.`,
    evaluation && `Evaluation at step ${evaluation.step}: loss ${formatNumber(evaluation.eval_loss)}${measured(evaluation)}.`,
  ].filter(Boolean).join(' ');
}
