/** Views of the panel as a host would send them: a BERT of the sample's size, and runs in each state. */
import type { ModuleInfo, RunStarted } from '../../../src/protocol/engine';
import { parseExperiment, type Experiment } from '../../../src/protocol/experiment';
import { settingsOf, type MemoryView } from '../../../src/protocol/memory';
import type { MetricRecord, Summary, SweepMember, TelemetrySample } from '../../../src/protocol/metrics';
import type { ComparedPoint, ComparedRun, Comparison } from '../../../src/protocol/comparison';
import { EMPTY_RUN, type ExperimentView, type ModelView, type PanelView, type RunView, type TryResult } from '../../../src/protocol/panel';
import { silentReport } from '../../../src/protocol/silentGpu';

const FOLDER = '/home/ada/experiments/reviews';

/** All named modules of a BERT classifier, with PEFT's names. */
export function bertModel({ layers = 4, hidden = 128, intermediate = 512, vocabulary = 1200, positions = 128, labels = ['negative', 'positive'] } = {}): ModelView {
  const module = (name: string, type: ModuleInfo['type'], shape: number[], saved = false): ModuleInfo => ({
    name, type, shape, parameters: shape.reduce((a, b) => a * b, 1) + (type === 'Embedding' ? 0 : shape[0]),
    dtype: saved ? null : 'F32', adaptable: type === 'Linear' && !saved, saved,
  });
  const norm = (name: string): ModuleInfo => module(name, 'LayerNorm', [hidden]);
  const linear = (name: string, out: number, inner: number): ModuleInfo => module(name, 'Linear', [out, inner]);
  const modules = [
    module('bert.embeddings.word_embeddings', 'Embedding', [vocabulary, hidden]), module('bert.embeddings.position_embeddings', 'Embedding', [positions, hidden]),
    module('bert.embeddings.token_type_embeddings', 'Embedding', [2, hidden]), norm('bert.embeddings.LayerNorm'),
    ...Array.from({ length: layers }, (_, i) => `bert.encoder.layer.${i}`).flatMap(layer => [
      ...['query', 'key', 'value'].map(name => linear(`${layer}.attention.self.${name}`, hidden, hidden)),
      linear(`${layer}.attention.output.dense`, hidden, hidden), norm(`${layer}.attention.output.LayerNorm`),
      linear(`${layer}.intermediate.dense`, intermediate, hidden), linear(`${layer}.output.dense`, hidden, intermediate), norm(`${layer}.output.LayerNorm`),
    ]),
    linear('bert.pooler.dense', hidden, hidden), module('classifier', 'Linear', [labels.length, hidden], true),
  ];
  const base_parameters = modules.reduce((sum, m) => sum + m.parameters, 0);
  return { folder: `${FOLDER}/model`, model_type: 'bert', modules, base_parameters, default_target_modules: ['query', 'value'], labels };
}

/** All named modules of a T5 of the first release, heads of 64. */
export function t5Model({ layers = 6, hidden = 512, vocabulary = 32128 } = {}): ModelView {
  const module = (name: string, type: ModuleInfo['type'], shape: number[]): ModuleInfo => ({ name, type, shape, parameters: shape.reduce((a, b) => a * b, 1), dtype: 'F32', adaptable: type === 'Linear', saved: false });
  const attention = (at: string): ModuleInfo[] => ['q', 'k', 'v', 'o'].map(name => module(`${at}.${name}`, 'Linear', [hidden, hidden]));
  const block = (stack: string, i: number): ModuleInfo[] => {
    const at = `${stack}.block.${i}.layer`;
    const last = stack === 'encoder' ? 1 : 2;
    return [
      ...attention(`${at}.0.SelfAttention`), ...(i === 0 ? [module(`${at}.0.SelfAttention.relative_attention_bias`, 'Embedding', [32, hidden / 64])] : []), module(`${at}.0.layer_norm`, 'LayerNorm', [hidden]),
      ...(stack === 'decoder' ? [...attention(`${at}.1.EncDecAttention`), module(`${at}.1.layer_norm`, 'LayerNorm', [hidden])] : []),
      module(`${at}.${last}.DenseReluDense.wi`, 'Linear', [4 * hidden, hidden]), module(`${at}.${last}.DenseReluDense.wo`, 'Linear', [hidden, 4 * hidden]), module(`${at}.${last}.layer_norm`, 'LayerNorm', [hidden]),
    ];
  };
  const own = [
    module('shared', 'Embedding', [vocabulary, hidden]),
    ...['encoder', 'decoder'].flatMap(stack => [...Array.from({ length: layers }, (_, i) => block(stack, i)).flat(), module(`${stack}.final_layer_norm`, 'LayerNorm', [hidden])]),
  ];
  const readers = ['encoder', 'decoder'].map(stack => ({ ...own[0], name: `${stack}.embed_tokens`, adaptable: true }));
  return { folder: `${FOLDER}/t5`, model_type: 't5', modules: [own[0], ...readers, ...own.slice(1)], base_parameters: own.reduce((sum, m) => sum + m.parameters, 0), default_target_modules: ['q', 'v'], labels: [] };
}

/** The values of the sample's experiment file. */
export function values(lora: Partial<Experiment['lora']> = {}): Experiment {
  return parseExperiment({
    base_model: 'model', dataset: { train: 'train.jsonl', eval: 'eval.jsonl' }, lora: lora.full ? null : { r: 8, lora_alpha: 16, target_modules: ['query', 'value'], lora_dropout: 0.1, ...lora },
    training: { per_device_train_batch_size: 16, learning_rate: 3e-3, max_length: 64, warmup_steps: 20 }, output_dir: 'runs/sentiment',
  }).experiment!;
}

export function experiment(part: Partial<ExperimentView> = {}): ExperimentView {
  return { file: `${FOLDER}/sentiment.lora.json`, name: 'sentiment', values: values(), problems: [], model: bertModel(), model_error: null, memory: memory(), trusted: true, ...part };
}

/** A machine with so many bytes free. */
export const memory = (available_bytes = 8e9, part: Partial<MemoryView> = {}): MemoryView => ({ available_bytes, measuring: false, silent: null, measured: [], held: null, ...part });

const STARTED: Omit<RunStarted, 'history'> = {
  run_folder: `${FOLDER}/runs/sentiment`, total_steps: 564, num_train_epochs: 3, trainable_parameters: 16642, all_parameters: 1_000_450, train_examples: 3000, eval_examples: 600, longest: 60, half_precision: false,
  labels: ['negative', 'positive'], device: 'CPU (AVX-512, 8 threads)',
};

export function run(part: Partial<RunView> = {}): RunView {
  return { ...EMPTY_RUN, status: 'running', started: STARTED, folder: STARTED.run_folder, ...part };
}

/** A run's log: a noisy loss that falls, evaluated each `evalEvery` steps. The same for the same arguments. */
export function metrics(steps: number, evalEvery = 94): MetricRecord[] {
  let seed = 7;
  const noise = (): number => {
    seed = (seed * 1103515245 + 12345) % 2147483648;
    return seed / 2147483648 - 0.5;
  };
  const records: MetricRecord[] = [];
  for (let step = 1; step <= steps; step++) {
    const falling = 0.18 + 0.53 * Math.exp(-step / 110);
    records.push({
      step, epoch: step / 188, loss: Number(Math.max(0.02, falling + 0.22 * noise()).toFixed(4)), grad_norm: Number((0.8 + 0.9 * Math.abs(noise()) + falling).toFixed(4)),
      learning_rate: 3e-3 * Math.min(1, step / 20) * Math.max(0, 1 - Math.max(0, step - 20) / 544), tokens: 420 * step, tokens_per_second: 5200 + 700 * noise(), time: 0.081 * step,
    });
    if (step % evalEvery === 0) records.push({ step, epoch: step / 188, eval_loss: Number((falling + 0.05).toFixed(4)), eval_accuracy: 0.94 - 0.4 * Math.exp(-step / 120), eval_runtime: 1.4, time: 0.081 * step });
  }
  return records;
}

/** The machine during a run, a sample a second. The same for the same arguments. */
export function telemetry(seconds: number, gpu = false): TelemetrySample[] {
  return Array.from({ length: seconds }, (_, i) => ({
    time: i + 1, memory_bytes: 3e8 + 1.1e8 * Math.min(1, i / 8) + 4e6 * Math.sin(i), peak_memory_bytes: i < 40 ? 4.1e8 : 5.2e8, machine_memory_bytes: 16e9, cpu_cores: i < 2 ? 1 : 3.7 + 0.3 * Math.sin(1.7 * i), cores: 8,
    ...(gpu ? { gpu: { of: 'card' as const, memory_bytes: 2.1e9 + 1e9 * Math.min(1, i / 5), memory_total_bytes: 8e9, utilization: 0.9 + 0.09 * Math.sin(i) } } : {}),
  }));
}

const SUMMARY: Summary = {
  state: 'finished', steps: 564, epochs: 3, trainable_parameters: 16642, all_parameters: 1_000_450, train_loss: 0.2871, eval_before: { loss: 0.7012, accuracy: 0.4983 }, eval: { loss: 0.2213, accuracy: 0.9283 },
  device: 'CPU (AVX-512, 8 threads)', seconds: 47.3, peak_memory_bytes: 412_000_000, adapter: `${FOLDER}/runs/sentiment/adapter`,
};

const BERT_BASE = bertModel({ layers: 12, hidden: 768, intermediate: 3072, vocabulary: 30522, positions: 512 });
const long = (per_device_train_batch_size: number, max_length: number): Experiment => {
  const given = values();
  return { ...given, training: { ...given.training, per_device_train_batch_size, max_length } };
};

/** An experiment on pairs of texts. */
const pairs = (): Experiment => {
  const given = values();
  return { ...given, dataset: { ...given.dataset, text_column: 'sentence1', text_pair_column: 'sentence2' } };
};

/** A language model's experiment. */
function language(dataset: object): Experiment {
  const { dataset: own, ...rest } = values({ target_modules: ['c_attn'] });
  return { ...rest, task: 'CAUSAL_LM', dataset: { ...own, ...dataset } };
}

/** As `metrics`, with what is measured of a language model; the loss comes close to zero. */
function languageMetrics(steps: number): MetricRecord[] {
  return metrics(steps).map((record): MetricRecord => {
    if (!('eval_loss' in record)) return { ...record, loss: Number((Number(record.loss) * Math.exp(-record.step / 60)).toFixed(4)) };
    const { eval_accuracy, eval_loss, ...rest } = record;
    const loss = Number((Number(eval_loss) * Math.exp(-record.step / 60)).toFixed(4));
    return { ...rest, eval_loss: loss, eval_perplexity: Math.exp(loss), eval_token_accuracy: eval_accuracy };
  });
}

const LANGUAGE_SUMMARY: Summary = { ...SUMMARY, eval_before: { loss: 3.912, perplexity: 50, token_accuracy: 0.112 }, eval: { loss: 0.021, perplexity: 1.0212, token_accuracy: 0.943 } };

/** Four members of a sweep, the best first; the second one is training. */
const MEMBERS: SweepMember[] = ([['03-r-8-learning_rate-0.0003', 8, 3e-4, 'finished', 0.214], ['04-r-8-learning_rate-0.001', 8, 1e-3, 'running', 0.26], ['01-r-4-learning_rate-0.0003', 4, 3e-4, 'halved', 0.41], ['02-r-4-learning_rate-0.001', 4, 1e-3, 'failed', null]] as const)
  .map(([name, r, rate, state, value]) => ({ name, changes: { 'lora.r': r, 'training.learning_rate': rate }, state, value, steps: 300, trainable_parameters: 1000 * r, train_loss: value, eval: null, ...(state === 'failed' ? { error: 'the loss became NaN' } : {}) }));
export const SWEEP = { members: MEMBERS, shown: MEMBERS[1].name, curves: Object.fromEntries(MEMBERS.map(({ name }, i) => [name, Array.from({ length: 50 }, (_, step): [number, number] => [6 * step, 0.7 - 0.01 * step + 0.03 * i])])) };

/** A run of a comparison: the same for the same arguments. */
function compared(name: string, steps: number, settings: (string | null)[], worse: number, own: Partial<ComparedRun> = {}): ComparedRun {
  const records = metrics(steps);
  const points = (of: (record: MetricRecord) => number | undefined): ComparedPoint[] => records.flatMap(record => {
    const value = of(record);
    return value === undefined ? [] : [{ step: record.step, epoch: record.epoch, time: record.time, value }];
  });
  const losses = points(record => ('loss' in record ? Number(record.loss) + worse * Math.min(1, record.step / 40) : undefined));
  const evaluations = points(record => ('eval_loss' in record ? record.eval_accuracy! - worse / 2 : undefined));
  return {
    folder: `${FOLDER}/runs/${name}`, name, experiment: name.split('.')[0], state: 'finished', steps, settings, losses, evaluations, trainable_parameters: 16642, seconds: 0.081 * steps, peak_memory_bytes: 412_000_000,
    train_loss: Number(losses.at(-1)!.value.toFixed(4)), last: evaluations.at(-1) ?? null, best: evaluations.at(-1) ?? null, ...own,
  };
}

const ACCURACY = { name: 'accuracy', greater_is_better: true, share: true };

/** What the page that compares runs shows, by name. */
export const COMPARISONS: Record<string, Comparison> = {
  compare: {
    settings: ['lora.r', 'lora.target_modules', 'training.learning_rate'], metric: ACCURACY,
    runs: [
      compared('sentiment', 564, ['8', 'query, value', '0.003'], 0),
      compared('sentiment.1', 188, ['8', 'query, value', '0.0005'], 0.12, { experiment: null, state: 'stopped' }),
      compared('wide', 1400, ['32', 'query, key, value, attention.output.dense, intermediate.dense, output.dense', '0.003'], 0.04, { state: 'running', trainable_parameters: 1_213_442, peak_memory_bytes: null }),
      compared('broken', 40, [null, null, null], 0.3, { state: 'failed', trainable_parameters: null, peak_memory_bytes: null, train_loss: 'NaN', last: null, best: null }),
    ],
  },
  compareMany: {
    settings: ['training.learning_rate'], metric: ACCURACY,
    runs: Array.from({ length: 12 }, (_, i) => compared(`${String(i + 1).padStart(2, '0')}-learning_rate-${i + 1}e-4`, 376, [`0.000${i + 1}`], 0.03 * i)),
  },
  compareLoss: {
    settings: [], metric: null,
    runs: [compared('first', 120, [], 0, { evaluations: [], last: null, best: null }), compared('second', 150, [], 0.1, { evaluations: [], last: null, best: null }), compared('empty', 1, [], 0, { steps: 0, losses: [], evaluations: [], train_loss: null, last: null, best: null, state: 'failed', seconds: null })],
  },
};

/** The states that the panel can be in, by name. */
export const VIEWS: Record<string, PanelView> = {
  none: { experiment: null, run: EMPTY_RUN, metrics: [] },
  loading: { experiment: experiment({ model: null }), run: EMPTY_RUN, metrics: [] },
  ready: { experiment: experiment(), run: EMPTY_RUN, metrics: [] },
  untrusted: { experiment: experiment({ model: null, trusted: false }), run: EMPTY_RUN, metrics: [] },
  modelError: {
    experiment: experiment({
      model: null,
      model_error: { code: 'checkpoint.truncated', file: `${FOLDER}/model/model.safetensors`, where: 'tensor bert.encoder.layer.2.output.dense.weight', cause: 'the file ends 12,288 bytes before the end of this tensor', action: 'copy or download the file again' },
    }), run: EMPTY_RUN, metrics: [],
  },
  tooLarge: { experiment: experiment({ memory: memory(1.38e9), model: BERT_BASE, values: long(16, 512) }), run: EMPTY_RUN, metrics: [] },
  held: {
    experiment: experiment({
      model: BERT_BASE, values: long(16, 512),
      memory: memory(1.38e9, { held: { needed: 1.62e9, available: 1.38e9, measured: true, exceeded: false }, measured: [{ settings: settingsOf(long(16, 512)), result: { peak_memory_bytes: 1.62e9, device: 'cpu (onnxruntime)', longest: 512, gpu_memory_bytes: null, device_memory_bytes: null }, of: 'step' }] }),
    }), run: EMPTY_RUN, metrics: [],
  },
  gpu: { experiment: experiment({ model: BERT_BASE, values: { ...values(), engine: { ...values().engine, device: 'webgpu' } } }), run: EMPTY_RUN, metrics: [] },
  wholeModel: { experiment: experiment({ values: values({ full: true }) }), run: EMPTY_RUN, metrics: [] },
  measuring: { experiment: experiment({ memory: memory(8e9, { measuring: 'asked' }) }), run: EMPTY_RUN, metrics: [] },
  problems: {
    experiment: experiment({
      values: values({ target_modules: ['query', 'valeu'] }),
      problems: [
        { path: ['training', 'learning_rate'], cause: 'is "fast"', action: 'give a number above 0' }, { path: ['dataset', 'train'], cause: 'is missing', action: 'Training examples: .jsonl, .csv or .tsv (with a header line).' },
        { path: ['lora', 'rnak'], cause: 'unknown key', action: 'did you mean "rank_pattern"?' },
      ],
    }), run: EMPTY_RUN, metrics: [],
  },
  preparing: { experiment: experiment(), run: run({ status: 'preparing', started: null, progress: { message: 'Reading train.jsonl', fraction: 0.35 } }), metrics: [] },
  running: { experiment: experiment(), run: run(), metrics: metrics(300), telemetry: telemetry(90, true) },
  elsewhere: { experiment: experiment(), run: run({ status: 'elsewhere', started: { ...STARTED, device: '', trainable_parameters: 0, all_parameters: 0 }, elsewhere: { pid: 4711, own: true } }), metrics: metrics(300) },
  sweep: { experiment: experiment(), run: run({ sweep: SWEEP }), metrics: metrics(300) },
  paused: { experiment: experiment(), run: run({ status: 'paused', saving: true }), metrics: metrics(300), telemetry: telemetry(40) },
  full: {
    experiment: experiment(), metrics: metrics(282), telemetry: telemetry(23),
    run: run({
      status: 'paused',
      blocked: {
        code: 'disk.full', file: STARTED.run_folder, where: 'step 282', cause: 'the disk is full, so the run is paused: about 1.3 MB are needed for checkpoint-282, 0.2 MB are free',
        action: 'free some space, then press Retry; Stop ends the run', lastGoodCheckpoint: `${FOLDER}/runs/sentiment/checkpoint-188`,
      },
    }),
  },
  silent: { experiment: experiment(), metrics: metrics(282), telemetry: telemetry(23), run: run({ silent: silentReport(Date.UTC(2026, 1, 3, 12, 4, 5), 'Stop ends the engine, and the run goes on from its last checkpoint if there is one') }) },
  failed: {
    experiment: experiment(),
    run: run({
      status: 'failed', resumable: true,
      error: { code: 'training.not-finite', file: `${FOLDER}/sentiment.lora.json`, where: 'step 212', cause: 'the loss became NaN at step 212', action: 'lower learning_rate, then continue from the last checkpoint', lastGoodCheckpoint: `${FOLDER}/runs/sentiment/checkpoint-188` },
    }),
    metrics: [...metrics(211), { step: 212, epoch: 1.12, loss: 'NaN', grad_norm: 'NaN', learning_rate: 1.9e-3, tokens: 89_000, tokens_per_second: 5100, time: 17.2 }],
  },
  finished: { experiment: experiment(), run: run({ status: 'finished', summary: SUMMARY, adapter: SUMMARY.adapter }), metrics: metrics(564) },
  pairs: { experiment: experiment({ values: pairs() }), run: run({ status: 'finished', summary: SUMMARY, adapter: SUMMARY.adapter }), metrics: metrics(564) },
  language: {
    experiment: experiment({ values: language({ text_column: 'text' }) }), run: run({ status: 'finished', summary: LANGUAGE_SUMMARY, adapter: LANGUAGE_SUMMARY.adapter }),
    metrics: languageMetrics(300),
  },
  long: { experiment: experiment({ model: bertModel({ layers: 12, hidden: 768, intermediate: 3072, vocabulary: 30522, positions: 512 }) }), run: run({ started: { ...STARTED, total_steps: 60_000 } }), metrics: metrics(50_000, 2000) },
};

/** What the two sides write. */
export const WRITTEN = {
  adapter: 'The projector hummed, and for two hours nobody in the room looked at a phone.\n\nA small film with a long memory: the sea is always somewhere in the picture, and the daughter is always about to say something.',
  base: 'the the film film was a a good good film film and and it it was was a a film film of of the the year year, , and and',
};

/** What trying a text answers. */
/** Tags of the words of each text: the adapter finds a name in every word with a capital letter. */
export function tagged(texts: readonly string[]): TryResult {
  const of = (find: boolean) => texts.map((text): TryResult['base'][number] => {
    const words = text.split(' ').map(word => ({ word, tag: word === '' ? null : find && /^[A-Z]/.test(word) ? 'B-PER' : 'O', probabilities: { O: 0.25, 'B-PER': 0.75 }, logits: [0, 1] }));
    return { text, label: words.map(({ tag }) => tag ?? '-').join(' '), probabilities: {}, logits: [], problem_type: 'single_label_classification', words };
  });
  return { base: of(false), adapter: of(true) };
}

export function tried(texts: readonly string[]): TryResult {
  const prediction = (text: string, positive: number): TryResult['base'][number] =>
    ({ text, label: positive > 0.5 ? 'positive' : 'negative', probabilities: { negative: 1 - positive, positive }, logits: [0, Math.log(positive / (1 - positive))], problem_type: 'single_label_classification' });
  return { base: texts.map(text => prediction(text, 0.512)), adapter: texts.map((text, i) => prediction(text, i % 2 ? 0.041 : 0.973)) };
}
