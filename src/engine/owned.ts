/** What is made in several steps, each of which may fail. */

interface Part { dispose(): Promise<void> | void }

/** What has been made so far. */
export class Owned {
  private readonly parts: Part[] = [];

  add<T extends Part>(part: T): T {
    this.parts.push(part);
    return part;
  }

  /** Frees everything, what was made last first. */
  async dispose(): Promise<void> {
    for (let part = this.parts.pop(); part; part = this.parts.pop()) await part.dispose();
  }
}

/** What `make` makes of parts that it adds to `owned`; they are freed if it fails. */
export async function building<T>(make: (owned: Owned) => Promise<T>): Promise<T> {
  const owned = new Owned();
  try {
    return await make(owned);
  } catch (error) {
    await owned.dispose();
    throw error;
  }
}
