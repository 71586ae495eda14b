/** The eager executor: runs a program op by op on a tfjs backend. On `cpu` it is the reference that tests compare with. */
import * as tf from '@tensorflow/tfjs-core';
import type { CompiledProgram, Executor, Feeds, Program, Results } from './executor';
import type { Weight } from '../model/weights';
import { readTensor } from '../model/safetensors';
import { onnxError } from './onnxError';
import { evaluateProgram, GRADIENTS } from './program';
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

  async dispose(): Promise<void> {}
}

class EagerProgram implements CompiledProgram {
  private readonly weights = new Map<string, tf.Tensor>();

  constructor(private readonly program: Program, private readonly backend: string) {}

  async run(feeds: Feeds, options: { gradients?: boolean } = {}): Promise<Results> {
    await tf.setBackend(this.backend);
    // Only TensorFlow itself speaks of its status: everything else is a fault of the engine, and stays one.
    try { return await this.compute(feeds, options); } catch (error) {
      throw this.backend === 'tensorflow' && /TF_Status/.test(String(error)) ? onnxError(error, 'tensorflow', 'run') : error;
    }
  }

  private async compute(feeds: Feeds, { gradients = true }: { gradients?: boolean }): Promise<Results> {
    const kept = tf.tidy(() => {
      const inputs: Record<string, tf.Tensor> = {};
      for (const { name, dtype } of this.program.inputs) inputs[name] = tf.tensor(feeds[name].data, feeds[name].shape, dtype);
      const result = evaluateProgram(this.program, inputs, name => this.weight(name), gradients);
      return { ...result.forward, ...(result.gradients ? { [GRADIENTS]: result.gradients } : {}) };
    });
    const results: Results = {};
    for (const [name, tensor] of Object.entries(kept)) {
      results[name] = await tensor.data() as Float32Array;
      tensor.dispose();
    }
    return results;
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
