/** The most memory that this process has had: that of the run alone where the system can forget what was before it. */
import { writeFileSync } from 'node:fs';
import type { Summary } from '../protocol/metrics';

/** Linux forgets the peak of a process that writes this here (`man 5 proc_pid_clear_refs`). */
const [FORGET, PEAK] = ['/proc/self/clear_refs', '5'];

/** The base was in memory in float32 too, and the peak is still the one from then. */
let with_fp32 = false;

const peak = (): number => process.resourceUsage().maxRSS * 1024;

/** After the step in float32 that a rounded run is compared with: what that took is not what the run takes. */
export function forgetExactStep(file = FORGET): void {
  // Elsewhere there is no such file, and not every container lets it be written.
  try { writeFileSync(file, PEAK); with_fp32 = false; } catch { with_fp32 = true; }
}

/** Keys of `summary.json`. */
export const peakMemory = (): Pick<Summary, 'peak_memory_bytes' | 'peak_with_fp32'> => ({ peak_memory_bytes: peak(), ...(with_fp32 ? { peak_with_fp32: true } : {}) });
