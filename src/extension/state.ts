import type { ErrorReport, MemoryMeasurement } from '../protocol/engine';
import type { HeldRun } from '../protocol/memory';
import type { Summary } from '../protocol/metrics';
import { EMPTY_RUN, type RunStatus } from '../protocol/panel';
import { liveEngines } from './engineClient';
import type { ExperimentPanel } from './experimentPanel';
import type { Lab } from './lab';
import { adapterToTry } from './tryAdapter';

/** Facts about the extension, for tests. */
export interface LabState {
  /** Absolute path of the current experiment. */
  experiment: string | null;
  problems: string[];
  model: { state: 'none' | 'loading' | 'error' | 'ready'; error: ErrorReport | null; modules: number };
  ticked: string[];
  trainable_parameters: number;
  all_parameters: number;
  run: {
    status: RunStatus; step: number; total_steps: number; loss: number | null; metrics: number; samples: number; message: string | null;
    error: ErrorReport | null; summary: Summary | null; folder: string | null; adapter: string | null; resumable: boolean;
    /** The adapter that the panel tries. */
    tried: string | null;
    /** Points of the curve of each member of a sweep. */
    curves: Record<string, number>;
  };
  memory: { measuring: boolean; measured: MemoryMeasurement | null; held: HeldRun | null };
  panel: { open: boolean; visible: boolean };
  /** Process ids of living engines, but for the one that texts are tried in. */
  engines: number[];
  /** Its process id, while it is there. */
  trying: number | null;
}

export function readState(lab: Lab, panel: ExperimentPanel): LabState {
  const { model, count, document } = lab;
  const { status, error, summary, folder, adapter, resumable, started, progress, sweep } = lab.run?.view ?? EMPTY_RUN;
  const metrics = lab.run?.metrics ?? [];
  const memory = lab.experimentView()?.memory;
  const trained = lab.run?.latest.trained;
  return {
    experiment: document?.file ?? null,
    problems: document?.reading.problems.map(p => `${p.path.join('.')} ${p.cause}`) ?? [],
    model: { state: model.state, error: model.state === 'error' ? model.error : null, modules: model.state === 'ready' ? model.model.modules.length : 0 },
    ticked: [...lab.ticked],
    trainable_parameters: count?.trainable_parameters ?? 0,
    all_parameters: count?.all_parameters ?? 0,
    run: {
      status, step: metrics.at(-1)?.step ?? 0, total_steps: started?.total_steps ?? 0, loss: trained ? Number(trained.loss) : null,
      metrics: metrics.length, samples: lab.run?.telemetry.length ?? 0, message: progress?.message ?? null, error, summary, folder, adapter, resumable, tried: adapterToTry(lab) ?? null,
      curves: Object.fromEntries(Object.entries(sweep?.curves ?? {}).map(([name, points]) => [name, points.length])),
    },
    memory: { measuring: !!memory?.measuring, measured: memory?.measured[0]?.result ?? null, held: memory?.held ?? null },
    panel: { open: panel.open, visible: panel.visible },
    engines: liveEngines().flatMap(engine => engine.pid ?? []).filter(pid => pid !== lab.tries.pid),
    trying: lab.tries.pid ?? null,
  };
}
