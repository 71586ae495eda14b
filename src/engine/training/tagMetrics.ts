/**
 * What an evaluation of tags measures beside the loss. Tags that say where entities begin and go on (B-PER, I-PER, O; also E- for the
 * last and S- for a single word) are compared by whole entities, as seqeval does by default; others by their classes.
 */
import type { EvalResult } from '../../protocol/metrics';
import { Counts, largest, MOST_LISTED, type Measurement } from './metrics';
import { IGNORED } from './step.types';

/** Takes in the logits of the words that have a tag, [words, num_labels] row after row, example after example. */
export function tagMeasurement(labels: readonly string[]): Measurement {
  const scores = marksEntities(labels) ? entityScores(labels) : classScores(labels);
  let right = 0, total = 0;
  return {
    add(examples, logits) {
      let row = 0;
      for (const { targets } of examples) {
        const actual = Array.from(targets ?? []).filter(target => target !== IGNORED);
        const predicted = actual.map(() => largest(logits.subarray(row * labels.length, ++row * labels.length)));
        scores.add(actual, predicted);
        right += actual.filter((tag, i) => tag === predicted[i]).length;
        total += actual.length;
      }
    },
    result: () => ({ accuracy: right / total, ...scores.result() }),
  };
}

interface Scores { add(actual: readonly number[], predicted: readonly number[]): void; result(): Pick<EvalResult, 'precision' | 'recall' | 'f1' | 'f1_per_class'> }

/** Whether tags are entities' beginnings and insides, and O. */
export const marksEntities = (labels: readonly string[]): boolean => labels.some(label => /^[BI]-./.test(label)) && labels.every(label => label === 'O' || /^[BIES]-./.test(label));

/** The entities of a text's tags, each as `type begin end`. One that begins with I-, or whose type changes in the middle, is one all the same. */
export function entitiesOf(tags: readonly string[]): string[] {
  const entities: string[] = [];
  let begin = -1;
  tags.forEach((tag, i) => {
    const [mark, type] = [tag[0], tag.slice(2)];
    if (mark === 'O') { begin = -1; return; }
    const goesOn = begin >= 0 && (mark === 'I' || mark === 'E') && !/^[ES]/.test(tags[i - 1]) && tags[i - 1].slice(2) === type;
    if (!goesOn) begin = i;
    else entities.pop();
    entities.push(`${type} ${begin} ${i}`);
  });
  return entities;
}

/** Micro averages over all entities, and the F1 of each type. */
function entityScores(labels: readonly string[]): Scores {
  const types = [...new Set(labels.filter(label => label !== 'O').map(label => label.slice(2)))];
  const counts = new Counts(types);
  const typeOf = (entity: string): number => types.indexOf(entity.slice(0, entity.lastIndexOf(' ', entity.lastIndexOf(' ') - 1)));
  return {
    add(actual, predicted) {
      const [real, found] = [actual, predicted].map(tags => new Set(entitiesOf(tags.map(tag => labels[tag]))));
      for (const entity of new Set([...real, ...found])) counts.add(real.has(entity) ? typeOf(entity) : -1, found.has(entity) ? typeOf(entity) : -1);
    },
    result() {
      const [actual, predicted, both] = [counts.actual, counts.predicted, counts.both].map(values => values.reduce((sum, value) => sum + value, 0));
      return { precision: share(both, predicted), recall: share(both, actual), f1: share(2 * both, actual + predicted), ...perClass(counts) };
    },
  };
}

/** Means over the classes that occur or are predicted. */
function classScores(labels: readonly string[]): Scores {
  const counts = new Counts(labels);
  const mean = (values: Float64Array): number => {
    const occurring = labels.flatMap((_, k) => (counts.actual[k] + counts.predicted[k] > 0 ? [share(counts.both[k], values[k])] : []));
    return occurring.reduce((sum, value) => sum + value, 0) / occurring.length;
  };
  return {
    add(actual, predicted) { actual.forEach((tag, i) => counts.add(tag, predicted[i])); },
    result: () => ({ precision: mean(counts.predicted), recall: mean(counts.actual), ...counts.f1(false) }),
  };
}

/** Zero where there is nothing to have a share of, as in scikit-learn and seqeval. */
const share = (part: number, whole: number): number => (whole === 0 ? 0 : part / whole);

const perClass = (counts: Counts): Pick<EvalResult, 'f1_per_class'> => {
  const { f1_per_class = {} } = counts.f1(false);
  return Object.keys(f1_per_class).length && Object.keys(f1_per_class).length <= MOST_LISTED ? { f1_per_class } : {};
};
