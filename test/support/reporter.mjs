/** Reporter for `node --test`: one JSON line for each test that ended, and what the tests printed. Read by test/run.mjs. */
export default async function* report(source) {
  for await (const { type, data } of source) {
    if (type === 'test:pass' || type === 'test:fail') {
      // A suite passes or fails through its tests; a file that does not run to its end is reported under its own name.
      if (data.details?.type === 'suite' && data.details?.error?.failureType !== 'hookFailed') continue;
      const skipped = data.skip !== undefined || data.todo !== undefined;
      const error = data.details?.error;
      yield line({
        type: skipped ? 'skip' : type.slice('test:'.length), file: data.file, title: data.name, ms: data.details?.duration_ms ?? 0,
        reason: typeof data.skip === 'string' ? data.skip : undefined, error: error && describe(error),
      });
    } else if (type === 'test:stdout' || type === 'test:stderr') {
      yield line({ type: 'output', text: data.message });
    }
  }
}

const line = (value) => `${JSON.stringify(value)}\n`;

/** node:test wraps what the test threw. */
function describe(error) {
  const thrown = error.cause ?? error;
  return typeof thrown === 'string' ? thrown : thrown?.stack ?? String(thrown);
}
