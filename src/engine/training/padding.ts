/** Batches with padding, as other trainers have them: every example as long as the longest beside it. For runs without the saving `padding_free`. */
import type { BatchLayout } from './layout';
import type { Example } from './step.types';

/** The examples with padding at the end of what their encoder and decoder read. */
export function padded(examples: readonly Example[], { pad_token_id, position_padding }: BatchLayout): Example[] {
  const token = position_padding ?? pad_token_id ?? 0;
  const [length, decoder_length] = [Math.max(...examples.map(e => e.input_ids.length)), Math.max(...examples.map(e => e.decoder_input_ids?.length ?? 0))];
  const read = ({ input_ids, decoder_input_ids = input_ids }: Example): number => decoder_input_ids.length;
  const fill = (ids: Int32Array, to: number): Int32Array => { const result = new Int32Array(to).fill(token); result.set(ids); return result; };
  return examples.map(example => {
    const { input_ids, decoder_input_ids } = example;
    const whole = { ...example, input_ids: fill(input_ids, length), ...(decoder_input_ids ? { decoder_input_ids: fill(decoder_input_ids, decoder_length) } : {}) };
    return { ...whole, padding: { input: length - input_ids.length, read: read(whole) - read(example) } };
  });
}

/** Rows of real tokens [tokens, width] where they stand among those of examples that may be padded [T, width]; padding has zeros. */
export function padRows(rows: Float32Array, width: number, examples: readonly Example[]): Float32Array {
  if (!examples.some(({ padding }) => padding)) return rows;
  const result = new Float32Array(width * examples.reduce((sum, { input_ids }) => sum + input_ids.length, 0));
  let [from, to] = [0, 0];
  for (const { input_ids, padding } of examples) {
    const real = width * (input_ids.length - (padding?.input ?? 0));
    result.set(rows.subarray(from, from + real), to);
    from += real;
    to += width * input_ids.length;
  }
  return result;
}
