/** What an encoder-decoder needs of a batch beside its encoder's inputs: the decoder's tokens, slots and relative positions. */
import type { Feeds, InputSpec } from '../executors/executor';
import { relativeBuckets, type RelativePositions } from '../model/relativePosition';
import { headFeeds, slotRows, tokenRows } from './slots';
import { blockFeeds, blockInputs, turnFeeds, turnInputs } from './blocks';
import type { Example } from './step.types';

/** In front of the names of inputs that the encoder has too. */
export const DECODER = 'decoder_';

/** U tokens and V slots, h heads. With `blocks` its own attention is computed in so many. */
export function decoderInputs(h: number, blocks?: number): InputSpec[] {
  const index = (name: string, shape: InputSpec['shape']): InputSpec => ({ name, dtype: 'int32', shape });
  return [
    index('decoder_input_ids', ['U']),
    index(DECODER + slotRows(h), ['B', h, 'V']), index(DECODER + tokenRows(h), ['U', h]),
    { name: `${DECODER}slot_mask`, dtype: 'float32', shape: ['B', 1, 'V', 1] },
    index(`${DECODER}slot_numbers`, ['V']),
    index(`${DECODER}relative_buckets`, ['V', 'V']),
    ...(blocks ? [...blockInputs(blocks, true, DECODER), ...turnInputs(DECODER)] : []),
  ];
}

/** The values of `decoderInputs` for these examples, each of which has `decoder_input_ids`, in V slots. */
export function decoderFeeds(examples: readonly Example[], V: number, h: number, relative: RelativePositions, blocks?: number): Feeds {
  const lengths = examples.map(example => example.decoder_input_ids!.length);
  const B = examples.length;
  const ids = new Int32Array(lengths.reduce((a, b) => a + b, 0)), slot_mask = new Float32Array(B * V);
  let token = 0;
  examples.forEach(({ decoder_input_ids }, b) => {
    ids.set(decoder_input_ids!, token);
    slot_mask.fill(1, b * V, b * V + lengths[b]);
    token += lengths[b];
  });
  const rows = Object.entries(headFeeds(lengths, h, V)).map(([name, feed]) => [DECODER + name, feed]);
  return {
    ...Object.fromEntries(rows) as Feeds,
    decoder_input_ids: { data: ids, shape: [ids.length] },
    [`${DECODER}slot_mask`]: { data: slot_mask, shape: [B, 1, V, 1] },
    [`${DECODER}slot_numbers`]: { data: Int32Array.from({ length: V }, (_, v) => v), shape: [V] },
    [`${DECODER}relative_buckets`]: { data: relativeBuckets(V, relative, false), shape: [V, V] },
    ...(blocks ? { ...blockFeeds(V, blocks, true, DECODER), ...turnFeeds(B, V, { query: h, key_value: h }, blocks, DECODER) } : {}),
  };
}
