/**
 * Runs inside VS Code's extension host (`extensionTestsPath`): every bundled `test/extension/*.test.ts`, with mocha's TDD interface.
 * Results go, one JSON line each, to the file named by LORA_LAB_TEST_REPORT, which test/run.mjs reads while they come.
 * LORA_LAB_TEST_GREP: an expression for the titles of the tests to run; without it all run.
 */
import Mocha from 'mocha';
import { appendFileSync, readdirSync } from 'node:fs';
import { join } from 'node:path';

/** One line of the report. */
export type ReportLine =
  | { type: 'pass'; title: string; ms: number }
  | { type: 'fail'; title: string; error: string }
  | { type: 'skip'; title: string }
  | { type: 'end'; error?: string };

function report(line: ReportLine): void {
  const file = process.env.LORA_LAB_TEST_REPORT;
  if (file) appendFileSync(file, `${JSON.stringify(line)}\n`);
}

/** Called by VS Code. Rejects if any test failed. */
export async function run(): Promise<void> {
  try {
    const grep = process.env.LORA_LAB_TEST_GREP ? new RegExp(process.env.LORA_LAB_TEST_GREP) : undefined;
    const mocha = new Mocha({ ui: 'tdd', timeout: 600_000, reporter: class Silent {} as unknown as Mocha.ReporterConstructor, grep });
    for (const name of readdirSync(__dirname, { recursive: true }).map(String).sort()) {
      if (name.endsWith('.test.js')) mocha.addFile(join(__dirname, name));
    }
    const failures = await new Promise<number>((done) => {
      const runner = mocha.run(done);
      runner.on('pass', (test) => report({ type: 'pass', title: test.titlePath().join(': '), ms: test.duration ?? 0 }));
      runner.on('fail', (test, error: Error) => report({ type: 'fail', title: test.titlePath().join(': '), error: error.stack ?? String(error) }));
      runner.on('pending', (test) => report({ type: 'skip', title: test.titlePath().join(': ') }));
    });
    report({ type: 'end' });
    if (failures > 0) throw new Error(`${failures} tests failed`);
  } catch (error) {
    report({ type: 'end', error: error instanceof Error ? error.stack : String(error) });
    throw error;
  }
}
