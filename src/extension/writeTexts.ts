/** A prompt continued by the adapter and by the base alone, one after the other, in an engine that can be ended at any time. */
import type { Written, WrittenPair, WriteSettings } from '../protocol/panel';
import type { EngineClient, EngineOptions } from './engineClient';
import { withEngine } from './engineClient';

export interface WriteRequest {
  base: string;
  adapter: string;
  prompt: string;
  /** The prompt is a user's turn of a conversation. */
  chat: boolean;
  settings: WriteSettings;
}

const SIDES = ['adapter', 'base'] as const;

/** One try. `stop` ends its engine at once; what has been written until then is the result. */
export class Writing {
  private readonly written: WrittenPair = { base: { text: '', stopped: null }, adapter: { text: '', stopped: null } };
  private engine: EngineClient | undefined;
  private stopped = false;

  /** `onText` gets both texts whenever one has grown. */
  constructor(private readonly options: EngineOptions, private readonly onText: (written: WrittenPair) => void) {}

  stop(): void {
    this.stopped = true;
    this.engine?.kill();
  }

  /** Rejects with a ReportedError. */
  async run({ base, adapter, prompt, chat, settings }: WriteRequest): Promise<WrittenPair> {
    try {
      await withEngine(this.options, async engine => {
        this.engine = engine;
        let side: Written = this.written.adapter;
        engine.on('text', ({ text }) => {
          side.text += text;
          this.onText(this.written);
        });
        for (const name of SIDES) {
          if (this.stopped) return;
          side = this.written[name];
          const [{ completion, stopped }] = await engine.request('generate', { base, adapter: name === 'adapter' ? adapter : null, prompts: [prompt], chat, ...settings });
          Object.assign(side, { text: completion, stopped });
          this.onText(this.written);
        }
      });
    } catch (error) {
      if (!this.stopped) throw error;
    }
    for (const name of SIDES) this.written[name].stopped ??= 'stopped';
    return this.written;
  }
}
