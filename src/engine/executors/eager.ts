/** The eager executor: runs a program op by op on a tfjs backend. On `cpu` it is the reference that tests compare with. */
import * as tf from '@tensorflow/tfjs-core';
import type { CompiledProgram, Executor, Feed, Inputs, Outputs, Program, Resident, Results } from './executor';
import type { Weight } from '../model/weights';
import { readTensor } from '../model/safetensors';
import { askDevice, type Asked } from '../deviceCall';
import { onnxError } from './onnxError';
import { evaluateProgram } from './program';
import { registerEagerOps } from '../ops/op';

export class EagerExecutor implements Executor {
  /** `backend` is the name of a tfjs backend that is already registered. */
  constructor(readonly device: string, private readonly backend: string) {
    registerEagerOps(backend);
  }

  async compile(program: Program): Promise<CompiledProgram> {
    await tf.setBackend(this.backend);
    return new EagerProgram(program, this.backend);
  }

  async hold(data: Float32Array): Promise<Resident> {
    await tf.setBackend(this.backend);
    return named(this.backend, async () => new Held(tf.tensor1d(data.slice()), this.backend));
  }

  async dispose(): Promise<void> {}
}

class Held implements Resident {
  constructor(readonly tensor: tf.Tensor, private readonly backend: string) {}

  get size(): number { return this.tensor.size; }

  async read(): Promise<Float32Array> {
    return named(this.backend, async () => (await this.tensor.data() as Float32Array).slice());
  }

  dispose(): void { this.tensor.dispose(); }
}

/** Only TensorFlow itself speaks of its status: everything else is a fault of the engine, and stays one. */
async function named<T>(backend: string, work: () => Promise<T>, asked: Asked = 'run'): Promise<T> {
  // The processor always answers, be it late.
  const gpu = (tf.backend() as { isUsingGpuDevice?: boolean }).isUsingGpuDevice;
  try { return await (gpu ? askDevice(asked, work) : work()); } catch (error) {
    throw backend === 'tensorflow' && /TF_Status/.test(String(error)) ? onnxError(error, 'tensorflow', 'run') : error;
  }
}

class EagerProgram implements CompiledProgram {
  private readonly weights = new Map<string, tf.Tensor>();
  private ran = false;

  constructor(private readonly program: Program, private readonly backend: string) {}

  async run(feeds: Inputs, options?: { gradients?: boolean }): Promise<Results> { return (await this.runKeeping(feeds, options)).results; }

  async runKeeping(feeds: Inputs, options: { gradients?: boolean } = {}): Promise<Outputs> {
    await tf.setBackend(this.backend);
    // The first run copies all weights.
    const outputs = await named(this.backend, () => this.compute(feeds, options), this.ran ? 'run' : 'begin');
    this.ran = true;
    return outputs;
  }

  private async compute(feeds: Inputs, { gradients = true }: { gradients?: boolean }): Promise<Outputs> {
    const { program, backend } = this;
    const computed = tf.tidy(() => {
      const inputs: Record<string, tf.Tensor> = {};
      for (const { name, dtype } of program.inputs) {
        const feed = feeds[name];
        if (feed instanceof Held) inputs[name] = feed.tensor;
        else {
          const { data, shape } = feed as Feed;
          inputs[name] = tf.tensor(data, shape, dtype);
        }
      }
      const result = evaluateProgram(program, inputs, name => this.weight(name), gradients);
      return { ...result.forward, ...result.gradients };
    });
    const results: Results = {}, kept: Outputs['kept'] = {};
    try {
      for (const [name, tensor] of Object.entries(computed)) {
        if (program.keep?.includes(name)) { kept[name] = new Held(tensor, backend); continue; }
        results[name] = await tensor.data() as Float32Array;
        tensor.dispose();
      }
    } catch (error) {
      tf.dispose(computed);
      throw error;
    }
    return { results, kept };
  }

  private weight(name: string): tf.Tensor {
    let tensor = this.weights.get(name);
    if (!tensor) {
      const weight = this.program.weights.get(name);
      if (!weight) throw new Error(`${this.program.name}: no weight ${name}`);
      tensor = tf.keep(tf.tensor(...values(weight)));
      this.weights.set(name, tensor);
    }
    return tensor;
  }

  async dispose(): Promise<void> {
    for (const tensor of this.weights.values()) tensor.dispose();
    this.weights.clear();
  }
}

const values = (weight: Weight): [Float32Array, number[]] =>
  weight.source === 'memory' ? [weight.data, weight.shape] : [readTensor(weight.ref), weight.ref.shape];
