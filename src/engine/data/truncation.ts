/** `truncation_side`: at which end texts that are too long are cut. */
export type Side = 'left' | 'right';

/** That of a tokenizer: as its config says, else `tokenizer.json`, else the right. Throws an Error for another value. */
export function sideOf({ truncation }: Record<string, unknown>, { truncation_side }: Record<string, unknown>): Side {
  const side = truncation_side ?? (truncation as { direction?: string } | null | undefined)?.direction?.toLowerCase() ?? 'right';
  if (side === 'left' || side === 'right') return side;
  throw new Error(`truncation_side in tokenizer_config.json is ${JSON.stringify(side)}, neither "right" nor "left"`);
}

/** The places [begin, end) of `length` tokens that stay if at most `room` may. */
export function keptRange(length: number, room: number, side: Side): [number, number] {
  const kept = Math.min(length, room);
  return side === 'left' ? [length - kept, length] : [0, kept];
}

/** In words. */
export const endOf = (side: Side): string => (side === 'left' ? 'at their beginning' : 'at their end');
