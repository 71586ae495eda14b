/** What a base, alone or with an adapter, is to be asked for. */
import { resolve } from 'node:path';
import { readAdapter } from './adapter';
import { readConfig } from './checkpoint';
import { families } from './families';
import { familyOf, usualTask } from './loadModel';

/** The adapter's task where it names one, else the one that the checkpoint is stored for. Errors: those of the config and the adapter. */
export function predictTask(base: string, adapter: string | null): string {
  const config = readConfig(resolve(base));
  const family = familyOf(config, families, resolve(base));
  const named = adapter === null ? null : readAdapter(adapter).config.task_type;
  return typeof named === 'string' ? named : usualTask(config, family);
}
