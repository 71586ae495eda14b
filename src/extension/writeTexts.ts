/** A prompt continued by the adapter and by the base alone, one after the other, which can be stopped at any time. */
import type { Device } from '../protocol/experiment';
import type { Written, WrittenPair, WriteSettings } from '../protocol/panel';
import type { EngineClient, EngineOptions } from './engineClient';
import type { TryEngine } from './tryEngine';

export interface WriteRequest {
  base: string;
  adapter: string;
  device?: Device;
  prompt: string;
  /** The prompt is a user's turn of a conversation. */
  chat: boolean;
  settings: WriteSettings;
}

const SIDES = ['adapter', 'base'] as const;

/** An engine that is in the middle of a long pass hears of a stop only when that has ended; it is ended itself after this. */
const STOP_MS = 1000;

/** One try. What has been written until `stop` is the result. */
export class Writing {
  private readonly written: WrittenPair = { base: { text: '', stopped: null }, adapter: { text: '', stopped: null } };
  private engine: EngineClient | undefined;
  private stopped = false;

  /** `onText` gets both texts whenever one has grown. */
  constructor(private readonly tries: TryEngine, private readonly options: EngineOptions, private readonly onText: (written: WrittenPair) => void) {}

  stop(): void {
    if (this.stopped) return;
    this.stopped = true;
    const { engine } = this;
    if (!engine) return;
    void engine.request('stopGenerating', {}).catch(() => undefined);
    setTimeout(() => { if (this.engine) engine.kill(); }, STOP_MS).unref();
  }

  /** Rejects with a ReportedError. */
  async run({ base, adapter, device, prompt, chat, settings }: WriteRequest): Promise<WrittenPair> {
    try {
      await this.tries.use(this.options, async engine => {
        this.engine = engine;
        let side: Written = this.written.adapter;
        const hear = engine.on('text', ({ text }) => {
          side.text += text;
          this.onText(this.written);
        });
        try {
          for (const name of SIDES) {
            if (this.stopped) return;
            side = this.written[name];
            const [{ completion, stopped }] = await engine.request('generate', { base, adapter: name === 'adapter' ? adapter : null, prompts: [prompt], chat, device, ...settings });
            Object.assign(side, { text: completion, stopped });
            this.onText(this.written);
          }
        } finally {
          hear();
          this.engine = undefined;
        }
      });
    } catch (error) {
      if (!this.stopped) throw error;
    }
    for (const name of SIDES) this.written[name].stopped ??= 'stopped';
    return this.written;
  }
}
