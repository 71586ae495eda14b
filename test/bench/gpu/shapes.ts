/** What is measured on a card: full sizes, and tiny ones that show in some minutes on any machine that every part works. */
import { dense, type Row } from '../rows';

const common = { dropout: 0, padding: 'longest' as const, unit: 'tokens/s' as const };
/** Kernels are compiled and tuned in the first steps of both sides. */
const full = { ...common, steps: 23, warm_up: 3 };
const tiny = { ...common, steps: 3, warm_up: 1 };
/** Four batches of `batch` examples of `length` tokens. */
const batches = (batch: number, length: number): Pick<Row, 'batch' | 'lengths'> => ({ batch, lengths: dense(4 * batch, length) });

const bert = { base: 'bert-base' as const, target_modules: ['query', 'value'] };

export const SHAPES: Record<'full' | 'tiny', Row[]> = {
  full: [
    { ...full, ...bert, ...batches(16, 128), name: 'BERT-base, query and value, 16 × 128 tokens' },
    { ...full, ...bert, ...batches(64, 128), name: 'BERT-base, query and value, 64 × 128 tokens' },
    { ...full, ...batches(8, 512), name: 'GPT-2 small, c_attn, 8 × 512 tokens', base: 'gpt2', target_modules: ['c_attn'] },
    { ...full, ...batches(4, 1024), name: 'Qwen2-0.5B shape, all-linear, 4 × 1024 tokens', base: 'qwen2-0.5b', target_modules: 'all-linear' },
  ],
  tiny: [
    { ...tiny, ...bert, ...batches(4, 16), name: 'BERT of 2 layers, query and value, 4 × 16 tokens', base: 'bert-tiny' },
    { ...tiny, ...batches(2, 16), name: 'GPT-2 of 2 layers, c_attn, 2 × 16 tokens', base: 'gpt2-tiny', target_modules: ['c_attn'] },
    { ...tiny, ...batches(2, 16), name: 'Qwen2 of 2 layers, all-linear, 2 × 16 tokens', base: 'qwen2-tiny', target_modules: 'all-linear' },
  ],
};
