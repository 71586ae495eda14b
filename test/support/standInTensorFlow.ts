/** A package that looks like `@tensorflow/tfjs-node` from outside and computes with tfjs's own CPU backend. */
import { mkdirSync, writeFileSync } from 'node:fs';
import { join } from 'node:path';
import { ROOT } from './paths';

/** Writes the package below `folder`, as npm would, and returns the folder to name in `LORA_LAB_TFJS_NODE`. */
export function writeStandIn(folder: string, { name = '@tensorflow/tfjs-node', main = WORKING } = {}): string {
  const at = join(folder, 'node_modules', name);
  mkdirSync(at, { recursive: true });
  writeFileSync(join(at, 'package.json'), JSON.stringify({ name, version: '4.22.0', main: 'index.js' }));
  writeFileSync(join(at, 'index.js'), main);
  return folder;
}

// The two functions are what the real package calls while it computes.
export const WORKING = `
const { createRequire } = require('node:module');
const load = createRequire(${JSON.stringify(join(ROOT, 'package.json'))});
const util = require('util');
if (!util.isNullOrUndefined(undefined) || !util.isArray([])) throw new Error('util is incomplete');
const tf = load('@tensorflow/tfjs-core');
const { MathBackendCPU } = load('@tensorflow/tfjs-backend-cpu/dist/tf-backend-cpu.node.js');
tf.copyRegisteredKernels('cpu', 'tensorflow');
tf.registerBackend('tensorflow', () => new MathBackendCPU(), 3);
tf.setBackend('tensorflow');
`;
