/** The safetensors format: https://huggingface.co/docs/safetensors */
import { LabError } from '../errors';
import { readInto, realPath, statFile, truncated, withFile } from '../files';
import { fromBF16, fromF16 } from './floats';
import { HeaderError, parseHeader } from './safetensorsHeader';

/** Where one tensor's bytes stand. */
export interface TensorRef {
  name: string;
  dtype: DType;
  shape: number[];
  /** Absolute path of the file, symbolic links resolved. */
  file: string;
  /** First byte, counted from the start of the file. */
  offset: number;
  bytes: number;
}

/** Bytes of one element. */
export const DTYPE_BYTES = {
  F64: 8, F32: 4, F16: 2, BF16: 2, F8_E4M3: 1, F8_E5M2: 1,
  I64: 8, I32: 4, I16: 2, I8: 1, U64: 8, U32: 4, U16: 2, U8: 1, BOOL: 1,
} as const;
export type DType = keyof typeof DTYPE_BYTES;

export interface SafetensorsFile { tensors: Map<string, TensorRef>; metadata: Map<string, string> }

const MAX_HEADER = 100_000_000;

/**
 * Reads and checks the header of a safetensors file; no tensor data.
 * Errors: `safetensors.truncated`, `safetensors.not-safetensors` (another format under this name), `safetensors.invalid`.
 */
export function readHeader(path: string): SafetensorsFile {
  const { size, isFile } = statFile(path);
  if (!isFile) throw new LabError({ code: 'safetensors.invalid', file: path, cause: 'it is not a regular file', action: 'check the path' });
  const file = realPath(path);
  const { header, start } = withFile(file, 'r', fd => {
    const prefix = new Uint8Array(Math.min(size, 64));
    readInto(fd, prefix, 0, path);
    const length = headerLength(prefix, size, path);
    const bytes = new Uint8Array(length);
    const read = readInto(fd, bytes, 8, path);
    if (read < length) throw truncated(path, 8 + length, 8 + read);
    return { header: parse(bytes, path), start: 8 + length };
  });
  checkLayout(header.tensors, size - start, path);
  const tensors = new Map<string, TensorRef>();
  for (const [name, { dtype, shape, begin, end }] of header.tensors) {
    tensors.set(name, { name, dtype: dtype as DType, shape, file, offset: start + begin, bytes: end - begin });
  }
  return { tensors, metadata: header.metadata };
}

function headerLength(prefix: Uint8Array, size: number, path: string): number {
  if (size < 8) throw tooShort(path, 8, size);
  const length = new DataView(prefix.buffer).getBigUint64(0, true);
  if (length > MAX_HEADER || length < 2) {
    throw foreign(prefix, path) ?? invalid(path, `its header would have ${length} bytes; 2 to ${MAX_HEADER} are possible`);
  }
  if (Number(length) > size - 8) throw tooShort(path, 8 + Number(length), size);
  return Number(length);
}

function parse(bytes: Uint8Array, path: string) {
  try { return parseHeader(bytes); } catch (error) {
    if (!(error instanceof HeaderError)) throw error;
    throw invalid(path, error.message, error.tensor);
  }
}

/** Checks that the tensors fill the data part exactly: sizes match, no holes, no overlap, nothing after the last one. */
function checkLayout(tensors: Map<string, { dtype: string; shape: number[]; begin: number; end: number }>, available: number, path: string): void {
  const inOrder = [...tensors].sort(([, a], [, b]) => a.begin - b.begin || a.end - b.end);
  let place = 0;
  for (const [name, { dtype, shape, begin, end }] of inOrder) {
    const width = Object.hasOwn(DTYPE_BYTES, dtype) ? DTYPE_BYTES[dtype as DType] : undefined;
    if (width === undefined) throw invalid(path, `is stored as ${JSON.stringify(dtype.slice(0, 30))}, which is not supported`, name, `known types: ${Object.keys(DTYPE_BYTES).join(', ')}`);
    const bytes = shape.reduce((product, dimension) => product * dimension, width);
    if (bytes !== end - begin) throw invalid(path, `shape [${shape.join(', ')}] of ${dtype} needs ${bytes} bytes, the header gives ${end - begin}`, name);
    if (begin !== place) throw invalid(path, begin > place ? `${begin - place} unused bytes lie before it` : 'its bytes overlap with those of another tensor', name);
    place = end;
  }
  if (place > available) {
    throw tooShort(path, statFile(path).size - available + place, statFile(path).size);
  }
  if (place < available) throw invalid(path, `${available - place} bytes follow after the last tensor`);
}

const invalid = (file: string, cause: string, tensor?: string, action = 'download or copy the file again, or save it again with safetensors'): LabError =>
  new LabError({ code: 'safetensors.invalid', file, where: tensor === undefined ? undefined : `tensor ${JSON.stringify(tensor)}`, cause: tensor === undefined ? `not a valid safetensors file: ${cause}` : cause, action });

const tooShort = (file: string, expected: number, found: number): LabError => new LabError({
  code: 'safetensors.truncated', file, cause: `the file is cut off: ${expected} bytes expected, ${found} found`, action: 'the download or copy did not finish: get the file again',
});

/** Recognises other formats that carry the name of this one: read as a length, the first bytes of each are far too large. */
function foreign(prefix: Uint8Array, file: string): LabError | undefined {
  const text = Buffer.from(prefix).toString('latin1');
  const pickle = 'PyTorch pickle';
  const format = text.startsWith('PK\x03\x04') ? `zip archive (as torch.save writes them: a ${pickle})`
    : prefix[0] === 0x80 && prefix[1] >= 1 && prefix[1] <= 5 ? pickle
      : text.startsWith('GGUF') ? 'GGUF file'
        : text.startsWith('version https://git-lfs') ? 'Git LFS pointer'
          : text.startsWith('\x89HDF') ? 'HDF5 file'
            : /^\s*<(!doctype|html|\?xml)/i.test(text) ? 'web page' : undefined;
  if (!format) return undefined;
  const action = format === 'Git LFS pointer' ? 'fetch the real file with `git lfs pull`'
    : format.includes(pickle) ? 'pickle files can run code and are never read: convert it in Python with model.save_pretrained(dir, safe_serialization=True)'
      : 'get the safetensors file of this model';
  return new LabError({ code: 'safetensors.not-safetensors', file, cause: `this is a ${format}, not a safetensors file`, action });
}

/** Elements converted at a time: bounds the memory beside the result. */
const CHUNK = 1 << 22;

/** The values of a tensor as float32 (F32, F16, BF16, F64), row after row, in `out` if it is given, which has exactly their number. Errors: `safetensors.dtype`, `disk.truncated`. */
export function readTensor(ref: TensorRef, out: Float32Array = new Float32Array(ref.bytes / DTYPE_BYTES[ref.dtype])): Float32Array {
  if (ref.dtype === 'F32') {
    // Straight into place: copies of a whole checkpoint are garbage that malloc keeps.
    fill(ref, 0, new Uint8Array(out.buffer, out.byteOffset, out.byteLength));
    return out;
  }
  let done = 0;
  for (const chunk of readChunks(ref, CHUNK)) { out.set(chunk, done); done += chunk.length; }
  return out;
}

/** The values of a tensor as float32, at most `elements` at a time. */
export function* readChunks(ref: TensorRef, elements: number): Generator<Float32Array> {
  const convert = DECODERS[ref.dtype];
  if (!convert) {
    throw new LabError({ code: 'safetensors.dtype', file: ref.file, where: `tensor "${ref.name}"`, cause: `is stored as ${ref.dtype}, which cannot be read as weights`, action: 'save the checkpoint as float32, float16 or bfloat16' });
  }
  for (const bytes of readBytes(ref, elements * DTYPE_BYTES[ref.dtype])) yield convert(bytes);
}

/** The stored bytes of a tensor, at most `most` at a time. */
export function* readBytes(ref: TensorRef, most = 1 << 24): Generator<Uint8Array> {
  for (let start = 0; start < ref.bytes; start += most) {
    const bytes = new Uint8Array(Math.min(most, ref.bytes - start));
    fill(ref, start, bytes);
    yield bytes;
  }
}

/** Reads the stored bytes from `start` on. */
function fill(ref: TensorRef, start: number, bytes: Uint8Array): void {
  const read = withFile(ref.file, 'r', fd => readInto(fd, bytes, ref.offset + start, ref.file));
  if (read < bytes.length) throw truncated(ref.file, ref.offset + ref.bytes, ref.offset + start + read);
}

const DECODERS: Partial<Record<DType, (bytes: Uint8Array) => Float32Array>> = {
  F32: bytes => new Float32Array(bytes.buffer),
  F64: bytes => Float32Array.from(new Float64Array(bytes.buffer)),
  F16: bytes => fromF16(new Uint16Array(bytes.buffer)),
  BF16: bytes => fromBF16(new Uint16Array(bytes.buffer)),
};
