/**
 * Parser of the JSON header of a safetensors file, strict where `JSON.parse` is not: duplicate keys, numbers other than
 * plain digits, and integers above 2⁵³ are refused, because each of them could make two readers see different tensors.
 */

/** One tensor as the header gives it: offsets count from the end of the header. */
export interface HeaderEntry { dtype: string; shape: number[]; begin: number; end: number }
export interface Header { tensors: Map<string, HeaderEntry>; metadata: Map<string, string> }

/** What is wrong with a header. `tensor` is set where the fault lies inside one entry. */
export class HeaderError extends Error {
  constructor(message: string, readonly tensor?: string) { super(message); }
}

const MAX_NAME_BYTES = 1024;
const MAX_RANK = 8;
const MAX_TENSORS = 2_000_000;

/** Parses the header's bytes. Throws HeaderError; says nothing about whether the offsets fit the file. */
export function parseHeader(bytes: Uint8Array): Header {
  let text: string;
  try { text = new TextDecoder('utf-8', { fatal: true, ignoreBOM: true }).decode(bytes); } catch { throw new HeaderError('the header is not UTF-8'); }
  const reader = new Reader(text);
  const header: Header = { tensors: new Map(), metadata: new Map() };
  let metadataSeen = false;
  reader.object(key => {
    if (key === '__metadata__') {
      if (metadataSeen) throw new HeaderError('"__metadata__" appears twice');
      metadataSeen = true;
      reader.object(name => {
        if (header.metadata.has(name)) throw new HeaderError(`the metadata key "${name}" appears twice`);
        header.metadata.set(name, reader.string('a metadata value'));
      });
      return;
    }
    if (header.tensors.has(key)) throw new HeaderError('the name appears twice', key);
    if (Buffer.byteLength(key) > MAX_NAME_BYTES) throw new HeaderError(`a tensor's name is longer than ${MAX_NAME_BYTES} bytes`, key.slice(0, 60));
    if (header.tensors.size === MAX_TENSORS) throw new HeaderError(`the header names more than ${MAX_TENSORS} tensors`);
    try { header.tensors.set(key, readEntry(reader)); } catch (error) {
      throw error instanceof HeaderError && error.tensor === undefined ? new HeaderError(error.message, key) : error;
    }
  });
  reader.end();
  return header;
}

function readEntry(reader: Reader): HeaderEntry {
  let dtype: string | undefined;
  let shape: number[] | undefined;
  let offsets: number[] | undefined;
  const once = (value: unknown, key: string) => { if (value !== undefined) throw new HeaderError(`"${key}" appears twice`); };
  reader.object(key => {
    if (key === 'dtype') { once(dtype, key); dtype = reader.string('"dtype"'); }
    else if (key === 'shape') { once(shape, key); shape = reader.integers('"shape"', MAX_RANK); }
    else if (key === 'data_offsets') { once(offsets, key); offsets = reader.integers('"data_offsets"', 2); }
    else throw new HeaderError(`unknown key "${key}"`);
  });
  if (dtype === undefined || !shape || !offsets) throw new HeaderError('"dtype", "shape" and "data_offsets" are needed');
  if (offsets.length !== 2 || offsets[0] > offsets[1]) throw new HeaderError(`"data_offsets" must be two numbers in rising order, not [${offsets.join(', ')}]`);
  return { dtype, shape, begin: offsets[0], end: offsets[1] };
}

/** Reads the few JSON forms that a header may hold, from left to right. */
class Reader {
  private at = 0;
  constructor(private readonly text: string) {}

  /** `{ "key": … }`; `member` reads each value. */
  object(member: (key: string) => void): void {
    this.expect('{');
    if (this.accept('}')) return;
    do {
      const key = this.string('a key');
      this.expect(':');
      member(key);
    } while (this.accept(','));
    this.expect('}');
  }

  /** `[1, 2, …]` of plain digits. */
  integers(what: string, most: number): number[] {
    const values: number[] = [];
    if (!this.accept('[')) throw new HeaderError(`${what} is not a list`);
    if (this.accept(']')) return values;
    do {
      this.space();
      const start = this.at;
      while (this.code() >= 48 && this.code() <= 57) this.at++;
      const digits = this.text.slice(start, this.at);
      if (digits === '' || !/[\s,\]]/.test(this.text[this.at] ?? '')) throw new HeaderError(`${what} holds something other than plain whole numbers`);
      if (digits.length > 1 && digits[0] === '0') throw new HeaderError(`${what} holds a number with leading zeros`);
      if (!Number.isSafeInteger(Number(digits))) throw new HeaderError(`${what} holds ${digits.slice(0, 30)}, more than 2^53`);
      values.push(Number(digits));
      if (values.length > most) throw new HeaderError(`${what} holds more than ${most} numbers`);
    } while (this.accept(','));
    this.expect(']');
    return values;
  }

  string(what: string): string {
    this.space();
    if (this.text[this.at] !== '"') throw new HeaderError(`${what} is not a text`);
    const start = this.at++;
    let escaped = false;
    for (;;) {
      const code = this.code();
      if (Number.isNaN(code)) throw new HeaderError('the header ends inside a text');
      if (code < 32) throw new HeaderError('a text holds a control character');
      this.at++;
      if (code === 34) break;
      if (code === 92) { escaped = true; this.at++; }
    }
    if (!escaped) return this.text.slice(start + 1, this.at - 1);
    let value: string;
    try { value = JSON.parse(this.text.slice(start, this.at)) as string; } catch { throw new HeaderError('a text holds a wrong escape'); }
    if (/\p{Surrogate}/u.test(value)) throw new HeaderError('a text holds half a character');
    return value;
  }

  end(): void {
    this.space();
    if (this.at < this.text.length) throw new HeaderError('something follows after the header\'s last brace');
  }

  private accept(symbol: string): boolean {
    this.space();
    if (this.text[this.at] !== symbol) return false;
    this.at++;
    return true;
  }

  private expect(symbol: string): void {
    if (!this.accept(symbol)) throw new HeaderError(`the header is not valid JSON: "${symbol}" expected at character ${this.at}`);
  }

  private code(): number { return this.text.charCodeAt(this.at); }

  private space(): void {
    for (let code = this.code(); code === 32 || code === 10 || code === 13 || code === 9; code = this.code()) this.at++;
  }
}
