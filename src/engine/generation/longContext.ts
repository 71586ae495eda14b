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
  const problem = (cause: string, action: string): LabError => new LabError({ code: 'predict.context', cause: `${cause}; the angles of this model's rotary embedding (longrope) change after ${beyond} tokens`, action });
  const crossing = texts.find(({ ids, longest }) => ids.length <= beyond && longest > beyond);
  if (crossing) {
    const room = beyond - crossing.ids.length;
    throw problem(`a prompt has ${crossing.ids.length} tokens and ${crossing.longest - crossing.ids.length} more are asked for`, room ? `ask for at most ${room}, or give a prompt of more than ${beyond} tokens` : `give a prompt of less or more than ${beyond} tokens`);
  }
  if (texts.some(({ ids }) => ids.length <= beyond) && texts.some(({ ids }) => ids.length > beyond)) throw problem('some prompts are shorter and some longer', 'ask for the short and the long ones apart');
}
