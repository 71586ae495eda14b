/**
 * The parts of a tokenizer.json that change and cut texts, as Hugging Face's tokenizers in Rust have them. The library's in JavaScript
 * take words, white space, digits and lower case as JavaScript does, and Isolated or Removed for every behavior of a split.
 */
import {
  BertNormalizer, ByteLevelPreTokenizer, LowercaseNormalizer, MetaspacePreTokenizer, PrecompiledNormalizer, PreTokenizer, PrependNormalizer, ReplaceNormalizer, SequenceNormalizer, SequencePreTokenizer,
  SplitPreTokenizer, StripNormalizer, type Normalizer,
} from '@huggingface/tokenizers';
import { ExactBertNormalizer } from './bertTokenizer';
import { ExactCharacterMap } from './characterMap';

type Json = Record<string, unknown>;

/** A normalizer that does what Rust's does. Throws an Error for a damaged character map. */
export function exactNormalizer(part: Normalizer | null): Normalizer | null {
  if (part instanceof SequenceNormalizer) part.normalizers = part.normalizers.map(exactNormalizer);
  if (part instanceof BertNormalizer) return new ExactBertNormalizer(part.config);
  if (part instanceof PrecompiledNormalizer) return new ExactCharacterMap(part.config as ConstructorParameters<typeof ExactCharacterMap>[0]);
  if (part instanceof LowercaseNormalizer) return new ExactLowercase(part.config);
  if (part instanceof PrependNormalizer) return new ExactPrepend(part.config);
  if (part instanceof ReplaceNormalizer) return new ExactReplace(part.config);
  return part instanceof StripNormalizer ? new ExactStrip(part.config) : part;
}

class ExactLowercase extends LowercaseNormalizer {
  // Character by character: JavaScript makes ς of a Σ at the end of a word.
  override normalize(text: string): string { return text.replaceAll('Σ', 'σ').toLowerCase(); }
}

class ExactPrepend extends PrependNormalizer {
  override normalize(text: string): string { return text && super.normalize(text); }
}

class ExactReplace extends ReplaceNormalizer {
  // As a text, JavaScript would look for $& and the like in it.
  override normalize(text: string): string { return this.pattern === null ? text : text.replaceAll(this.pattern, () => this.config.content ?? ''); }
}

class ExactStrip extends StripNormalizer {
  override normalize(text: string): string {
    const { strip_left, strip_right } = this.config;
    let begin = 0, end = text.length;
    if (strip_left) while (begin < end && WHITE_SPACE.test(text[begin])) begin += 1;
    if (strip_right) while (begin < end && WHITE_SPACE.test(text[end - 1])) end -= 1;
    return text.slice(begin, end);
  }
}

/** JavaScript's \s lacks U+0085 and holds U+FEFF. */
const WHITE_SPACE = /^\p{White_Space}$/u;
/** \w of Rust's regular expressions. */
const WORD = '\\p{Alphabetic}\\p{M}\\p{Nd}\\p{Pc}\\p{Join_Control}';
/** Rust's table is older: signs of newer scripts, such as U+11663, are none there. */
const PUNCTUATION = '\\p{P}!-/:-@[-`{-~';

/** The pre-tokenizer of a `tokenizer.json`, which does what Rust's does. Throws an Error for one that cannot. */
export function exactPreTokenizer(config: Json | null): PreTokenizer | null {
  if (config === null) return null;
  const { type, behavior, invert } = config;
  const given = config as never;
  switch (type) {
    case 'Sequence': {
      const sequence = new SequencePreTokenizer({ type, pretokenizers: [] });
      sequence.tokenizers = (config.pretokenizers as (Json | null)[]).map(exactPreTokenizer);
      return sequence;
    }
    case 'BertPreTokenizer': return new Splitter(new RegExp(`[^\\p{White_Space}${PUNCTUATION}]+|[${PUNCTUATION}]`, 'gu'), 'Removed', true);
    case 'Whitespace': return new Splitter(new RegExp(`[${WORD}]+|[^${WORD}\\p{White_Space}]+`, 'gu'), 'Removed', true);
    case 'WhitespaceSplit': return new Splitter(/\P{White_Space}+/gu, 'Removed', true);
    case 'Punctuation': return new Splitter(new RegExp(`[${PUNCTUATION}]`, 'gu'), behavior ?? 'Isolated');
    case 'Digits': return new Splitter(/\p{N}/gu, config.individual_digits ? 'Isolated' : 'Contiguous');
    case 'Split': return new Splitter(new SplitPreTokenizer(given).pattern, behavior, invert === true);
    case 'Metaspace': return new ExactMetaspace(given);
    case 'ByteLevel': {
      const bytes = new ByteLevelPreTokenizer(given);
      bytes.pattern = /'s|'t|'re|'ve|'m|'ll|'d| ?\p{L}+| ?\p{N}+| ?[^\p{White_Space}\p{L}\p{N}]+|\p{White_Space}+(?!\P{White_Space})|\p{White_Space}+/gu;
      return bytes;
    }
    default: throw new Error(`pre-tokenizers of the type "${String(type)}" are not supported`);
  }
}

/** Whether two neighbours, of which each is a match or lies between matches, stay together: SplitDelimiterBehavior in Rust. */
const TOGETHER: Record<string, (previous: boolean, next: boolean) => boolean> = {
  Removed: () => false,
  Isolated: () => false,
  Contiguous: (previous, next) => previous === next,
  MergedWithPrevious: (previous, next) => next && !previous,
  MergedWithNext: (previous, next) => previous && !next,
};

/** Cuts texts at the matches of a pattern; with `invert` what lies between them counts as a match. */
class Splitter extends PreTokenizer {
  private readonly behavior: string;

  constructor(private readonly pattern: RegExp | null, behavior: unknown, private readonly invert = false) {
    super();
    if (pattern === null) throw new Error('the pattern of a Split is neither a String nor a Regex');
    if (!Object.hasOwn(TOGETHER, String(behavior))) throw new Error(`splits with the behavior "${String(behavior)}" are not supported`);
    this.behavior = String(behavior);
  }

  pre_tokenize_text(text: string): string[] {
    // One call for what is done most.
    if (this.invert && this.behavior === 'Removed') return text.match(this.pattern!)?.filter(Boolean) ?? [];
    const pieces: string[] = [];
    let previous: boolean | undefined;
    for (const [piece, match] of this.cut(text)) {
      if (previous !== undefined && TOGETHER[this.behavior](previous, match)) pieces[pieces.length - 1] += piece;
      else if (!match || this.behavior !== 'Removed') pieces.push(piece);
      previous = match;
    }
    return pieces.filter(Boolean);
  }

  private *cut(text: string): Generator<[piece: string, match: boolean]> {
    let end: number | undefined;
    for (const { index, 0: match } of text.matchAll(this.pattern!)) {
      // In Rust nothing is found right behind a match.
      if (match === '' && index === end) continue;
      if (index > (end ?? 0)) yield [text.slice(end, index), this.invert];
      yield [match, !this.invert];
      end = index + match.length;
    }
    if ((end ?? 0) < text.length) yield [text.slice(end), this.invert];
  }
}

/** With `split`, as by default, words are cut before their ▁. */
class ExactMetaspace extends MetaspacePreTokenizer {
  private readonly words: PreTokenizer | null;

  constructor(config: ConstructorParameters<typeof MetaspacePreTokenizer>[0] & { split?: boolean }) {
    super(config);
    this.words = config.split === false ? null : exactPreTokenizer({ type: 'Split', pattern: { String: this.replacement }, behavior: 'MergedWithNext' });
  }

  override pre_tokenize_text(text: string, options?: Parameters<MetaspacePreTokenizer['pre_tokenize_text']>[1]): string[] {
    const whole = super.pre_tokenize_text(text, options);
    return this.words?.pre_tokenize(whole) ?? whole;
  }
}
