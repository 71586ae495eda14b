/** Archives made in memory, also such as no honest tool would write. */
import { crc32, gzipSync } from 'node:zlib';
import { Header } from 'tar';

export interface TarEntry { path: string; content?: string; link?: string; mode?: number }

/** A `.tar.gz` with the entries as they are given. */
export function tarGz(entries: TarEntry[]): Buffer {
  const blocks = entries.map(({ path, content = '', link, mode = 0o644 }) => {
    const head = Buffer.alloc(512);
    new Header({ path, mode, size: link === undefined ? Buffer.byteLength(content) : 0, type: link === undefined ? 'File' : 'SymbolicLink', linkpath: link, mtime: new Date(0) }).encode(head, 0);
    const body = Buffer.from(link === undefined ? content : '');
    return Buffer.concat([head, body, Buffer.alloc((512 - body.length % 512) % 512)]);
  });
  return gzipSync(Buffer.concat([...blocks, Buffer.alloc(1024)]));
}

/** A zip file whose entries are stored as they are. `wrong` names one whose CRC-32 is not that of its content. */
export function zip(files: Record<string, string>, { wrong = '' } = {}): Buffer {
  const parts: Buffer[] = [], directory: Buffer[] = [];
  let offset = 0;
  for (const [name, text] of Object.entries(files)) {
    const [path, content] = [Buffer.from(name), Buffer.from(text)];
    const common = Buffer.alloc(26);
    common.writeUInt16LE(20, 0);
    common.writeUInt32LE((crc32(content) ^ (name === wrong ? 1 : 0)) >>> 0, 10);
    common.writeUInt32LE(content.length, 14);
    common.writeUInt32LE(content.length, 18);
    common.writeUInt16LE(path.length, 22);
    parts.push(Buffer.from('PK\x03\x04', 'latin1'), common, path, content);
    const tail = Buffer.alloc(14);
    tail.writeUInt32LE(offset, 10);
    directory.push(Buffer.from('PK\x01\x02', 'latin1'), Buffer.from([20, 0]), common, tail, path);
    offset += 4 + 26 + path.length + content.length;
  }
  const listed = Buffer.concat(directory);
  const end = Buffer.alloc(18);
  end.writeUInt16LE(Object.keys(files).length, 4);
  end.writeUInt16LE(Object.keys(files).length, 6);
  end.writeUInt32LE(listed.length, 8);
  end.writeUInt32LE(offset, 12);
  return Buffer.concat([...parts, listed, Buffer.from('PK\x05\x06', 'latin1'), end]);
}
