/** What the panel knows: the host's view, and how each notification changes it. Pure. */
import type { TelemetrySample } from '../src/protocol/metrics';
import { EMPTY_RUN, TELEMETRY_KEPT, type ExperimentView, type PanelNotifications, type PanelView, type RunView } from '../src/protocol/panel';
import { MetricSeries } from './series';

export interface PanelState {
  experiment: ExperimentView | null;
  run: RunView;
  readonly series: MetricSeries;
  /** The last minutes of the run that is going on. */
  telemetry: TelemetrySample[];
  /** False until the host has answered `ready`. */
  ready: boolean;
}

export const initialState = (): PanelState => ({ experiment: null, run: EMPTY_RUN, series: new MetricSeries(), telemetry: [], ready: false });

/** Takes up everything the host answers to `ready`. */
export function receiveView(state: PanelState, { experiment, run, metrics, telemetry }: PanelView): PanelState {
  state.series.clear();
  state.series.append(metrics);
  return { ...state, experiment, run, telemetry: telemetry ?? [], ready: true };
}

/** Takes up one notification. Metrics are appended in place: tens of thousands of records are never copied. */
export function receive<K extends keyof PanelNotifications>(state: PanelState, method: K, params: PanelNotifications[K]): PanelState {
  switch (method) {
    case 'experiment': return { ...state, experiment: (params as PanelNotifications['experiment']).experiment };
    case 'run': return { ...state, run: (params as PanelNotifications['run']).run };
    case 'metrics': {
      const { records, samples, reset } = params as PanelNotifications['metrics'];
      if (reset) state.series.clear();
      state.series.append(records);
      return reset || samples.length ? { ...state, telemetry: [...(reset ? [] : state.telemetry), ...samples].slice(-TELEMETRY_KEPT) } : state;
    }
    default: return state;
  }
}
