/** What every part of the panel is drawn from, and what it may ask of the host. */
import { isTraining, settingsFixed, type ExperimentValues, type ModelView, type PanelAction, type TryRequest, type WriteSettings } from '../src/protocol/panel';
import type { SettingChange } from '../src/protocol/experiment';
import type { MemoryView } from '../src/protocol/memory';
import { costOf, type Cost } from './cost';
import type { Edits } from './edits';
import type { PanelState } from './state';

/** The panel's state at one moment, with what follows from it. */
export interface View extends PanelState {
  /** The file's values with edits that are on their way; undefined without an experiment. */
  values: ExperimentValues | undefined;
  /** Undefined until the base model has been read. */
  cost: Cost | undefined;
  /** The experiment's run is trained, here or elsewhere: settings are fixed. */
  active: boolean;
  /** The run that is shown is trained, here or elsewhere: it grows. */
  training: boolean;
  edits: Edits;
}

/** What the panel can ask for. */
export interface Host {
  act(action: PanelAction): void;
  /** Changes the experiment file, as one edit. */
  edit(changes: readonly SettingChange[]): void;
  /** Asks for the folder or file of a key, in a dialog of the host. */
  browse(path: string[]): void;
  /** Classifies texts. Rejects with an `ErrorReport` where it could not begin. */
  predict(request: TryRequest): Promise<unknown>;
  measure(): void;
  cancelMeasure(): void;
  startAnyway(): void;
  /** Continues a prompt; rejects as `predict`. */
  write(request: TryRequest & { settings: WriteSettings }): Promise<unknown>;
  stopWriting(): void;
  open(file: string, where?: string): void;
}

/** A part of the panel: made once, brought up to date for each frame in which something changed. */
export interface Part { element: HTMLElement; update(view: View): void }

let counted: { model: ModelView; values: ExperimentValues; memory: MemoryView; cost: Cost } | undefined;

/** The cost, counted again only where model or values are others: most frames bring metrics alone. */
function lastCost(model: ModelView, values: ExperimentValues, memory: MemoryView): Cost {
  if (counted?.model !== model || counted.values !== values || counted.memory !== memory) counted = { model, values, memory, cost: costOf(model, values, memory) };
  return counted.cost;
}

/** The view of a state. */
export function viewOf(state: PanelState, edits: Edits): View {
  const { experiment, run } = state;
  const values = experiment ? edits.apply(experiment.values) : undefined;
  const cost = experiment?.model && values ? lastCost(experiment.model, values, experiment.memory) : undefined;
  return { ...state, values, cost, active: settingsFixed(run) !== undefined, training: isTraining(run.status), edits };
}
