/** Runs of the engine inside a test, on a copy of a reference case. */
import { cpSync, readFileSync, writeFileSync } from 'node:fs';
import { join } from 'node:path';
import { RunControl } from '../../src/engine/control';
import { SILENT, type Reporter } from '../../src/engine/reporter';
import { runExperiment } from '../../src/engine/run';
import { isEvalRecord, type MetricRecord, type Summary, type TrainRecord } from '../../src/protocol/metrics';
import { fixture } from './paths';

export interface CaseChanges { lora?: object; training?: object; dataset?: object; engine?: object; top?: object; config?: object }

/** Copies a reference case into `folder` and changes keys of its experiment, without its start adapter, or of its config.json. Returns the experiment file. */
export function copyCase(folder: string, { lora = {}, training = {}, dataset = {}, engine = {}, top = {}, config }: CaseChanges = {}, name = 'linear'): string {
  cpSync(fixture('references', name), folder, { recursive: true });
  const file = join(folder, 'case.lora.json');
  const experiment = JSON.parse(readFileSync(file, 'utf8')) as Record<string, object>;
  const changed = {
    ...experiment, ...top, lora: { ...experiment.lora, init_adapter: null, ...lora }, training: { ...experiment.training, ...training },
    dataset: { ...experiment.dataset, ...dataset }, engine: { ...experiment.engine, ...engine },
  };
  writeFileSync(file, JSON.stringify(changed, null, 2));
  if (config) {
    const path = join(folder, 'model/config.json');
    writeFileSync(path, JSON.stringify({ ...JSON.parse(readFileSync(path, 'utf8')) as object, ...config }));
  }
  return file;
}

export interface TestRun { control: RunControl; ended: Promise<Summary> }

/** Starts a run. `onStep` is called after each logged step. */
export function startRun(experiment_file: string, { resume = false, waits = false, onStep, ...report }: { resume?: boolean; waits?: boolean; onStep?: (record: TrainRecord, control: RunControl) => void } & Partial<Reporter> = {}): TestRun {
  const control = new RunControl(waits);
  const metrics: Reporter['metrics'] = ({ records }) => {
    for (const record of records) if (!isEvalRecord(record)) onStep?.(record, control);
  };
  return { control, ended: runExperiment({ experiment_file, resume, cwd: join(experiment_file, '..'), control, report: { ...SILENT, metrics, ...report } }) };
}

export function readMetrics(run: string): MetricRecord[] {
  return readFileSync(join(run, 'metrics.jsonl'), 'utf8').trim().split('\n').map(line => JSON.parse(line) as MetricRecord);
}

export const trainRecords = (run: string): TrainRecord[] => readMetrics(run).filter((record): record is TrainRecord => !isEvalRecord(record));
