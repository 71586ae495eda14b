/** The programs that are measured against each other: ours on each device that works here, PEFT in two precisions. */
import type { ProbeResult } from '../../../src/engine/executors/probe';
import type { DeviceName } from '../../../src/protocol/devices';
import { measureOurs, measurePeft, prepare, python, run, type Measurement } from '../measure';
import type { Row } from '../rows';
import { watchCard } from './card';

export interface GpuMeasurement extends Measurement { card_memory_bytes: number | null }
/** `side` is what others are divided by. `profiled`: it is run once more with the profiler. */
export interface Arm { name: string; side: 'ours' | 'PEFT fp32' | 'PEFT bf16'; precision: string; profiled?: boolean; measure(row: Row, env?: NodeJS.ProcessEnv): Promise<GpuMeasurement> }

export interface Torch { cuda: boolean; description: string }

/** What the given Python has; undefined without one. */
export async function askTorch(): Promise<Torch | undefined> {
  if (!python) return undefined;
  const code = `import json, torch, transformers, peft
cuda = torch.cuda.is_available()
print(json.dumps(dict(cuda=cuda, description=f"torch {torch.__version__} on {torch.cuda.get_device_name() if cuda else 'the CPU'}, transformers {transformers.__version__}, peft {peft.__version__}")))`;
  return JSON.parse((await run(python, ['-c', code])).trim().split('\n').at(-1)!) as Torch;
}

/** PEFT's arms: float32 with its factors rounded to TF32 where a card does that, and bfloat16 autocast, on a card with frozen weights in bfloat16, as people load them there. */
export function peftArms({ cuda }: Torch): Arm[] {
  const device = cuda ? 'cuda' : 'cpu';
  const arm = (precision: string, side: Arm['side'], says: string): Arm => ({
    name: `PEFT, ${device}, ${says}`, side, precision, measure: async row => watched(row, () => measurePeft(row, { device, precision })),
  });
  return [cuda ? arm('tf32', 'PEFT fp32', 'fp32 with TF32') : arm('fp32', 'PEFT fp32', 'fp32'), cuda ? arm('bf16-base', 'PEFT bf16', 'bf16 base and autocast') : arm('bf16', 'PEFT bf16', 'bf16 autocast')];
}

/**
 * Ours on a device: in fp32 with each size of the portions that a batch is computed in, on WebGPU also in half precision with the
 * largest ones. Where the engine refuses that, its row says so.
 */
export function ourArms(device: DeviceName, portions: number[]): Arm[] {
  const largest = portions.at(-1)!;
  const arm = (precision: string, tokens: number): Arm => ({
    name: `LoRA Lab, ${device}, ${precision}, portions of ${tokens} tokens`, side: 'ours', precision, profiled: precision === 'fp32' && tokens === largest && device !== 'tensorflow',
    measure: async (row, env) => {
      const ours = { ...row, engine: { device, precision } };
      return watched(ours, () => measureOurs(ours, { LORA_LAB_PORTION_TOKENS: String(tokens), ...env }));
    },
  });
  return [...portions.map(tokens => arm('fp32', tokens)), ...(device === 'webgpu' ? [arm('fp16', largest)] : [])];
}

async function watched(row: Row, measure: () => Promise<Measurement>): Promise<GpuMeasurement> {
  await prepare(row);
  const { result, card_memory_bytes } = await watchCard(measure);
  return { ...result, card_memory_bytes };
}

/** Why something was not measured, in one line: of the engine its own message, of another program its last words. */
export function refusal(error: unknown): string {
  const { message } = error as Error;
  const ours = /^error: (.*(?:\n(?!\s+at ).*)*)/m.exec(message)?.[1];
  return (ours ?? message.trim().split('\n').at(-1)!).replace(/^\S*bench\.lora\.json: /, '').replace(/\s+/g, ' ').trim().replaceAll('|', '\\|').slice(0, 300);
}

/** What a device lacks, in one line. */
export const lacks = (result: ProbeResult): string | undefined => (result.ok ? undefined : `${result.missing ? 'needs' : 'failed'}: ${result.cause}`.replaceAll('|', '\\|'));
