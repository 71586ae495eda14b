/** A GPU that can be lost, or hang: SwiftShader with a Vulkan layer of ours (lostGpu.c), compiled here, for child processes of a test. */
import { spawnSync } from 'node:child_process';
import { existsSync, rmSync, writeFileSync } from 'node:fs';
import { join } from 'node:path';
import { ROOT } from './paths';

const NAME = 'VK_LAYER_LORA_LAB_lost_gpu';

/** SwiftShader's driver, which ships with Chromium; undefined where there is none. */
export const swiftShader = (): string | undefined =>
  process.env.VK_ICD_FILENAMES ?? ['chromium', 'chromium-browser', '../share/chromium'].map(folder => `/usr/lib/${folder}/vk_swiftshader_icd.json`).find(existsSync);

/** The call of Vulkan that makes the device, hands it work, or waits for it; two of these may also never come back. */
export type LostAt = 'create' | 'submit' | 'wait' | 'submit-hangs' | 'wait-hangs';

export interface LostGpu {
  /** What is added to the environment of a process whose GPU can be lost. */
  env: NodeJS.ProcessEnv;
  lose(at: LostAt): void;
  /** Ends a hanging, if there is one; whatever starts now has a GPU. */
  wake(): void;
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
    env: { VK_LAYER_PATH: folder, VK_INSTANCE_LAYERS: NAME, LAB_TEST_LOSE_GPU: lost },
    lose: at => writeFileSync(lost, at),
    wake: () => rmSync(lost, { force: true }),
  };
}
