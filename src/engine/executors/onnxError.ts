/** What the messages of ONNX Runtime and TensorFlow mean for a person. */
import { LabError } from '../errors';
import type { Provider } from './trace/graph';

const FALL_BACK = 'set "device" to "auto" or "cpu"';

/** The message without source paths and quoted conditions: `…webgpu_context.cc:136 … was false. Failed to get …` → `Failed to get …`. */
const plain = (message: string): string => message.replace(/^(?:Error: )?Invalid TF_Status: \d+\s*Message:\s*/, '').replace(/^Error: /, '').replace(/^.*?\bwas false\.\s*/s, '').replace(/^\S*\/\S+:\d+ .*?\)\s+(?=[A-Z])/s, '').split('\n')[0].trim();

/** A LabError for a failure of a GPU's session; errors of the CPU provider are faults of the engine and stay as they are. */
export function onnxError(error: unknown, provider: Provider | 'tensorflow', doing: 'start' | 'run'): unknown {
  const message = error instanceof Error ? error.message : String(error);
  if (provider === 'cpu' || error instanceof LabError) return error;
  const found = REASONS.find(({ pattern }) => pattern.test(message));
  const report = found?.report(message.match(found.pattern)!, provider) ?? {
    code: doing === 'run' ? 'device.lost' : 'device.failed', cause: `${provider} ${doing === 'run' ? 'stopped working' : 'could not be started'}: ${plain(message)}`,
    action: doing === 'run' ? 'resume from the last checkpoint, if it happens again with "device": "cpu"' : FALL_BACK,
  };
  return new LabError({ ...report, where: 'engine.device' }, { cause: error });
}

// A lost device is told of where results are brought back: Dawn says "[Device] is lost", or what Vulkan returned; nothing that stays on it fails.
const REASONS: { pattern: RegExp; report: (match: RegExpMatchArray, provider: Provider | 'tensorflow') => { code: string; cause: string; action: string } }[] = [
  {
    pattern: /Failed to get a WebGPU adapter/,
    report: () => ({
      code: 'device.missing', cause: 'no GPU driver for WebGPU was found',
      action: `${process.platform === 'linux' ? 'install the Vulkan loader (libvulkan1) and the driver of your GPU (for AMD and Intel mesa-vulkan-drivers, for NVIDIA its own)' : 'update the driver of your GPU'}, or ${FALL_BACK}`,
    }),
  },
  {
    pattern: /device\]?(?: was| is)? lost|DEVICE_LOST/i,
    report: ([], provider) => ({
      code: 'device.lost', cause: `${provider} stopped working: the GPU was lost, as when its driver is reset, the machine sleeps or the GPU is unplugged`,
      action: 'resume from the last checkpoint, or start again if there is none; if it happens again update the driver of the GPU, or set "device" to "cpu"',
    }),
  },
  {
    // Which library it was, ONNX Runtime says on standard error only: executors/probe.ts reads it there.
    pattern: /Failed to load shared library/,
    report: () => ({
      code: 'device.missing', cause: 'a library that the CUDA provider needs was not found',
      action: `install what it belongs to (CUDA 12 and cuDNN 9) and put its folder on LD_LIBRARY_PATH, or ${FALL_BACK}`,
    }),
  },
  {
    pattern: /Buffer size \((\d+)\) exceeds the max buffer size limit \((\d+)\)/,
    report: ([, asked, limit]) => ({
      code: 'device.buffer', cause: `a tensor of ${asked} bytes does not fit in one buffer of this GPU, which takes ${limit}`,
      action: 'lower max_length or the batch size; if it is a weight of the model, set "device" to "cpu"',
    }),
  },
  {
    pattern: /out of memory|OOM when allocating|OUT_OF_DEVICE_MEMORY|Failed to allocate|CUDA failure 2:/i,
    report: ([], provider) => ({ code: 'device.memory', cause: `the memory of ${provider} is used up`, action: 'lower per_device_train_batch_size or max_length, or set "device" to "cpu"' }),
  },
  {
    pattern: /assigned to the default CPU EP/,
    report: ([], provider) => ({ code: 'device.op', cause: `this model has a step that ${provider} cannot run`, action: FALL_BACK }),
  },
];
