/** The line that a terminal shows of a run. */
import assert from 'node:assert/strict';
import type { WriteStream } from 'node:tty';
import { test } from 'node:test';
import { showProgress } from '../../src/engine/cliProgress';
import type { EngineThread } from '../../src/engine/engineThread';

test('the time that is left is said in whole minutes and seconds', () => {
  const handlers = new Map<string, (params: never) => void>();
  let shown = '';
  const stream = { isTTY: true, columns: 200, write: (text: string) => { shown = text; return true; } } as unknown as WriteStream;
  showProgress({ on: (method: string, handler: (params: never) => void) => void handlers.set(method, handler) } as unknown as EngineThread, stream);
  const left = (seconds: number): string => {
    handlers.get('started')!({ device: 'cpu', total_steps: 2, trainable_parameters: 1, all_parameters: 2, train_examples: 1, eval_examples: 0, run_folder: 'run' } as never);
    handlers.get('metrics')!({ records: [{ step: 1, epoch: 1, loss: 0.5, grad_norm: 1, learning_rate: 1, tokens: 1, tokens_per_second: 1, time: seconds }] } as never);
    return /tokens\/s +(.*) left$/.exec(shown)![1];
  };
  assert.deepEqual([3.2, 59.7, 60, 119.6, 3601].map(left), ['4 s', '1 min 0 s', '1 min 0 s', '2 min 0 s', '60 min 1 s']);
});
