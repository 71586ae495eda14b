/** Writing safetensors files, tensor by tensor in bounded memory. */
import { setImmediate as turn } from 'node:timers/promises';
import { LabError } from '../errors';
import { closeFile, openFile, writeAll } from '../files';
import { toBF16, toF16 } from './floats';
import { DTYPE_BYTES, type DType } from './safetensors';

export interface TensorSource {
  name: string;
  dtype: DType;
  shape: number[];
  /** Float32 values are converted to `dtype`; bytes are written as they are. A function is asked when its turn comes. */
  data: Float32Array | Uint8Array | (() => Iterable<Float32Array | Uint8Array>);
}

/**
 * Creates `path`; an existing file is an error. Belongs inside a `transaction`, which forces it to disk.
 * The same tensors and metadata always give the same bytes. Lets other work of the thread run between tensors.
 * Returns the size of the file and of the tensors in it.
 */
export async function writeSafetensors(path: string, tensors: readonly TensorSource[], metadata: Readonly<Record<string, string>> = {}): Promise<{ file_bytes: number; tensor_bytes: number }> {
  // Wide types first: every tensor then stands at a multiple of its element's width.
  const inOrder = [...tensors].sort((a, b) => DTYPE_BYTES[b.dtype] - DTYPE_BYTES[a.dtype] || (a.name < b.name ? -1 : 1));
  const { header, tensor_bytes } = encodeHeader(inOrder, metadata);
  const fd = openFile(path, 'wx');
  try {
    writeAll(fd, header, path);
    for (const tensor of inOrder) {
      let written = 0;
      for (const part of typeof tensor.data === 'function' ? tensor.data() : [tensor.data]) {
        const bytes = encode(part, tensor.dtype);
        writeAll(fd, bytes, path);
        written += bytes.length;
        await turn();
      }
      if (written !== sizeOf(tensor)) throw new Error(`${tensor.name}: ${written} bytes for [${tensor.shape}] of ${tensor.dtype}`);
    }
  } finally { closeFile(fd, path); }
  return { file_bytes: header.length + tensor_bytes, tensor_bytes };
}

function encodeHeader(tensors: readonly TensorSource[], metadata: Readonly<Record<string, string>>): { header: Uint8Array; tensor_bytes: number } {
  const entries: [string, unknown][] = [];
  if (Object.keys(metadata).length) entries.push(['__metadata__', Object.fromEntries(Object.entries(metadata).sort(([a], [b]) => (a < b ? -1 : 1)))]);
  let place = 0;
  for (const tensor of tensors) {
    const end = place + sizeOf(tensor);
    entries.push([tensor.name, { dtype: tensor.dtype, shape: tensor.shape, data_offsets: [place, end] }]);
    place = end;
  }
  const json = Buffer.from(`{${entries.map(([key, value]) => `${JSON.stringify(key)}:${JSON.stringify(value)}`).join(',')}}`, 'utf8');
  const length = Math.ceil(json.length / 8) * 8;
  const header = Buffer.alloc(8 + length, ' ');
  header.writeBigUInt64LE(BigInt(length), 0);
  json.copy(header, 8);
  return { header, tensor_bytes: place };
}

const sizeOf = (tensor: TensorSource): number => tensor.shape.reduce((product, dimension) => product * dimension, DTYPE_BYTES[tensor.dtype]);

/** The stored bytes of float32 values. */
function encode(part: Float32Array | Uint8Array, dtype: DType): Uint8Array {
  if (part instanceof Uint8Array) return part;
  switch (dtype) {
    case 'F32': return bytesOf(part);
    case 'F16': return bytesOf(toF16(part));
    case 'BF16': return bytesOf(toBF16(part));
    case 'F64': return bytesOf(Float64Array.from(part));
    default: throw new LabError({ code: 'safetensors.dtype', cause: `float values cannot be stored as ${dtype}`, action: 'use a checkpoint stored as float32, float16 or bfloat16' });
  }
}

const bytesOf = (view: Float32Array | Float64Array | Uint16Array): Uint8Array => new Uint8Array(view.buffer, view.byteOffset, view.byteLength);
