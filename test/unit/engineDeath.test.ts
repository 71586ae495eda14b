/** What is said of an engine that died, by what its run worked on. */
import assert from 'node:assert/strict';
import { test } from 'node:test';
import { deathReport } from '../../src/extension/engineProcess';

const said = (code: number | null, signal: NodeJS.Signals | null, device?: string): string => {
  const { cause, action } = deathReport(code, signal, device);
  return `${cause}; ${action}`;
};
const ABOUT_GPUS = /GPU|driver|engine\.device/;

test('of a run on the CPU nothing is said about GPUs, of one on a GPU it is, and where the device is not known it is said when it applies', () => {
  for (const [code, signal] of [[134, null], [null, 'SIGABRT'], [null, 'SIGSEGV']] as const) {
    assert.doesNotMatch(said(code, signal, 'cpu (onnxruntime 1.30)'), ABOUT_GPUS);
    for (const device of ['webgpu (onnxruntime 1.30)', 'cuda (onnxruntime 1.30)', 'tensorflow gpu (tfjs-node-gpu 4.22.0)']) {
      assert.match(said(code, signal, device), /driver.*set engine\.device to "cpu"/);
      assert.doesNotMatch(said(code, signal, device), /on a GPU|if it is not/);
    }
    for (const device of [undefined, 'tensorflow cpu (tfjs-node 4.22.0)']) assert.match(said(code, signal, device), /on a GPU|if it is not/);
  }
});

test('an engine whose heap was full is told apart from one that was killed, on every device', () => {
  for (const device of [undefined, 'cpu (onnxruntime 1.30)', 'webgpu (onnxruntime 1.30)']) {
    assert.match(said(134, null, device), /exit code 134: the process aborted, often because its heap was full.*max_length/);
    assert.match(said(null, 'SIGKILL', device), /SIGKILL: most likely the system ran out of memory/);
  }
});
