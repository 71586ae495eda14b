/** Follows the run that an extension host with `LORA_LAB_RUN` started, by the file that it writes there. */
import { readFileSync } from 'node:fs';
import { setTimeout as sleep } from 'node:timers/promises';

/**
 * Waits until the run has ended.
 * @param {string} file the file that LORA_LAB_RUN names
 * @param {{ onProgress?: (state: object) => void, startWithin?: number, alive?: () => boolean }} options `startWithin`: milliseconds until
 *   the extension must have said something; `alive`: whether anything is left that could still write
 * @returns {Promise<object>} the last state; rejects if the run failed, or never started
 */
export async function followRun(file, { onProgress = () => {}, startWithin = 120_000, alive = () => true } = {}) {
  let state;
  for (const begun = Date.now(); ; await sleep(200)) {
    const running = alive();
    state = read(file) ?? state;
    if (state) onProgress(state);
    if (state?.ended) break;
    if (!running) throw new Error('VS Code ended before the run did.');
    if (!state && Date.now() - begun > startWithin) throw new Error(`the extension did not start the run within ${startWithin / 1000} s.`);
  }
  if (state.error) throw new Error(describe(state.error));
  if (state.status !== 'finished') throw new Error(`the run ended as "${state.status}".`);
  return state;
}

function read(file) {
  try {
    return JSON.parse(readFileSync(file, 'utf8'));
  } catch (error) {
    if (error.code === 'ENOENT') return undefined;
    throw error;
  }
}

const describe = ({ file, where, cause, action }) => `${[file, where].filter(Boolean).join(': ')}${file || where ? ': ' : ''}${cause}.\nWhat to do: ${action}.`;
