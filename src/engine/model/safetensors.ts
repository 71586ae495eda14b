/** The safetensors format: https://huggingface.co/docs/safetensors */

/** Where one tensor's bytes stand. */
export interface TensorRef {
  name: string;
  dtype: 'F64' | 'F32' | 'F16' | 'BF16' | 'I64' | 'I32' | 'I16' | 'I8' | 'U8' | 'BOOL';
  shape: number[];
  /** Absolute path of the file, symbolic links resolved. */
  file: string;
  /** First byte, counted from the start of the file. */
  offset: number;
  bytes: number;
}
