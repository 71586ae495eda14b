/** When ONNX Runtime computes gradients, which decides how much of the backward pass is in memory at a time. */
import assert from 'node:assert/strict';
import { execFileSync } from 'node:child_process';
import { readdirSync, readFileSync } from 'node:fs';
import { join } from 'node:path';
import { test } from 'node:test';
import { inTemporaryFolder } from '../support/faults';
import { built } from '../support/paths';
import { copyCase } from '../support/runs';

interface Event { cat: string; name: string; ts: number; args: { op_name: string } }

/** The nodes of the last portion that was trained, in the order in which they were computed, as their operators are called. */
function computed(folder: string): string[] {
  const files = readdirSync(folder).filter(name => name.startsWith('profile_'));
  const events = files.map(name => JSON.parse(readFileSync(join(folder, name), 'utf8')) as Event[]).sort((a, b) => a.length - b.length).at(-1)!;
  const begin = events.filter(({ name }) => name === 'model_run').at(-1)!.ts;
  return events.filter(({ cat, name, ts }) => cat === 'Node' && name.endsWith('_kernel_time') && ts >= begin).sort((a, b) => a.ts - b.ts).map(({ args }) => args.op_name);
}

const PRODUCTS = ['MatMul', 'Gemm', 'FusedMatMul'];

test('gradients of biases are computed in the layer that they belong to, not after the whole backward pass', () => inTemporaryFolder(folder => {
  const file = copyCase(folder, { lora: { bias: 'all', target_modules: ['query', 'value'] }, training: { max_steps: 2, eval_strategy: 'no', save_strategy: 'no' }, engine: { device: 'cpu' } });
  execFileSync(process.execPath, [built('engine/cli.js'), 'train', file], { env: { ...process.env, NODE_OPTIONS: '', LORA_LAB_PROFILE: join(folder, 'profile') }, stdio: ['ignore', 'ignore', 'pipe'] });
  const nodes = computed(folder);
  const sums = nodes.flatMap((op, i) => (op === 'ReduceSum' ? [i] : [])), products = nodes.flatMap((op, i) => (PRODUCTS.includes(op) ? [i] : []));
  // Of the lowest layer a few are left after the last product, and the loss is summed up at the end.
  const late = sums.filter(i => i > products.at(-1)!).length;
  assert.ok(sums.length > 15, `${sums.length} sums`);
  assert.ok(late <= 6, `${late} of ${sums.length} sums after the last product`);
}));
