/** A base model whose merge takes a while. */
import { cpSync, existsSync, readdirSync, readFileSync, statSync, truncateSync, writeFileSync } from 'node:fs';
import { join } from 'node:path';

/** The checkpoint `model` with one tensor more, of so many bytes, which no model has and a merge takes along. Its file holds none of them: it is sparse. */
export function writeLargeBase(model: string, folder: string, bytes: number): string {
  cpSync(model, folder, { recursive: true });
  const file = join(folder, 'model.safetensors'), content = readFileSync(file);
  const end = 8 + Number(content.readBigUInt64LE());
  const data = content.subarray(end);
  const header = Buffer.from(JSON.stringify({ ...JSON.parse(content.subarray(8, end).toString('utf8')) as object, taken_along: { dtype: 'F32', shape: [bytes / 4], data_offsets: [data.length, data.length + bytes] } }));
  const length = Buffer.alloc(8);
  length.writeBigUInt64LE(BigInt(header.length));
  writeFileSync(file, Buffer.concat([length, header, data]));
  truncateSync(file, 8 + header.length + data.length + bytes);
  return folder;
}

/** A merge is writing what will be `folder/merged`. */
export const writing = (folder: string) => (): boolean => readdirSync(folder).some(name => {
  const file = join(folder, name, 'model.safetensors');
  return name.startsWith('.tmp-merged-') && existsSync(file) && statSync(file).size > 2 ** 22;
});
