/**
 * How far the engine is from transformers and PEFT: runs every reference case and prints the table of the README. No Python is needed.
 *
 *   npm run fidelity [-- CASE ...]
 */
import { readdirSync, readFileSync } from 'node:fs';
import { join } from 'node:path';
import { sendNothing } from '../../src/engine/executors/usageData';
import { isEvalRecord, type MetricRecord } from '../../src/protocol/metrics';
import { inTemporaryFolder } from '../support/faults';
import { fixture } from '../support/paths';
import { adaptersOf, caseOf, expectedOf, logitsOf, modelTypeOf, trainCase } from '../support/referenceCase';
import { fidelityTable, type Difference } from './table';

const largest = (values: Iterable<number>): number => { let most = 0; for (const value of values) most = Math.max(most, value); return most; };

/** Largest differences of one case. */
async function measure(name: string): Promise<Difference> {
  return inTemporaryFolder(async folder => {
    const expected = expectedOf(name);
    await trainCase(name, folder);
    const records = readFileSync(join(folder, 'run/metrics.jsonl'), 'utf8').trim().split('\n').map(line => JSON.parse(line) as MetricRecord);
    const losses = records.filter(record => !isEvalRecord(record)).map(record => Number((record as { loss: number }).loss));
    const { own, theirs } = adaptersOf(name, folder);
    let logits = 0;
    for (const [adapter, rows] of [['adapter_start', expected.initial_logits], ['adapter_final', expected.final_logits]] as const) {
      const found = await logitsOf(name, folder, adapter, rows.length);
      logits = Math.max(logits, largest(rows.flatMap((row, i) => row.map((logit, k) => Math.abs(found[i][k] - logit)))));
    }
    return {
      family: modelTypeOf(name), task: caseOf(name).task, logits,
      loss: largest(expected.losses.map((loss, i) => Math.abs(losses[i] - loss) / Math.abs(loss))),
      adapter: largest([...theirs].map(([key, values]) => largest(values.map((value, i) => Math.abs(own.get(key)![i] - value))) / largest(values.map(Math.abs)))),
    };
  });
}

async function main(): Promise<void> {
  const differences: Difference[] = [];
  for (const name of process.argv.slice(2).length ? process.argv.slice(2) : readdirSync(fixture('references'))) {
    const difference = await measure(name);
    differences.push(difference);
    process.stderr.write(`${name}: losses ${difference.loss.toExponential(1)}, logits ${difference.logits.toExponential(1)}, adapter ${difference.adapter.toExponential(1)}\n`);
  }
  console.log(fidelityTable(differences).join('\n'));
}

sendNothing();
void main().catch(error => { console.error(error); process.exit(1); });
