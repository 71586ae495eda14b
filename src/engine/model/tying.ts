/** Whether a model's output layer is its embeddings: the stored tensors decide, as in transformers 5. */
import { LabError } from '../errors';
import type { Checkpoint } from './checkpoint';
import type { Config } from './family';
import { readChunks, type TensorRef } from './safetensors';

const EMBEDDINGS = ['shared.weight', 'encoder.embed_tokens.weight', 'decoder.embed_tokens.weight'];

/** Of a resolved config: config.json says that the output layer is the embeddings, the tensors say that it is not. */
export const TIED_IN_CONFIG = 'tied_in_config';

/**
 * The config of a decoder that config.json ties: untied, and marked with `TIED_IN_CONFIG`, where the checkpoint stores an output layer with other
 * values than its embeddings, as one that was merged from an adapter on it or saved after it was trained whole does.
 */
export function decideOutput({ config, tensors }: Pick<Checkpoint, 'config' | 'tensors'>, embeddings: readonly string[]): Config {
  const head = tensors.get('lm_head.weight');
  const table = embeddings.flatMap(name => tensors.get(name) ?? [])[0];
  if (!head || !table || equal(table, head)) return config;
  return { ...config, tie_word_embeddings: false, [TIED_IN_CONFIG]: true };
}

/**
 * The config of a T5 with `tie_word_embeddings` as the tensors have it, and `scale_decoder_outputs` as config.json meant it.
 * Error `checkpoint.embeddings`: encoder and decoder have embeddings of their own.
 */
export function decideTying({ config, tensors, folder }: Pick<Checkpoint, 'config' | 'tensors' | 'folder'>): Config {
  const stored = EMBEDDINGS.flatMap(name => tensors.get(name) ?? []);
  const [shared] = stored;
  const other = stored.slice(1).find(ref => !equal(shared, ref));
  if (other) {
    throw new LabError({
      code: 'checkpoint.embeddings', file: folder, where: `tensor "${other.name}"`, cause: `differs from "${shared.name}": encoder and decoder with embeddings of their own are not supported`,
      action: 'use a checkpoint whose encoder and decoder share their embeddings',
    });
  }
  const head = tensors.get('lm_head.weight');
  const tied = !head || !shared || equal(shared, head);
  return { ...config, tie_word_embeddings: tied, scale_decoder_outputs: config.scale_decoder_outputs ?? config.tie_word_embeddings !== false };
}

/** Elements that are compared at once: tensors that differ mostly do so in the first of them. */
const CHUNK = 1 << 16;

function equal(a: TensorRef, b: TensorRef): boolean {
  if (a.shape.join() !== b.shape.join()) return false;
  const others = readChunks(b, CHUNK);
  for (const values of readChunks(a, CHUNK)) {
    const other = others.next().value as Float32Array;
    if (values.some((value, i) => value !== other[i])) return false;
  }
  return true;
}
