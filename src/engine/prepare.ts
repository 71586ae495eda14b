/** From an experiment to everything that training needs: base model, adapter plan, start values, examples. Writes nothing. */
import { createHash } from 'node:crypto';
import type { ExperimentFile } from './experimentFile';
import { loadChatTemplate } from './data/chatTemplate';
import { checkColumns } from './data/columns';
import { endOfText } from './data/endOfText';
import { placeIn, type LabelForm } from './data/dataset';
import { checkSameClasses, evaluationForm, labelForm, loadExamples, scanLabels, writtenClasses, type ExampleSet, type Looking } from './data/examples';
import { isWholeNumber, labelsFor, labelsFromNames, namingConfig, type LabelSet } from './data/labels';
import { languageForm, loadTexts, nothingLeft } from './data/languageExamples';
import { packRows } from './data/packing';
import { loadPairs } from './data/pairExamples';
import { loadTags, scanTags } from './data/tagExamples';
import { loadTokenizer, type LanguageTokenizer } from './data/tokenizer';
import { endOf } from './data/truncation';
import { wordTokenizer } from './data/wordTokenizer';
import { endTokens } from './generation/endTokens';
import { repetitionPenalty } from './generation/generationConfig';
import { checkWritingContext, type WritingSettings } from './generation/evaluateWriting';
import { fillTrainables, PREFIX, readAdapter, withAdapterWeights, type Adapter } from './model/adapter';
import { checkAdapterSettings, checkAdapterTask } from './model/adapterSettings';
import { openCheckpoint, type Checkpoint } from './model/checkpoint';
import { families } from './model/families';
import { classWeight, type Family } from './model/family';
import { familyOf, modelOf, storedTensor } from './model/loadModel';
import { weightOf } from './model/factors';
import { planAdapter } from './model/lora';
import { initialTrainables } from './model/loraStart';
import { problemTypeOf, VALUE_LABELS } from './model/problemType';
import type { AdapterPlan } from './model/lora.types';
import { withStartFactors } from './model/startFactors';
import type { LoadedModel } from './model/weights';
import { LabError } from './errors';
import type { Reporter } from './reporter';
import { bestRule, type BestRule } from './training/bestModel';
import { hasClasses, type Experiment, type ProblemType, type TrainingSettings } from '../protocol/experiment';

export interface Prepared {
  model: LoadedModel;
  plan: AdapterPlan;
  /** Start values of everything that is trained, flat [plan.trainable_parameters]. */
  trainables: Float32Array;
  train: ExampleSet;
  /** With `packing` the training examples of each row; null where every example is a row. */
  rows: Uint32Array[] | null;
  eval: ExampleSet | null;
  /** How evaluations are compared. */
  rule: BestRule;
  /** What evaluating by writing takes; null without `predict_with_generate`. */
  writing: WritingSettings | null;
  /** What the date and time in conversations are, if a chat template writes them. */
  moment: Date;
  /** Hash over all tokens and labels: a run resumes only on the data that it began with. */
  data_fingerprint: string;
}

/** What batches are made of: rows of packed examples, or examples. */
export const rowsOf = ({ rows, train }: Pick<Prepared, 'rows' | 'train'>): number => rows?.length ?? train.length;

/** Numbers of the examples in a batch of them, or of rows. */
export const examplesIn = ({ rows }: Pick<Prepared, 'rows'>, batch: Uint32Array): Uint32Array => (rows ? Uint32Array.from(Array.from(batch).flatMap(row => Array.from(rows[row]))) : batch);

/** The default of max_length is a wish; a length that the person wrote and the model cannot have is an error. */
function limitLength({ gives, experiment: { training } }: ExperimentFile, { max_positions }: { max_positions: number }): void {
  if (!gives('training.max_length')) training.max_length = Math.min(training.max_length, max_positions);
}

export interface Base { checkpoint: Checkpoint; family: Family; limits: ReturnType<Family['limits']> }

/** The base model, and its defaults for the experiment: what an earlier run is compared with. Errors: those of the checkpoint. */
export function openBase(source: ExperimentFile): Base {
  const checkpoint = openCheckpoint(source.resolve(source.experiment.base_model));
  const family = familyOf(checkpoint.config, families, checkpoint.folder);
  const limits = family.limits(checkpoint.config);
  limitLength(source, limits);
  return { checkpoint, family, limits };
}

/** The data of an experiment as a run reads it, and the model without adapters that it is for. */
export interface TrainingData {
  files: { train: string; eval: string | null };
  base: LoadedModel;
  start: Adapter | null;
  tokenizer: LanguageTokenizer;
  /** Class names; null for a task that writes. */
  labels: LabelSet | null;
  rule: BestRule;
  /** Tokenizes a file; `share` is the part of the progress that it takes. */
  load(file: string, share?: [number, number], looking?: Looking): ExampleSet;
}

/** Opens what the data is read with, and looks through the training file for its classes. `labels` fixes their names. Errors: those of the checkpoint, tokenizer, data and start adapter. */
export function openData(source: ExperimentFile, { checkpoint, family, limits }: Base, report: Pick<Reporter, 'progress' | 'log'>, labels: readonly string[] | null = null, moment = new Date()): TrainingData {
  const { experiment: { task, dataset, lora, training } } = source;
  checkColumns(source);
  const start = lora.init_adapter === null ? null : readAdapter(source.resolve(lora.init_adapter));
  if (start) checkAdapterTask(start, task);
  const tokenizer = loadTokenizer(checkpoint.folder, { words: task === 'TOKEN_CLS' });
  // Of a language model's texts it counts what is left to learn, which loadTexts sees.
  if (task !== 'CAUSAL_LM') checkRoom(training.max_length, tokenizer, dataset.text_pair_column !== null);

  report.progress({ message: 'Reading the data', fraction: null });
  const files = { train: source.resolve(dataset.train), eval: dataset.eval === null ? null : source.resolve(dataset.eval) };
  const classes = hasClasses(task) ? storedClasses(checkpoint, family, task, start) : null;
  const problem_type = problemTypeOf(checkpoint.config, { task, asked: source.experiment.problem_type, trained: start?.problem_type, classes });
  const rule = bestRule(source.experiment, task === 'SEQ_CLS' ? problem_type : task);
  const class_column = classColumn(source.experiment);
  const { form, named }: ReturnType<typeof labelForm> = task === 'SEQ_CLS' && problem_type !== 'regression' ? labelForm({ file: files.train, dataset, problem_type }) : { form: 'numbers' };
  const scan = (): Set<string | number> => (task === 'TOKEN_CLS' ? scanTags({ file: files.train, dataset }) : scanLabels({ file: files.train, dataset, problem_type, form }));
  const set = !hasClasses(task) ? null : labels ? labelsFromNames(labels) : inFile(files.train, () => chooseLabels(checkpoint, start, classes, problem_type, form, scan, () => writtenClasses(files.train, class_column)));
  if (set && problem_type !== 'regression' && files.eval) checkSameClasses(files.train, files.eval, class_column);
  if (form === 'multi-hot') report.log({ level: 'info', message: `the lists in "${dataset.label_column}" are read as a 0 or 1 for each of ${set!.names.length} classes` });
  if (named && set?.names.some(isWholeNumber) && !set.names.every(isWholeNumber)) report.log({ level: 'info', message: `the labels in "${dataset.label_column}" are read as texts: ${JSON.stringify(named.label)} in ${placeIn({ file: files.train, line: named.line })} is no whole number` });
  const base = modelOf(checkpoint, { task, labels: set?.names ?? [], problem_type, seed: training.seed, families });

  const texts = task !== 'CAUSAL_LM' ? null : languageOptions(source, checkpoint, tokenizer, moment);
  const load = (file: string, share: [number, number] = [0, 1], looking: Looking = {}): ExampleSet => {
    const onProgress = (fraction: number): void => report.progress({ message: 'Reading the data', fraction: share[0] + (share[1] - share[0]) * fraction });
    const options = { file, dataset, tokenizer, max_length: training.max_length, limits, onProgress, ...looking };
    if (set && task === 'TOKEN_CLS') return loadTags({ ...options, tokenizer: wordTokenizer(tokenizer), labels: set });
    if (set) return loadExamples({ ...options, labels: set, problem_type, form: file === files.train ? form : evaluationForm({ file, dataset, problem_type, form, names: set.names }) });
    if (family.seq2seq) return loadPairs({ ...options, eos: endOfText(checkpoint.folder, tokenizer, checkpoint.config), start: family.seq2seq.startToken(base.config), max_target_length: training.max_target_length ?? training.max_length });
    return loadTexts({ ...options, ...texts! });
  };
  return { files, base, start, tokenizer, labels: set, rule, load };
}

/** `labels` and `moment` fix the class names and the time of a resumed run; `opened` is the base where it is open already. Errors: those of the checkpoint, tokenizer, data, targets and start adapter. */
export function prepare(source: ExperimentFile, labels: readonly string[] | null, report: Pick<Reporter, 'progress' | 'log'>, opened?: Base, moment = new Date()): Prepared {
  const { experiment: { task, lora, training } } = source;
  report.progress({ message: 'Reading the checkpoint', fraction: null });
  const { checkpoint, family, limits } = opened ??= openBase(source);
  const { files, base, start, tokenizer, labels: set, rule, load } = openData(source, opened, report, labels, moment);
  const model = start ? withAdapterWeights(base, start) : base;
  const plan = planAdapter(model, lora);
  if (start) checkAdapterSettings(start, plan, model, lora);
  const tied = model.parameters.find(p => p.output && p.kind === 'embedding' && plan.modules.some(module => weightOf(module) === p.name));
  if (tied) report.log({ level: 'warn', message: `${tied.name} is the output layer too (tie_word_embeddings): its adapter changes the input alone, and a merged checkpoint gets an output layer of its own` });

  const train = load(files.train, [0, files.eval ? 0.8 : 1]);
  const evaluation = files.eval ? load(files.eval, [0.8, 1]) : null;
  for (const [name, examples] of [['train', train], ['eval', evaluation]] as const) {
    if (examples?.cut) report.log({ level: 'warn', message: `${examples.cut} of ${examples.length} ${name} examples are longer than max_length ${training.max_length} and were cut off ${endOf(tokenizer.truncation_side)}` });
    if (examples?.without_targets) report.log({ level: 'warn', message: `of ${examples.without_targets} ${name} examples nothing is learned: ${task === 'TOKEN_CLS' ? 'no word has both tokens and a tag' : nothingLeft(tokenizer.truncation_side, training.max_length)}` });
  }
  const rows = training.packing ? packedRows(train, training.max_length) : null;
  if (rows) report.log({ level: 'info', message: `${train.length} training examples in ${rows.length} rows of up to ${training.max_length} tokens, ${Math.round(100 * train.tokens / (rows.length * training.max_length))} % full` });
  const whole = plan.subtracts_start ? withStartFactors(model, plan, lora.init_lora_weights, training.seed, fraction => report.progress({ message: 'Decomposing the weights', fraction })) : model;
  const trainables = start ? fillTrainables(plan, start, model) : initialTrainables(whole, plan, training.seed, lora);
  const writing = training.predict_with_generate ? { tokenizer, ends: endTokens(checkpoint, tokenizer), repetition_penalty: repetitionPenalty(checkpoint.folder), longest: longestText(training, limits.max_positions, family.seq2seq !== undefined) } : null;
  if (writing && evaluation) checkWritingContext(family.layout(model.config, task), evaluation, writing.longest);
  return { model: whole, plan, trainables, train, rows, eval: evaluation, rule, writing, moment, data_fingerprint: fingerprint([train, evaluation], set ? writtenClasses(files.train, classColumn(source.experiment)) : null) };
}

/** With `packing` the examples of each row. */
export const packedRows = (train: ExampleSet, max_length: number): Uint32Array[] => packRows(Array.from({ length: train.length }, (_, i) => train.get(i).input_ids.length), max_length);

/** The column that names the classes of a classifier. */
const classColumn = ({ task, dataset }: Experiment): string => (task === 'TOKEN_CLS' ? dataset.tags_column : dataset.label_column);

/** Tokens of the longest text that is written: `generation_max_length`, else as many as an example may have, a decoder's start token included. */
function longestText({ generation_max_length, max_length, max_target_length }: TrainingSettings, max_positions: number, decoder: boolean): number {
  return Math.min(max_positions, generation_max_length ?? (decoder ? (max_target_length ?? max_length) + 1 : max_length));
}

/** The same base and data with other adapters of the same modules: plan and start values of `experiment`. Errors: those of the targets. */
export function prepareVariant(base: Prepared, { lora, training }: Experiment): Prepared {
  const plan = planAdapter(base.model, lora);
  const trainables = lora.init_adapter === null ? initialTrainables(base.model, plan, training.seed, lora) : base.trainables;
  return { ...base, plan, trainables };
}

/** Error `training.max-length`: nothing but special tokens would be left of any text. */
function checkRoom(max_length: number, tokenizer: LanguageTokenizer, pair: boolean): void {
  // The special tokens stay where no token may be left.
  const special = tokenizer.encode('', 0, pair ? '' : null).input_ids.length;
  if (max_length > special) return;
  throw new LabError({ code: 'training.max-length', where: 'training.max_length', cause: `is ${max_length}, and the special tokens around ${pair ? 'a pair of texts' : 'a text'} alone take ${special}`, action: `set it to at least ${special + 1}` });
}

/** What reading texts takes beside the file. */
function languageOptions(source: ExperimentFile, checkpoint: Checkpoint, tokenizer: LanguageTokenizer, moment: Date) {
  const template = languageForm(source.experiment.dataset) === 'messages' ? loadChatTemplate(checkpoint.folder, tokenizer.config, moment) : null;
  return { eos: endOfText(checkpoint.folder, tokenizer, checkpoint.config), template };
}

/** Outputs of the head that the start adapter or the checkpoint holds; null if neither has one. */
function storedClasses(checkpoint: Checkpoint, family: Family, task: string, start: Adapter | null): number | null {
  const head = classWeight(family, task);
  return start?.tensors.get(PREFIX + head)?.shape[0] ?? storedTensor(checkpoint, family, head)?.shape[0] ?? null;
}

/** Class names: the start adapter's if it records them, else those of the checkpoint or the data. */
function chooseLabels({ config }: Checkpoint, start: Adapter | null, classes: number | null, problem_type: ProblemType, form: LabelForm, scan: () => Set<string | number>, written: () => string[] | null): LabelSet {
  if (problem_type === 'regression') return labelsFromNames(start?.labels?.length === 1 ? start.labels : VALUE_LABELS);
  const values = scan();
  return start?.labels ? labelsFromNames(start.labels) : labelsFor(namingConfig(config, form, classes, values.size), classes, values, problem_type === 'multi_label_classification' ? 1 : 2, written());
}

/** What `labels` says of the whole data names its file. */
function inFile<T>(file: string, choose: () => T): T {
  try { return choose(); } catch (error) {
    if (error instanceof LabError && error.report.file === undefined) throw new LabError({ ...error.report, file }, { cause: error });
    throw error;
  }
}

/** `classes` are names that the data itself gives to the numbers of its classes. */
function fingerprint(sets: (ExampleSet | null)[], classes: readonly string[] | null): string {
  const hash = createHash('sha256').update(classes ? JSON.stringify(classes) : '');
  for (const set of sets) {
    hash.update(`${set?.length ?? 0} `);
    for (let i = 0; i < (set?.length ?? 0); i++) {
      const { input_ids, token_type_ids, label, classes, targets } = set!.get(i);
      hash.update(`${label}:`).update(new Uint8Array(input_ids.buffer, input_ids.byteOffset, input_ids.byteLength));
      for (const more of [token_type_ids, classes]) if (more) hash.update(`${more.join()};`);
      if (targets) hash.update(new Uint8Array(targets.buffer, targets.byteOffset, targets.byteLength));
    }
  }
  return hash.digest('hex');
}
