/** Small checkpoint folders with random weights. */
import { mkdirSync, writeFileSync } from 'node:fs';
import { join } from 'node:path';
import { bert } from '../../src/engine/model/bert';
import { random } from '../../src/engine/random';
import { writeSafetensors, type TensorSource } from '../../src/engine/model/safetensorsWriter';
import type { DType } from '../../src/engine/model/safetensors';
import { TINY_CONFIG } from './tinyModel';

export interface CheckpointOptions {
  dtype?: DType;
  labels?: string[];
  config?: Record<string, unknown>;
  /** Name under which a parameter is stored; undefined leaves it out. */
  stored?: (name: string) => string | undefined;
  /** Number of files; above 1 with an index. */
  shards?: number;
  seed?: number;
}

/** Writes a tiny BERT checkpoint. */
export async function writeCheckpoint(folder: string, options: CheckpointOptions = {}): Promise<void> {
  const { dtype = 'F32', labels = ['a', 'b', 'c'], stored = (name: string) => name, shards = 1, seed = 1 } = options;
  const config = { ...TINY_CONFIG, id2label: { ...labels }, ...options.config };
  mkdirSync(folder, { recursive: true });
  writeFileSync(join(folder, 'config.json'), JSON.stringify(config));
  writeFileSync(join(folder, 'vocab.txt'), '[PAD]\n[UNK]\n');
  const tensors: TensorSource[] = bert.parameters(config, 'SEQ_CLS', labels.length).flatMap(({ name, shape }) => {
    const place = stored(name);
    if (place === undefined) return [];
    const generator = random(seed, name);
    return [{ name: place, shape, dtype, data: Float32Array.from({ length: shape.reduce((a, b) => a * b, 1) }, () => 0.3 * generator.normal()) }];
  });
  if (shards === 1) {
    await writeSafetensors(join(folder, 'model.safetensors'), tensors, { format: 'pt' });
    return;
  }
  const weight_map: Record<string, string> = {};
  for (let n = 0; n < shards; n++) {
    const file = `model-0000${n + 1}-of-0000${shards}.safetensors`;
    const part = tensors.filter((_, i) => i % shards === n);
    for (const tensor of part) weight_map[tensor.name] = file;
    await writeSafetensors(join(folder, file), part, { format: 'pt' });
  }
  writeFileSync(join(folder, 'model.safetensors.index.json'), JSON.stringify({ metadata: {}, weight_map }));
}

/** The names that a bare BertModel stores its parameters under. */
export const withoutPrefix = (name: string): string | undefined => (name.startsWith('bert.') ? name.slice(5) : undefined);
/** The names of checkpoints converted from TensorFlow; they have no head. */
export const oldNames = (name: string): string | undefined =>
  (name.startsWith('bert.') ? name.replace(/LayerNorm\.weight$/, 'LayerNorm.gamma').replace(/LayerNorm\.bias$/, 'LayerNorm.beta') : undefined);
