/** What the frozen prefix makes of the examples: computed once for each, and kept. */
import type { CompiledProgram } from '../executors/executor';
import type { ExampleSet } from '../data/examples';
import { batchFeeds, type BatchLayout } from './layout';
import { portions } from './portions';
import { PREFIX_STATES, type Prefix } from './prefix';
import type { PrefixStore } from './prefixStore';
import type { Example } from './step.types';

interface Followed { set: ExampleSet; batches: readonly Uint32Array[]; batchOf: Uint32Array }

export class PrefixStates {
  private readonly sets: Followed[] = [];
  private store: PrefixStore | undefined;
  private readonly layout: BatchLayout;

  constructor(private readonly program: CompiledProgram, readonly prefix: Prefix, layout: BatchLayout, private readonly portion_tokens: number | undefined) {
    this.layout = { ...layout, read: 'first' };
  }

  /** Keeps the states of followed sets from now on; without a store they are computed anew each time. */
  keep(store: PrefixStore): void { this.store = store; }

  /**
   * The set with examples whose states are kept. An example is always computed together with its batch in `batches`, which hold every
   * one once: its states are then the same to the last bit whichever example was asked for first, as a resumed run needs it.
   */
  follow(set: ExampleSet, batches: readonly Uint32Array[]): ExampleSet {
    const batchOf = new Uint32Array(set.length);
    batches.forEach((batch, number) => { for (const index of batch) batchOf[index] = number; });
    const number = this.sets.push({ set, batches, batchOf }) - 1;
    return { ...set, get: index => ({ ...set.get(index), place: { set: number, index } }) };
  }

  /** The states of a portion's tokens, one example after the other: flat [T, width]. */
  async of(examples: readonly Example[]): Promise<Float32Array> {
    const { store } = this;
    if (!store || examples.some(({ place }) => !place)) return this.compute(examples);
    const { width } = this.prefix;
    const result = new Float32Array(width * examples.reduce((sum, { input_ids }) => sum + input_ids.length, 0));
    let begin = 0;
    for (const { place, input_ids } of examples) {
      const { set, index } = place!;
      if (!store.has(set, index) && !store.full) await this.fill(store, set, this.sets[set].batchOf[index]);
      if (!store.has(set, index)) return this.compute(examples);
      store.read(set, index, result.subarray(begin, begin += width * input_ids.length));
    }
    return result;
  }

  private async fill(store: PrefixStore, number: number, batch: number): Promise<void> {
    const { set, batches } = this.sets[number];
    const indices = Array.from(batches[batch]);
    const examples = indices.map(index => set.get(index));
    for (const places of portions(examples.map(({ input_ids }) => input_ids.length), this.portion_tokens)) {
      const states = await this.compute(places.map(place => examples[place]));
      let begin = 0;
      for (const place of places) store.put(number, indices[place], states.subarray(begin, begin += this.prefix.width * examples[place].input_ids.length));
    }
  }

  private async compute(examples: readonly Example[]): Promise<Float32Array> {
    return (await this.program.run(batchFeeds([...examples], this.layout), { gradients: false }))[PREFIX_STATES];
  }

  async dispose(): Promise<void> {
    await this.program.dispose();
    this.store?.dispose();
  }
}
