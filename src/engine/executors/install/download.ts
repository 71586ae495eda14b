/** Fetching one file: from its own address, from a mirror, or from a folder that holds what a mirror would. */
import { createHash, type Hash } from 'node:crypto';
import { basename, dirname, join } from 'node:path';
import { setImmediate as turn } from 'node:timers/promises';
import { LabError } from '../../errors';
import { freeBytes, lookUp, openFile, closeFile, readInto, statFile, withFile, writeAll } from '../../files';
import type { ProxySettings } from '../../../protocol/engine';
import { request, throughProxy, type Answer } from './request';
import type { Source } from './sources';

export interface Fetching {
  /** Folder that downloads are written to. */
  folder: string;
  /** `https://host/path`, or a folder. Below it lies `<host>/<path>` of every address, as `wget -x` leaves it. */
  mirror: string | null;
  /** The editor's proxy; without it that of the environment. */
  proxy?: ProxySettings;
  signal: AbortSignal;
  progress(message: string, fraction: number | null): void;
}

/** How a person without internet, or with a registry that refuses, gets there. */
export const OFFLINE = 'fetch the files on another machine ("lab -- install … --list" names them) and give their folder or a mirror: setting loraLab.runtimeMirror, or "lab -- install … --from"; if this network has a proxy, name it in HTTPS_PROXY or in the editor\'s setting http.proxy';
/** Room that must stay on the disk. */
const MARGIN = 64 << 20;
const CHUNK = 1 << 20;

export const cancelled = (): LabError => new LabError({ code: 'runtime.cancelled', cause: 'the installation was cancelled', action: 'nothing was left behind; install it again when you want to' });

/**
 * The verified file: in the mirror where that is a folder, else downloaded into `folder`.
 * Errors: `runtime.refused` with host and status or error number, `runtime.truncated`, `runtime.checksum`, `runtime.cancelled`, `disk.*`.
 */
export async function fetchFile(source: Source, fetching: Fetching): Promise<string> {
  const at = new URL(source.url);
  const place = fetching.mirror === null ? undefined : join(at.host, ...at.pathname.split('/').map(decodeURIComponent));
  if (fetching.mirror !== null && !isUrl(fetching.mirror)) {
    const file = join(fetching.mirror, place!);
    if (!lookUp(file)) throw new LabError({ code: 'runtime.not-in-mirror', file, cause: `the folder of downloads lacks ${place}`, action: 'fetch what "lab -- install … --list" names with wget -x into that folder' });
    await checkFile(file, source.integrity, fetching);
    return file;
  }
  const url = fetching.mirror === null ? source.url : `${fetching.mirror.replace(/\/+$/, '')}/${at.host}${at.pathname}`;
  const file = join(fetching.folder, basename(at.pathname));
  await download(url, file, source.integrity, fetching);
  return file;
}

/** JSON from an address or its mirror. Errors as `fetchFile`. */
export async function fetchJson(url: string, fetching: Pick<Fetching, 'signal' | 'proxy'>): Promise<Record<string, unknown>> {
  const answer = await ask(url, fetching);
  try {
    const parts: Uint8Array[] = [];
    for await (const part of chunks(answer, fetching)) parts.push(part);
    return JSON.parse(Buffer.concat(parts).toString('utf8')) as Record<string, unknown>;
  } catch (error) { throw error instanceof LabError ? error : broken(url, error, fetching); }
}

/** Reads a file through and compares it with its checksum. Errors: `runtime.checksum`, `runtime.cancelled`. */
export async function checkFile(file: string, integrity: string | null, { signal, progress }: Pick<Fetching, 'signal' | 'progress'>): Promise<void> {
  if (integrity === null) return;
  const { algorithm, hash } = hashOf(integrity);
  const { size } = statFile(file);
  const buffer = new Uint8Array(CHUNK);
  const fd = openFile(file, 'r');
  try {
    for (let done = 0; done < size;) {
      const read = readInto(fd, buffer, done, file);
      if (read === 0) break;
      hash.update(buffer.subarray(0, read));
      done += read;
      progress(`Checking ${basename(file)}`, done / size);
      await turn();
      if (signal.aborted) throw cancelled();
    }
  } finally { closeFile(fd, file); }
  compare(hash, algorithm, integrity, file);
}

async function download(url: string, file: string, integrity: string | null, fetching: Fetching): Promise<void> {
  const { progress } = fetching;
  const answer = await ask(url, fetching);
  const total = lengthOf(answer);
  needSpace(dirname(file), total ?? 0);
  const { algorithm, hash } = hashOf(integrity ?? 'sha512-');
  let done = 0;
  const name = basename(file);
  // withFile is for work that does not wait; here the descriptor stays open between chunks.
  withFile(file, 'wx', () => { /* made */ });
  const fd = openFile(file, 'a');
  try {
    for await (const chunk of chunks(answer, fetching)) {
      writeAll(fd, chunk, file);
      hash.update(chunk);
      done += chunk.length;
      progress(`Downloading ${name}, ${megabytes(done)}${total ? ` of ${megabytes(total)}` : ''} MB`, total && done / total);
    }
  } finally { closeFile(fd, file); }
  if (total !== null && done !== total) throw truncated(url, done, total);
  if (integrity !== null) compare(hash, algorithm, integrity, url);
}

const lengthOf = ({ response }: Answer): number | null => Number(response.headers['content-length']) || null;

async function* chunks(answer: Answer, fetching: Pick<Fetching, 'signal' | 'proxy'>): AsyncGenerator<Uint8Array> {
  let done = 0;
  try {
    for await (const part of answer.response as AsyncIterable<Uint8Array>) {
      done += part.length;
      yield part;
    }
  } catch (error) {
    // What went wrong with the file is not the network's fault.
    if (error instanceof LabError) throw error;
    const total = lengthOf(answer) ?? 0;
    throw fetching.signal.aborted ? cancelled() : total > done ? truncated(answer.url, done, total) : broken(answer.url, error, fetching);
  }
}

async function ask(url: string, fetching: Pick<Fetching, 'signal' | 'proxy'>): Promise<Answer> {
  let answer;
  try { answer = await request(url, fetching.signal, fetching.proxy); } catch (error) { throw error instanceof LabError ? error : broken(url, error, fetching); }
  const { statusCode, statusMessage } = answer.response;
  if (statusCode === 200) return answer;
  answer.response.destroy();
  throw refused(answer.url, `answered ${statusCode} ${statusMessage}`.trim(), fetching);
}

function broken(url: string, error: unknown, fetching: Pick<Fetching, 'signal' | 'proxy'>): LabError {
  if (fetching.signal.aborted) return cancelled();
  const { code, message } = error as NodeJS.ErrnoException;
  return refused(url, `cannot be reached: ${code ?? message}`, fetching);
}

const refused = (url: string, what: string, { proxy }: Pick<Fetching, 'proxy'>): LabError => {
  const way = throughProxy(url, proxy);
  return new LabError({ code: 'runtime.refused', where: url, cause: `${new URL(url).host}${way && `, asked${way},`} ${what}`, action: OFFLINE });
};
const truncated = (url: string, done: number, total: number): LabError => new LabError({
  code: 'runtime.truncated', where: url, cause: `the download ended after ${done} of ${total} bytes`, action: 'install it again; if it happens again, fetch the file in another way and give it with --from',
});

function compare(hash: Hash, algorithm: string, integrity: string, file: string): void {
  const found = `${algorithm}-${hash.digest(algorithm === 'sha512' ? 'base64' : 'hex')}`;
  if (found === integrity) return;
  throw new LabError({
    code: 'runtime.checksum', file, cause: `its checksum is ${found}, that of the published file is ${integrity}`,
    action: 'it was changed or damaged on the way: fetch it again, from another network or mirror',
  });
}

function hashOf(integrity: string): { algorithm: string; hash: Hash } {
  const algorithm = integrity.split('-')[0];
  return { algorithm, hash: createHash(algorithm) };
}

/** Error `disk.full` where `bytes` and some room do not fit on the disk of `folder`. */
export function needSpace(folder: string, bytes: number): void {
  const free = freeBytes(folder);
  if (free >= bytes + MARGIN) return;
  throw new LabError({ code: 'disk.full', file: folder, cause: `${megabytes(bytes + MARGIN)} MB are needed here, ${megabytes(free)} MB are free`, action: 'free some space and install it again' });
}

export const isUrl = (place: string): boolean => /^https?:\/\//.test(place);
const megabytes = (bytes: number): number => Math.ceil(bytes / 1e6);
