/** Models that stay loaded from one request to the next, so that trying another text does not read and prepare the weights again. */
import { join } from 'node:path';
import { LabError } from './errors';
import { listFolder, lookUp } from './files';
import { askAvailableMemory, totalMemory } from '../machine/memory';

export interface Loaded { dispose(): Promise<void> }

interface Entry { stamp: string; model: Loaded }

/** Errors that say nothing of the model. */
const OF_REQUEST = /^(predict|dataset)\./;
/** Base and adapter are two programs: both are tried. */
const MOST = 2;
/** A model is kept while so much of the machine's memory is free; whoever needs it comes first. */
const SPARE = 1 / 4;
const memoryToSpare = async (): Promise<boolean> => await askAvailableMemory() > SPARE * totalMemory();

export class LoadedModels {
  /** Those that nobody works with, the one that was used last at the end. */
  private readonly idle = new Map<string, Entry>();
  /** What was in use when all was cleared away is not kept either. */
  private clearings = 0;

  constructor(private readonly spare: () => boolean | Promise<boolean> = memoryToSpare) {}

  get size(): number { return this.idle.size; }

  /**
   * What `work` makes of the model that `load` gives for `key` and the files in `folders`: the kept one, unless one of the files has changed
   * since. After an error that is not about the request the model is not kept: it may be the cause.
   */
  async use<M extends Loaded, R>({ key, folders, load }: { key: unknown; folders: readonly string[]; load: () => Promise<M> }, work: (model: M) => Promise<R>): Promise<R> {
    const id = JSON.stringify([key, folders]);
    const stamp = folders.map(stampOf).join();
    const found = this.idle.get(id);
    this.idle.delete(id);
    const { clearings } = this;
    if (found && found.stamp !== stamp) await free(found.model);
    else if (!found && !await this.spare()) await this.disposeIdle();
    const model = found?.stamp === stamp ? found.model as M : await load();
    let sound = false;
    try {
      const result = await work(model);
      sound = true;
      return result;
    } catch (error) {
      sound = error instanceof LabError && OF_REQUEST.test(error.report.code);
      throw error;
    } finally {
      const spare = sound && await this.spare();
      // Two requests at a time have loaded it twice.
      if (spare && clearings === this.clearings && !this.idle.has(id)) await this.keep(id, { stamp, model });
      else await free(model);
    }
  }

  private async keep(id: string, entry: Entry): Promise<void> {
    this.idle.set(id, entry);
    const [oldest] = this.idle;
    if (this.idle.size <= MOST) return;
    this.idle.delete(oldest[0]);
    await free(oldest[1].model);
  }

  /** Frees everything, and keeps nothing of what is in use now. */
  async clear(): Promise<void> {
    this.clearings += 1;
    await this.disposeIdle();
  }

  private async disposeIdle(): Promise<void> {
    const entries = [...this.idle.values()];
    this.idle.clear();
    for (const { model } of entries) await free(model);
  }
}

/** Of a device that is lost nothing can be freed: neither is that the answer to a request, nor does it keep the next one from being answered. */
const free = (model: Loaded): Promise<void> => model.dispose().catch(() => {});

/** For a single request: nothing is kept. */
export const KEEPS_NOTHING = new LoadedModels(() => false);

/** Name, size and time of every file in a folder: what was saved anew differs in them. */
function stampOf(folder: string): string {
  if (!lookUp(folder)?.isDirectory) return '';
  return listFolder(folder).map(name => {
    const info = lookUp(join(folder, name));
    return `${name}:${info?.size}:${info?.modified}`;
  }).join('|');
}
