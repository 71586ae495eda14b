/** The compiled executor: traces a program once and runs the graph in ONNX Runtime. One session serves every batch. */
import * as ort from 'onnxruntime-node';
import type { CompiledProgram, Executor, Feed, Inputs, Outputs, Program, Resident, Results } from './executor';
import { askDevice, type Asked } from '../deviceCall';
import { checkIntegerProducts } from './integerProducts';
import { onnxError } from './onnxError';
import type { Provider } from './trace/graph';
import { createSession, denormalOptions, type SessionSettings } from './trace/session';
import { traceProgram } from './trace/trace';
import { GRADIENTS } from './program';
import { WANT_GRADIENTS } from './trace/onnx';

export class CompiledExecutor implements Executor {
  readonly device: string;
  /** Bring data to the device and back, where that is memory of its own. */
  private readonly carriers = new Map<'in' | 'out', Promise<CompiledProgram>>();

  constructor(private readonly settings: SessionSettings) {
    this.device = `${settings.provider} (onnxruntime ${ort.env.versions.node ?? ort.env.versions.common})`;
  }

  async compile(program: Program): Promise<CompiledProgram> {
    const { settings } = this;
    const traced = traceProgram(program, settings.provider, settings.largest_table, settings.savings);
    if (traced.graph.packed.some(({ layout }) => layout.format === 'int8')) await checkIntegerProducts(denormalOptions(settings.savings));
    const session = await watched(settings.provider, 'begin', () => createSession(program, traced, settings)).catch((error: unknown) => { throw onnxError(error, settings.provider, 'start'); });
    return new CompiledSession(session, program, traced.gradients !== undefined, settings.provider, tensor => this.resident(tensor));
  }

  async hold(data: Float32Array): Promise<Resident> {
    if (this.settings.provider !== 'webgpu') return this.resident(new ort.Tensor('float32', data.slice(), [data.length]));
    return (await (await this.carrier('in')).runKeeping({ x: { data, shape: [data.length] } })).kept.y;
  }

  private resident(tensor: ort.Tensor): Held {
    return new Held(tensor, async held => (tensor.location === 'cpu' ? (tensor.data as Float32Array).slice() : (await (await this.carrier('out')).run({ x: held })).y));
  }

  // A tensor's own getData() ends the process in onnxruntime-node 1.30.
  private carrier(way: 'in' | 'out'): Promise<CompiledProgram> {
    const known = this.carriers.get(way) ?? this.compile({
      name: `carry ${way}`, weights: new Map(), inputs: [{ name: 'x', dtype: 'float32', shape: ['N'] }], forward: ({ x }) => ({ y: x }), keep: way === 'in' ? ['y'] : [],
    });
    this.carriers.set(way, known);
    return known;
  }

  async dispose(): Promise<void> {
    for (const carrier of this.carriers.values()) await carrier.then(program => program.dispose(), () => { /* whoever asked for it has the error */ });
    this.carriers.clear();
  }
}

class Held implements Resident {
  constructor(readonly tensor: ort.Tensor, private readonly download: (self: Held) => Promise<Float32Array>) {}

  get size(): number { return this.tensor.size; }
  read(): Promise<Float32Array> { return this.download(this); }
  dispose(): void { this.tensor.dispose(); }
}

class CompiledSession implements CompiledProgram {
  private ran = false;

  constructor(
    private readonly session: ort.InferenceSession, private readonly program: Program, private readonly differentiable: boolean, private readonly provider: Provider,
    private readonly resident: (tensor: ort.Tensor) => Resident,
  ) {}

  async run(feeds: Inputs, options?: { gradients?: boolean }): Promise<Results> { return (await this.runKeeping(feeds, options)).results; }

  async runKeeping(feeds: Inputs, { gradients = this.differentiable } = {}): Promise<Outputs> {
    const { provider, program } = this;
    const tensors: Record<string, ort.Tensor> = {};
    for (const [name, feed] of Object.entries(feeds)) tensors[name] = feed instanceof Held ? feed.tensor : tensorOf(feed as Feed);
    if (this.differentiable) tensors[WANT_GRADIENTS] = new ort.Tensor('bool', [gradients], []);
    const outputs = await watched(provider, this.ran ? 'run' : 'begin', () => this.session.run(tensors)).catch((error: unknown) => { throw onnxError(error, provider, 'run'); });
    this.ran = true;
    const results: Results = {}, kept: Outputs['kept'] = {};
    for (const [name, tensor] of Object.entries(outputs)) {
      if (!gradients && name === GRADIENTS) tensor.dispose();
      else if (program.keep?.includes(name)) kept[name] = this.resident(tensor);
      else results[name] = tensor.data as Float32Array;
    }
    return { results, kept };
  }

  async dispose(): Promise<void> { await watched(this.provider, 'run', () => this.session.release()); }
}

/** The processor always answers, be it late. */
const watched = <T>(provider: Provider, asked: Asked, call: () => Promise<T>): Promise<T> => (provider === 'cpu' ? call() : askDevice(asked, call));

const tensorOf = ({ data, shape }: Feed): ort.Tensor => (data instanceof Float32Array ? new ort.Tensor('float32', data, shape) : new ort.Tensor('int32', data, shape));
