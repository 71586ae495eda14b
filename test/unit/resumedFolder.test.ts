/** Which folder a run without `output_dir` goes on in. */
import assert from 'node:assert/strict';
import { mkdirSync } from 'node:fs';
import { join } from 'node:path';
import { test } from 'node:test';
import type { ExperimentFile } from '../../src/engine/experimentFile';
import { folderToResume } from '../../src/engine/run';
import { inTemporaryFolder } from '../support/faults';

test('the newest run of the experiment, also where its name ends in a number', () => inTemporaryFolder(cwd => {
  for (const name of ['20260101-120000-reviews', '20260101-120000-reviews-2', '20260102-120000-reviews-3', '20260103-120000-other']) mkdirSync(join(cwd, '.lora/runs', name), { recursive: true });
  const found = (name: string): string => folderToResume({ name, experiment: { output_dir: null } } as unknown as ExperimentFile, cwd).slice(join(cwd, '.lora/runs/').length);
  assert.equal(found('reviews'), '20260101-120000-reviews-2', 'the second of two in one second, not that of the experiment reviews-3');
  assert.equal(found('reviews-3'), '20260102-120000-reviews-3');
  assert.throws(() => found('review'), /there is no run of review here/i);
}));
