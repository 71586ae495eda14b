/** The compiled executor: traces a program once and runs the graph in ONNX Runtime. One session serves every batch. */
import * as ort from 'onnxruntime-node';
import type { CompiledProgram, Executor, Feed, Inputs, Outputs, Part, Program, Resident, Results } from './executor';
import { ALL_SAVINGS } from '../../protocol/savings';
import { askDevice, type Asked } from '../deviceCall';
import { Held, OwnVectors, tensorOf, viewOf } from './held';
import { coreThreads, formatThreads } from './cpuThreads';
import { checkIntegerProducts } from './integerProducts';
import { onnxError } from './onnxError';
import { PIECE, PiecewiseSession } from './piecewise';
import type { Provider } from './trace/graph';
import { createSession, denormalOptions, type SessionSettings } from './trace/session';
import { takesParts, traceProgram } from './trace/trace';
import { GRADIENTS, partOf } from './program';
import { WANT_GRADIENTS } from './trace/onnx';

export class CompiledExecutor implements Executor {
  readonly device: string;
  readonly piece: number | undefined;
  private readonly vectors = new OwnVectors();
  /** Bring data to the device and back, where that is memory of its own. */
  private readonly carriers = new Map<'in' | 'out', Promise<CompiledProgram>>();

  private readonly settings: SessionSettings;

  constructor({ threads = coreThreads(), ...settings }: SessionSettings) {
    this.settings = { ...settings, threads };
    const used = settings.provider === 'cpu' && threads ? `, ${formatThreads(threads)}` : '';
    this.device = `${settings.provider} (onnxruntime ${ort.env.versions.node ?? ort.env.versions.common}${used})`;
    this.piece = settings.provider === 'cpu' && (settings.savings ?? ALL_SAVINGS).optimizer_pieces ? PIECE : undefined;
  }

  async compile(program: Program): Promise<CompiledProgram> {
    const { settings } = this;
    const traced = traceProgram(program, settings.provider, settings.largest_table, settings.savings);
    if (traced.graph.packed.some(({ layout }) => layout.format === 'int8')) await checkIntegerProducts(denormalOptions(settings.savings));
    const session = await watched(settings.provider, 'begin', () => createSession(program, traced, settings)).catch((error: unknown) => { throw onnxError(error, settings.provider, 'start'); });
    if (program.elementwise && this.piece) return new PiecewiseSession(session, program, this.vectors);
    return new CompiledSession(session, program, traced.gradients !== undefined, settings, this.vectors, tensor => this.resident(tensor));
  }

  async hold(data: Float32Array): Promise<Resident> {
    if (this.settings.provider === 'cpu') {
      const vector = this.vectors.take(data.length);
      vector.set(data);
      return this.vectors.hold(vector);
    }
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
    this.vectors.clear();
  }
}

class CompiledSession implements CompiledProgram {
  private ran = false;
  private readonly provider: Provider;
  /** The parts of the vectors, where these are neither cut nor joined in the graph. */
  private readonly parts: readonly Part[] | undefined;
  private readonly own_outputs: string[];

  constructor(
    private readonly session: ort.InferenceSession, private readonly program: Program, private readonly differentiable: boolean, { provider, savings }: SessionSettings,
    private readonly vectors: OwnVectors, private readonly resident: (tensor: ort.Tensor) => Resident,
  ) {
    this.provider = provider;
    this.parts = takesParts(program, provider, savings) ? program.parts!.parts : undefined;
    const of_parts = new Set(this.parts?.map(part => partOf(GRADIENTS, part)));
    this.own_outputs = session.outputNames.filter(name => !of_parts.has(name));
  }

  async run(feeds: Inputs, options?: { gradients?: boolean }): Promise<Results> { return (await this.runKeeping(feeds, options)).results; }

  async runKeeping(feeds: Inputs, { gradients = this.differentiable } = {}): Promise<Outputs> {
    const { provider, program, parts } = this;
    const tensors: Record<string, ort.Tensor> = {};
    for (const [name, feed] of Object.entries(feeds)) {
      const tensor = feed instanceof Held ? feed.tensor : tensorOf(feed as Feed);
      if (parts && (name === program.parts!.input || name === program.gradient?.addTo)) Object.assign(tensors, viewsOf(name, tensor.data as Float32Array, parts));
      else tensors[name] = tensor;
    }
    if (this.differentiable) tensors[WANT_GRADIENTS] = new ort.Tensor('bool', [gradients], []);
    const sum = parts && this.differentiable && gradients ? this.vectors.take(parts.reduce((size, part) => size + part.size, 0)) : undefined;
    const wanted = { ...Object.fromEntries(this.own_outputs.map(name => [name, null])), ...(sum ? viewsOf(GRADIENTS, sum, parts!) : {}) };
    const outputs = await watched(provider, this.ran ? 'run' : 'begin', () => this.session.run(tensors, wanted)).catch((error: unknown) => { throw onnxError(error, provider, 'run'); });
    this.ran = true;
    const results: Results = {}, kept: Outputs['kept'] = {};
    for (const name of this.own_outputs) {
      const tensor = outputs[name];
      if (!gradients && name === GRADIENTS) tensor.dispose();
      else if (program.keep?.includes(name)) kept[name] = this.resident(tensor);
      else results[name] = tensor.data as Float32Array;
    }
    if (sum && program.keep?.includes(GRADIENTS)) kept[GRADIENTS] = this.vectors.hold(sum);
    else if (sum) results[GRADIENTS] = sum;
    return { results, kept };
  }

  async dispose(): Promise<void> { await watched(this.provider, 'run', () => this.session.release()); }
}

/** The processor always answers, be it late. */
const watched = <T>(provider: Provider, asked: Asked, call: () => Promise<T>): Promise<T> => (provider === 'cpu' ? call() : askDevice(asked, call));

const viewsOf = (name: string, vector: Float32Array, parts: readonly Part[]): Record<string, ort.Tensor> => Object.fromEntries(parts.map(part => [partOf(name, part), viewOf(vector, part)]));
