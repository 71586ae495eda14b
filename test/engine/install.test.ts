/** Installing GPU runtimes from a loopback server: what comes out, and that every way to fail leaves nothing behind and says why. */
import assert from 'node:assert/strict';
import { spawn } from 'node:child_process';
import { existsSync, mkdirSync, mkdtempSync, readdirSync, readFileSync, rmSync, truncateSync, writeFileSync } from 'node:fs';
import { tmpdir } from 'node:os';
import { dirname, join } from 'node:path';
import { after, before, beforeEach, test } from 'node:test';
import { findTensorFlow } from '../../src/engine/executors/tensorflow';
import { installRuntime, listSources, runtimeStates } from '../../src/engine/executors/install/install';
import { findInstalled, firstMissing, uninstall } from '../../src/engine/executors/install/installed';
import { tensorflowSources } from '../../src/engine/executors/install/sources';
import { probe } from '../../src/engine/executors/probe';
import { nodeFileSystem, useFileSystem } from '../../src/engine/files';
import type { InstallReport, InstallRequest } from '../../src/protocol/engine';
import { tarGz, zip } from '../support/archives';
import { built } from '../support/paths';
import { inTemporaryFolder, snapshot, withFault } from '../support/faults';
import { addCuda, addTensorFlow, cutOff, deny, LIBRARY, NATIVE, PROVIDER_FILES, PROVIDERS, stall, startRegistry, writeCompiler, type Registry } from '../support/registry';

const skip = process.platform === 'linux' && process.arch === 'x64' ? false : 'the runtimes are for Linux on x64';
const folder = mkdtempSync(join(tmpdir(), 'lora-lab-install-'));
const runtimes = join(folder, 'runtime');
const kept = { ...process.env };
let registry: Registry;

before(async () => { registry = await startRegistry(); });
beforeEach(() => {
  rmSync(runtimes, { recursive: true, force: true });
  // A proxy of the machine that runs the tests has no way to a loopback server.
  Object.assign(process.env, { NO_PROXY: '127.0.0.1', no_proxy: '127.0.0.1', LORA_LAB_RUNTIME: runtimes, LORA_LAB_CACHE: join(folder, 'cache'), CXX: writeCompiler(folder), LORA_LAB_TFJS_NODE: '', LORA_LAB_ORT_CUDA: '' });
});
after(async () => {
  process.env = kept;
  await registry.close();
  rmSync(folder, { recursive: true, force: true });
});

/** A fresh registry with both runtimes in it. */
async function fresh() {
  await registry.close();
  registry = await startRegistry();
  return { tensorflow: addTensorFlow(registry, join(folder, 'made')), cuda: addCuda(registry) };
}

const working = { ok: true, runs: 'a stand-in', software: false, driver: null } as const;
const install = (request: InstallRequest, sources: Awaited<ReturnType<typeof fresh>>, { signal = new AbortController().signal, messages = [] as string[] } = {}): Promise<InstallReport> =>
  installRuntime({ variant: 'cpu', ...request }, { signal, progress: ({ message }) => { messages.push(message); }, probe: async () => working, sources });

const left = (): string[] => (existsSync(runtimes) ? readdirSync(runtimes) : []);

test('TensorFlow is put together, found, and a step runs on it', { skip }, async () => {
  const sources = await fresh();
  const messages: string[] = [];
  const report = await installRuntime({ runtime: 'tensorflow', variant: 'cpu' }, { signal: new AbortController().signal, progress: ({ message }) => { messages.push(message); }, probe, sources });
  assert.deepEqual([report.works, report.detail, report.version], [true, 'tensorflow cpu (tfjs-node 4.22.0)', '4.22.0, TensorFlow 2.9.1']);
  assert.deepEqual(report.checked, ['2 packages by the SHA-512 of the npm registry', 'libtensorflow 2.9.1 by its SHA-256']);
  for (const part of [/^Downloading libtensorflow-cpu-linux-x86_64-2.9.1.tar.gz, 1 of 1 MB$/, /^Unpacking libtensorflow$/, /^Compiling the binding$/]) assert.ok(messages.some(message => part.test(message)), `${part} in ${messages.join('|')}`);

  const at = join(runtimes, 'tensorflow/node_modules/@tensorflow/tfjs-node');
  assert.deepEqual(left(), ['tensorflow']);
  assert.equal(findTensorFlow()?.path, at);
  assert.equal(readFileSync(join(at, 'deps/lib/libtensorflow.so.2'), 'utf8').length, 160_000);
  assert.ok(!existsSync(join(at, 'dist/index.js.map')), 'maps are of no use');
  const compiled = readFileSync(join(at, 'lib/napi-v8/tfjs_binding.node'), 'utf8').split('\n');
  for (const word of ['-DNAPI_VERSION=8', 'binding/tfjs_binding.cc', '-l:libtensorflow.so.2', '-Wl,-rpath,$ORIGIN/../../deps/lib']) assert.ok(compiled.includes(word), word);
});

test('what was lost is named, installing again repairs it, and uninstalling leaves nothing', { skip }, async () => {
  const sources = await fresh();
  await install({ runtime: 'tensorflow' }, sources);
  const installed = findInstalled('tensorflow')!;
  assert.equal(firstMissing(installed), undefined);
  const lost = join(runtimes, 'tensorflow/node_modules/@tensorflow/tfjs-node/deps/lib/libtensorflow_framework.so.2');
  truncateSync(lost, 3);
  assert.equal(firstMissing(installed), lost);
  assert.deepEqual((await runtimeStates()).runtimes, [{ runtime: 'tensorflow', version: '4.22.0, TensorFlow 2.9.1', missing: lost }, { runtime: 'cuda', version: null, missing: null }]);
  const broken = await probe('tensorflow');
  assert.ok(!broken.ok && broken.missing && broken.cause.includes(lost) && /install it again/.test(broken.action), JSON.stringify(broken));
  await install({ runtime: 'tensorflow' }, sources);
  assert.equal(firstMissing(findInstalled('tensorflow')!), undefined);
  assert.equal(uninstall('tensorflow'), true);
  assert.deepEqual([left(), uninstall('tensorflow'), findTensorFlow()?.path.startsWith(runtimes) ?? false], [[], false, false]);
});

test('a mirror, a folder of downloads and a given file take the place of the published addresses', { skip }, async () => {
  const sources = await fresh();
  const host = new URL(registry.url).host;
  const mirror = await startRegistry(new Map([...registry.files].map(([path, content]) => [`/base/${host}${path}`, content])));
  registry.asked.length = 0;
  try { await install({ runtime: 'tensorflow', from: `${mirror.url}/base/` }, sources); } finally { await mirror.close(); }
  assert.deepEqual([registry.asked, mirror.asked.length, left()], [[], 3, ['tensorflow']]);

  const downloads = join(folder, 'downloads');
  for (const [path, content] of registry.files) {
    mkdirSync(dirname(join(downloads, host, path)), { recursive: true });
    writeFileSync(join(downloads, host, path), content);
  }
  uninstall('tensorflow');
  const untouched = snapshot(downloads);
  await install({ runtime: 'tensorflow', from: downloads }, sources);
  assert.deepEqual([registry.asked, left(), snapshot(downloads)], [[], ['tensorflow'], untouched]);
  await assert.rejects(install({ runtime: 'tensorflow', from: folder }, sources), /the folder of downloads lacks 127\.0\.0\.1:\d+\/storage\/libtensorflow-cpu.*wget -x/);

  const own = join(folder, 'my-libtensorflow-2.18.tar.gz');
  writeFileSync(own, tarGz(LIBRARY.map(entry => ({ ...entry, content: entry.content && `${entry.content}!` }))));
  const report = await install({ runtime: 'tensorflow', from: own }, sources);
  assert.match(report.checked[1], /my-libtensorflow-2\.18\.tar\.gz was given and not checked/);
  await assert.rejects(install({ runtime: 'tensorflow', from: join(folder, 'nowhere') }, sources), /there is no such file or folder/);
});

const CASES: [string, (sources: Awaited<ReturnType<typeof fresh>>) => void, RegExp][] = [
  ['a package with another checksum', sources => { registry.files.set(new URL(sources.tensorflow.packages[0].url).pathname, tarGz([{ path: 'package/index.js', content: 'evil' }])); },
    /tfjs-node-4\.22\.0\.tgz: its checksum is sha512-.*, that of the published file is sha512-.*another network or mirror/],
  ['a library with another checksum', () => { registry.files.set('/storage/libtensorflow-cpu-linux-x86_64-2.9.1.tar.gz', tarGz(LIBRARY.slice(1))); }, /libtensorflow-cpu.*its checksum is sha256-/],
  ['a download that is denied', () => registry.answer(/storage/, deny), /127\.0\.0\.1:\d+ answered 403 Forbidden\. Fetch the files on another machine \("lab -- install … --list".*loraLab\.runtimeMirror.*--from/],
  ['a download that ends in the middle', () => registry.answer(/storage/, cutOff), /the download ended after \d+ of \d+ bytes/],
  ['a compiler that fails', () => { process.env.CXX = writeCompiler(folder, 'tfjs_binding.cc:1: error: no member named TFE_Op'); }, /compiler-broken could not make TensorFlow's binding \(TensorFlow 2\.9\.1\): .*no member named TFE_Op/],
  ['no compiler', () => { process.env.CXX = join(folder, 'no-such-compiler'); }, /No C\+\+ compiler was found .*sudo apt install g\+\+/],
];
for (const [title, prepare, says] of CASES) {
  test(`${title} is named and leaves the runtime that was there`, { skip }, async () => {
    await install({ runtime: 'tensorflow' }, await fresh());
    const old = snapshot(runtimes);
    const sources = await fresh();
    prepare(sources);
    await assert.rejects(install({ runtime: 'tensorflow' }, sources), says);
    assert.deepEqual(snapshot(runtimes), old);
  });
}

test('a server that is not there is named with its error number', { skip }, async () => {
  const sources = await fresh();
  await registry.close();
  await assert.rejects(install({ runtime: 'tensorflow' }, sources), /127\.0\.0\.1:\d+ cannot be reached: ECONNREFUSED/);
  assert.deepEqual(left(), []);
});

test('cancelling in the middle of a download or of the compiler leaves nothing', { skip }, async () => {
  const sources = await fresh();
  for (const during of ['download', 'compiler']) {
    const cancel = new AbortController();
    if (during === 'download') registry.answer(/storage/, stall(() => cancel.abort()));
    else {
      const { files } = registry;
      await registry.close();
      registry = await startRegistry(files);
      writeFileSync(process.env.CXX!, `#!/bin/sh\n[ "$1" = --version ] || sleep 60\n`);
    }
    const messages: string[] = [];
    const ending = install({ runtime: 'tensorflow' }, during === 'download' ? sources : { ...sources, tensorflow: addTensorFlow(registry, join(folder, 'made')) }, { signal: cancel.signal, messages });
    if (during === 'compiler') {
      while (!messages.includes('Compiling the binding')) await new Promise(done => setTimeout(done, 10));
      setTimeout(() => cancel.abort(), 50);
    }
    await assert.rejects(ending, /The installation was cancelled/);
    assert.deepEqual(left(), [], during);
  }
});

test('the command line installs from a mirror, says what is missing there, and is cancelled by Ctrl+C', { skip }, async () => {
  const mirror = await startRegistry();
  const lab = (words: string[], signal?: 'SIGINT'): Promise<{ code: number | null; err: string }> => new Promise(done => {
    const child = spawn(process.execPath, [built('engine/cli.js'), ...words], { stdio: ['ignore', 'ignore', 'pipe'] });
    let err = '';
    child.stderr.on('data', data => { err += data; });
    if (signal) mirror.answer(/libtensorflow/, stall(() => child.kill(signal)));
    child.once('close', code => done({ code, err }));
  });
  try {
    mirror.files.set('/storage.googleapis.com/tensorflow/libtensorflow/libtensorflow-cpu-linux-x86_64-2.9.1.tar.gz', tarGz(LIBRARY));
    const wrong = await lab(['install', 'tensorflow', '--variant', 'cpu', '--from', mirror.url]);
    assert.equal(wrong.code, 2);
    assert.match(wrong.err, /its checksum is sha256-.*that of the published file is sha256-7f510d25/);
    const missing = await lab(['install', 'cuda', '--from', mirror.url]);
    assert.equal(missing.code, 2);
    assert.match(missing.err, /127\.0\.0\.1:\d+ answered 404 Not Found\. Fetch the files on another machine/);
    const stopped = await lab(['install', 'tensorflow', '--variant', 'cpu', '--from', mirror.url], 'SIGINT');
    assert.deepEqual([stopped.code, stopped.err, left()], [130, 'cancelled; nothing was left behind\n', []]);
  } finally { await mirror.close(); }
});

test('an archive that is cut off is damaged, and one that leads out of its folder is refused', { skip }, async () => {
  const sources = await fresh();
  const file = join(folder, 'given.tar.gz');
  const given = (content: Buffer, says: RegExp): Promise<void> => {
    writeFileSync(file, content);
    return assert.rejects(install({ runtime: 'tensorflow', from: file }, sources), says);
  };
  const whole = tarGz(LIBRARY);
  await given(whole.subarray(0, whole.length - 40), /given\.tar\.gz: the archive cannot be read/);
  await given(Buffer.from('no archive at all'), /given\.tar\.gz: (the archive cannot be read|it holds no include)/);
  for (const [entries, why] of [
    [[{ path: '../outside', content: 'x' }], 'its path leads out'],
    [[{ path: '/tmp/outside', content: 'x' }], 'its path leads out'],
    [[{ path: 'lib/../../outside', content: 'x' }], 'its path leads out'],
    [[{ path: 'out', link: '/etc' }], 'it is a link to /etc'],
    [[{ path: 'lib/out', link: '../../../outside' }], 'it is a link to'],
    [[{ path: 'in', link: 'lib' }, { path: 'in/x', content: 'x' }], 'in is a link'],
  ] as const) await given(tarGz([...LIBRARY, ...entries]), new RegExp(`wants to write outside its folder: ${why.replaceAll('/', '\\/')}`));
  assert.deepEqual(left(), []);
});

test('a full disk is found before, and whenever it fills up nothing is left', { skip }, async () => {
  const sources = await fresh();
  const restore = useFileSystem({ ...nodeFileSystem, free: () => 1000 });
  try { await assert.rejects(install({ runtime: 'tensorflow' }, sources), /68 MB are needed here, 1 MB are free/); } finally { restore(); }
  let full = 0;
  for (let n = 1; ; n += Math.ceil(n / 3)) {
    rmSync(runtimes, { recursive: true, force: true });
    const { reached, error } = await withFault(n, 'ENOSPC', () => install({ runtime: 'tensorflow' }, sources));
    if (!reached) break;
    // A temporary that cannot be removed is cleared away by the next installation.
    if (error === undefined) continue;
    full++;
    assert.match(String(error), /the disk is full \(ENOSPC\)/);
    assert.ok(!existsSync(join(runtimes, 'tensorflow')) || firstMissing(findInstalled('tensorflow')!) === undefined, `a part of it is there after fault ${n}`);
  }
  assert.ok(full > 5, `${full} faults`);
  await install({ runtime: 'tensorflow' }, sources);
  assert.deepEqual(left(), ['tensorflow']);
});

test('the CUDA provider is taken out of its package, by the hash that NuGet tells', { skip }, async () => {
  const sources = await fresh();
  const report = await install({ runtime: 'cuda' }, sources);
  assert.deepEqual([report.version, report.checked, readdirSync(join(runtimes, 'cuda')).sort()], ['1.30.0', ['package by the SHA-512 of NuGet'], ['installed.json', ...PROVIDERS].sort()]);
  uninstall('cuda');
  registry.files.set('/flat/gpu.1.30.0.nupkg', zip({ ...PROVIDER_FILES, evil: 'x' }));
  await assert.rejects(install({ runtime: 'cuda' }, sources), /gpu\.1\.30\.0\.nupkg: its checksum is sha512-/);
  registry.answer(/catalog/, deny);
  await assert.rejects(install({ runtime: 'cuda' }, sources), /answered 403/);
  assert.deepEqual(left(), []);
});

test('a given provider package is checked by its CRC-32s, its version, and the hash beside it', { skip }, () => inTemporaryFolder(async at => {
  const sources = await fresh();
  const file = join(at, 'gpu.nupkg');
  const given = (content: Buffer): Promise<InstallReport> => { writeFileSync(file, content); return install({ runtime: 'cuda', from: file }, sources); };
  assert.match((await given(zip(PROVIDER_FILES))).checked[0], /CRC-32/);
  const old = snapshot(runtimes);
  await assert.rejects(given(zip(PROVIDER_FILES, { wrong: NATIVE + PROVIDERS[1] })), /libonnxruntime_providers_cuda\.so has another CRC-32/);
  await assert.rejects(given(zip({ ...PROVIDER_FILES, 'Microsoft.ML.OnnxRuntime.Gpu.Linux.nuspec': '<version>1.29.0</version>' })), /it is of version 1\.29\.0; ONNX Runtime here is 1\.30\.0.*Give Some\.Gpu 1\.30\.0/);
  await assert.rejects(given(zip({ [NATIVE + PROVIDERS[0]]: 'alone' })), /it has no runtimes\/linux-x64\/native\/libonnxruntime_providers_cuda\.so/);
  await assert.rejects(given(zip({ '../../outside': 'x', ...PROVIDER_FILES })), /wants to write outside its folder/);
  await assert.rejects(given(zip(PROVIDER_FILES).subarray(0, 30_000)), /the archive cannot be read/);
  writeFileSync(`${file}.sha512`, 'AAAA');
  await assert.rejects(given(zip(PROVIDER_FILES)), /its checksum is sha512-/);
  assert.deepEqual(snapshot(runtimes), old);
}));

test('a TensorFlow of Python is linked with where it lies; what it lacks is named', { skip }, () => inTemporaryFolder(async at => {
  const sources = await fresh();
  const place = join(at, 'site-packages/tensorflow');
  mkdirSync(join(place, 'include/tensorflow/c/eager'), { recursive: true });
  mkdirSync(join(at, 'site-packages/tensorflow-2.18.0.dist-info'));
  const link = (): Promise<InstallReport> => install({ runtime: 'tensorflow', link: place }, sources);
  for (const name of ['libtensorflow_cc.so.2', 'libtensorflow_framework.so.2', 'include/tensorflow/c/c_api.h', 'include/tensorflow/c/eager/c_api.h']) {
    await assert.rejects(link(), new RegExp(`${name.replaceAll('.', '\\.')} is missing`));
    writeFileSync(join(place, name), 'x');
  }
  registry.asked.length = 0;
  assert.equal((await link()).version, '4.22.0, TensorFlow 2.18.0');
  assert.ok(!registry.asked.some(path => path.includes('storage')), 'libtensorflow is not fetched');
  const compiled = readFileSync(join(runtimes, 'tensorflow/node_modules/@tensorflow/tfjs-node/lib/napi-v8/tfjs_binding.node'), 'utf8').split('\n');
  for (const word of [`-Wl,-rpath,${place}`, `-I${place}/include`, '-l:libtensorflow_cc.so.2']) assert.ok(compiled.includes(word), word);
  rmSync(join(place, 'libtensorflow_cc.so.2'));
  assert.equal(firstMissing(findInstalled('tensorflow')!), join(place, 'libtensorflow_cc.so.2'));
  await assert.rejects(install({ runtime: 'cuda', link: place }, sources), /only TensorFlow can be linked/);
}));

test('every published source has an address and, but for the provider, a checksum', () => {
  const listed = listSources('tensorflow', 'gpu');
  assert.equal(listed.length, tensorflowSources('gpu').packages.length + 1);
  for (const { url, integrity } of listed) assert.match(`${url} ${integrity}`, /^https:\/\/(registry\.npmjs\.org\/\S+\.tgz sha512-[\w+/]{86}==|storage\.googleapis\.com\/\S+\.tar\.gz sha256-[0-9a-f]{64})$/);
  assert.deepEqual(listSources('cuda').map(({ url }) => new URL(url).host), ['api.nuget.org']);
});
