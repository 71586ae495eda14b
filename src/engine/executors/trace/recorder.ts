/**
 * A tfjs backend whose kernels record instead of computing. While a program is traced, every tfjs op, the
 * gradients' ops included, adds nodes to the current graph.
 */
import * as tf from '@tensorflow/tfjs-core';
import type { Value, ValueType } from './graph';
import { Graph } from './graph';

export const RECORDER = 'lora-lab-recorder';

/** What stands behind a tensor: a graph value, or host data that becomes a constant when first used. */
interface Entry { value?: Value; data?: tf.BackendValues; shape: number[]; dtype: tf.DataType }

export class RecorderBackend extends tf.KernelBackend {
  private entries = new WeakMap<object, Entry>();
  private current: Graph | undefined;
  private ids = 0;

  get graph(): Graph {
    if (!this.current) throw new Error('no program is being traced');
    return this.current;
  }

  /** Runs `trace` with `graph` as the graph that kernels add nodes to. Its tensors end with it. */
  record<T>(graph: Graph, trace: () => T): T {
    if (this.current) throw new Error('a program is already being traced');
    const previous = tf.getBackend();
    this.current = graph;
    try {
      tf.setBackend(RECORDER);
      let result: T;
      // Nothing is returned through tidy, which would look for tensors in every node of the graph.
      tf.tidy(() => { result = trace(); });
      return result!;
    } finally {
      this.current = undefined;
      if (previous && previous !== RECORDER) tf.setBackend(previous);
    }
  }

  /** A tensor that stands for a graph value. */
  tensorOf(value: Value): tf.Tensor {
    return tf.engine().makeTensorFromTensorInfo(this.info(value));
  }

  /** The tensor information that a kernel returns for a graph value. */
  info(value: Value): tf.TensorInfo {
    const dtype = (value.dtype === 'int64' ? 'int32' : value.dtype) as tf.DataType;
    const dataId = { id: this.ids++ };
    this.entries.set(dataId, { value, shape: value.shape, dtype });
    return { dataId, shape: value.shape, dtype };
  }

  /** The graph value behind a tensor; host data becomes a constant. */
  graphValue(tensor: tf.TensorInfo): Value {
    const entry = this.entries.get(tensor.dataId);
    if (!entry) throw new Error('a tensor of another backend reached the recorder');
    if (!entry.value) {
      const data = entry.data as Float32Array;
      // tfjs writes the gradient of a sum as host data, all ones, of the summed tensor's shape.
      entry.value = tensor.shape.some(size => this.graph.sizes.isDynamic(size))
        ? this.graph.filled(tensor.dtype as ValueType, tensor.shape, uniform(data))
        : this.graph.constant(tensor.dtype as ValueType, tensor.shape, data);
    }
    return entry.value;
  }

  /** The number behind a scalar constant, or undefined if the tensor is computed. */
  constantScalar(tensor: tf.TensorInfo): number | undefined {
    const entry = this.entries.get(tensor.dataId);
    return entry?.data && entry.data.length === 1 ? Number(entry.data[0]) : undefined;
  }

  override write(values: tf.BackendValues, shape: number[], dtype: tf.DataType): object {
    const dataId = { id: this.ids++ };
    this.entries.set(dataId, { data: values, shape, dtype });
    return dataId;
  }

  private refuse(): never {
    const name = (tf.engine() as unknown as { state: { activeScope?: { name: string } } }).state.activeScope?.name ?? 'the program';
    throw new Error(`${name} reads a tensor's value while it is being recorded; a recorded program cannot depend on values`);
  }

  override readSync(): tf.BackendValues { return this.refuse(); }
  override async read(): Promise<tf.BackendValues> { return this.refuse(); }
  override numDataIds(): number { return this.ids; }
  override refCount(): number { return 1; }
  override incRef(): void {}
  decRef(): boolean { return false; }
  // Graph values outlive tensors: a later node may still use them.
  override disposeData(): boolean { return false; }
  override move(dataId: object, values: tf.BackendValues, shape: number[], dtype: tf.DataType): void { this.entries.set(dataId, { data: values, shape, dtype }); }
  override memory() { return { unreliable: true }; }
  override floatPrecision(): 16 | 32 { return 32; }
  override epsilon(): number { return 1e-7; }
  override dispose(): void {}
}

function uniform(data: ArrayLike<number>): number {
  for (let i = 1; i < data.length; i++) if (data[i] !== data[0]) throw new Error('a constant whose shape depends on the batch holds different values');
  return data[0];
}

/** The one recorder of this process, registered with tfjs on first use. */
let recorder: RecorderBackend | undefined;
export function getRecorder(): RecorderBackend {
  if (!recorder) {
    recorder = new RecorderBackend();
    tf.registerBackend(RECORDER, () => recorder!, 0);
  }
  return recorder;
}

/** Registers how the recorder lowers one tfjs kernel to ONNX nodes. */
export function lower<A = Record<string, never>>(
  kernelName: string,
  lowering: (context: { graph: Graph; value: (name: string) => Value; inputs: tf.NamedTensorInfoMap; attrs: A; backend: RecorderBackend }) => Value | Value[],
): void {
  tf.registerKernel({
    kernelName,
    backendName: RECORDER,
    kernelFunc: ({ inputs, attrs }) => {
      const backend = getRecorder();
      const out = lowering({
        graph: backend.graph, inputs, backend,
        attrs: attrs as unknown as A,
        value: name => backend.graphValue(inputs[name] as tf.TensorInfo),
      });
      return Array.isArray(out) ? out.map(v => backend.info(v)) : backend.info(out);
    },
  });
}
