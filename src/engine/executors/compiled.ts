/** The compiled executor: traces a program once and runs the graph in ONNX Runtime. One session serves every batch. */
import * as ort from 'onnxruntime-node';
import type { CompiledProgram, Executor, Feeds, Program, Results } from './executor';
import { checkIntegerProducts } from './integerProducts';
import { onnxError } from './onnxError';
import type { Provider } from './trace/graph';
import { createSession, type SessionSettings } from './trace/session';
import { traceProgram } from './trace/trace';
import { GRADIENTS } from './program';
import { WANT_GRADIENTS } from './trace/onnx';

export class CompiledExecutor implements Executor {
  readonly device: string;

  constructor(private readonly settings: SessionSettings) {
    this.device = `${settings.provider} (onnxruntime ${ort.env.versions.node ?? ort.env.versions.common})`;
  }

  async compile(program: Program): Promise<CompiledProgram> {
    const traced = traceProgram(program, this.settings.provider, this.settings.largest_table, this.settings.savings);
    if (traced.graph.packed.some(({ layout }) => layout.format === 'int8')) await checkIntegerProducts();
    const session = await createSession(program, traced, this.settings).catch((error: unknown) => { throw onnxError(error, this.settings.provider, 'start'); });
    return new CompiledSession(session, traced.gradients !== undefined, this.settings.provider);
  }

  async dispose(): Promise<void> {}
}

class CompiledSession implements CompiledProgram {
  constructor(private readonly session: ort.InferenceSession, private readonly differentiable: boolean, private readonly provider: Provider) {}

  async run(feeds: Feeds, { gradients = this.differentiable } = {}): Promise<Results> {
    const tensors: Record<string, ort.Tensor> = {};
    for (const [name, { data, shape }] of Object.entries(feeds)) {
      tensors[name] = data instanceof Float32Array ? new ort.Tensor('float32', data, shape) : new ort.Tensor('int32', data, shape);
    }
    if (this.differentiable) tensors[WANT_GRADIENTS] = new ort.Tensor('bool', [gradients], []);
    const outputs = await this.session.run(tensors).catch((error: unknown) => { throw onnxError(error, this.provider, 'run'); });
    const results: Results = {};
    for (const [name, tensor] of Object.entries(outputs)) if (gradients || name !== GRADIENTS) results[name] = tensor.data as Float32Array;
    return results;
  }

  async dispose(): Promise<void> { await this.session.release(); }
}
