/** Frozen weights in 8 and 4 bits: the compiled step against the eager one that rounds in the same way, and what rounding costs. */
import * as tf from '@tensorflow/tfjs-core';
import assert from 'node:assert/strict';
import { after, test } from 'node:test';
import { existsSync, readFileSync, writeFileSync } from 'node:fs';
import { join } from 'node:path';
import { createExecutor } from '../../src/engine/executors/devices';
import type { CompiledProgram, Program } from '../../src/engine/executors/executor';
import { checkIntegerProducts } from '../../src/engine/executors/integerProducts';
import { GRADIENTS } from '../../src/engine/executors/program';
import { generate } from '../../src/engine/generate';
import { readAdapter } from '../../src/engine/model/adapter';
import type { LoadedModel } from '../../src/engine/model/weights';
import { quantizedLinear } from '../../src/engine/ops/quantizedLinear';
import { predict } from '../../src/engine/predict';
import { readExperimentFile } from '../../src/engine/experimentFile';
import { prepare } from '../../src/engine/prepare';
import { random } from '../../src/engine/random';
import { SILENT } from '../../src/engine/reporter';
import { exactStep } from '../../src/engine/roundingDifference';
import type { Example } from '../../src/engine/training/step.types';
import { parseExperiment } from '../../src/protocol/experiment';
import { assertClose } from '../support/close';
import { assertSameStep, noisyStep } from '../support/compareSteps';
import { inTemporaryFolder } from '../support/faults';
import { without, WITHOUT_INT8 } from '../support/integerProducts';
import { fixture, ROOT } from '../support/paths';
import { copyCase, startRun, trainRecords } from '../support/runs';
import { openSoftwareGpu } from '../support/softwareGpu';
import { tinyBert, tinyEncoder, tinyExamples, TINY_ENCODERS } from '../support/tinyModel';
import { TINY_DECODERS, tinyDecoder, tinyTexts } from '../support/tinyDecoders';
import { TINY_T5, tinyPairs } from '../support/tinyT5';

const PRECISIONS = ['int8', 'int4'] as const;
type Rounded = (typeof PRECISIONS)[number];

let held: CompiledProgram | undefined;
let noGpu: string | undefined;
const opened = openSoftwareGpu().then(found => { if ('reason' in found) noGpu = found.reason; else held = found.device; });
after(async () => held?.dispose());

const noise = (name: string, size: number): Float32Array => { const stream = random(5, name); return Float32Array.from({ length: size }, () => stream.normal()); };
const T = 5;

/** Σ c ∘ (x Wᵀ + b) with its gradient by x [5, in]; row 3 of x is zero, and output 2 of W. */
async function product(device: string, format: Rounded | null, [outputs, inputs]: [number, number], transposed: boolean): Promise<{ y: Float32Array; gradient: Float32Array }> {
  const w = noise('w', inputs * outputs).map((value, i) => ((transposed ? i % outputs : Math.floor(i / inputs)) === 2 ? 0 : value));
  const x = noise('x', T * inputs).map((value, i) => (Math.floor(i / inputs) === 3 ? 0 : value * 10 ** (Math.floor(i / inputs) - 2)));
  const program: Program = {
    name: 'product', inputs: [{ name: 'trainables', dtype: 'float32', shape: [x.length] }, { name: 'accumulated', dtype: 'float32', shape: [x.length] }, { name: 'c', dtype: 'float32', shape: [T, outputs] }],
    weights: new Map([['w', { source: 'memory', shape: transposed ? [inputs, outputs] : [outputs, inputs], data: w }], ['b', { source: 'memory', shape: [outputs], data: noise('b', outputs) }]]),
    parts: { input: 'trainables', parts: [{ name: 'x', shape: [T, inputs], offset: 0, size: x.length }] }, gradient: { of: 'loss', addTo: 'accumulated' },
    forward({ x: rows, c }, weight) {
      const y = format ? quantizedLinear({ x: rows, w: weight('w'), add: weight('b') }, { format, transposed, backward: false })
        : tf.add(tf.matMul(rows as tf.Tensor2D, weight('w') as tf.Tensor2D, false, !transposed), weight('b'));
      return { y, loss: tf.sum(tf.mul(y, c)) };
    },
  };
  const executor = await createExecutor(device);
  const compiled = await executor.compile(program);
  const vector = (data: Float32Array) => ({ data, shape: [data.length] });
  const results = await compiled.run({ trainables: vector(x), accumulated: vector(new Float32Array(x.length)), c: { data: noise('c', T * outputs), shape: [T, outputs] } });
  await compiled.dispose();
  await executor.dispose();
  return { y: results.y, gradient: results[GRADIENTS] };
}

/** ‖found - expected‖ / ‖expected‖ */
const relative = (found: Float32Array, expected: Float32Array): number =>
  Math.sqrt(found.reduce((sum, value, i) => sum + (value - expected[i]) ** 2, 0) / expected.reduce((sum, value) => sum + value ** 2, 0));

const MOST = { int8: [0.005, 0.02], int4: [0.05, 0.15] };
for (const format of PRECISIONS) {
  for (const transposed of [false, true]) {
    for (const shape of [[96, 64], [70, 130]] as [number, number][]) {
      test(`${format} product of ${shape.join(' × ')}${transposed ? ', stored transposed' : ''}: compiled equals eager, both ways, near the exact one`, without(format), async () => {
        const [compiled, eager, exact] = [await product('cpu', format, shape, transposed), await product('reference', format, shape, transposed), await product('cpu', null, shape, transposed)];
        for (const what of ['y', 'gradient'] as const) {
          assert.ok(relative(compiled[what], eager[what]) < 1e-5, `${what}: ${relative(compiled[what], eager[what])}`);
          const error = relative(compiled[what], exact[what]);
          assert.ok(error > MOST[format][0] / 2 && error < MOST[format][1], `${what} differs by ${error} from the exact one`);
        }
      });
    }
  }
}

test('rows are rounded by themselves: a small row beside large ones keeps its digits', without('int8'), async () => {
  const [rounded, exact] = [await product('cpu', 'int8', [96, 64], false), await product('cpu', null, [96, 64], false)];
  const row = (values: Float32Array, i: number): Float32Array => values.subarray(i * 96, (i + 1) * 96);
  const bias = noise('b', 96);
  const own = (values: Float32Array, i: number): Float32Array => row(values, i).map((value, n) => value - bias[n]);
  for (const i of [0, 4]) assert.ok(relative(own(rounded.y, i), own(exact.y, i)) < 0.02, `row ${i}: ${relative(own(rounded.y, i), own(exact.y, i))}`);
  assert.deepEqual(row(rounded.y, 3), bias);
});

const classified = (lengths: number[], i: number): Example[] => tinyExamples(lengths, 3, i);
const paired = (lengths: number[], i: number): Example[] => tinyPairs(lengths.map((length, n) => [length, 2 + n] as [number, number]), i);
const cases: { name: string; model: () => LoadedModel; lora: object; examples: (lengths: number[], i: number) => Example[]; dropout?: true }[] = [
  { name: 'query and value of BERT', model: () => tinyBert(), lora: { r: 4, lora_alpha: 8, target_modules: ['query', 'value'] }, examples: classified },
  { name: 'every linear with dropout', model: () => tinyBert({ hidden_dropout_prob: 0.1 }), lora: { r: 4, target_modules: 'all-linear', lora_dropout: 0.2 }, dropout: true, examples: classified },
  { name: 'PiSSA', model: () => tinyBert(), lora: { r: 4, target_modules: 'all-linear', init_lora_weights: 'pissa' }, examples: classified },
  { name: 'biases of the base', model: () => tinyEncoder(TINY_ENCODERS.roberta), lora: { r: 4, target_modules: ['query', 'output.dense'], bias: 'lora_only' }, examples: classified },
  { name: 'GPT-2, whose weights are stored transposed', model: () => tinyDecoder(TINY_DECODERS.gpt2, 'CAUSAL_LM'), lora: { r: 4 }, examples: tinyTexts },
  { name: 'Phi-3, whose projections are stacked', model: () => tinyDecoder(TINY_DECODERS.phi3, 'CAUSAL_LM'), lora: { r: 4, target_modules: ['qkv_proj'] }, examples: tinyTexts },
  { name: 'T5 with an output layer of its own', model: () => tinyDecoder(TINY_T5['t5 v1.1'], 'SEQ_2_SEQ_LM'), lora: { r: 4 }, examples: paired },
];
/** A sum in another order may round an input of the next layer to its other neighbour, and few values make up a layer here. */
const SLACK = { int8: 100, int4: 1 };
for (const precision of PRECISIONS) {
  for (const { name, model, lora, examples, dropout } of cases) {
    test(`${precision}, compiled equals eager: ${name}`, without(precision), async () => {
      const base = model();
      const both = await Promise.all(['cpu', 'reference'].map(device => noisyStep(base, { device, lora, precision })));
      await assertSameStep(both, examples([12, 2, 2, 6, 4], 1), 1, dropout && 11, SLACK[precision]);
      for (const step of both) await step.dispose();
    });
  }
}

test('recomputed activations are rounded as they were the first time', without('int8'), async () => {
  const results = [];
  for (const gradient_checkpointing of [false, true]) {
    const step = await noisyStep(tinyBert(), { lora: { r: 4 }, training: { gradient_checkpointing }, precision: 'int8' });
    const { loss } = await step.accumulate(tinyExamples([5, 9, 3]), 1, null);
    results.push([loss, (await step.update({ learning_rate: 1e-3, step: 1 })).grad_norm]);
    await step.dispose();
  }
  assertClose(results[1], results[0], 1e-5, 'loss and gradient norm');
});

test('int4 on WebGPU gives the CPU\'s numbers', async t => {
  await opened;
  if (noGpu) return t.skip(noGpu);
  for (const transposed of [false, true]) {
    const [gpu, cpu] = [await product('webgpu', 'int4', [70, 130], transposed), await product('cpu', 'int4', [70, 130], transposed)];
    for (const what of ['y', 'gradient'] as const) assertClose(gpu[what], cpu[what], 1e-3, what);
  }
});

test('a device without the kernels is refused by name', async () => {
  await assert.rejects(createExecutor('webgpu', 'int8'), /"int8" cannot be computed on webgpu, which knows fp32, fp16 and int4/);
  await assert.rejects(createExecutor('cpu', 'fp16'), /"fp16" cannot be computed on cpu, which knows fp32, int8 and int4.*"webgpu"/);
  await assert.rejects(createExecutor('cuda', 'int4'), /"int4" cannot be computed on cuda/);
  process.env.LORA_LAB_AUTO = 'cpu';
  await assert.rejects(createExecutor('auto', 'fp16'), /"fp16" cannot be computed on cpu, which "auto" took \(LORA_LAB_AUTO says so\) and which knows fp32, int8 and int4\. Set engine\.precision to "fp32" or "int8" or "int4"; "fp16" needs webgpu/);
});

test('half precision is refused by name where the adapter has none', async t => {
  await opened;
  if (noGpu) return t.skip(noGpu);
  await assert.rejects(createExecutor('webgpu', 'fp16'), /engine\.precision: "fp16" cannot be computed on SwiftShader, in software: its WebGPU adapter lacks shader-f16.*"int4"/);
  assert.match((await createExecutor('webgpu', 'fp32')).device, /^webgpu on SwiftShader/);
});

test('a CPU whose 8-bit products are not exact is refused by name; this one is asked', async () => {
  if (WITHOUT_INT8) await assert.rejects(checkIntegerProducts({}), /"int8" cannot be computed on this CPU/);
  else await checkIntegerProducts({});
  await assert.rejects(checkIntegerProducts({}, async () => 32767 * 32), /no exact products of 8-bit numbers.*VNNI/);
});

test('DoRA is refused by name, before anything is written', async () => {
  await inTemporaryFolder(async folder => {
    const file = copyCase(folder, { lora: { use_dora: true }, engine: { device: 'cpu', precision: 'int8' } });
    await assert.rejects(startRun(file).ended, /"int8" cannot be used with DoRA/);
    assert.equal(existsSync(join(folder, 'run')), false);
  });
});

for (const precision of PRECISIONS) {
  test(`a run with ${precision} learns, says so in summary.json, saves an ordinary adapter, gives the same again, and is not resumed with another`, without(precision), async () => {
    await inTemporaryFolder(async folder => {
      const one = async (name: string, precision: string): Promise<{ losses: unknown[]; precision: unknown; adapter: string }> => {
        const file = copyCase(join(folder, name), { training: { save_strategy: 'epoch' }, engine: { device: 'cpu', precision } });
        const summary = await startRun(file).ended;
        return { losses: trainRecords(join(folder, name, 'run')).map(({ loss }) => loss), precision: summary.precision, adapter: summary.adapter };
      };
      const [exact, rounded, again] = [await one('exact', 'fp32'), await one('rounded', precision), await one('again', precision)];
      assert.deepEqual([exact.precision, rounded.precision], ['fp32', precision]);
      assert.deepEqual(rounded.losses, again.losses);
      assert.deepEqual([...readAdapter(rounded.adapter).tensors.keys()], [...readAdapter(exact.adapter).tensors.keys()]);
      rounded.losses.forEach((loss, i) => {
        assert.notEqual(loss, exact.losses[i]);
        assert.ok(Math.abs(Number(loss) / Number(exact.losses[i]) - 1) < 0.1, `step ${i + 1}: ${String(loss)}, exactly ${String(exact.losses[i])}`);
      });
      const changed = join(folder, 'again/case.lora.json');
      writeFileSync(changed, readFileSync(changed, 'utf8').replace(`"${precision}"`, '"fp32"'));
      await assert.rejects(startRun(changed, { resume: true }).ended, /engine\.precision.*has changed since the run began/s);
    });
  });

  test(`a run with ${precision} tells how far its first step is from fp32, and is otherwise the run that is not compared`, without(precision), async () => {
    await inTemporaryFolder(async folder => {
      const one = async (name: string, engine: object) => {
        const said: string[] = [];
        const summary = await startRun(copyCase(join(folder, name), { training: { max_steps: 3, save_strategy: 'no' }, engine: { device: 'cpu', ...engine } }), { log: ({ message }) => said.push(message) }).ended;
        return { summary, said: said.join('\n'), losses: trainRecords(join(folder, name, 'run')).map(({ loss }) => loss) };
      };
      const [exact, compared, alone] = [await one('exact', {}), await one('compared', { precision }), await one('alone', { precision, compare_precision: 'off' })];
      assert.deepEqual([exact.said, exact.summary.first_step, alone.said, alone.summary.first_step], ['', undefined, '', undefined]);
      assert.deepEqual(compared.losses, alone.losses);
      const { loss, loss_fp32, grad_norm, grad_norm_fp32 } = compared.summary.first_step!;
      assert.deepEqual([loss, loss_fp32], [compared.losses[0], exact.losses[0]]);
      const share = (value: number, exact: number): string => `\\(${value > exact ? '\\+' : '−'}[\\d.e-]+ %\\)`;
      assert.match(compared.said, new RegExp(`^first step in ${precision}, and in fp32 on the same \\d+ examples: loss ${loss.toPrecision(5)} and ${loss_fp32.toPrecision(5)} ${share(loss, loss_fp32)}, gradient norm ${grad_norm.toPrecision(5)} and ${grad_norm_fp32.toPrecision(5)} ${share(grad_norm, grad_norm_fp32)}$`));
    });
  });

  test(`predictions with ${precision} are near the exact ones, of classifiers and of language models`, without(precision), async () => {
    const of = (name: string) => ({ base: fixture('references', name, 'model'), adapter: fixture('references', name, 'adapter_final') });
    const logits = async (precision: Rounded | 'fp32'): Promise<number[]> => (await predict({ ...of('linear'), texts: ['a good film', 'no'], precision, device: 'cpu' })).flatMap(p => p.logits);
    const [rounded, exact] = [await logits(precision), await logits('fp32')];
    assert.notDeepEqual(rounded, exact);
    assertClose(rounded, exact, precision === 'int8' ? 0.05 : 0.3, 'logits');
    for (const name of ['llama-text', 't5-qv']) assert.equal((await generate({ ...of(name), prompts: ['a film'], max_new_tokens: 3, precision }, { device: 'cpu' }))[0].tokens.length > 0, true);
  });
}

test('200 steps of the sample in int8 lose within 1 % of what they lose in fp32: on average, and at the end', without('int8'), async () => {
  await inTemporaryFolder(async folder => {
    const losses: Record<string, number[]> = {};
    for (const precision of ['fp32', 'int8']) {
      const file = join(folder, `${precision}.lora.json`);
      writeFileSync(file, JSON.stringify({
        base_model: join(ROOT, 'media/sample/model'), task: 'SEQ_CLS', dataset: { train: join(ROOT, 'media/sample/train.jsonl') }, lora: { target_modules: ['query', 'value'] },
        training: { per_device_train_batch_size: 16, max_steps: 200, learning_rate: 3e-3, warmup_steps: 20, max_length: 64, seed: 1, eval_strategy: 'no', save_strategy: 'no' },
        engine: { device: 'cpu', precision, compare_precision: 'off' }, output_dir: precision,
      }));
      await startRun(file).ended;
      losses[precision] = trainRecords(join(folder, precision)).map(({ loss }) => Number(loss));
    }
    const mean = (values: number[]): number => values.reduce((sum, value) => sum + value, 0) / values.length;
    const { fp32, int8 } = losses;
    assert.ok(mean(fp32.slice(-50)) < mean(fp32.slice(0, 50)) / 2, 'it learns');
    for (const [what, first] of [['all steps', 0], ['the last 50', 150]] as const) {
      const [rounded, exact] = [mean(int8.slice(first)), mean(fp32.slice(first))];
      assert.ok(Math.abs(rounded / exact - 1) < 0.01, `${what}: ${rounded}, in fp32 ${exact}`);
    }
  });
});

test('where the exact base would not fit into memory, a run says that nothing is compared', async () => {
  await inTemporaryFolder(async folder => {
    const { experiment, ...source } = readExperimentFile(copyCase(folder, { engine: { device: 'cpu', precision: 'int4' } }));
    const said: string[] = [];
    const log = ({ message }: { message: string }) => { said.push(message); };
    // A process with ONNX Runtime alone takes more, however small the base is.
    assert.equal(await exactStep(experiment, prepare({ experiment, ...source }, null, SILENT), { log }, 150e6), null);
    const [, megabytes] = /^engine\.compare_precision: the first step is not compared with fp32, which takes about ([\d.]+) MB of memory, and 150\.00 MB are free$/.exec(said.join()) ?? [];
    assert.ok(Number(megabytes) > 200, said.join());
  });
});

test('the precision of a run is one of the known ones', () => {
  const { problems } = parseExperiment({ base_model: 'm', dataset: { train: 't' }, engine: { precision: 'int3' } });
  assert.match(JSON.stringify(problems), /fp32.*int8.*int4/);
});
