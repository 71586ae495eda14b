/** The result of resolving a LoraConfig against a model: which modules get an adapter, and what is trained. Implemented in `lora.ts`. */
import type { TrainedTokens } from './trainedTokens';

export interface AdaptedModule {
  /** Module name in the task model, e.g. `bert.encoder.layer.0.attention.self.query`. */
  name: string;
  in_features: number;
  out_features: number;
  /** The frozen weight is stored as [in_features, out_features], as embedding tables always are. */
  fan_in_fan_out?: boolean;
  /** An embedding: in_features are the rows of its table. */
  embedding?: true;
  /** The frozen weight's name, where it is not `<name>.weight`. */
  weight?: string;
  r: number;
  lora_alpha: number;
  /** lora_alpha / r, or lora_alpha / √r with `use_rslora`. */
  scaling: number;
}

export interface Trainable {
  /**
   * With `full` the parameter's own name, else the key in `adapter_model.safetensors`: `base_model.model.<module>.lora_A.weight` [r, in], `.lora_B.weight` [out, r], `.lora_B.bias` [out],
   * `.lora_magnitude_vector` [out]; of an embedding `.lora_embedding_A` [r, rows] and `.lora_embedding_B` [out, r],
   * or `.token_adapter.trainable_tokens_delta` [tokens, out]; a saved module's `.weight` / `.bias`; a trained `.bias`, of an adapted module `.base_layer.bias`.
   */
  name: string;
  /** The parameter of the base model that is trained here: of a saved module, or a bias. */
  parameter?: string;
  shape: number[];
  /** First element in the flat vector of trained values. */
  offset: number;
  size: number;
  /** AdamW's decay applies (not to biases and norms, as in Trainer). */
  decay: boolean;
}

export interface AdapterPlan {
  modules: AdaptedModule[];
  /** Whole modules trained and saved with the adapter, e.g. `classifier`. */
  modules_to_save: string[];
  /** Single rows of embeddings that are trained. */
  tokens?: TrainedTokens[];
  trainables: Trainable[];
  /** The whole model is trained, and there is no adapter. */
  full?: true;
  /** The scaled product of the factors that A and B start from is subtracted (startFactors.ts). */
  subtracts_start?: true;
  trainable_parameters: number;
  /** As PEFT counts: base + adapters + the trained copies of `modules_to_save`; biases are trained in place. */
  all_parameters: number;
}
