/** How many tokens of a batch are computed at a time: by the engine, and in what a run is thought to need of memory. Pure. */

/** Of 128 … 2,048 this was the fastest for adapters on the CPU, and takes the least memory of those as fast (test/bench/README.md). */
export const PORTION_TOKENS = 512;

/**
 * Each portion multiplies by trained values that nothing was prepared for and adds a gradient of their size to the sum: fewer portions save time where much is trained.
 * Measured: a sixteenth of all values with 1,024 tokens 0.95 of the time and a sixth more memory in a small model, a whole model with 2,048 tokens 0.70 to 0.82 and 3 to 11 %.
 */
const LARGER = [{ share: 1 / 2, tokens: 2048 }, { share: 1 / 16, tokens: 1024 }];

/**
 * Tokens of a portion in which gradients are computed; one longer text is a portion of its own. Masks of dropout are drawn for each portion: this follows from
 * the model and what is trained alone, never from the machine or from settings that may change when a run is resumed. A batch of fewer tokens, with
 * more accumulation, takes the memory of a smaller portion.
 */
export function trainedPortion({ trainable_parameters, all_parameters }: { trainable_parameters: number; all_parameters: number }): number {
  return LARGER.find(({ share }) => trainable_parameters >= share * all_parameters)?.tokens ?? PORTION_TOKENS;
}
