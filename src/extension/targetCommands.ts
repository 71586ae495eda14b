/** Commands that change which modules are adapted, and their rank and alpha. Each is one edit of the experiment file. */
import * as vscode from 'vscode';
import { isSaved, matchedModules, patternValue } from '../protocol/adapterMath';
import type { ModuleInfo } from '../protocol/engine';
import { withPatternValue } from '../protocol/targetNames';
import { readOverride, wrongOverride } from '../protocol/typedNumber';
import type { Lab } from './lab';
import { setTicked } from './modelTree';
import { isAttention, kindsOf, toggled } from './moduleChoices';
import { tickable, type ModuleNode } from './moduleNodes';
import { ReportedError } from './reports';

export type Selection = 'default' | 'attention' | 'all' | 'none';

/** What is missing where a choice matches nothing. */
const CHOICES: Record<Exclude<Selection, 'none'>, string> = { default: 'default target modules in PEFT', attention: 'attention layers', all: 'linear layers' };

/** Ticks a usual choice of modules. `default` is PEFT's choice for the architecture: query and value. Error `model.no-such-modules`. */
export async function select(lab: Lab, selection: Selection): Promise<void> {
  const { document, model } = ready(lab);
  if (selection === 'none') return setTicked(lab, new Set());
  const lora = document.reading.values.lora;
  const all = model.modules.filter(m => m.adaptable && !isSaved(m, lora));
  const chosen: Record<typeof selection, () => ModuleInfo[]> = {
    default: () => matchedModules(model, { ...lora, target_modules: null }),
    attention: () => all.filter(isAttention),
    all: () => all.filter(m => m.type === 'Linear'),
  };
  const modules = chosen[selection]();
  if (modules.length === 0) {
    throw new ReportedError({
      code: 'model.no-such-modules', file: document.file, where: 'lora.target_modules', cause: `this ${model.model_type} model has no ${CHOICES[selection]} that can be adapted here`, action: 'tick modules in the Model tree, or choose them (command "LoRA Lab: Select target modules…")',
    });
  }
  await setTicked(lab, new Set(modules.map(m => m.name)));
}

/** Lets the person tick kinds of modules (`query`, `attention.output.dense`) in a list. */
export async function pickTargets(lab: Lab): Promise<void> {
  const { document, model } = ready(lab);
  const lora = document.reading.values.lora;
  const kinds = kindsOf(model.modules.filter(m => m.adaptable && !isSaved(m, lora)), lab.ticked);
  const picked = await vscode.window.showQuickPick(kinds, { title: 'Target modules', placeHolder: 'Which modules get an adapter, in every layer?', canPickMany: true });
  const changed = kinds.filter(kind => picked && kind.picked !== picked.includes(kind));
  // An expression that means the same as the names does not become names by looking at it.
  if (changed.length) await setTicked(lab, toggled(changed, lab.ticked));
}

/** Sets rank or alpha of the modules below the nodes. Equal to the experiment's own value means: no override. */
export async function setOverride(lab: Lab, key: 'r' | 'lora_alpha', nodes: readonly ModuleNode[], given?: number): Promise<void> {
  const { document, model } = ready(lab);
  const lora = document.reading.values.lora;
  const modules = nodes.flatMap(node => tickable(node, lora));
  if (modules.length === 0) return;
  const [patternKey, pattern, fallback] = key === 'r' ? ['rank_pattern', lora.rank_pattern, lora.r] as const : ['alpha_pattern', lora.alpha_pattern, lora.lora_alpha] as const;
  const limit = Math.min(...modules.map(m => Math.min(m.shape[0], m.shape[1])));
  const value = given ?? await askNumber(key, modules, patternValue(pattern, modules[0].name, fallback), limit);
  if (value === undefined) return;
  const wrong = wrongOverride(key, value, limit);
  if (wrong) throw new ReportedError({ code: 'panel.bad-value', file: document.file, where: `lora.${patternKey}`, cause: `${value} cannot be used`, action: wrong });
  const names = model.modules.filter(m => m.adaptable).map(m => m.name);
  const next = withPatternValue(pattern, fallback, new Set(modules.map(m => m.name)), value, names);
  await lab.edit(document, [{ path: ['lora', patternKey], value: Object.keys(next).length ? next : undefined }]);
}

async function askNumber(key: 'r' | 'lora_alpha', modules: readonly ModuleInfo[], current: number, limit: number): Promise<number | undefined> {
  const what = modules.length === 1 ? modules[0].name : `${modules.length} modules`;
  const text = await vscode.window.showInputBox({
    title: `${key === 'r' ? 'Rank' : 'Alpha'} of ${what}`, value: String(current), validateInput: input => readOverride(key, input, limit).wrong,
    prompt: key === 'r' ? `A is [r, in], B is [out, r]; at most ${limit}` : 'ΔW = (alpha / r) · B A',
  });
  return text === undefined ? undefined : readOverride(key, text, limit).value;
}

function ready(lab: Lab) {
  const { document, model } = lab;
  if (!document) throw new ReportedError({ code: 'experiment.none', cause: 'no experiment is open', action: 'open or create one (command "LoRA Lab: Open experiment")' });
  if (model.state === 'error') throw new ReportedError(model.error);
  if (model.state !== 'ready') throw new ReportedError({ code: 'model.not-read', file: document.file, where: 'base_model', cause: 'the checkpoint has not been read yet', action: 'wait a moment, then try again' });
  // Before anything is asked for.
  lab.requireEditable(document, 'lora');
  return { document, model: model.model };
}
