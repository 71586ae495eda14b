/** Whether a T5's output layer is its embeddings: the stored tensors decide, as in transformers 5; config.json only says whether states are scaled. */
import { LabError } from '../errors';
import type { Checkpoint } from './checkpoint';
import type { Config } from './family';
import { readChunks, type TensorRef } from './safetensors';

const EMBEDDINGS = ['shared.weight', 'encoder.embed_tokens.weight', 'decoder.embed_tokens.weight'];

/**
 * The config with `tie_word_embeddings` as the tensors have it, and `scale_decoder_outputs` as the config meant it.
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
