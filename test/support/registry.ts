/** A loopback server that plays npm's registry, TensorFlow's storage, NuGet and a mirror of them, with small things in them. */
import { createHash } from 'node:crypto';
import { chmodSync, readFileSync, writeFileSync } from 'node:fs';
import { createServer, type IncomingMessage, type ServerResponse } from 'node:http';
import type { AddressInfo } from 'node:net';
import { join } from 'node:path';
import type { CudaSources, TensorFlowSources } from '../../src/engine/executors/install/sources';
import { tarGz, zip, type TarEntry } from './archives';
import { writeStandIn } from './standInTensorFlow';

export type Answer = (response: ServerResponse, content: Buffer | undefined, request: IncomingMessage) => void;

export interface Registry {
  url: string;
  /** Content by path. */
  files: Map<string, Buffer>;
  /** Paths that were asked for, in turn. */
  asked: string[];
  /** How the next requests whose path matches are answered instead. */
  answer(path: RegExp, how: Answer): void;
  close(): Promise<void>;
}

export const deny: Answer = response => { response.writeHead(403, 'Forbidden').end('no'); };
/** Ends the connection in the middle. */
export const cutOff: Answer = (response, content) => {
  response.writeHead(200, { 'content-length': content!.length });
  response.write(content!.subarray(0, content!.length >> 1), () => response.destroy());
};
/** Sends the first bytes and then nothing more. */
export const stall = (begun: () => void): Answer => (response, content) => {
  response.writeHead(200, { 'content-length': content!.length });
  response.write(content!.subarray(0, 10), () => setTimeout(begun, 30));
};

export async function startRegistry(files = new Map<string, Buffer>()): Promise<Registry> {
  const rules: { path: RegExp; how: Answer }[] = [];
  const asked: string[] = [];
  const server = createServer((request, response) => {
    const path = decodeURIComponent(request.url!);
    asked.push(path);
    const content = files.get(path);
    const rule = rules.find(({ path: pattern }) => pattern.test(path));
    if (rule) rule.how(response, content, request);
    else if (content) response.writeHead(200, { 'content-length': content.length }).end(content);
    else response.writeHead(404).end();
  });
  await new Promise<void>(done => server.listen(0, '127.0.0.1', done));
  return {
    url: `http://127.0.0.1:${(server.address() as AddressInfo).port}`, files, asked,
    answer: (path, how) => { rules.unshift({ path, how }); },
    close: () => new Promise(done => { server.closeAllConnections(); server.close(() => done()); }),
  };
}

const sha = (algorithm: 'sha256' | 'sha512', content: Buffer): string => `${algorithm}-${createHash(algorithm).update(content).digest(algorithm === 'sha512' ? 'base64' : 'hex')}`;
const packed = (files: Record<string, string>): Buffer => tarGz(Object.entries(files).map(([path, content]) => ({ path: `package/${path}`, content })));

export const LIBRARY: TarEntry[] = [
  { path: './include/tensorflow/c/c_api.h', content: '// C API' },
  { path: './include/tensorflow/c/eager/c_api.h', content: '// eager' },
  { path: './lib/libtensorflow.so.2.9.1', content: 'library '.repeat(20_000), mode: 0o755 },
  { path: './lib/libtensorflow.so.2', link: 'libtensorflow.so.2.9.1' },
  { path: './lib/libtensorflow_framework.so.2', content: 'framework' },
];

/** Puts a TensorFlow into the registry, whose binding is the stand-in. `folder` is for making it. */
export function addTensorFlow({ url, files }: Registry, folder: string, library = tarGz(LIBRARY)): TensorFlowSources {
  const standIn = join(writeStandIn(folder), 'node_modules/@tensorflow/tfjs-node');
  const contents = {
    '@tensorflow/tfjs-node': packed({
      'package.json': readFileSync(join(standIn, 'package.json'), 'utf8'), 'index.js': readFileSync(join(standIn, 'index.js'), 'utf8'),
      'binding/tfjs_binding.cc': '// source', 'dist/index.js.map': 'a map',
    }),
    'node-api-headers': packed({ 'package.json': '{}', 'include/node_api.h': '// Node-API' }),
  };
  const packages = Object.entries(contents).map(([name, content]) => {
    const path = `/${name}/-/${name.split('/').pop()}-4.22.0.tgz`;
    files.set(path, content);
    return { name, version: '4.22.0', url: url + path, integrity: sha('sha512', content) };
  });
  files.set('/storage/libtensorflow-cpu-linux-x86_64-2.9.1.tar.gz', library);
  return { version: '4.22.0', packages, library: { url: `${url}/storage/libtensorflow-cpu-linux-x86_64-2.9.1.tar.gz`, integrity: sha('sha256', library), version: '2.9.1' } };
}

export const NATIVE = 'runtimes/linux-x64/native/';
export const PROVIDERS = ['libonnxruntime_providers_shared.so', 'libonnxruntime_providers_cuda.so'];
export const PROVIDER_FILES = {
  'Microsoft.ML.OnnxRuntime.Gpu.Linux.nuspec': '<package><metadata><version>1.30.0</version></metadata></package>',
  [NATIVE + PROVIDERS[0]]: 'shared', [NATIVE + PROVIDERS[1]]: 'cuda '.repeat(10_000), [`${NATIVE}libonnxruntime.so`]: 'not wanted',
};

/** Puts a provider package into the registry, with the chain of answers in which NuGet tells its hash. */
export function addCuda({ url, files }: Registry, content = zip(PROVIDER_FILES)): CudaSources {
  const put = (path: string, value: object): void => { files.set(path, Buffer.from(JSON.stringify(value))); };
  files.set('/flat/gpu.1.30.0.nupkg', content);
  put('/v3/index.json', { resources: [{ '@id': `${url}/registration/`, '@type': 'RegistrationsBaseUrl' }] });
  put('/registration/some.gpu/1.30.0.json', { catalogEntry: `${url}/catalog/gpu.json` });
  put('/catalog/gpu.json', { packageHash: sha('sha512', content).slice(7), packageHashAlgorithm: 'SHA512' });
  return { version: '1.30.0', package: 'Some.Gpu', url: `${url}/flat/gpu.1.30.0.nupkg`, index: `${url}/v3/index.json`, libraries: PROVIDERS };
}

/** A compiler that writes its arguments to the file that it is to make; or says `fails` and ends with an error. */
export function writeCompiler(folder: string, fails = ''): string {
  const file = join(folder, `compiler${fails && '-broken'}`);
  writeFileSync(file, `#!${process.execPath}
const words = process.argv.slice(2);
if (words[0] === '--version') process.exit(0);
if (${JSON.stringify(fails)}) { console.error(${JSON.stringify(fails)}); process.exit(1); }
require('node:fs').writeFileSync(words[words.indexOf('-o') + 1], words.join('\\n'));
`);
  chmodSync(file, 0o755);
  return file;
}
