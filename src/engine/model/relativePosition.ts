/** Relative position buckets of T5 (Raffel et al. 2019, section 2.1, https://arxiv.org/abs/1910.10683). */

export interface RelativePositions {
  buckets: number;
  max_distance: number;
}

/**
 * Bucket of a key that stands `distance` tokens after its query (negative: before it). Half of the buckets hold one distance each,
 * the others grow with its logarithm up to `max_distance`. In both directions each gets half of them; else what comes later shares bucket 0.
 */
export function relativeBucket(distance: number, { buckets, max_distance }: RelativePositions, bidirectional: boolean): number {
  const own = bidirectional ? Math.floor(buckets / 2) : buckets;
  const first = bidirectional && distance > 0 ? own : 0;
  const far = bidirectional ? Math.abs(distance) : Math.max(0, -distance);
  const exact = Math.floor(own / 2);
  if (far < exact) return first + far;
  // Each step is rounded to float32, as PyTorch does: it decides distances that lie on the edge of a bucket.
  const logarithm = Math.fround(Math.log(Math.fround(far / exact)));
  const place = Math.fround(Math.fround(logarithm / Math.fround(Math.log(max_distance / exact))) * (own - exact));
  return first + Math.min(own - 1, exact + Math.trunc(place));
}

/** The bucket of every key for every query of a sequence of `length` tokens: [length, length], query by query. */
export function relativeBuckets(length: number, positions: RelativePositions, bidirectional: boolean): Int32Array {
  const ofDistance = Int32Array.from({ length: 2 * length - 1 }, (_, i) => relativeBucket(i - (length - 1), positions, bidirectional));
  const buckets = new Int32Array(length * length);
  // Query q sees the distances −q … length − 1 − q.
  for (let query = 0; query < length; query++) buckets.set(ofDistance.subarray(length - 1 - query, 2 * length - 1 - query), query * length);
  return buckets;
}
