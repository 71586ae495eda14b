/** A reference case of test/fixtures/references: what transformers and PEFT computed for it, and what the engine computes. */
import { cpSync, readFileSync } from 'node:fs';
import { join } from 'node:path';
import { RunControl } from '../../src/engine/control';
import { readAdapter, type Adapter } from '../../src/engine/model/adapter';
import { predict } from '../../src/engine/predict';
import { SILENT } from '../../src/engine/reporter';
import { runExperiment } from '../../src/engine/run';
import type { Task } from '../../src/engine/model/family';
import type { Summary } from '../../src/protocol/metrics';
import { languageLogits } from './languageModel';
import { fixture } from './paths';

export interface Expected {
  trainable_parameters: number; all_parameters: number; labels: string[];
  losses: number[]; grad_norms: number[]; learning_rates: number[]; eval_loss: number;
  eval_accuracy?: number; eval_precision?: number; eval_recall?: number; eval_f1?: number; eval_f1_per_class?: Record<string, number>; eval_matthews_correlation?: number; eval_pearson?: number; eval_spearman?: number;
  initial_logits: number[][]; final_logits: number[][];
  /** Of a language model. */
  prompts?: string[]; generated?: number[][]; generated_by_base?: number[][];
}

interface CaseFile { task: Task; lora: { init_adapter: string | null }; training: { max_length: number; per_device_train_batch_size: number } }

export const expectedOf = (name: string): Expected => JSON.parse(readFileSync(fixture('references', name, 'expected.json'), 'utf8')) as Expected;
export const caseOf = (name: string): CaseFile => JSON.parse(readFileSync(fixture('references', name, 'case.lora.json'), 'utf8')) as CaseFile;
export const modelTypeOf = (name: string): string => (JSON.parse(readFileSync(fixture('references', name, 'model/config.json'), 'utf8')) as { model_type: string }).model_type;

/** Trains the case in `folder`, an empty one. */
export async function trainCase(name: string, folder: string): Promise<{ summary: Summary; labels: string[] }> {
  cpSync(fixture('references', name), folder, { recursive: true });
  let labels: string[] = [];
  const summary = await runExperiment({
    experiment_file: join(folder, 'case.lora.json'), resume: false, cwd: folder, control: new RunControl(),
    report: { ...SILENT, started: started => { labels = started.labels; } },
  });
  return { summary, labels };
}

/** Trained tensors of the engine and of PEFT by key. Where both start from singular vectors, which are known up to their signs, B A takes the place of A and B. */
export function adaptersOf(name: string, folder: string): { own: Map<string, Float32Array>; theirs: Map<string, Float32Array>; found: Adapter; peft: Adapter } {
  const [found, peft] = [readAdapter(join(folder, 'run/adapter')), readAdapter(join(folder, 'adapter_final'))];
  // With "bias": "all" PEFT stores the biases of its wrappers' two copies of a saved module beside the bias that it reads.
  const plain = { ...peft, tensors: new Map([...peft.tensors].filter(([key]) => !/\.(modules_to_save|original_module)\.bias$/.test(key))) };
  const values = ({ tensors }: Adapter): Map<string, Float32Array> => (caseOf(name).lora.init_adapter === null ? withProducts(tensors) : new Map([...tensors].map(([key, { data }]) => [key, data])));
  return { own: values(found), theirs: values(plain), found, peft: plain };
}

function withProducts(tensors: Adapter['tensors']): Map<string, Float32Array> {
  const values = new Map<string, Float32Array>();
  for (const [key, { data, shape }] of tensors) {
    if (key.includes('lora_A')) continue;
    const A = tensors.get(key.replace('lora_B', 'lora_A'))!;
    const [[out, r], [, inner]] = [shape, A.shape];
    values.set(key, !key.includes('lora_B') ? data : Float32Array.from({ length: out * inner }, (_, at) => {
      let sum = 0;
      for (let k = 0; k < r; k++) sum += data[Math.floor(at / inner) * r + k] * A.data[k * inner + at % inner];
      return sum;
    }));
  }
  return values;
}

/** The engine's logits in the order of `initial_logits` and `final_logits`: with the adapter that a case starts from, and with PEFT's final one. */
export async function logitsOf(name: string, folder: string, adapter: 'adapter_start' | 'adapter_final', rows: number): Promise<ArrayLike<number>[]> {
  const { task, lora, training } = caseOf(name);
  if (task !== 'SEQ_CLS' && task !== 'TOKEN_CLS') return languageLogits(join(folder, 'case.lora.json'), join(folder, adapter), rows);
  const lines = readFileSync(join(folder, 'train.jsonl'), 'utf8').trim().split('\n').slice(0, training.per_device_train_batch_size).map(line => JSON.parse(line) as { text: string; pair?: string; tokens?: string[]; ner_tags?: unknown[] });
  const predictions = await predict({
    base: join(folder, 'model'), adapter: adapter === 'adapter_start' && lora.init_adapter === null ? null : join(folder, adapter), task, max_length: training.max_length,
    texts: lines.map(line => line.tokens ?? line.text), pairs: lines[0].pair === undefined ? undefined : lines.map(line => line.pair!),
  });
  // Of words with a tag, those that are not learned apart.
  return predictions.flatMap(({ words, logits }, i) => words?.filter((word, k) => word.tag !== null && lines[i].ner_tags![k] !== -100).map(word => word.logits) ?? [logits]);
}
