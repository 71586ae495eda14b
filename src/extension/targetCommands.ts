/** Commands that change which modules are adapted, and their rank and alpha. Each is one edit of the experiment file. */
import * as vscode from 'vscode';
import { isSaved, matchedModules, patternValue } from '../protocol/adapterMath';
import type { ModuleInfo } from '../protocol/engine';
import { withPatternValue } from '../protocol/targetNames';
import { readOverride, wrongOverride } from '../protocol/typedNumber';
import type { Lab } from './lab';
import { setTicked } from './modelTree';
import { tickable, type ModuleNode } from './moduleNodes';
import { ReportedError } from './reports';

export type Selection = 'default' | 'attention' | 'all' | 'none';

/** Last parts of the names of attention projections, over the architectures of PEFT's table. */
const ATTENTION = /(?:^|\.)(?:self\.(?:query|key|value)|attention\.output\.dense|attention\.(?:query_key_value|dense)|(?:self_attn|attn|SelfAttention|EncDecAttention)\.\w+)$/;

/** Ticks a usual choice of modules. `default` is PEFT's choice for the architecture: query and value. */
export async function select(lab: Lab, selection: Selection): Promise<void> {
  const { document, model } = ready(lab);
  const lora = document.reading.values.lora;
  const all = model.modules.filter(m => m.adaptable && !isSaved(m, lora));
  const chosen: Record<Selection, () => ModuleInfo[]> = {
    default: () => matchedModules(model, { ...lora, target_modules: null }),
    attention: () => all.filter(m => ATTENTION.test(m.name)),
    all: () => all.filter(m => m.type === 'Linear'),
    none: () => [],
  };
  await setTicked(lab, new Set(chosen[selection]().map(m => m.name)));
}

/** Lets the person tick kinds of modules (`query`, `attention.output.dense`) in a list. */
export async function pickTargets(lab: Lab): Promise<void> {
  const { document, model } = ready(lab);
  const lora = document.reading.values.lora;
  const ticked = lab.ticked;
  const kinds = new Map<string, ModuleInfo[]>();
  for (const module of model.modules.filter(m => m.adaptable && !isSaved(m, lora))) {
    const kind = module.name.replace(/^.*?\.\d+\./, '');
    kinds.set(kind, [...kinds.get(kind) ?? [], module]);
  }
  const items = [...kinds].map(([kind, modules]) => ({
    label: kind, modules, description: `${modules.length} × [${modules[0].shape.join(', ')}]`, picked: modules.every(m => ticked.has(m.name)),
  }));
  const picked = await vscode.window.showQuickPick(items, { title: 'Target modules', placeHolder: 'Which modules get an adapter, in every layer?', canPickMany: true });
  if (picked) await setTicked(lab, new Set(picked.flatMap(item => item.modules.map(m => m.name))));
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
