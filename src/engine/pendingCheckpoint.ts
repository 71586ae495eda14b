/** A checkpoint that is written but not yet on the disk. What it holds is kept until then, so that it can be written again. */
import type { Written } from './checkpointFolders';

export class PendingCheckpoint {
  /** It is on the disk, or has failed: to wait for it takes no time. */
  ended = false;

  private constructor(readonly step: number, private readonly write: () => Promise<Written>, private written: Written | undefined) {
    const end = (): void => { this.ended = true; };
    written!.durable.then(end, end);
  }

  /** Writes the files of a step's checkpoint. Errors: those of `write`. */
  static async of(step: number, write: () => Promise<Written>): Promise<PendingCheckpoint> {
    return new PendingCheckpoint(step, write, await write());
  }

  /** Resolves with the folder once it is on the disk. Asked again after an error, it writes the same once more. */
  async durable(): Promise<string> {
    const written = this.written ?? await this.write();
    this.written = undefined;
    await written.durable;
    return written.folder;
  }
}
