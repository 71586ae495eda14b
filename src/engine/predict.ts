/** Classifying texts, or the words of texts, with a base model, alone or with an adapter. */
import { checkIds, checkTypes } from './data/examples';
import { loadTokenizer, type LanguageTokenizer } from './data/tokenizer';
import { wordTokenizer, type WordTokenizer } from './data/wordTokenizer';
import { LabError } from './errors';
import { KEEPS_NOTHING, type Loaded, type LoadedModels } from './loadedModels';
import { join } from 'node:path';
import { ADAPTER_CONFIG, fillTrainables, PREFIX, readAdapter, settingsFromAdapter, withAdapterWeights } from './model/adapter';
import { checkAdapterTask, planOf } from './model/adapterSettings';
import { openCheckpoint } from './model/checkpoint';
import { families } from './model/families';
import { classWeight, type Family } from './model/family';
import { configLabels, familyOf, modelOf, storedTensor, usualTask } from './model/loadModel';
import { problemTypeOf, VALUE_LABELS } from './model/problemType';
import type { LoadedModel } from './model/weights';
import { createTrainingStep } from './training/step';
import { IGNORED, type Example, type TrainingStep } from './training/step.types';
import { largest } from './training/metrics';
import { parseExperiment, type LoraSettings } from '../protocol/experiment';
import type { EngineRequests, Prediction, TaggedWord } from '../protocol/engine';

const BATCH = 16;
/** Seed of a head that the base lacks: the same as a run's default, so that both show the same untrained base. */
const { training: TRAINING, lora: LORA } = parseExperiment({ base_model: '-', dataset: { train: '-' } }).experiment!;

/**
 * Logits and class probabilities of each text. Without an adapter a head that the checkpoint lacks is random, and
 * `labels` names its classes. `pairs` are the second texts of pairs. Texts are cut to `max_length` tokens (default: as many as the model has positions).
 * For `TOKEN_CLS` a text is a list of words, or is split at spaces, and every word gets a tag. Errors: those of the checkpoint, the tokenizer and the adapter; `predict.no-texts`,
 * `dataset.token-beyond-vocabulary`, `dataset.token-type`.
 */
export async function predict({ texts, pairs, ...which }: PredictRequest, { loaded = KEEPS_NOTHING, warn }: PredictOptions = {}): Promise<Prediction[]> {
  if (!texts.length) throw new LabError({ code: 'predict.no-texts', cause: 'there is no text to classify', action: 'give at least one text' });
  const { base, adapter, ...settings } = which;
  return loaded.use({ key: ['predict', settings], folders: adapter === null ? [base] : [base, adapter], load: () => loadClassifier(which, warn) }, classifier => classify(classifier, texts, pairs));
}

export interface PredictOptions {
  /** Where the model stays loaded for the next request; without it nothing is kept. */
  loaded?: LoadedModels;
  /** Hears, when the model is loaded, why its answers may mean nothing. */
  warn?: (message: string) => void;
}

type PredictRequest = Omit<EngineRequests['predict'][0], 'device'> & { device?: string; max_length?: number };

/** A model that is ready to classify texts, or the words of texts. */
interface Classifier extends Loaded {
  step: TrainingStep;
  model: Pick<LoadedModel, 'task' | 'labels' | 'problem_type'>;
  tokenizer: LanguageTokenizer;
  /** Of words, for a task that tags them. */
  words: WordTokenizer | null;
  limits: ReturnType<Family['limits']>;
  /** Longest text in tokens. */
  longest: number;
}

async function loadClassifier({ base, adapter: folder, task: asked_task, labels: given, problem_type: asked, device = 'auto', max_length, precision, threads }: Omit<PredictRequest, 'texts' | 'pairs'>, warn: PredictOptions['warn']): Promise<Classifier> {
  const checkpoint = openCheckpoint(base);
  const family = familyOf(checkpoint.config, families, checkpoint.folder);
  const adapter = folder === null ? null : readAdapter(folder);
  const task = asked_task ?? ((adapter?.config.task_type ?? usualTask(checkpoint.config, family)) === 'TOKEN_CLS' ? 'TOKEN_CLS' : 'SEQ_CLS');
  if (adapter) checkAdapterTask(adapter, task);
  const classes = adapter?.tensors.get(PREFIX + classWeight(family, task))?.shape[0];
  const ownHead = storedTensor(checkpoint, family, classWeight(family, task));
  const problem_type = problemTypeOf(checkpoint.config, { task, trained: adapter ? adapter.problem_type : ownHead ? null : asked, classes: classes ?? ownHead?.shape[0] ?? null });
  const labels = problem_type === 'regression' ? VALUE_LABELS : adapter?.labels ?? (classes ? classNames(checkpoint.config, classes) : ownHead ? null : given ?? null);
  const loaded = modelOf(checkpoint, { task, labels, problem_type, seed: TRAINING.seed, families });
  const model = adapter ? withAdapterWeights(loaded, adapter) : loaded;
  const lora: LoraSettings = adapter ? settingsFromAdapter(adapter.config, join(adapter.folder, ADAPTER_CONFIG)) : LORA;
  const head = model.missing.filter(name => name.startsWith(classWeight(family, task).replace(/weight$/, '')));
  if (!adapter && head.length) warn?.(`${checkpoint.folder} holds no ${head.join(' and ')}: the classifier is drawn at random, and what it answers means nothing until it is trained`);
  const plan = adapter ? planOf(adapter, model, lora) : null;
  const trainables = adapter && plan ? fillTrainables(plan, adapter, model) : new Float32Array(0);

  const tokenizer = loadTokenizer(checkpoint.folder, { words: task === 'TOKEN_CLS' });
  const limits = family.limits(checkpoint.config);
  const longest = Math.min(max_length ?? limits.max_positions, limits.max_positions);
  const step = await createTrainingStep({ model, plan, lora, training: TRAINING, device, precision, threads, trainables, train: false });
  return { step, model, tokenizer, words: task === 'TOKEN_CLS' ? wordTokenizer(tokenizer) : null, limits, longest, dispose: () => step.dispose() };
}

async function classify({ step, model, tokenizer, words, limits, longest }: Classifier, texts: readonly (string | string[])[], pairs: readonly string[] | undefined): Promise<Prediction[]> {
  if (words) {
    const split = texts.map(wordsOf).map(own => ({ split: own, ...words.encode(own, longest) }));
    checkTexts(split, limits);
    return tagWords(step, split, model);
  }
  const examples = texts.map(textOf).map((text, i) => ({ ...tokenizer.encode(text, longest, pairs?.[i]), label: 0 }));
  checkTexts(examples, limits);
  const predictions: Prediction[] = [];
  // Every text by itself, where the result depends on what is beside it.
  const size = step.depends_on_batch ? 1 : BATCH;
  for (let first = 0; first < examples.length; first += size) {
    const batch = examples.slice(first, first + size);
    const { logits } = await step.evaluate(batch);
    const width = model.labels.length;
    batch.forEach((_, row) => predictions.push(prediction(textOf(texts[first + row]), logits.subarray(row * width, (row + 1) * width), model)));
  }
  return predictions;
}

/**
 * Errors `predict.no-texts`, where the tokenizer of a model that puts nothing around a text makes no token of an empty one,
 * `dataset.token-beyond-vocabulary`, `dataset.token-type`.
 */
function checkTexts(examples: readonly { input_ids: Int32Array; token_type_ids?: Int32Array | null }[], { vocab_size, type_vocab_size }: Classifier['limits']): void {
  examples.forEach(({ input_ids, token_type_ids = null }, i) => {
    const where = examples.length > 1 ? `text ${i + 1}` : undefined;
    if (!input_ids.length) throw new LabError({ code: 'predict.no-texts', where, cause: 'an empty text gives this model nothing to read', action: 'give at least one word' });
    checkIds(input_ids, vocab_size, { where });
    checkTypes(token_type_ids, type_vocab_size, { where });
  });
}

const wordsOf = (text: string | string[]): string[] => (Array.isArray(text) ? text : text.split(/\s+/).filter(word => word !== ''));
const textOf = (text: string | string[]): string => (Array.isArray(text) ? text.join(' ') : text);

/** A tag for the first token of each word that has one. */
async function tagWords(step: TrainingStep, texts: { split: string[]; input_ids: Int32Array; first: Int32Array }[], model: Pick<LoadedModel, 'labels' | 'problem_type'>): Promise<Prediction[]> {
  const width = model.labels.length;
  const predictions: Prediction[] = [];
  for (let begin = 0; begin < texts.length; begin += BATCH) {
    const batch = texts.slice(begin, begin + BATCH);
    const examples = batch.map(({ input_ids, first }): Example => {
      const targets = new Int32Array(input_ids.length).fill(IGNORED);
      for (const place of first) if (place >= 0) targets[place] = 0;
      return { input_ids, token_type_ids: null, label: 0, targets };
    });
    const { logits } = await step.evaluate(examples);
    let row = 0;
    for (const { split, first } of batch) {
      const words = split.map((word, i): TaggedWord => {
        if (first[i] < 0) return { word, tag: null, probabilities: {}, logits: [] };
        const { label: tag, probabilities, logits: own } = prediction(word, logits.subarray(row * width, ++row * width), model);
        return { word, tag, probabilities, logits: own };
      });
      predictions.push({ text: split.join(' '), label: words.map(({ tag }) => tag ?? '-').join(' '), probabilities: {}, logits: [], problem_type: model.problem_type, words });
    }
  }
  return predictions;
}

/** The config's names if their number fits, else LABEL_0, LABEL_1, … */
function classNames(config: Record<string, unknown>, classes: number): string[] {
  const own = configLabels(config);
  return own.length === classes ? own : Array.from({ length: classes }, (_, i) => `LABEL_${i}`);
}

function prediction(text: string, logits: Float32Array, { labels, problem_type }: Pick<LoadedModel, 'labels' | 'problem_type'>): Prediction {
  const common = { text, logits: Array.from(logits), problem_type };
  if (problem_type === 'regression') return { ...common, label: String(logits[0]), probabilities: {} };
  if (problem_type === 'multi_label_classification') {
    return {
      ...common, label: labels.filter((_, i) => logits[i] > 0).join(', '),
      probabilities: Object.fromEntries(labels.map((label, i) => [label, 1 / (1 + Math.exp(-logits[i]))])),
    };
  }
  const top = logits[largest(logits)];
  const weights = Array.from(logits, logit => Math.exp(logit - top));
  const total = weights.reduce((sum, weight) => sum + weight, 0);
  return {
    ...common, label: labels[largest(logits)],
    probabilities: Object.fromEntries(labels.map((label, i) => [label, weights[i] / total])),
  };
}
