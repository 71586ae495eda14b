/**
 * Messages between the extension host and one engine process, sent as JSON-RPC 2.0 over Node IPC.
 * Every value is plain JSON. Requests go host → engine, notifications as marked.
 */
import type { DatasetSettings, Device, Experiment, Precision, ProblemType } from './experiment';
import type { GenerationSettings } from './generation';
import type { MetricRecord, Summary, SweepMember, SweepSummary, TelemetrySample } from './metrics';

/** Raised whenever either side changes the meaning of a message; the engine refuses a host of another version. */
export const PROTOCOL_VERSION = 1;

/** What went wrong, in the four parts that every message to a person has. Sent as `data` of a JSON-RPC error. */
export interface ErrorReport {
  /** Stable, for tests and for choosing an action, e.g. `checkpoint.no-config`. */
  code: string;
  file?: string;
  /** Line, tensor, key or step inside the file. */
  where?: string;
  cause: string;
  action: string;
  /** Folder of the newest checkpoint that can be resumed from. */
  lastGoodCheckpoint?: string;
}

/** A weight matrix that an adapter can be put on, or another named part of the model that is shown but cannot be adapted. */
export interface ModuleInfo {
  /** Name in the task model, as PEFT sees it: `bert.encoder.layer.0.attention.self.query`. */
  name: string;
  type: 'Linear' | 'Embedding' | 'LayerNorm';
  /** Shape of `weight`: [out_features, in_features] of a Linear, however it is stored; [rows, width] of an Embedding. */
  shape: number[];
  parameters: number;
  /** Storage type in the checkpoint, or null if the checkpoint lacks it and it starts at random. */
  dtype: 'F32' | 'F16' | 'BF16' | null;
  /** True for the linear layers and embeddings that adapters can be put on. */
  adaptable: boolean;
  /** True for a head that is trained whole and saved with the adapter (`modules_to_save`). */
  saved: boolean;
  /** True for the output layer over the vocabulary: `all-linear` leaves it out. */
  output?: boolean;
}

/** Dropout of a base while it is trained: floats of its masks for each token, and how many times attention probabilities are masked. */
export interface BaseDropout { hidden: number; attention: number }

export interface Inspection {
  folder: string;
  model_type: string;
  modules: ModuleInfo[];
  /** Parameters of the task model without any adapter. */
  base_parameters: number;
  /** PEFT's default `target_modules` for the architecture. */
  default_target_modules: string[];
  /** Modules that the given `target_modules` match, if some were given. `parameters` of A and B, DoRA's magnitude vector and the bias of B. */
  matched: { name: string; r: number; lora_alpha: number; A: [number, number]; B: [number, number]; parameters: number }[];
  trainable_parameters: number;
  all_parameters: number;
  labels: string[];
  dropout: BaseDropout;
  /** Query heads of each layer. */
  heads: number;
  /** Size of the files of the data that was named; null where there is none or it is compressed. */
  data_bytes: number | null;
}

export type RunState = 'preparing' | 'running' | 'paused' | 'evaluating' | 'saving' | 'stopping';

/** First message of a run: everything that does not change while it runs. */
export interface RunStarted {
  run_folder: string;
  total_steps: number;
  num_train_epochs: number;
  trainable_parameters: number;
  all_parameters: number;
  train_examples: number;
  eval_examples: number;
  /** Tokens of the longest training example. */
  longest: number;
  /** How many batches are made of: examples, or packed rows. Unknown of an earlier run. */
  rows?: number;
  labels: string[];
  device: string;
  /** Whether the device is known to compute `engine.precision` `fp16`. */
  half_precision: boolean;
  /** Lines of `metrics.jsonl` that a resumed run goes on from. */
  history: MetricRecord[];
}

export interface Progress { message: string; fraction: number | null }

/**
 * Logits and class probabilities of one text. Where several classes may apply `label` names all that do, separated by commas,
 * and each probability is by itself; of a regression `label` is the value and `probabilities` is empty.
 * Where every word gets a tag, `words` has them, `label` is all tags with spaces between, and `probabilities` and `logits` are empty.
 */
export interface Prediction { text: string; label: string; probabilities: Record<string, number>; logits: number[]; problem_type: ProblemType; words?: TaggedWord[] }

/** A word and its tag: null where the word has no tokens or lies beyond the model's positions. */
export interface TaggedWord { word: string; tag: string | null; probabilities: Record<string, number>; logits: number[] }

/** What a language model wrote after a prompt, or an encoder-decoder for a source. */
export interface Completion {
  prompt: string;
  completion: string;
  /** Without those of the prompt; an end-of-text token is the last one. */
  tokens: number[];
  /** `end`: the model ended its text. `length`: max_new_tokens, or the model's positions, were reached. */
  stopped: 'end' | 'length';
}

export type RuntimeName = 'tensorflow' | 'cuda';

export interface InstallRequest {
  runtime: RuntimeName;
  /** TensorFlow with CUDA or for the CPU; the GPU's where the machine has an NVIDIA driver. */
  variant?: 'gpu' | 'cpu';
  /** The archive itself, a folder of downloads, or the address of a mirror; null takes the published ones. */
  from?: string | null;
  /** A Python, its environment or its package tensorflow, whose libraries are used instead of libtensorflow. */
  link?: string | null;
  /** The editor's proxy; without it HTTPS_PROXY, HTTP_PROXY, ALL_PROXY and NO_PROXY of the engine's environment hold. */
  proxy?: ProxySettings;
}

/** `url` is null where no proxy may be used; hosts in `except` are asked directly; `authorization` is a header for the proxy. */
export interface ProxySettings { url: string | null; except: string[]; authorization?: string | null }

export interface InstallReport {
  runtime: RuntimeName;
  folder: string;
  version: string;
  variant: 'gpu' | 'cpu';
  bytes: number;
  seconds: number;
  /** How each part was checked. */
  checked: string[];
  /** Whether a probe step ran on it; `detail` says on what, or why not. */
  works: boolean;
  detail: string;
}

/** `version` is null where it is not installed, `missing` names what is no longer there. */
export interface RuntimeState { runtime: RuntimeName; version: string | null; missing: string | null }

/** A token as a model reads it. */
export interface PreviewToken {
  id: number;
  /** What it adds to the text, with its space; of a character of several tokens all at the last of them. */
  text: string;
  special?: boolean;
  /** Of a model that writes: it is learned. */
  learned?: boolean;
  /** Of words: the tag that is learned at it. */
  tag?: string;
}

/** An example as training makes it. */
export interface PreviewExample {
  /** On which it begins in its file, or the row of a Parquet file, from 1. */
  line: number;
  /** How many the model reads, of an encoder-decoder those of source and target. */
  tokens: number;
  /** Whether tokens were left out. */
  cut: boolean;
  /** A class, all that apply, or a value. */
  label?: string | string[] | number;
  input: PreviewToken[];
  /** Of an encoder-decoder. */
  target?: PreviewToken[];
}

/** What training reads of its data. Counts are of `rows`. */
export interface Preview {
  file: string;
  task: Experiment['task'];
  /** Only of SEQ_CLS. */
  problem_type: ProblemType | null;
  max_length: number;
  /** Only of an encoder-decoder, as `longest_target`. */
  max_target_length: number | null;
  truncation_side: 'left' | 'right';
  rows: number;
  /** False where the file has more rows than were read. */
  all_rows: boolean;
  tokens: number;
  /** Tokens of an example, to one decimal. */
  mean: number;
  /** Tokens of the longest example, or source. */
  longest: number;
  longest_target: number | null;
  /** Examples that were cut. */
  cut: number;
  /** Of models that write, and how many examples have none. */
  learned_tokens: number | null;
  nothing_learned: number | null;
  /** How many examples, or words, have each class. */
  classes: { name: string; count: number }[] | null;
  /** With `training.packing`, rows of `max_length` tokens that these examples share. */
  packed_rows: number | null;
  /** What a run would say of how it reads the data. */
  notes: string[];
  examples: PreviewExample[];
}

/** Requests, host → engine: name → [parameters, result]. One engine process serves one `train` at a time. */
export interface EngineRequests {
  hello: [{ protocol: number }, { protocol: number; pid: number }];
  /** `dataset` names the data (absolute paths): the labels of what is trained on decide how large a new head is. */
  inspect: [{ folder: string; task: string | null; lora?: Record<string, unknown>; problem_type?: ProblemType | null; dataset?: Partial<Pick<DatasetSettings, 'eval'>> & Pick<DatasetSettings, 'train' | 'text_column' | 'label_column' | 'tokens_column' | 'tags_column'> }, Inspection];
  /** What training would read: the first `examples` (5) of the training file, and figures of its first 10,000 rows. Its errors are those of `train`. */
  preview: [{ experiment_file: string; examples?: number }, Preview];
  /** Ends when the run has ended. Its error carries an `ErrorReport`. */
  /** `wait_when_full`: a disk that is full pauses the run (`blocked`) until `resume` or `stop`; without it the run ends. */
  train: [{ experiment_file: string; resume: boolean; wait_when_full?: boolean }, Summary];
  /** All experiments of a file with a section `sweep`. Pause, stop and save concern the one that is going on, stop ends all. */
  sweep: [{ experiment_file: string; resume: boolean; wait_when_full?: boolean }, SweepSummary];
  pause: [Record<string, never>, null];
  resume: [Record<string, never>, null];
  /** Writes a checkpoint and the adapter, then ends the run; `train` answers with state `stopped`. */
  stop: [Record<string, never>, null];
  /** Writes a checkpoint of a running or paused run at the next step boundary. */
  save: [Record<string, never>, { checkpoint: string }];
  /** Runs one step on the longest examples, keeps nothing of it, and tells what it needed. In an engine of its own, for its peak counts everything before. */
  measure: [{ experiment_file: string }, MemoryMeasurement];
  merge: [{ base: string; adapter: string; out: string }, MergeReport];
  /** `task` is that of the adapter or the checkpoint unless it is given. For `TOKEN_CLS` a text is a list of words, or is split at spaces. `labels` and `problem_type` say what a base without adapter and head has for classes, `pairs` are the second texts of pairs. `device` is `auto` unless it is given, `threads` of the CPU one for each core. */
  predict: [{ base: string; adapter: string | null; task?: 'SEQ_CLS' | 'TOKEN_CLS'; texts: (string | string[])[]; pairs?: string[]; labels?: string[]; problem_type?: ProblemType; device?: Device; precision?: Precision; threads?: number | null }, Prediction[]];
  /**
   * Greedy unless `temperature` is above 0. With `chat` each prompt is a user's turn, put through the checkpoint's chat template. While it runs,
   * `text` notifications carry what has been written.
   */
  generate: [{ base: string; adapter: string | null; prompts: string[]; chat?: boolean; device?: Device; precision?: Precision; threads?: number | null } & Partial<GenerationSettings>, Completion[]];
  /** What is being written ends before its next token, with the error `predict.stopped`. */
  stopGenerating: [Record<string, never>, null];
  /** While it runs, `progress` notifications tell how far it is. `cancelInstall` ends it with the error `runtime.cancelled`. */
  install: [InstallRequest, InstallReport];
  cancelInstall: [Record<string, never>, null];
  uninstall: [{ runtime: RuntimeName }, { removed: boolean }];
  /** `python` is a TensorFlow of this machine's Python that could be linked with. */
  runtimes: [Record<string, never>, { runtimes: RuntimeState[]; python: { folder: string; version: string } | null; nvidia: boolean }];
}

/** What one step with the longest examples of the data needed. */
export interface MemoryMeasurement {
  /** Largest resident size of the engine's process. */
  peak_memory_bytes: number;
  /** The device and executor that ran it. */
  device: string;
  /** Tokens of the longest example. */
  longest: number;
  /** What it took of the GPU's own memory: what the process had there, or by how much what is in use on the card grew. Null on the CPU and where nothing tells. */
  gpu_memory_bytes: number | null;
  /** Memory of the GPU that ran it, where the system tells; null on the CPU. */
  device_memory_bytes: number | null;
  /** Whether the device is known to compute `engine.precision` `fp16`. */
  half_precision?: boolean;
  /** How many batches are made of: examples, or packed rows. Not kept by earlier versions. */
  rows?: number;
  /** As in a summary: the process had the whole base in float32 before. */
  peak_with_fp32?: true;
}

export interface MergeReport { out: string; merged_modules: string[]; replaced_modules: string[]; bytes: number; seconds: number }

/** Notifications, engine → host: name → parameters. */
export interface EngineNotifications {
  started: RunStarted;
  metrics: { records: MetricRecord[] };
  state: { state: RunState };
  progress: Progress;
  /** Once a second while a run goes on. */
  telemetry: TelemetrySample;
  /** The GPU has not answered since then (milliseconds since 1970): it hangs, or is slow. Null once it has. */
  silent: { since: number | null };
  /** The run is paused because of this; null once it goes on. */
  blocked: { report: ErrorReport | null };
  /** Of a sweep: the member that goes on from here, and how all of them stand. */
  member: { name: string; number: number; members: SweepMember[] };
  /** A piece of the completion of the prompt of this number. */
  text: { prompt: number; text: string };
  log: { level: 'info' | 'warn' | 'error'; message: string };
}
