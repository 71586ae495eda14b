/** An executor runs pure tensor programs written with tfjs-core ops: recorded and compiled, or eagerly. */
import type { Tensor } from '@tensorflow/tfjs-core';
import type { Weight } from '../model/weights';

/**
 * A dimension of a program input: a fixed size, or the name of a size that differs from batch to batch
 * (`T` tokens, `B` examples, `S` longest example, …).
 */
export type Dim = number | string;

export interface InputSpec { name: string; dtype: 'float32' | 'int32'; shape: Dim[] }
export interface Feed { data: Float32Array | Int32Array; shape: number[] }
export type Feeds = Record<string, Feed>;
export type Results = Record<string, Float32Array>;

/**
 * Floats [N] that stay where an executor computes: on a GPU in its memory, else in the engine's. They never change. Whoever asked for them
 * disposes of them, before the programs that gave them and the executor.
 */
export interface Resident {
  readonly size: number;
  /** A copy. Errors: LabError `device.lost` and others of the device. */
  read(): Promise<Float32Array>;
  dispose(): void;
}

/** A slice of a flat input vector, seen by the program as a tensor of its own. */
export interface Part { name: string; shape: number[]; offset: number; size: number }

/** A pure function of its inputs and of frozen weights. Must not read tensor values. */
export interface Program {
  name: string;
  inputs: InputSpec[];
  /** Frozen weights by name; `forward` gets them as tensors. */
  weights: Map<string, Weight>;
  /** Cuts the input `input` [N] into parts, one behind the other and nothing beside them, which `forward` finds among its inputs under their own names. */
  parts?: { input: string; parts: readonly Part[] };
  /** Named outputs that are always computed. */
  forward(inputs: Record<string, Tensor>, weight: (name: string) => Tensor): Record<string, Tensor>;
  /** Adds the output `gradients` [N]: the gradient of the scalar output `of` by all parts, added to the input `addTo` [N]. */
  gradient?: { of: string; addTo: string };
  /** Outputs [N] that stay with the executor, for further programs to read. */
  keep?: readonly string[];
  /** All vectors are [N], and an element of `keep` depends on no other element: an executor may take them piece by piece. Every other output is then a number for each piece. */
  elementwise?: boolean;
}

/** Data from the engine's memory, and what is already where the executor computes. */
export type Inputs = Record<string, Feed | Resident>;

export interface Outputs {
  results: Results;
  /** Those that the program keeps. */
  kept: Record<string, Resident>;
}

export interface CompiledProgram {
  /** The outputs that the program does not keep. `gradients: false` computes the forward outputs only. */
  run(feeds: Inputs, options?: { gradients?: boolean }): Promise<Results>;
  /** All outputs. */
  runKeeping(feeds: Inputs, options?: { gradients?: boolean }): Promise<Outputs>;
  dispose(): Promise<void>;
}

export interface Executor {
  /** What really runs, for people: `cpu (onnxruntime 1.30)`. */
  readonly device: string;
  /** Elements that an `elementwise` program takes at a time, where that is quicker than whole vectors. */
  readonly piece?: number;
  /** Brings a copy of the data to where the executor computes. */
  hold(data: Float32Array): Promise<Resident>;
  compile(program: Program): Promise<CompiledProgram>;
  dispose(): Promise<void>;
}
