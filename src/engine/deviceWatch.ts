/** Tells of a GPU that does not answer. Nothing is ended: a slow GPU goes on by itself, and only a person can know. */
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
  /** The call that was told of. */
  private told: number | undefined;

  /** `tell` gets when the GPU was asked for what it has not answered, in milliseconds since 1970, and null once it has answered. */
  constructor(private readonly calls: DeviceCalls, private readonly tell: (since: number | null) => void, private readonly patience_s = patience()) {}

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
    this.tell(null);
  }

  private look(): void {
    const { current } = this.calls;
    const waited = current ? monotonic() - current.since : 0;
    const most = this.stopping ? Math.min(STOPPING_S, this.patience_s) : this.patience_s;
    this.answered();
    if (!current || this.told !== undefined || waited < 1000 * most * (this.stopping ? 1 : LONGER[current.asked])) return;
    this.told = current.since;
    this.tell(Date.now() - waited);
  }
}

/** Seconds. A GPU that is known to be slow may be given more. */
function patience(): number {
  const given = Number(process.env.LORA_LAB_GPU_PATIENCE);
  return given > 0 ? given : PATIENCE_S;
}
