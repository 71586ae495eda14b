/** Things to dispose of together, last first. */
export class Disposables {
  private readonly items: { dispose(): unknown }[] = [];

  /** Keeps `item` until `dispose`, and returns it. */
  add<T extends { dispose(): unknown }>(item: T): T {
    this.items.push(item);
    return item;
  }

  dispose(): void {
    for (const item of this.items.splice(0).reverse()) item.dispose();
  }
}

/** Calls `work` at most once in every `interval` milliseconds, always with a last call. */
export function throttle(interval: number, work: () => void): { (): void; dispose(): void } {
  let timer: NodeJS.Timeout | undefined;
  let last = 0;
  const run = (): void => {
    timer = undefined;
    last = Date.now();
    work();
  };
  const call = (): void => {
    timer ??= setTimeout(run, Math.max(0, last + interval - Date.now()));
  };
  return Object.assign(call, { dispose: () => clearTimeout(timer) });
}
