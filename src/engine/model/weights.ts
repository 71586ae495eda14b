import type { ProblemType } from '../../protocol/experiment';
import type { TensorRef } from './safetensors';
import type { Family, Config, ParameterSpec } from './family';

/** Values of one frozen parameter: where they stand in a checkpoint file, or in memory where the checkpoint lacks them. */
export type Weight =
  | { source: 'file'; ref: TensorRef }
  | { source: 'memory'; shape: number[]; data: Float32Array };

/** A base model ready to be trained on: the architecture, and a weight for every parameter. Reads no tensor data by itself. */
export interface LoadedModel {
  folder: string;
  family: Family;
  config: Config;
  task: string;
  /** What the labels of a classifier are. */
  problem_type: ProblemType;
  /** Class names in order of class number. */
  labels: string[];
  parameters: ParameterSpec[];
  weights: Map<string, Weight>;
  /** Parameters that the checkpoint lacks and that start at random, by name. */
  missing: string[];
  /** Changes when the base weights do: hash over the headers and samples of the tensors. */
  fingerprint: string;
}
