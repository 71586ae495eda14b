/**
 * Bundles the extension host, the engine and the webview into dist/.
 *
 *   node src/tools/build.mjs [--tests] [--watch]
 *
 * `--tests` adds every test file, `--watch` builds again after each change (used by F5).
 * An entry point that does not exist is named and left out.
 */
import { context } from 'esbuild';
import { existsSync, readdirSync, rmSync } from 'node:fs';
import { join, relative, resolve } from 'node:path';
import { fileURLToPath } from 'node:url';
import { writeSchemas } from './schema.mjs';

const root = resolve(fileURLToPath(import.meta.url), '../../..');
const dist = join(root, 'dist');

const common = {
  absWorkingDir: root,
  bundle: true,
  sourcemap: true,
  logLevel: 'warning',
  // tfjs-core's CommonJS build registers no gradients; its ES modules do, and are reached only through `module`.
  mainFields: ['module', 'main'],
};
const node = { ...common, platform: 'node', format: 'cjs', target: 'node20' };
const native = ['onnxruntime-node', '@tensorflow/tfjs-node', '@tensorflow/tfjs-node-gpu'];

/** Every file under `folder` whose name matches, as paths relative to the repository; empty if there is no such folder. */
function filesUnder(folder, pattern) {
  const path = join(root, folder);
  if (!existsSync(path)) return [];
  return readdirSync(path, { recursive: true }).map(String).filter((name) => pattern.test(name)).sort().map((name) => join(folder, name));
}

function bundles(tests) {
  const list = [
    { ...node, entryPoints: ['src/extension/extension.ts'], outdir: 'dist', external: ['vscode'] },
    { ...node, entryPoints: ['main', 'worker', 'requests', 'cli', 'commands', 'probe'].map((name) => `src/engine/${name}.ts`), outdir: 'dist/engine', external: [...native, './commands.js'] },
    {
      ...common, platform: 'browser', format: 'iife', target: 'es2022', outdir: 'dist/webview', minify: true,
      entryPoints: ['webview/main.ts', 'webview/compare.ts', ...filesUnder('webview', /\.css$/)], loader: { '.ttf': 'file', '.svg': 'dataurl' },
    },
  ];
  if (!tests) return list;
  const unit = ['unit', 'engine', 'webview'].flatMap((kind) => filesUnder(`test/${kind}`, /\.test\.ts$/));
  // node:test reads the maps of these; engines that they start would read theirs, for a stack that hardly any test sees. The banner stands before the bundle's own "use strict".
  const mapped = { sourcesContent: false, banner: { js: '"use strict"; delete process.env.NODE_OPTIONS;' } };
  return [
    ...list,
    { ...node, ...mapped, entryPoints: unit, outdir: 'dist/test', outbase: 'test', external: native },
    { ...node, entryPoints: ['test/support/lostGpu.ts'], outdir: 'dist/test/support' },
    { ...node, entryPoints: ['test/bench/bench.ts'], outdir: 'dist/test/bench', external: native },
    { ...node, entryPoints: ['test/fidelity/fidelity.ts'], outdir: 'dist/test/fidelity', external: native },
    {
      ...node, outdir: 'dist/test/extension', external: ['vscode', 'mocha'], outbase: 'test/extension',
      entryPoints: [{ in: 'test/support/extensionHost.ts', out: 'index' },
        ...filesUnder('test/extension', /\.test\.ts$/).map((path) => ({ in: path, out: relative('test/extension', path).replace(/\.ts$/, '') }))],
    },
  ];
}

const source = (entry) => (typeof entry === 'string' ? entry : entry.in);
const present = (entry) => {
  const found = existsSync(join(root, source(entry)));
  if (!found) console.error(`build: ${source(entry)} does not exist, left out`);
  return found;
};

/** Builds once, or keeps building. `only: 'engine'` leaves everything else as it is. */
export async function build({ tests = false, watch = false, only } = {}) {
  // Test bundles of deleted sources would go on being run.
  if (tests) rmSync(join(dist, 'test'), { recursive: true, force: true });
  const groups = bundles(tests).filter(({ outdir }) => !only || outdir === `dist/${only}`)
    .map((options) => ({ ...options, entryPoints: options.entryPoints.filter(present) })).filter(({ entryPoints }) => entryPoints.length);
  await Promise.all(groups.map(async (options) => {
    if (watch) console.log(`[watch] build started: ${options.outdir}`);
    const builder = await context({ ...options, plugins: watch ? [announce] : [] });
    if (watch) await builder.watch();
    else await builder.rebuild().finally(() => builder.dispose());
  }));
  if (!only) await writeSchemas(join(dist, 'schemas'));
}

/** The lines between which the editor's problem matcher reads errors. */
const announce = {
  name: 'announce',
  setup(builder) {
    builder.onStart(() => console.log('[watch] build started'));
    builder.onEnd((result) => {
      for (const { text, location } of result.errors) console.error(`✘ [ERROR] ${text}\n    ${location?.file}:${location?.line}:${location?.column}:`);
      console.log('[watch] build finished');
    });
  },
};

if (process.argv[1] === fileURLToPath(import.meta.url)) {
  const watch = process.argv.includes('--watch');
  const begun = Date.now();
  await build({ tests: process.argv.includes('--tests'), watch }).catch((error) => {
    // esbuild has already printed the place of each error in a source file.
    if (!error.errors) console.error(error);
    process.exit(1);
  });
  if (!watch) console.error(`build: done in ${((Date.now() - begun) / 1000).toFixed(1)} s`);
}
