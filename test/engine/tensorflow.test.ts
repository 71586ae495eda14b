/**
 * The eager executor on the backend of `@tensorflow/tfjs-node`: the compiled executor's losses, and no tensor left behind.
 * With `LORA_LAB_TFJS_NODE` set it is the real package, otherwise a stand-in that is loaded the same way.
 */
import assert from 'node:assert/strict';
import { mkdtempSync, readdirSync, rmSync } from 'node:fs';
import { createRequire } from 'node:module';
import { tmpdir } from 'node:os';
import { join } from 'node:path';
import { after, before, test } from 'node:test';
import * as tf from '@tensorflow/tfjs-core';
import { createExecutor } from '../../src/engine/executors/devices';
import { initialTrainables, planAdapter } from '../../src/engine/model/lora';
import { createTrainingStep } from '../../src/engine/training/step';
import { inTemporaryFolder } from '../support/faults';
import { fixture } from '../support/paths';
import { assertSame, trainReference } from '../support/references';
import { WORKING, writeStandIn } from '../support/standInTensorFlow';
import { settings, tinyBert, tinyExamples } from '../support/tinyModel';

const real = process.env.LORA_LAB_TFJS_NODE;
const folder = mkdtempSync(join(tmpdir(), 'lora-lab-tensorflow-'));
before(() => {
  // As in newer versions of Node, whichever runs the test.
  const util = createRequire(__filename)('node:util') as Record<string, unknown>;
  for (const name of ['isNullOrUndefined', 'isArray']) delete util[name];
  process.env.LORA_LAB_CACHE = join(folder, 'cache');
  process.env.LORA_LAB_TFJS_NODE = real ?? writeStandIn(folder);
});
after(() => rmSync(folder, { recursive: true, force: true }));

// The stand-in computes in JavaScript: three cases show that it is reached through the whole engine.
for (const name of readdirSync(fixture('references')).filter((_, i) => real || i < 3)) {
  test(`${name}: TensorFlow gives the compiled executor's losses`, () => inTemporaryFolder(async copy => {
    const found = await trainReference(copy, name, 'tensorflow', 3);
    assert.match(found.device, /^tensorflow (cpu|gpu) \(tfjs-node(-gpu)? 4\.22\.0\)$/);
    assertSame(found, await trainReference(copy, name, 'cpu', 3), 1e-4);
  }));
}

test('TensorFlow: memory does not grow from step to step', async () => {
  const model = tinyBert({ hidden_dropout_prob: 0.1 });
  const { lora, training } = settings({ r: 2, lora_dropout: 0.1 });
  const plan = planAdapter(model, lora);
  const step = await createTrainingStep({ model, plan, lora, training, device: 'tensorflow', trainables: initialTrainables(model, plan, 1), train: true });
  const seen: object[] = [];
  const last = real ? 200 : 20;
  for (let i = 1; i <= last; i++) {
    await step.accumulate(tinyExamples([5, 9, 3], 3, i), 1, { seed: 1, step: i, micro_step: 0 });
    await step.update({ learning_rate: 1e-3, step: i });
    await step.evaluate(tinyExamples([4, 8], 3, i));
    const { numTensors, numDataBuffers, numBytes } = tf.memory();
    if (i === 2 || i === last) seen.push({ numTensors, numDataBuffers, numBytes });
  }
  assert.deepEqual(seen[1], seen[0]);
  await step.dispose();
});

const refused = async (path: string, says: RegExp): Promise<void> => {
  const before = process.env.LORA_LAB_TFJS_NODE;
  process.env.LORA_LAB_TFJS_NODE = path;
  try { await assert.rejects(createExecutor('tensorflow'), says); } finally { process.env.LORA_LAB_TFJS_NODE = before; }
};

test('a package of TensorFlow that is missing, broken or without its GPU is an error that says so', () => inTemporaryFolder(async copy => {
  await refused(join(copy, 'nowhere'), /no @tensorflow\/tfjs-node-gpu or @tensorflow\/tfjs-node was found in .*nowhere.*npm install @tensorflow\/tfjs-node-gpu/);
  await refused(writeStandIn(join(copy, 'broken'), { main: 'throw new Error("libtensorflow.so.2: cannot open shared object file")' }), /tfjs-node 4\.22\.0 in .* does not load: libtensorflow\.so\.2: cannot open.*npm rebuild/);
  await refused(writeStandIn(join(copy, 'gpu'), { name: '@tensorflow/tfjs-node-gpu' }), /tfjs-node-gpu 4\.22\.0 finds no GPU.*CUDA 11/);
}));

/** Every product of matrices is a hundredth too large. */
const WRONG = `${WORKING}
const product = tf.getKernel('BatchMatMul', 'tensorflow');
tf.unregisterKernel('BatchMatMul', 'tensorflow');
tf.registerKernel({ ...product, kernelFunc: options => {
  const result = product.kernelFunc(options);
  const { values } = options.backend.data.get(result.dataId);
  values.forEach((value, i) => { values[i] = 1.01 * value; });
  return result;
} });
`;

test('a device that computes wrong numbers, here a TensorFlow, is found out before a run', () => inTemporaryFolder(copy =>
  refused(writeStandIn(copy, { main: WRONG }), /tensorflow cannot be used: it computes wrong numbers: loss\[0\] is [\d.]+, on the CPU [\d.]+\. Update its driver/)));
