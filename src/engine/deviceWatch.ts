/** Tells of a GPU that does not answer. It ends nothing: a slow GPU goes on by itself, and only a person can know. */
import { monotonic, type Asked, type DeviceCalls } from './deviceCall';

const LOOK_MS = 500;
/** Some seconds are a long step on a weak GPU. */
const PATIENCE_S = 30;
/** Weights come from slow disks, and some drivers compile for long. */
const LONGER: Record<Asked, number> = { begin: 4, run: 1 };
/** Whoever has asked for the end waits for this answer. */
const STOPPING_S = 5;

export class DeviceWatch {
  private timer: NodeJS.Timeout | undefined;
  private stopping = false;
  /** The call that goes on, and for how many milliseconds it has been looked at, which a machine that sleeps does not do: some systems' clocks go on meanwhile. */
  private seen = { since: 0, waited: 0, at: 0 };
  /** The call that was told of. */
  private told: number | undefined;

  /** `tell` gets when the GPU was asked for what it has not answered, in milliseconds since 1970, and null once it has answered. */
  constructor(private readonly calls: DeviceCalls, private readonly tell: (since: number | null) => void, private patience_s = patience()) {}

  start(): void {
    this.stop();
    this.timer = setInterval(() => this.look(), LOOK_MS);
    this.timer.unref();
  }

  /** A stop was asked for. */
  hurry(): void { this.stopping = true; }

  stop(): void {
    clearInterval(this.timer);
    this.answered();
    this.stopping = false;
    this.told = undefined;
  }

  private answered(): void {
    if (this.told === undefined || this.told === this.calls.current?.since) return;
    this.told = undefined;
    // It is slow, as is now known, and need not be told of in every step.
    this.patience_s = Math.max(this.patience_s, 2 * this.seen.waited / 1000);
    this.tell(null);
  }

  private look(): void {
    const { current } = this.calls;
    this.answered();
    if (!current) return;
    const now = monotonic();
    if (this.seen.since !== current.since) this.seen = { since: current.since, waited: 0, at: current.since };
    const waited = this.seen.waited + Math.min(now - this.seen.at, 2 * LOOK_MS);
    this.seen = { since: current.since, waited, at: now };
    const most = this.stopping ? Math.min(STOPPING_S, this.patience_s) : this.patience_s;
    if (this.told !== undefined || waited < 1000 * most * (this.stopping ? 1 : LONGER[current.asked])) return;
    this.told = current.since;
    this.tell(Date.now() - waited);
  }
}

/** Seconds. A GPU that is known to be slow may be given more. */
function patience(): number {
  const given = Number(process.env.LORA_LAB_GPU_PATIENCE);
  return given > 0 ? given : PATIENCE_S;
}
