/** Names of an adapted module's tensors. */
import type { AdaptedModule } from './lora.types';

/** How PEFT calls A and B: those of an embedding are plain parameters, so no `.weight`. */
export const factorSuffixes = (embedding: boolean | undefined): { A: string; B: string } => (embedding ? { A: 'lora_embedding_A', B: 'lora_embedding_B' } : { A: 'lora_A.weight', B: 'lora_B.weight' });

/** The frozen weight of an adapted module. */
export const weightOf = ({ name, weight = `${name}.weight` }: Pick<AdaptedModule, 'name' | 'weight'>): string => weight;
