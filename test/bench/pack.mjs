/**
 * Packs what `bench -- --gpu` needs into one folder for a Linux x64 machine that has no Node and no network: Node itself, ONNX
 * Runtime's binding, the bundles, the small checkpoints. Its Python (torch, transformers, peft) and its GPU's driver are its own.
 *
 *   node test/bench/pack.mjs [--out lora-lab-bench.tar.xz] [--node PATH] [--built]
 *
 * A folder where --out does not end in .tar.xz; --built takes dist/ as it is.
 *
 * There: tar xJf lora-lab-bench.tar.xz && lora-lab-bench/bench [what `npm run bench -- --gpu` takes]
 */
import { execFileSync } from 'node:child_process';
import { chmodSync, cpSync, existsSync, mkdirSync, mkdtempSync, readdirSync, readFileSync, realpathSync, rmSync, statSync, writeFileSync } from 'node:fs';
import { tmpdir } from 'node:os';
import { dirname, join, resolve } from 'node:path';
import { parseArgs } from 'node:util';
import { build } from '../../src/tools/build.mjs';
import { root } from '../../src/tools/paths.mjs';

const { values } = parseArgs({ options: { out: { type: 'string', default: 'lora-lab-bench.tar.xz' }, node: { type: 'string', default: process.execPath }, built: { type: 'boolean' } } });

/** Starts the bench with the packed Node; what the machine has itself comes first. */
const START = `#!/bin/sh
# bench [--rows 1,2] [--rounds 3] [--devices webgpu,cuda,tensorflow] [--families bert,t5|none] [--portions 512,8192] [--shapes full|tiny] [--out table.md]
here=$(cd "$(dirname "$0")" && pwd)
export LD_LIBRARY_PATH="\${LD_LIBRARY_PATH:+$LD_LIBRARY_PATH:}$here/lib"
export LORA_LAB_CACHE="\${LORA_LAB_CACHE:-$here/cache}"
if [ -z "\${LORA_LAB_PYTHON+set}" ] && python3 -c 'import torch, transformers, peft' 2>/dev/null; then export LORA_LAB_PYTHON=$(command -v python3); fi
exec "$here/node" "$here/dist/test/bench/bench.js" --gpu "$@"
`;

/** What is copied, from and to, below the repository and the packed folder. */
const BINDING = 'node_modules/onnxruntime-node';
const FILES = [
  ...['cli', 'commands', 'worker', 'requests', 'probe'].map((name) => `dist/engine/${name}.js`), 'dist/test/bench/bench.js', 'test/bench/peft_bench.py', 'package.json', 'LICENSE',
  `${BINDING}/package.json`, `${BINDING}/dist`, `${BINDING}/bin/napi-v6/linux/x64`, 'node_modules/onnxruntime-common/package.json', 'node_modules/onnxruntime-common/dist/cjs',
];
/** The loader of Vulkan drivers, for machines that have a driver and no loader. */
const LOADERS = ['/usr/lib/x86_64-linux-gnu', '/lib/x86_64-linux-gnu', '/usr/lib64'].map((folder) => join(folder, 'libvulkan.so.1'));
/** Of a reference case: what training it reads, and the folder that tells it from cases without an adapter. */
const CASE = /^(model|adapter_start|adapter_final|train\.\w+|eval\.\w+|case\.lora\.json)$/;

function copy(from, to, filter) {
  mkdirSync(dirname(to), { recursive: true });
  cpSync(realpathSync(from), to, { recursive: true, dereference: true, filter });
}

/** The first case of each family and task, as gpu/families.ts takes them. */
function copyCases(folder) {
  const seen = new Set();
  const references = join(root, 'test/fixtures/references');
  for (const name of readdirSync(references).sort()) {
    const read = (file) => JSON.parse(readFileSync(join(references, name, file), 'utf8'));
    const key = `${read('model/config.json').model_type} ${read('case.lora.json').task}`;
    if (seen.has(key) || !existsSync(join(references, name, 'adapter_final'))) continue;
    seen.add(key);
    for (const entry of readdirSync(join(references, name)).filter((file) => CASE.test(file))) copy(join(references, name, entry), join(folder, 'test/fixtures/references', name, entry));
  }
}

/** Writes the packed folder. */
function pack(folder) {
  for (const file of FILES) copy(join(root, file), join(folder, file), (path) => !/\.(map|d\.ts)$/.test(path));
  copyCases(folder);
  copy(resolve(values.node), join(folder, 'node'));
  const loader = LOADERS.find(existsSync);
  if (loader) copy(loader, join(folder, 'lib/libvulkan.so.1'));
  else console.error('no libvulkan.so.1 here: the machine must have its own');
  writeFileSync(join(folder, 'bench'), START);
  for (const program of ['bench', 'node']) chmodSync(join(folder, program), 0o755);
}

const out = resolve(values.out);
if (existsSync(out)) throw new Error(`${out} is there already`);
if (!values.built) await build({ tests: true });
if (out.endsWith('.tar.xz')) {
  const folder = mkdtempSync(join(tmpdir(), 'lora-lab-pack-'));
  try {
    pack(join(folder, 'lora-lab-bench'));
    execFileSync('tar', ['-cJf', out, '-C', folder, 'lora-lab-bench'], { stdio: 'inherit', env: { ...process.env, XZ_OPT: '-9 -T0' } });
  } finally { rmSync(folder, { recursive: true, force: true }); }
  console.log(`${out}: ${(statSync(out).size / 2 ** 20).toFixed(1)} MiB`);
} else pack(out);
