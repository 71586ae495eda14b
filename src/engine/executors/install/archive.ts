/** Unpacking what was fetched. Every path is checked before anything is written: an archive reaches nothing outside its folder. */
import { once } from 'node:events';
import { symlinkSync, chmodSync } from 'node:fs';
import { dirname, join, posix } from 'node:path';
import { setImmediate as turn } from 'node:timers/promises';
import { crc32 } from 'node:zlib';
import { Parser, type ReadEntry } from 'tar';
import * as yauzl from 'yauzl';
import { LabError } from '../../errors';
import { closeFile, makeFolder, openFile, readInto, statFile, withFile, writeAll } from '../../files';
import { cancelled, needSpace } from './download';

export interface Unpacking { signal: AbortSignal; progress(fraction: number): void }

const CHUNK = 1 << 20;

const damaged = (file: string, cause: string): LabError => new LabError({ code: 'runtime.damaged', file, cause: `the archive cannot be read: ${cause}`, action: 'fetch it again' });
const unsafe = (file: string, entry: string, why: string): LabError => new LabError({ code: 'runtime.unsafe', file, where: entry, cause: `the archive wants to write outside its folder: ${why}`, action: 'do not use this file; fetch it from the publisher' });

/**
 * Unpacks a tar file, packed with gzip or not, without the first `strip` parts of every path. `keep` chooses entries by what is left.
 * Errors: `runtime.damaged`, `runtime.unsafe`, `runtime.cancelled`, `disk.*`.
 */
export async function unpackTar(file: string, folder: string, { strip = 0, keep = () => true, signal, progress }: Unpacking & { strip?: number; keep?: (path: string) => boolean }): Promise<void> {
  const links = new Set<string>();
  let failure: unknown;
  /** Of the entry that is being written: an archive that is cut off, or a cancel, never ends it. */
  let closeEntry = (): void => { /* none is */ };
  const parser = new Parser({ strict: true, onReadEntry: entry => {
    // The parser waits until an entry has been read, also one that is left out.
    if (failure !== undefined) return entry.resume();
    try { writeEntry(entry); } catch (error) { failure = error; entry.resume(); }
  } });
  parser.on('error', (error: Error) => { failure ??= damaged(file, error.message); });

  function writeEntry(entry: ReadEntry): void {
    const path = entry.path.split('/').filter(part => part !== '' && part !== '.');
    if (entry.path.startsWith('/') || path.includes('..') || /[\\\0]|^[A-Za-z]:/.test(entry.path)) throw unsafe(file, entry.path, 'its path leads out');
    const kept = path.slice(strip).join('/');
    if (kept === '' || entry.type === 'Directory' || entry.meta || !keep(kept)) return entry.resume();
    const target = join(folder, kept);
    for (let parent = posix.dirname(kept); parent !== '.'; parent = posix.dirname(parent)) if (links.has(parent)) throw unsafe(file, entry.path, `${parent} is a link`);
    makeFolder(dirname(target));
    if (entry.type === 'SymbolicLink') {
      const to = posix.normalize(posix.join(posix.dirname(kept), entry.linkpath ?? ''));
      if (posix.isAbsolute(entry.linkpath ?? '/') || to === '..' || to.startsWith('../')) throw unsafe(file, entry.path, `it is a link to ${entry.linkpath}`);
      links.add(kept);
      symlinkSync(entry.linkpath!, target);
      return entry.resume();
    }
    if (entry.type !== 'File' && entry.type !== 'OldFile') throw damaged(file, `${entry.path} is a ${entry.type}`);
    withFile(target, 'wx', () => { /* made */ });
    const fd = openFile(target, 'a');
    let open = true;
    const close = closeEntry = (): void => { if (open) { open = false; closeFile(fd, target); } };
    entry.on('data', chunk => {
      if (failure !== undefined) return close();
      try { writeAll(fd, chunk, target); } catch (error) { failure = error; close(); }
    });
    entry.on('end', () => {
      try { close(); if ((entry.mode ?? 0) & 0o111) chmodSync(target, 0o755); } catch (error) { failure ??= error; }
    });
  }

  const { size } = statFile(file);
  const fd = openFile(file, 'r');
  try {
    makeFolder(folder);
    needSpace(folder, unpackedSize(fd, file, size));
    const buffer = new Uint8Array(CHUNK);
    for (let done = 0; done < size && failure === undefined;) {
      const read = readInto(fd, buffer.subarray(0, Math.min(CHUNK, size - done)), done, file);
      if (read === 0) break;
      done += read;
      if (!parser.write(Buffer.from(buffer.subarray(0, read)))) await Promise.race([once(parser, 'drain'), turn()]);
      progress(done / size);
      await turn();
      if (signal.aborted) failure ??= cancelled();
    }
  } finally { closeFile(fd, file); }
  if (failure === undefined) {
    const ended = once(parser, 'end').catch((error: Error) => { failure ??= damaged(file, error.message); });
    parser.end();
    await ended;
  }
  closeEntry();
  if (failure !== undefined) throw failure;
}

/** What a gzip file says at its end about its content (modulo 4 GiB); of another file its own size. */
function unpackedSize(fd: number, file: string, size: number): number {
  const [head, tail] = [new Uint8Array(2), new Uint8Array(4)];
  readInto(fd, head, 0, file);
  if (size < 18 || head[0] !== 0x1f || head[1] !== 0x8b) return size;
  readInto(fd, tail, size - 4, file);
  return Math.max(size, new DataView(tail.buffer).getUint32(0, true));
}

/**
 * Writes entries of a zip file, each under its new name, and checks their CRC-32. Returns the content of those in `read`.
 * Errors: `runtime.damaged` (also where an entry is missing), `runtime.unsafe`, `runtime.cancelled`, `disk.*`.
 */
export async function unpackZip(file: string, folder: string, wanted: Map<string, string>, read: RegExp, { signal, progress }: Unpacking): Promise<string[]> {
  const texts: string[] = [];
  const left = new Map(wanted);
  let zip: yauzl.ZipFile | undefined;
  try {
    zip = await yauzl.openPromise(file, { autoClose: false, lazyEntries: true });
    for await (const entry of zip.eachEntry()) {
      const target = left.get(entry.fileName);
      if (target === undefined && !read.test(entry.fileName)) continue;
      if (target !== undefined) needSpace(folder, entry.uncompressedSize);
      const parts: Buffer[] = [];
      const path = target && join(folder, target);
      if (path) withFile(path, 'wx', () => { /* made */ });
      const fd = path ? openFile(path, 'a') : undefined;
      let sum = 0, done = 0;
      try {
        for await (const chunk of await zip.openReadStreamPromise(entry) as AsyncIterable<Buffer>) {
          if (signal.aborted) throw cancelled();
          if (path) writeAll(fd!, chunk, path);
          else parts.push(chunk);
          sum = crc32(chunk, sum);
          done += chunk.length;
          if (path) progress(done / entry.uncompressedSize);
        }
      } finally { if (path) closeFile(fd!, path); }
      if (sum !== entry.crc32) throw damaged(file, `${entry.fileName} has another CRC-32 than the archive says`);
      left.delete(entry.fileName);
      if (!path) texts.push(Buffer.concat(parts).toString('utf8'));
    }
  } catch (error) {
    if (error instanceof LabError) throw error;
    const { message } = error as Error;
    throw /relative path|absolute path|invalid characters/.test(message) ? unsafe(file, message.split(': ').pop()!, 'its path leads out') : damaged(file, message);
  } finally { zip?.close(); }
  const [missing] = left.keys();
  if (missing !== undefined) throw damaged(file, `it has no ${missing}`);
  return texts;
}
