/** Names of run folders whose experiment names none: `<time>-<experiment>`, all in `.lora/runs` of the folder that the engine works in. Pure. */

/** The newest run of an experiment among the names in `.lora/runs`; undefined if there is none. */
export function newestRun(experiment: string, names: readonly string[]): string | undefined {
  const all = new Set(names);
  // `<time>-<name>-2` is a second run of the same second where `<time>-<name>` is there too; else it belongs to an experiment of that name.
  return names.filter(name => {
    const [, time, rest] = /^(\d{8}-\d{6}-)(.+)$/.exec(name) ?? [];
    return rest === experiment || rest?.replace(/-\d+$/, '') === experiment && all.has(time + experiment);
  }).sort().pop();
}
