/**
 * The experiment file (`*.lora.json`): one table of every key with its default, range and documentation.
 * The parser below, the JSON schema, the editor hovers and the panel all derive from this table.
 * Key names are Hugging Face's: `LoraConfig` for `lora`, `TrainingArguments` for `training`.
 */
import { defaultStrategy, evaluationProblems } from './evaluations';
import { isDefault, LORA_FIELDS } from './loraFields';
import { SAVING_NAMES, SAVINGS } from './savings';

/** Tokens of the input embeddings, or those of each named module. */
export type TokenIndices = number[] | Record<string, number[]>;

/** One key of the experiment file. `T` is the type of its value after parsing. */
export interface Setting<T> {
  readonly type: 'text' | 'number' | 'integer' | 'integers' | 'boolean' | 'choice' | 'choices' | 'names' | 'overrides' | 'tokens';
  /** `undefined` marks a key that must be given. */
  readonly default: T | undefined;
  readonly doc: string;
  readonly choices?: readonly (string | boolean)[];
  /** What each of the choices means, where the documentation does not say it. */
  readonly choice_docs?: readonly string[];
  /** Of a choice: an expression for further texts that are possible, and one of them. */
  readonly pattern?: string;
  readonly example?: string;
  readonly minimum?: number;
  readonly exclusiveMinimum?: number;
  readonly maximum?: number;
  readonly nullable?: boolean;
  /** The value is a path relative to the experiment file. */
  readonly path?: boolean;
  /** A phantom that carries `T`. */
  readonly value?: T;
}

type Range = Pick<Setting<number>, 'minimum' | 'exclusiveMinimum' | 'maximum'>;

const required = (doc: string, path = false): Setting<string> => ({ type: 'text', default: undefined, doc, path });
const text = (value: string, doc: string): Setting<string> => ({ type: 'text', default: value, doc });
const optionalText = (doc: string, path = false): Setting<string | null> => ({ type: 'text', default: null, nullable: true, doc, path });
const number = (value: number, range: Range, doc: string): Setting<number> => ({ type: 'number', default: value, doc, ...range });
const integer = (value: number, range: Range, doc: string): Setting<number> => ({ type: 'integer', default: value, doc, ...range });
const optionalNumber = (range: Range, doc: string): Setting<number | null> => ({ type: 'number', default: null, nullable: true, doc, ...range });
const optionalInteger = (range: Range, doc: string): Setting<number | null> => ({ type: 'integer', default: null, nullable: true, doc, ...range });
/** One number or a list of them. */
const optionalIntegers = (range: Range, doc: string): Setting<number | number[] | null> => ({ type: 'integers', default: null, nullable: true, doc, ...range });
const boolean = (value: boolean, doc: string): Setting<boolean> => ({ type: 'boolean', default: value, doc });
const choice = <C extends string | boolean>(value: C, choices: readonly C[], doc: string): Setting<C> => ({ type: 'choice', default: value, choices, doc });
const optionalChoice = <C extends string>(choices: readonly C[], doc: string): Setting<C | null> => ({ type: 'choice', default: null, nullable: true, choices, doc });
/** A list of some of the choices. */
const choices = <C extends string>(all: readonly C[], doc: string, choice_docs: readonly string[]): Setting<C[]> => ({ type: 'choices', default: [], choices: all, choice_docs, doc });
const optionalBoolean = (doc: string): Setting<boolean | null> => ({ type: 'boolean', default: null, nullable: true, doc });
const names = (doc: string): Setting<string | string[] | null> => ({ type: 'names', default: null, nullable: true, doc });
const tokens = (doc: string): Setting<TokenIndices | null> => ({ type: 'tokens', default: null, nullable: true, minimum: 0, doc });
const overrides = (range: Range, doc: string): Setting<Record<string, number>> => ({ type: 'overrides', default: {}, doc, ...range });

export const TASKS = ['SEQ_CLS', 'TOKEN_CLS', 'CAUSAL_LM', 'SEQ_2_SEQ_LM'] as const;
/** Whether a task tells classes apart, of texts or of words. */
export const hasClasses = (task: string): boolean => task === 'SEQ_CLS' || task === 'TOKEN_CLS';
/** What a classifier's labels are, by transformers' names. */
export const PROBLEM_TYPES = ['single_label_classification', 'multi_label_classification', 'regression'] as const;
export type ProblemType = (typeof PROBLEM_TYPES)[number];
export const SCHEDULERS = ['linear', 'cosine', 'constant', 'constant_with_warmup'] as const;
export const STRATEGIES = ['no', 'steps', 'epoch'] as const;
export const BIASES = ['none', 'all', 'lora_only'] as const;
export const STARTS = [true, false, 'gaussian', 'pissa', 'olora'] as const;
export type InitLoraWeights = (typeof STARTS)[number] | `pissa_niter_${number}`;
export const DEVICES = ['auto', 'cpu', 'webgpu', 'cuda', 'tensorflow'] as const;
export type Device = (typeof DEVICES)[number];
export const PRECISIONS = ['fp32', 'fp16', 'int8', 'int4'] as const;
export type Precision = (typeof PRECISIONS)[number];

export const SETTINGS = {
  experiment: {
    base_model: required('Folder of the base checkpoint, relative to this file: `config.json`, `*.safetensors` and `tokenizer.json`, `vocab.txt`, or `vocab.json` with `merges.txt`.', true),
    task: choice('SEQ_CLS', TASKS, 'What is learned. `SEQ_CLS`: one label for each text. `TOKEN_CLS`: a tag for each word, such as named entities. `CAUSAL_LM`: the next token, of whole texts, of completions or of assistant turns. `SEQ_2_SEQ_LM`: a target text for each source text (T5).'),
    problem_type: optionalChoice(PROBLEM_TYPES, 'What the labels of `SEQ_CLS` are: one class (`single_label_classification`), a list of classes, any number of which may apply, or of a 0 or 1 for each class (`multi_label_classification`), or a number (`regression`). Default: `problem_type` of config.json, else one class.'),
    output_dir: optionalText('Run folder, relative to this file. Default: `.lora/runs/<time>-<name>`.', true),
  },
  dataset: {
    train: required('Training examples: `.jsonl`, `.csv` or `.tsv` (with a header line), or `.parquet`.', true),
    eval: optionalText('Evaluation examples, in the same form as `train`.', true),
    text_column: text('text', 'Column that holds the text.'),
    text_pair_column: optionalText('Column that holds a second text, for pairs of sentences. Only for `SEQ_CLS`.'),
    label_column: text('label', 'Column that holds the label: a name or a class number; a list of them, or a number, as `problem_type` says. Only for `SEQ_CLS`.'),
    tokens_column: text('tokens', 'Column that holds the words of a text, as a list. Only for `TOKEN_CLS`.'),
    tags_column: text('ner_tags', 'Column that holds the words\' tags, a list of names or numbers; -100 marks a word that is not learned. The first token of each word is given its tag. Only for `TOKEN_CLS`.'),
    prompt_column: optionalText('Column that holds the prompt, from which nothing is learned. Only for `CAUSAL_LM`, with `completion_column`; then `text_column` is not read.'),
    completion_column: optionalText('Column that holds the completion, which is learned with the end-of-text token. Only for `CAUSAL_LM`, with `prompt_column`.'),
    messages_column: optionalText('Column that holds a conversation, a list of `{"role", "content"}`; the checkpoint\'s chat template is applied and the assistant\'s turns are learned, or exactly what the template marks by `{% generation %}`. Only for `CAUSAL_LM` and `.jsonl` or `.parquet`.'),
    source_column: text('source', 'Column that holds the text that the encoder reads, task prefix included. Only for `SEQ_2_SEQ_LM`.'),
    target_column: text('target', 'Column that holds the text to be written for it; the end-of-text token is learned with it. Only for `SEQ_2_SEQ_LM`.'),
  },
  lora: {
    r: integer(8, { minimum: 1 }, 'Rank: the inner dimension of A `[r, in]` and B `[out, r]`.'),
    lora_alpha: number(8, { exclusiveMinimum: 0 }, 'Scaling numerator: ΔW = (lora_alpha / r) · B A.'),
    use_rslora: boolean(false, 'Rank-stabilized scaling: lora_alpha / √r instead of lora_alpha / r.'),
    use_dora: boolean(false, 'DoRA: the length of every row of W + ΔW is trained by itself, in `lora_magnitude_vector` [out].'),
    lora_dropout: number(0, { minimum: 0, maximum: 0.99 }, 'Dropout probability on the input of each adapter.'),
    target_modules: names('Linear layers and embeddings to adapt: a list of name suffixes, one regular expression for the full name, or `"all-linear"` (no embeddings, no output layer over the vocabulary). Default: PEFT\'s choice for the architecture.'),
    exclude_modules: names('Modules left out although `target_modules` matches them: name suffixes or a regular expression.'),
    layers_to_transform: optionalIntegers({ minimum: 0 }, 'Layers to adapt, counted from 0: one number or a list. Only where `target_modules` is a list. Default: all layers.'),
    layers_pattern: names('Name of the list of layers that `layers_to_transform` counts in, such as `layer` or `h`. Default: the first numbered part of a name.'),
    rank_pattern: overrides({ minimum: 1 }, 'Ranks that differ from `r`: module name suffix or regular expression → rank.'),
    alpha_pattern: overrides({ exclusiveMinimum: 0 }, 'Values that differ from `lora_alpha`: module name suffix or regular expression → alpha.'),
    modules_to_save: names('Modules trained whole and saved with the adapter, by the ends of their names: `norm` is also `input_layernorm`, as in PEFT. Default for SEQ_CLS and TOKEN_CLS: the classification head.'),
    trainable_token_indices: tokens('Single tokens whose rows of the embeddings are trained and saved with the adapter: a list for the input embeddings and, where they are tied, the output layer; or an object, module → list.'),
    bias: choice('none', BIASES, 'Which biases of the base model are trained, and saved with the adapter: `none`, `all`, or those of the adapted modules (`lora_only`).'),
    lora_bias: boolean(false, 'Gives every B a bias of its own, [out].'),
    init_lora_weights: {
      type: 'choice', default: true, choices: STARTS, pattern: '^pissa_niter_\\d{1,3}$', example: 'pissa_niter_4',
      doc: 'Start of A and B. `true`: A uniform within ±1/√in, B zero. `"gaussian"`: A normal with deviation 1/r, B zero. `false`: B random, too, so that an untrained adapter changes the model. `"pissa"`, `"pissa_niter_<n>"` (approximate) and `"olora"`: from the singular vectors or the QR decomposition of each weight; the adapter is saved as a plain LoRA of twice the rank.',
    } as Setting<InitLoraWeights>,
    init_adapter: optionalText('PEFT adapter folder to start from, instead of a fresh A and B = 0.', true),
  },
  training: {
    per_device_train_batch_size: integer(8, { minimum: 1 }, 'Examples in one forward and backward pass; with `packing`, rows.'),
    per_device_eval_batch_size: integer(8, { minimum: 1 }, 'Examples in one evaluation pass.'),
    gradient_accumulation_steps: integer(1, { minimum: 1 }, 'Batches whose gradients are summed before one optimizer step. They count as one large batch; for classifiers transformers\' Trainer (5.18) adds up the means of the batches, so that its gradients grow with their number.'),
    gradient_checkpointing: boolean(false, 'Keep only the inputs of each layer for the backward pass, and compute the rest of it a second time: less memory, the same losses, about a third more time.'),
    num_train_epochs: number(3, { exclusiveMinimum: 0 }, 'Passes over the training data. Ignored if `max_steps` is positive.'),
    max_steps: integer(-1, { minimum: -1 }, 'Optimizer steps in total; -1 counts epochs instead.'),
    learning_rate: number(5e-5, { exclusiveMinimum: 0 }, 'Peak learning rate of AdamW.'),
    loraplus_lr_ratio: optionalNumber({ exclusiveMinimum: 0 }, 'LoRA+: B, biases and other vectors learn with this many times the learning rate of A. Usually above 1.'),
    lr_scheduler_type: choice('linear', SCHEDULERS, 'Course of the learning rate after warm-up.'),
    warmup_steps: number(0, { minimum: 0 }, 'Steps over which the learning rate rises from 0. A value below 1 is a share of all steps.'),
    weight_decay: number(0, { minimum: 0 }, 'Decoupled weight decay on adapters and weights; never on biases and norms.'),
    adam_beta1: number(0.9, { minimum: 0, maximum: 0.999999 }, 'Decay of the first moment.'),
    adam_beta2: number(0.999, { minimum: 0, maximum: 0.99999999 }, 'Decay of the second moment.'),
    adam_epsilon: number(1e-8, { exclusiveMinimum: 0 }, 'Term that keeps the division in AdamW finite.'),
    max_grad_norm: number(1, { minimum: 0 }, 'Gradients are scaled down to this norm; 0 turns clipping off.'),
    seed: integer(42, { minimum: 0, maximum: 4294967295 }, 'Seed of adapter, head, shuffling and dropout.'),
    shuffle: boolean(true, 'Draw the examples in a new random order each epoch.'),
    max_length: integer(128, { minimum: 2 }, 'Longest example in tokens; the rest is cut off, at the end unless the tokenizer has `truncation_side` "left". Default: 128, or as many as the model has positions.'),
    max_target_length: optionalInteger({ minimum: 2 }, 'Longest target in tokens; the rest is cut off, but for the end-of-text token. Default: `max_length`. Only for `SEQ_2_SEQ_LM`.'),
    packing: boolean(false, 'Puts several short examples into one row of up to `max_length` tokens, by best fit and without cutting one, as TRL does. They do not see each other and their positions restart, so the loss stays the same; `per_device_train_batch_size` and epochs then count rows. Evaluation is not changed by it. Only for `CAUSAL_LM`.'),
    eval_strategy: choice('epoch', STRATEGIES, 'When to evaluate. Default: `epoch`, without `dataset.eval` `no`.'),
    eval_steps: optionalInteger({ minimum: 1 }, 'Steps between evaluations with `eval_strategy: "steps"`; default `logging_steps`.'),
    predict_with_generate: boolean(false, 'Write at each evaluation what the targets should be, greedily, and measure `exact_match`, `rouge1`, `rouge2` and `rougeL`: the target of each source (`SEQ_2_SEQ_LM`), or of `CAUSAL_LM` the completion or the last turn of the assistant. The base weights are in memory twice meanwhile.'),
    generation_max_length: optionalInteger({ minimum: 2 }, 'Longest text in tokens with `predict_with_generate`: the target with its start token, or prompt and completion together. Default: as long as the examples may be.'),
    generation_num_beams: optionalInteger({ minimum: 1 }, 'Beams with `predict_with_generate`: 1. Beam search is not supported.'),
    save_strategy: choice('epoch', STRATEGIES, 'When to write a checkpoint.'),
    save_steps: integer(500, { minimum: 1 }, 'Steps between checkpoints with `save_strategy: "steps"`.'),
    metric_for_best_model: optionalText('Metric of `metrics.jsonl`, with or without `eval_`, by which evaluations are compared: `loss`, `accuracy`, `f1`, `precision`, `recall`, `matthews_correlation`, `pearson`, `spearman`, `perplexity`, `token_accuracy`, or with `predict_with_generate` `exact_match`, `rouge1`, `rouge2` or `rougeL`. Default: `loss`, of language models and taggers the mean over all targets: Trainer takes the mean of each batch and then of the batches, which differs with more than one evaluation batch.'),
    greater_is_better: optionalBoolean('Whether a larger metric is better. Default: true, for losses and perplexity false.'),
    early_stopping_patience: optionalInteger({ minimum: 1 }, 'Evaluations in a row without an improvement of `metric_for_best_model` after which the run ends.'),
    early_stopping_threshold: number(0, { minimum: 0 }, 'Improvements up to this size do not count for `early_stopping_patience`.'),
    load_best_model_at_end: boolean(false, 'Save the adapter of the best checkpoint instead of the last step. `save_strategy` and `eval_strategy` must be the same.'),
    logging_steps: integer(1, { minimum: 1 }, 'Steps between lines of `metrics.jsonl`.'),
  },
  engine: {
    device: choice('auto', DEVICES, 'Device that runs the step. `auto`: CUDA if a probe step runs on it, else WebGPU on a real GPU, else the CPU. `tensorflow`: `@tensorflow/tfjs-node-gpu` or `@tensorflow/tfjs-node`, if installed. A device named here that cannot be used is an error.'),
    precision: choice('fp32', PRECISIONS, 'Number format of the frozen linear layers of the base. `fp16`: on a GPU whose WebGPU adapter has `shader-f16`, half of the memory, embeddings too. `int8`: 8-bit weights and inputs, much faster on the CPU. `int4`: 4-bit weights, an eighth of the memory. All are rounded when the base is loaded, change its results a little, and leave the checkpoint as it is. Adapters, norms and heads stay in fp32, and with `int8` and `int4` embeddings.'),
    compare_precision: choice('auto', ['auto', 'off'] as const, 'With rounded base weights: `auto` takes the first step in fp32 on the CPU as well, and tells how far loss and gradient norm are from it, if the exact base fits into the memory that is free. It takes as long as loading the base again.'),
    threads: optionalInteger({ minimum: 1 }, 'Threads that compute on the CPU. Default: one for each processor core that the engine may use, on Linux also no more than the CPU limit of its container allows. Fewer leave the rest of the machine to other programs; more, up to one for each hardware thread, are rarely faster. TensorFlow chooses its own. A run may go on with another number.'),
    prefix_cache: choice('auto', ['auto', 'off'] as const, 'Layers below the first one that anything is trained in make the same of an example in every epoch. `auto`: in runs of more than one epoch they are computed once for each example, unless the base applies dropout in them.'),
    prefix_cache_mb: integer(1024, { minimum: 0 }, 'Megabytes of memory that `prefix_cache` may take; what exceeds them lies in a file in the run folder until the run ends.'),
    without: choices(SAVING_NAMES, 'Savings of time or memory that this run goes without, to measure what each brings; the losses stay the same, but dropout draws other masks.', SAVING_NAMES.map(name => SAVINGS[name].doc)),
  },
} as const;

type Values<S> = { -readonly [K in keyof S]: S[K] extends Setting<infer T> ? T : never };
export type DatasetSettings = Values<typeof SETTINGS.dataset>;
export type LoraSettings = Values<typeof SETTINGS.lora> & {
  /** The file says `"lora": null`: the whole model is trained, and the other keys, at their defaults, mean nothing. */
  full?: true;
};
export type TrainingSettings = Values<typeof SETTINGS.training>;
export type EngineSettings = Values<typeof SETTINGS.engine>;

/** A parsed experiment with every default filled in. Paths are as written: relative to the file. */
export interface Experiment extends Values<typeof SETTINGS.experiment> {
  dataset: DatasetSettings;
  lora: LoraSettings;
  training: TrainingSettings;
  engine: EngineSettings;
}

/** An experiment as it is written: `"lora": null` where the whole model is trained. */
export const written = (experiment: Experiment): Record<string, unknown> => ({ ...experiment, lora: experiment.lora.full ? null : experiment.lora });

/** Sets one key of an experiment file; without a value it removes the key, which null is not: that is a value. */
export interface SettingChange { path: string[]; value?: unknown }

/** One thing wrong with an experiment file. `path` leads to the key, e.g. `['lora', 'r']`. */
export interface Problem { path: string[]; cause: string; action: string }

/** Sections that are objects inside the file; the keys of `SETTINGS.experiment` stand at the top. */
export const SECTIONS = ['dataset', 'lora', 'training', 'engine'] as const;
export type Section = (typeof SECTIONS)[number];

type AnySetting = Setting<unknown>;
const table = (section: Section | 'experiment'): Record<string, AnySetting> => SETTINGS[section] as unknown as Record<string, AnySetting>;

/** The setting behind a path such as `['lora', 'r']` or `['task']`; undefined if there is none. */
export function settingAt(path: readonly (string | number)[]): AnySetting | undefined {
  const [first, second] = path;
  const own = (section: Section | 'experiment', key: unknown): AnySetting | undefined => (Object.hasOwn(table(section), String(key)) ? table(section)[String(key)] : undefined);
  if (path.length === 1) return own('experiment', first);
  if (path.length === 2 && (SECTIONS as readonly string[]).includes(String(first))) return own(first as Section, second);
  return undefined;
}

/** What an experiment reads, as it names it, by the keys: `dataset.train`. */
export function inputPaths(values: object): [key: string, path: string][] {
  return (['experiment', ...SECTIONS] as const).flatMap(section => {
    const given = (section === 'experiment' ? values : (values as Record<Section, object>)[section]) as Record<string, unknown>;
    const place = section === 'experiment' ? '' : `${section}.`;
    return Object.entries(table(section)).flatMap(([key, { path }]): [string, string][] => (path && key !== 'output_dir' && given[key] ? [[place + key, String(given[key])]] : []));
  });
}

/**
 * Checks the parsed JSON of an experiment file, all but its section `sweep` (sweep.ts) without the evaluations that it needs, and fills in the defaults.
 * Returns the experiment, or every problem found; unknown keys are problems too, with the nearest known key.
 */
export function parseExperiment(json: unknown): { experiment: Experiment; problems: [] } | { experiment: undefined; problems: Problem[] } {
  if (!isObject(json)) {
    return { experiment: undefined, problems: [{ path: [], cause: 'the file does not hold a JSON object', action: 'start it with { "base_model": …, "dataset": … }' }] };
  }
  const problems: Problem[] = [];
  const top = readSection('experiment', json, [], problems, [...SECTIONS, 'sweep']);
  const sections = SECTIONS.map(name => {
    const value = json[name] ?? {};
    if (!isObject(value)) {
      problems.push({ path: [name], cause: `is ${describe(value)}, not an object`, action: `write "${name}": { … }` });
      return [name, {}] as const;
    }
    const values = readSection(name, value, [name], problems);
    return [name, name === 'lora' && json.lora === null ? { ...values, full: true } : values] as const;
  });
  const experiment = { ...top, ...Object.fromEntries(sections) } as unknown as Experiment;
  if (!isObject(json.training) || json.training.eval_strategy === undefined) experiment.training.eval_strategy = defaultStrategy(experiment.dataset.eval);
  if (json.lora === null) problems.push(...adapterOnly(json));
  problems.push(...evaluationProblems(experiment, isObject(json.sweep) && (json.sweep.halving ?? null) !== null));
  return problems.length ? { experiment: undefined, problems } : { experiment, problems: [] };
}

/** Keys that mean nothing, or cannot be, where the whole model is trained. */
function adapterOnly({ training, engine }: Record<string, unknown>): Problem[] {
  const problems: Problem[] = [];
  if (isObject(training) && training.loraplus_lr_ratio != null) problems.push({ path: ['training', 'loraplus_lr_ratio'], cause: 'is given, but "lora" is null: there are no A and B', action: 'remove it' });
  const precision = isObject(engine) ? engine.precision ?? 'fp32' : 'fp32';
  if (precision !== 'fp32') problems.push({ path: ['engine', 'precision'], cause: `is ${describe(precision)}, but "lora" is null: no layer is frozen, and only frozen ones can be rounded`, action: 'write "fp32", or train an adapter' });
  return problems;
}

function readSection(section: Section | 'experiment', json: Record<string, unknown>, path: string[], problems: Problem[], ignore: readonly string[] = []) {
  const settings = table(section);
  const values: Record<string, unknown> = {};
  for (const key of Object.keys(json)) {
    if (Object.hasOwn(settings, key) || ignore.includes(key) || (path.length === 0 && key === '$schema')) continue;
    const field = section === 'lora' && Object.hasOwn(LORA_FIELDS, key) ? LORA_FIELDS[key] : undefined;
    if (field) {
      if (!isDefault(field, json[key])) problems.push({ path: [...path, key], cause: `is ${describe(json[key])}, which is not supported`, action: field.instead });
      continue;
    }
    const elsewhere = (['experiment', ...SECTIONS] as const).find(other => other !== section && Object.hasOwn(table(other), key));
    const known = Object.keys(settings).concat(ignore);
    const near = nearest(key, known);
    const action = elsewhere === 'experiment' ? 'write it at the top of the file, beside "lora" and "training"'
      : elsewhere ? `write it within "${elsewhere}": { … }`
        : near ? `did you mean "${near}"?` : `known keys: ${known.join(', ')}`;
    problems.push({ path: [...path, key], cause: elsewhere ? 'is no key of this place' : 'unknown key', action });
  }
  for (const [key, setting] of Object.entries(settings)) {
    const given = Object.hasOwn(json, key) ? json[key] : undefined;
    if (given === undefined) {
      if (setting.default === undefined) problems.push({ path: [...path, key], cause: 'is missing', action: setting.doc });
      values[key] = structuredCloneOf(setting.default);
      continue;
    }
    const wrong = check(setting, given);
    if (wrong) problems.push({ path: [...path, key], cause: `is ${describe(given)}`, action: wrong });
    values[key] = given;
  }
  return values;
}

/** What the value of the setting at a path should have been, or undefined if it is fine. */
export const valueProblem = (path: readonly string[], value: unknown): string | undefined => check(settingAt(path)!, value);

/** What the value should have been, or undefined if it is fine. */
function check(setting: AnySetting, value: unknown): string | undefined {
  if (value === null) return setting.nullable ? undefined : `give ${expected(setting)}`;
  switch (setting.type) {
    case 'text': return typeof value === 'string' && value !== '' ? undefined : 'give a non-empty text';
    case 'boolean': return typeof value === 'boolean' ? undefined : 'give true or false';
    case 'choice': return setting.choices!.includes(value as string | boolean) || typeof value === 'string' && setting.pattern !== undefined && new RegExp(setting.pattern).test(value) ? undefined : `give ${expected(setting)}`;
    case 'choices': return choicesProblem(setting, value);
    case 'number': case 'integer': return checkNumber(setting, value) ? undefined : `give ${expected(setting)}`;
    case 'integers': return [value].flat().length > 0 && [value].flat().every(entry => checkNumber(setting, entry)) ? undefined : `give ${expected(setting)} or a list of them`;
    case 'tokens': {
      const lists = isObject(value) ? Object.values(value) : [value];
      return lists.every(list => Array.isArray(list) && list.every(index => checkNumber({ ...setting, type: 'integer' }, index))) ? undefined : 'give a list of token numbers, or an object: module name → list';
    }
    case 'names':
      return typeof value === 'string' && value !== '' || Array.isArray(value) && value.length > 0 && value.every(v => typeof v === 'string' && v !== '')
        ? undefined : 'give a list of module names or one regular expression';
    case 'overrides':
      return isObject(value) && Object.values(value).every(v => checkNumber(setting, v)) ? undefined : `give an object: module name → ${expected(setting)}`;
  }
}

function choicesProblem(setting: AnySetting, value: unknown): string | undefined {
  const known = setting.choices as readonly string[];
  const wrong = Array.isArray(value) ? value.filter(name => !known.includes(name as string)) : [];
  if (Array.isArray(value) && !wrong.length) return undefined;
  const near = typeof wrong[0] === 'string' ? nearest(wrong[0], known) : undefined;
  return near ? `did you mean "${near}" instead of ${describe(wrong[0])}?` : `give ${expected(setting)}`;
}

function checkNumber(setting: AnySetting, value: unknown): boolean {
  return typeof value === 'number' && Number.isFinite(value)
    && (!setting.type.startsWith('integer') || Number.isSafeInteger(value))
    && (setting.minimum === undefined || value >= setting.minimum)
    && (setting.exclusiveMinimum === undefined || value > setting.exclusiveMinimum)
    && (setting.maximum === undefined || value <= setting.maximum);
}

function expected(setting: AnySetting): string {
  if (setting.type === 'choice') return `one of ${[...setting.choices!, ...(setting.example === undefined ? [] : [setting.example])].map(c => JSON.stringify(c)).join(', ')}`;
  if (setting.type === 'choices') return `a list of some of ${setting.choices!.map(c => JSON.stringify(c)).join(', ')}`;
  if (!['number', 'integer', 'integers', 'overrides'].includes(setting.type)) return `a ${setting.type}`;
  const kind = setting.type.startsWith('integer') ? 'a whole number' : 'a number';
  const bounds = [
    setting.minimum !== undefined && `at least ${setting.minimum}`,
    setting.exclusiveMinimum !== undefined && `above ${setting.exclusiveMinimum}`,
    setting.maximum !== undefined && `at most ${setting.maximum}`,
  ].filter(Boolean);
  return bounds.length ? `${kind} ${bounds.join(' and ')}` : kind;
}

const isObject = (value: unknown): value is Record<string, unknown> => typeof value === 'object' && value !== null && !Array.isArray(value);
const structuredCloneOf = (value: unknown): unknown => (Array.isArray(value) ? [...value] : isObject(value) ? { ...value } : value);

function describe(value: unknown): string {
  const json = JSON.stringify(value);
  return json === undefined ? String(value) : json.length > 60 ? `${json.slice(0, 57)}…` : json;
}

/** The candidate with the smallest edit distance to `name`, if it is close enough to be a typing mistake. */
export function nearest(name: string, candidates: readonly string[]): string | undefined {
  return nearestNames(name, candidates, 1).find(c => editDistance(name, c) <= Math.max(2, name.length / 3));
}

/** The `count` candidates with the smallest edit distance to `name`, nearest first. */
export function nearestNames(name: string, candidates: readonly string[], count: number): string[] {
  return candidates
    .map(candidate => ({ candidate, distance: editDistance(name, candidate) }))
    .sort((a, b) => a.distance - b.distance)
    .slice(0, count)
    .map(({ candidate }) => candidate);
}

/** Levenshtein distance of two strings. */
function editDistance(a: string, b: string): number {
  let row = Array.from({ length: b.length + 1 }, (_, j) => j);
  for (let i = 1; i <= a.length; i++) {
    const next = [i];
    for (let j = 1; j <= b.length; j++) {
      next[j] = Math.min(next[j - 1] + 1, row[j] + 1, row[j - 1] + (a[i - 1] === b[j - 1] ? 0 : 1));
    }
    row = next;
  }
  return row[b.length];
}
