// Bundles the extension host, the engine and the webview into dist/. `--tests` adds the test files.
import { build } from 'esbuild';
import { globSync, rmSync } from 'node:fs';
console.log(typeof globSync, typeof rmSync, typeof build);
