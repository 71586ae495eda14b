/**
 * The character map of SentencePiece (Kudo and Richardson 2018, https://arxiv.org/abs/1808.06226) that a tokenizer.json
 * carries as `precompiled_charsmap`: a double-array trie (https://github.com/s-yata/darts-clone) from UTF-8 to replacements.
 * Applied as Hugging Face's tokenizers do; the library in JavaScript only approximates it.
 */
import { PrecompiledNormalizer } from '@huggingface/tokenizers';

/** Longer grapheme clusters, in bytes, are replaced character by character only. */
const LONGEST_CLUSTER = 5;
/** Code units that are cut into clusters at once. */
const WINDOW = 64;

export class ExactCharacterMap extends PrecompiledNormalizer {
  private readonly trie: Uint32Array;
  private readonly replacements: Uint8Array;
  private readonly known = new Map<string, string>();
  private readonly clusters = new Intl.Segmenter(undefined, { granularity: 'grapheme' });

  /** Throws an Error if the map is not one. */
  constructor(config: ConstructorParameters<typeof PrecompiledNormalizer>[0] & { precompiled_charsmap: string }) {
    super(config);
    const bytes = Uint8Array.from(Buffer.from(config.precompiled_charsmap, 'base64'));
    const size = bytes.length >= 4 ? new DataView(bytes.buffer).getUint32(0, true) : 0;
    if (size === 0 || size % 4 !== 0 || 4 + size > bytes.length) throw new Error('its precompiled_charsmap is damaged');
    const view = new DataView(bytes.buffer, 4, size);
    this.trie = Uint32Array.from({ length: size / 4 }, (_, i) => view.getUint32(4 * i, true));
    this.replacements = bytes.subarray(4 + size);
  }

  override normalize(text: string): string {
    let result = '';
    for (const cluster of this.split(text)) {
      let replaced = this.known.get(cluster);
      if (replaced === undefined) {
        replaced = this.replaceCluster(cluster);
        // Texts repeat few clusters; a text made to be different must not fill the memory.
        if (this.known.size < 1 << 16) this.known.set(cluster, replaced);
      }
      result += replaced;
    }
    return result;
  }

  /** Grapheme clusters. In windows, because the segmenter's time grows with the square of the length. */
  private *split(text: string): Generator<string> {
    for (let at = 0; at < text.length;) {
      const whole = text.slice(at, at + WINDOW);
      const window = at + WINDOW < text.length ? whole.replace(/[\ud800-\udbff]$/, '') : whole;
      const clusters = Array.from(this.clusters.segment(window), ({ segment }) => segment);
      // The last one may go on in the next window.
      if (clusters.length > 1 && at + window.length < text.length) clusters.pop();
      for (const cluster of clusters) {
        yield cluster;
        at += cluster.length;
      }
    }
  }

  private replaceCluster(cluster: string): string {
    const whole = Buffer.byteLength(cluster) <= LONGEST_CLUSTER ? this.find(cluster) : undefined;
    return whole ?? Array.from(cluster, character => this.find(character) ?? character).join('');
  }

  /** The replacement of the shortest beginning of `text` that the map holds; it stands for all of `text`. */
  private find(text: string): string | undefined {
    let node = offset(this.trie[0]);
    for (const byte of Buffer.from(text)) {
      if (byte === 0) return undefined;
      node ^= byte;
      const unit = this.trie[node] ?? 0;
      // Bit 31 marks a value, the lowest byte is the label.
      if ((unit & 0x800000ff) !== byte) return undefined;
      node ^= offset(unit);
      if (unit & 0x100) {
        const begin = (this.trie[node] ?? 0) & 0x7fffffff;
        const end = this.replacements.indexOf(0, begin);
        return Buffer.from(this.replacements.subarray(begin, end < 0 ? undefined : end)).toString('utf8');
      }
    }
    return undefined;
  }
}

/** Where a node's children begin, relative to it. */
const offset = (unit: number): number => (unit >>> 10) << ((unit & 0x200) >>> 6);
