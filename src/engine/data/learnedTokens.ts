/** Examples as they are gathered for models that learn a target at single tokens. */
import { IGNORED } from '../training/step.types';
import type { ExampleSet } from './examples';
import { GrowingIntegers } from './growingIntegers';

export class LearnedTokens {
  private readonly tokens = new GrowingIntegers();
  private readonly targets = new GrowingIntegers();
  private readonly ends = new GrowingIntegers();
  private longest = 0;
  private cut = 0;
  private without_targets = 0;

  /** Adds an example: its tokens, for each of them the target or `IGNORED`, and whether tokens were left out. */
  add(input_ids: Int32Array, targets: Int32Array, cut: boolean): void {
    this.tokens.append(input_ids);
    this.targets.append(targets);
    this.ends.push(this.tokens.length);
    this.longest = Math.max(this.longest, input_ids.length);
    if (cut) this.cut += 1;
    if (targets.every(target => target === IGNORED)) this.without_targets += 1;
  }

  get length(): number { return this.ends.length; }

  /** Whether no example has anything to learn. */
  get nothing(): boolean { return this.without_targets === this.ends.length; }

  /** The set, 8 bytes a token. */
  set(): ExampleSet {
    const { tokens, targets, ends, longest, cut, without_targets } = this;
    return {
      length: ends.length, tokens: tokens.length, longest, cut, without_targets,
      get(i) {
        if (!Number.isInteger(i) || i < 0 || i >= ends.length) throw new RangeError(`there is no example ${i} of ${ends.length}`);
        const [begin, end] = [i ? ends.at(i - 1) : 0, ends.at(i)];
        return { input_ids: tokens.view(begin, end), token_type_ids: null, label: 0, targets: targets.view(begin, end) };
      },
    };
  }
}
