/** Base and adapter side by side on the same texts. */
import type { TryResult } from '../protocol/panel';
import { baseFor } from './adapterCommands';
import { withEngine } from './engineClient';
import { requireTrust, type Lab } from './lab';
import { ReportedError } from './reports';

/** The adapter that the panel tries: the current run's, unless another one was chosen in the Runs tree. */
const chosen = new WeakMap<Lab, { adapter: string; run: unknown }>();

export function chooseForTry(lab: Lab, adapter: string): void {
  chosen.set(lab, { adapter, run: lab.run });
}

/** Class probabilities of each text from the base (without adapter) and with the adapter. */
export async function tryTexts(lab: Lab, texts: string[], adapter = adapterToTry(lab)): Promise<TryResult> {
  requireTrust();
  if (!adapter) throw new ReportedError({ code: 'try.no-adapter', cause: 'there is no trained adapter yet', action: 'start a run, or choose an adapter in the Runs tree' });
  const base = await baseFor(lab, adapter);
  if (!base) throw new ReportedError({ code: 'try.no-base', file: adapter, cause: 'no base model was chosen', action: 'choose the checkpoint that the adapter was trained on' });
  return withEngine(lab.engineOptions, async engine => {
    const adapted = await engine.request('predict', { base, adapter, texts });
    // A base without a head of its own has no names for its classes: both columns carry the adapter's.
    const { probabilities } = adapted.flatMap(({ words }) => words ?? []).find(({ tag }) => tag !== null) ?? adapted[0];
    const task = adapted[0].words ? 'TOKEN_CLS' : 'SEQ_CLS';
    return { base: await engine.request('predict', { base, adapter: null, task, texts, labels: Object.keys(probabilities), problem_type: adapted[0].problem_type }), adapter: adapted };
  });
}

/** One text as a line for a message: `positive 97.3 % (base: negative 51.0 %)`. */
export function describeTry({ base, adapter }: TryResult): string {
  // A value, or several classes together, have no probability of their own.
  const best = ({ label, probabilities }: TryResult['base'][number]): string => (label in probabilities ? `${label} ${(100 * probabilities[label]).toFixed(1)} %` : label || 'none');
  return `${best(adapter[0])} (base: ${best(base[0])})`;
}

function adapterToTry(lab: Lab): string | undefined {
  const choice = chosen.get(lab);
  return choice && choice.run === lab.run ? choice.adapter : lab.run?.view.adapter ?? undefined;
}

