/** A GPU that can be lost: a Vulkan layer of ours (lostGpu.c), compiled here, for child processes of a test. */
import { spawnSync } from 'node:child_process';
import { writeFileSync } from 'node:fs';
import { join } from 'node:path';
import { ROOT } from './paths';

const NAME = 'VK_LAYER_LORA_LAB_lost_gpu';

export interface LostGpu {
  /** Environment of a process whose GPU is lost once `lose` was called: in the call of Vulkan that makes the device, hands it work, or waits for it. */
  env(at: 'create' | 'submit' | 'wait'): NodeJS.ProcessEnv;
  lose(): void;
}

/** Compiles the layer into `folder`. Returns the reason instead where that cannot be done. */
export function buildLostGpu(folder: string): LostGpu | { reason: string } {
  if (process.platform !== 'linux') return { reason: 'the layer that loses the GPU is for Linux' };
  const [library, lost] = [join(folder, 'liblostGpu.so'), join(folder, 'lost')];
  const { status, stderr, error } = spawnSync('cc', ['-std=c11', '-O1', '-pthread', '-shared', '-fPIC', '-fvisibility=hidden', '-o', library, join(ROOT, 'test/support/lostGpu.c')], { encoding: 'utf8' });
  if (error) return { reason: `there is no C compiler (cc: ${error.message})` };
  if (status !== 0) throw new Error(`cc refused lostGpu.c: ${stderr}`);
  writeFileSync(join(folder, 'lostGpu.json'), JSON.stringify({
    file_format_version: '1.0.0',
    layer: { name: NAME, type: 'GLOBAL', library_path: library, api_version: '1.3.0', implementation_version: '1', description: 'loses the GPU' },
  }));
  return {
    env: at => ({ ...process.env, VK_LAYER_PATH: folder, VK_INSTANCE_LAYERS: NAME, LAB_TEST_LOSE_GPU: lost, LAB_TEST_LOSE_AT: at }),
    lose: () => writeFileSync(lost, ''),
  };
}
