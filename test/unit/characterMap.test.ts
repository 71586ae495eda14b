/** SentencePiece's character maps against what Hugging Face's tokenizers make of them (normalizers.Precompiled). */
import assert from 'node:assert/strict';
import { test } from 'node:test';
import { ExactCharacterMap } from '../../src/engine/data/characterMap';
import { relativeBucket, relativeBuckets } from '../../src/engine/model/relativePosition';

/** Made by sentencepiece from the rules ﬁ → fi, ① → 1, e + U+0301 → é, tab → space, U+200B → nothing, Σ → σ. */
const MAP = 'AAQAAAAgAAAJDQAAAQAAgMwYAgCBBQAACAAAgKMFAAALAACAgCgCAIsNAAAAAACAoB0AAAMAAICsCAIAgQUAAAUAAIARAAAAEAAAABMAAAASAAAAFQAAABQAAAAXAAAAFgAAABkAAACRyAIAGwAAABoAAAAdAAAAHAAAAB8AAAAeAAAAIQAAACAAAAAjAAAAIgAAACUAAAAkAAAAJwAAACYAAAApAAAAKAAAACsAAAAqAAAALQAAACwAAAAvAAAALgAAADEAAAAwAAAAMwAAADIAAAA1AAAANAAAADcAAAA2AAAAOQAAADgAAAA7AAAAOgAAAD0AAAA8AAAAPwAAAD4AAABBAAAAQAAAAEMAAABCAAAARQAAAEQAAABHAAAARgAAAEkAAABIAAAASwAAAEoAAABNAAAATAAAAE8AAABOAAAAUQAAAFAAAABTAAAAUgAAAFUAAABUAAAAVwAAAFYAAABZAAAAWAAAAFsAAABaAAAAXQAAAFwAAABfAAAAXgAAAGEAAABgAAAAYwAAAGIAAABlAAAAZAAAAGcAAABmAAAAaQAAAGgAAABrAAAAagAAAG0AAABliAIAbwAAAG4AAABxAAAAcAAAAHMAAAByAAAAdQAAAHQAAAB3AAAAdgAAAHkAAAB4AAAAewAAAHoAAAB9AAAAfAAAAH8AAAB+AAAAgQAAAIAAAACDAAAAggAAAIUAAACEAAAAhwAAAIYAAACJAAAAiAAAAIsAAACKAAAAjQAAAIwAAACPAAAAjgAAAJEAAACQAAAAkwAAAJIAAACVAAAAlAAAAJcAAACWAAAAmQAAAJgAAACbAAAAmgAAAJ0AAACcAAAAnwAAAJ4AAAChAAAAoAAAAKMAAACiAAAApQAAAKQAAACnAAAApgAAAKkAAACoAAAAqwAAAKoAAACtAAAArAAAAK8AAACuAAAAsQAAALAAAACzAAAAsgAAALUAAAC0AAAAtwAAALYAAAC5AAAAuAAAALsAAAC6AAAAvQAAALwAAAC/AAAAvgAAAMEAAADAAAAAwwAAAMIAAADFAAAAxAAAAM6MAQDGAAAAyQAAAMgAAADLAAAAygAAAM0AAADMAAAAzwAAAM4AAADRAAAA0AAAANMAAADSAAAA1QAAANQAAADXAAAA1gAAANkAAADYAAAA2wAAANoAAADdAAAA3AAAAN8AAADeAAAA4QAAAOAAAADjAAAA4gAAAOUAAADkAAAA5wAAAO8YAQDpAAAA6AAAAOKIAQDqAAAA7QAAAOwAAADvAAAA7gAAAPEAAADwAAAA8wAAAPIAAAD1AAAA9AAAAPcAAAD2AAAA+QAAAPgAAAD7AAAA+gAAAP0AAAD8AAAA/wAAAP4AAAAAIAAxAGZpAMOpAM+DAA==';
const map = (precompiled_charsmap: string): ExactCharacterMap => new ExactCharacterMap({ type: 'Precompiled', precompiled_charsmap } as ConstructorParameters<typeof ExactCharacterMap>[0]);

test('a character map replaces clusters and characters as tokenizers does', () => {
  for (const [text, expected] of [
    ["\ufb01lm \u2460 \u03a3\u03a3", "film 1 \u03c3\u03c3"],
    ["cafe\u0301 e\u0301\u0301\u0301\u0301 x", "caf\u00e9 e\u0301\u0301\u0301\u0301 x"],
    ["a\tb\u200bc \r\n", "a bc \r\n"],
    ["\ufb01\u0301 \u039f\u0394\u039f\u03a3 \ud83d\ude00\ud83d\udc68\u200d\ud83d\udc69\u200d\ud83d\udc67", "fi \u039f\u0394\u039f\u03c3 \ud83d\ude00\ud83d\udc68\u200d\ud83d\udc69\u200d\ud83d\udc67"],
  ]) assert.equal(map(MAP).normalize(text), expected, text);
});

test('long texts are replaced as short ones are, and take time in proportion', () => {
  const one = 'äﬁ e\u0301 👨‍👩‍👧 ';
  assert.equal(map(MAP).normalize(one.repeat(5000)), map(MAP).normalize(one).repeat(5000));
  assert.ok(map(MAP).normalize('a\ud83d').startsWith('a'), 'half of a pair at the end ends, too');
});

test('a damaged map is an error', () => {
  for (const damaged of ['', 'AAAA', '/////w==', 'AQAAAA==']) assert.throws(() => map(damaged), /precompiled_charsmap is damaged/, damaged);
});

test('relative positions share buckets as in transformers', () => {
  const settings = { buckets: 32, max_distance: 128 };
  const of = (distances: number[], bidirectional: boolean): number[] => distances.map(distance => relativeBucket(distance, settings, bidirectional));
  // T5Attention._relative_position_bucket of transformers 5.18.
  const distances = [-3000, -128, -127, -64, -32, -16, -9, -8, -7, -1, 0, 1, 7, 8, 9, 16, 32, 64, 127, 128, 3000];
  assert.deepEqual(of(distances, true), [15, 15, 15, 14, 12, 10, 8, 8, 7, 1, 0, 17, 23, 24, 24, 26, 28, 30, 31, 31, 31]);
  assert.deepEqual(of(distances, false), [31, 31, 31, 26, 21, 16, 9, 8, 7, 1, 0, 0, 0, 0, 0, 0, 0, 0, 0, 0, 0]);
  assert.deepEqual([...relativeBuckets(3, settings, true)], [0, 17, 18, 1, 0, 17, 2, 1, 0]);
  assert.deepEqual([...relativeBuckets(3, settings, false)], [0, 0, 0, 1, 0, 0, 2, 1, 0]);
});
