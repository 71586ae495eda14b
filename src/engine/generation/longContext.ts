/** Writing with LongRoPE, whose angles change once a text is longer than the original context. */
import { LabError } from '../errors';
import type { BatchLayout } from '../training/layout';

/**
 * Error `predict.context`: a text would begin within the original context and go on beyond it, where what was read before would have
 * to be read anew with other angles, or texts that are written together lie on both sides. `longest`: tokens that a text may have at its end.
 */
export function checkContext({ rotary }: Pick<BatchLayout, 'rotary'>, texts: readonly { ids: ArrayLike<number>; longest: number }[]): void {
  if (!rotary?.long) return;
  const { beyond } = rotary.long;
  const problem = (place: number, cause: string, action: string): LabError => new LabError({ code: 'predict.context', where: promptAt(place, texts.length), cause: `${cause}; the angles of this model's rotary embedding (longrope) change after ${beyond} tokens`, action });
  const crossing = texts.findIndex(({ ids, longest }) => ids.length <= beyond && longest > beyond);
  if (crossing >= 0) {
    const { ids: { length }, longest } = texts[crossing];
    const room = beyond - length;
    throw problem(crossing, `a prompt has ${length} tokens and ${longest - length} more are asked for`, room ? `ask for at most ${room}, or give a prompt of more than ${beyond} tokens` : `give a prompt of less or more than ${beyond} tokens`);
  }
  const other = texts.findIndex(({ ids }) => (ids.length <= beyond) !== (texts[0].ids.length <= beyond));
  if (other >= 0) throw problem(other, `a prompt has ${texts[other].ids.length} tokens and the one before it ${texts[other - 1].ids.length}`, 'ask for the short and the long ones apart');
}

/** Where a prompt stands among others. */
export const promptAt = (place: number, prompts: number): string | undefined => (prompts > 1 ? `prompt ${place + 1}` : undefined);
