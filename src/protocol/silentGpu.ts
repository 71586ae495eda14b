/** What a person is told of a GPU that does not answer: its driver hangs, or it is very slow. */
import type { ErrorReport } from './engine';

const clock = (time: number): string => new Date(time).toLocaleTimeString('en-GB');

/** While it does not answer. `since` is in milliseconds since 1970, `end` says how the person ends the work, `work` what that is. */
export const silentReport = (since: number, end: string, work = 'the run'): ErrorReport => ({
  code: 'device.silent', cause: `the GPU has not answered since ${clock(since)}`, action: `if it is only slow, wait: ${work} goes on by itself. If it hangs, ${end}`,
});

/** Once the engine was ended for it. `next` is what can be done then. */
export const endedSilent = (since: number, next: string): ErrorReport => ({
  code: 'device.silent', cause: `the GPU did not answer from ${clock(since)} on, and the engine was ended`,
  action: `${next}; if it happens again restart the machine, update the driver of the GPU, or set engine.device to "cpu"; a GPU that is only slow gets more seconds by the environment variable LORA_LAB_GPU_PATIENCE`,
});
