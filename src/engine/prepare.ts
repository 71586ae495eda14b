/** From an experiment to everything that training needs: base model, adapter plan, start values, examples. Writes nothing. */
import { createHash } from 'node:crypto';
import type { ExperimentFile } from './experimentFile';
import { loadChatTemplate } from './data/chatTemplate';
import { checkColumns } from './data/columns';
import { endOfText } from './data/endOfText';
import { loadExamples, scanLabels, type ExampleSet } from './data/examples';
import { labelsFor, labelsFromNames, type LabelSet } from './data/labels';
import { languageForm, loadTexts } from './data/languageExamples';
import { loadPairs } from './data/pairExamples';
import { loadTokenizer, type LanguageTokenizer } from './data/tokenizer';
import { LabError } from './errors';
import { fillTrainables, PREFIX, readAdapter, withAdapterWeights, type Adapter } from './model/adapter';
import { checkAdapterSettings } from './model/adapterSettings';
import { openCheckpoint, type Checkpoint } from './model/checkpoint';
import { families } from './model/families';
import { classWeight, type Family } from './model/family';
import { familyOf, modelOf, storedTensor } from './model/loadModel';
import { initialTrainables, planAdapter } from './model/lora';
import type { AdapterPlan } from './model/lora.types';
import type { LoadedModel } from './model/weights';
import type { Reporter } from './reporter';

export interface Prepared {
  model: LoadedModel;
  plan: AdapterPlan;
  /** Start values of everything that is trained, flat [plan.trainable_parameters]. */
  trainables: Float32Array;
  train: ExampleSet;
  eval: ExampleSet | null;
  /** Hash over all tokens and labels: a run resumes only on the data that it began with. */
  data_fingerprint: string;
}

/** `labels` fixes the class names of a resumed run. Errors: those of the checkpoint, tokenizer, data, targets and start adapter. */
export function prepare(source: ExperimentFile, labels: readonly string[] | null, report: Pick<Reporter, 'progress' | 'log'>): Prepared {
  const { experiment: { base_model, task, dataset, lora, training } } = source;
  report.progress({ message: 'Reading the checkpoint', fraction: null });
  const checkpoint = openCheckpoint(source.resolve(base_model));
  const family = familyOf(checkpoint.config, families, checkpoint.folder);
  const limits = family.limits(checkpoint.config);
  // The default is a wish; a length that the person wrote and the model cannot have is an error.
  if (!source.gives('training.max_length')) training.max_length = Math.min(training.max_length, limits.max_positions);
  checkColumns(source);
  const start = lora.init_adapter === null ? null : readAdapter(source.resolve(lora.init_adapter));
  if (start) checkTask(start, task);
  const tokenizer = loadTokenizer(checkpoint.folder);

  report.progress({ message: 'Reading the data', fraction: null });
  const files = { train: source.resolve(dataset.train), eval: dataset.eval === null ? null : source.resolve(dataset.eval) };
  const set = task !== 'SEQ_CLS' ? null : labels ? labelsFromNames(labels) : chooseLabels(checkpoint, family, task, start, scanLabels({ file: files.train, dataset }));
  const base = modelOf(checkpoint, { task, labels: set?.names ?? [], seed: training.seed, families });
  const model = start ? withAdapterWeights(base, start) : base;
  const plan = planAdapter(model, lora);
  if (start) checkAdapterSettings(start, plan, model);

  const texts = task !== 'CAUSAL_LM' ? null : languageOptions(source, checkpoint, tokenizer);
  const load = (file: string, share: [number, number]): ExampleSet => {
    const onProgress = (fraction: number): void => report.progress({ message: 'Reading the data', fraction: share[0] + (share[1] - share[0]) * fraction });
    const options = { file, dataset, tokenizer, max_length: training.max_length, limits, onProgress };
    if (set) return loadExamples({ ...options, labels: set });
    if (family.seq2seq) return loadPairs({ ...options, eos: endOfText(checkpoint.folder, tokenizer, checkpoint.config), start: family.seq2seq.startToken(model.config), max_target_length: training.max_target_length ?? training.max_length });
    return loadTexts({ ...options, ...texts! });
  };
  const train = load(files.train, [0, files.eval ? 0.8 : 1]);
  const evaluation = files.eval ? load(files.eval, [0.8, 1]) : null;
  for (const [name, examples] of [['train', train], ['eval', evaluation]] as const) {
    if (examples?.cut) report.log({ level: 'warn', message: `${examples.cut} of ${examples.length} ${name} examples are longer than max_length ${training.max_length} and were cut off` });
    if (examples?.without_targets) report.log({ level: 'warn', message: `of ${examples.without_targets} ${name} examples so much was cut off that nothing is learned from them: their prompts alone fill max_length ${training.max_length}` });
  }
  const trainables = start ? fillTrainables(plan, start, model) : initialTrainables(model, plan, training.seed);
  return { model, plan, trainables, train, eval: evaluation, data_fingerprint: fingerprint([train, evaluation]) };
}

/** What reading texts takes beside the file. */
function languageOptions(source: ExperimentFile, checkpoint: Checkpoint, tokenizer: LanguageTokenizer) {
  const template = languageForm(source.experiment.dataset) === 'messages' ? loadChatTemplate(checkpoint.folder, tokenizer.config) : null;
  return { eos: endOfText(checkpoint.folder, tokenizer, checkpoint.config), template };
}

/** Error `adapter.task`: the adapter was trained for another task. */
function checkTask({ folder, config }: Adapter, task: string): void {
  if (config.task_type == null || config.task_type === task) return;
  throw new LabError({ code: 'adapter.task', file: folder, cause: `the adapter was trained for ${String(config.task_type)}, the experiment is for ${task}`, action: 'use an adapter of the same task' });
}

/** Class names: the start adapter's if it records them, else those of the checkpoint or the data. */
function chooseLabels(checkpoint: Checkpoint, family: Family, task: string, start: Adapter | null, values: Set<string | number>): LabelSet {
  if (start?.labels) return labelsFromNames(start.labels);
  const head = classWeight(family, task);
  const classes = start?.tensors.get(PREFIX + head)?.shape[0] ?? storedTensor(checkpoint, family, head)?.shape[0] ?? null;
  return labelsFor(checkpoint.config, classes, values);
}

function fingerprint(sets: (ExampleSet | null)[]): string {
  const hash = createHash('sha256');
  for (const set of sets) {
    hash.update(`${set?.length ?? 0} `);
    for (let i = 0; i < (set?.length ?? 0); i++) {
      const { input_ids, label, targets } = set!.get(i);
      hash.update(`${label}:`).update(new Uint8Array(input_ids.buffer, input_ids.byteOffset, input_ids.byteLength));
      if (targets) hash.update(new Uint8Array(targets.buffer, targets.byteOffset, targets.byteLength));
    }
  }
  return hash.digest('hex');
}
