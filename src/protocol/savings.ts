/**
 * What the engine leaves out or arranges otherwise to save time or memory, by name: one table, from which the setting `engine.without`,
 * its documentation and the bench derive. None of these changes a loss by more than rounding does.
 */

export interface Saving {
  /** One sentence: what the engine does. */
  doc: string;
  saves: 'time' | 'memory' | 'time and memory';
}

export const SAVINGS = {
  padding_free: { saves: 'time and memory', doc: 'Batches hold real tokens only, one example after the other; without it all are padded to the longest example of their portion.' },
  last_layer_positions: { saves: 'time and memory', doc: 'The last layer is computed only for the tokens that the head reads; of T5 and of `TOKEN_CLS` it never is.' },
  labelled_positions: { saves: 'time and memory', doc: 'Of a language model only positions that have a target go through the output layer over the vocabulary.' },
  portions: { saves: 'memory', doc: 'A batch is computed in portions of 512 tokens, examples of similar length together, whose gradients add up; of 1,024 where a sixteenth of all values or more is trained and of 2,048 where half of them are.' },
  chunked_loss: { saves: 'memory', doc: 'The loss over a large frozen vocabulary takes 8,192 classes at a time, so that no logits of all of them exist.' },
  prefix_cache: { saves: 'time', doc: 'What layers below all that is trained make of an example is kept from the first epoch on, as `engine.prefix_cache` says.' },
  activation_pieces: { saves: 'time', doc: 'On the CPU the slopes of activations are computed in pieces that stay in the caches of the cores.' },
  split_bias: { saves: 'time', doc: 'On the CPU a bias is added after the product, which otherwise begins with a copy of it in every row.' },
  transposed_gradients: { saves: 'time', doc: 'The gradient of a matrix with few rows, such as A, is computed as that of its transpose.' },
  optimizer_pieces: { saves: 'time and memory', doc: 'On the CPU AdamW takes 131,072 values at a time through all of its operations, so that these stay in the caches, where more than that are trained.' },
  trained_views: { saves: 'time and memory', doc: 'On the CPU, where 1,048,576 values or more are trained, each tensor of them and of their gradients is a view of one vector, instead of cut from it and joined to it in every portion.' },
  attention_blocks: { saves: 'time and memory', doc: 'Where texts have 512 tokens or more, of encoders 1,024, no probabilities of attention are kept for the backward pass, which computes them once more: on the CPU of few heads at a time and in blocks of rows, whose scores stay in the caches, of decoders each block with the keys that it sees alone. On a GPU of decoders only, where neither dropout nor a bound is applied to them.' },
  folded_masks: { saves: 'time', doc: 'On the CPU, where an encoder computes its probabilities in blocks of rows (texts of more than 1,024 tokens), the mask of keys is a term of the product that makes the scores, and what the gradient of their softmax takes off a row one of the product before it, instead of a pass over all scores each.' },
  flushed_denormals: { saves: 'time', doc: 'Numbers below 1e-38, such as the probabilities of masked keys, count as zero; processors are slow with them.' },
  thread_spinning: { saves: 'time', doc: 'Threads of the CPU wait 50 µs for more work before they sleep.' },
  on_demand_memory: { saves: 'memory', doc: 'Memory of activations is taken when it is needed, and not planned as one block (a memory pattern) for each size of a batch.' },
  touched_memory: { saves: 'time', doc: 'On Linux memory for packed weights is touched ahead by a thread that is idle, before a session of the CPU begins and while it does.' },
} as const satisfies Record<string, Saving>;

/** Tokens of the longest text from which on attention is computed twice, head by head and in blocks: shorter rows are as fast whole. Of decoders, blocks leave keys out. */
export const BLOCKED_FROM = { decoder: 512, encoder: 1024 };

/** Bytes of the scores that are then computed at a time, at most, unless a block of one group of heads has more: what the cores' caches hold. */
export const TURN_BYTES = 8 << 20;
/** Blocks of rows at most: each adds about 35 nodes to a layer. */
export const MOST_BLOCKS = 8;

export type SavingName = keyof typeof SAVINGS;
export const SAVING_NAMES = Object.keys(SAVINGS) as SavingName[];

/** Which savings are on. */
export type Savings = Readonly<Record<SavingName, boolean>>;

/** All savings but these. */
export const savingsWithout = (names: readonly SavingName[]): Savings => Object.fromEntries(SAVING_NAMES.map(name => [name, !names.includes(name)])) as Savings;

export const ALL_SAVINGS = savingsWithout([]);

/** Those of an experiment: `prefix_cache` has a setting of its own beside `without`. */
export function savingsOf({ without = [], prefix_cache }: { without?: readonly SavingName[]; prefix_cache: 'auto' | 'off' }): Savings {
  const all = savingsWithout(without);
  return { ...all, prefix_cache: all.prefix_cache && prefix_cache === 'auto' };
}
