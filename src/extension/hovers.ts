/** Hovers in experiment files, `adapter_config.json` and Python `LoraConfig(...)` calls. */
import * as path from 'node:path';
import { getLocation, parse } from 'jsonc-parser';
import * as vscode from 'vscode';
import { patternValue, scalingOf, type AdapterSettings, type ModelShape } from '../protocol/adapterMath';
import { readAdapterShapes } from './adapterHeader';
import { isExperimentFile } from './experimentDocument';
import { adaptersTable, loraHover, pythonLoraConfig, settingHover, settingTitle } from './hoverText';
import { readExperiment } from './jsonEdit';
import type { Lab } from './lab';

export function registerHovers(lab: Lab): vscode.Disposable {
  const json = [{ pattern: '**/*.lora.json' }, { pattern: '**/adapter_config.json' }];
  return vscode.Disposable.from(
    vscode.languages.registerHoverProvider(json, { provideHover: (document, position) => (isExperimentFile(document.uri) ? experimentHover(lab, document, position) : adapterHover(lab, document, position)) }),
    vscode.languages.registerHoverProvider({ language: 'python' }, { provideHover: (document, position) => pythonHover(lab, document, position) }),
  );
}

function experimentHover(lab: Lab, document: vscode.TextDocument, position: vscode.Position): vscode.Hover | undefined {
  const text = document.getText();
  const path = keyPath(text, document.offsetAt(position), 2);
  const title = path && settingTitle(path);
  if (!title) return undefined;
  const model = lab.document?.uri.toString() === document.uri.toString() ? readyModel(lab) : undefined;
  const effect = model && path[0] === 'lora' ? loraHover(path[1], model, readExperiment(text).values.lora) : undefined;
  return hover(title, effect);
}

/** The adapter's own tensors say what was adapted; the current model only helps where they are missing. */
async function adapterHover(lab: Lab, document: vscode.TextDocument, position: vscode.Position): Promise<vscode.Hover | undefined> {
  const text = document.getText();
  const key = keyPath(text, document.offsetAt(position), 1)?.[0];
  if (!key) return undefined;
  const title = settingTitle(['lora', key]);
  const lora = adapterSettings(parse(text));
  if (!title || !lora) return title ? hover(title) : undefined;
  const file = path.join(path.dirname(document.uri.fsPath), 'adapter_model.safetensors');
  const shapes = await readAdapterShapes(file, (module, r) => scalingOf(patternValue(lora.alpha_pattern, module, lora.lora_alpha), r, lora.use_rslora));
  const relevant = ['target_modules', 'r', 'lora_alpha', 'rank_pattern', 'alpha_pattern'].includes(key);
  const model = readyModel(lab);
  const scaling = shapes[0] ? `\n\nscaling alpha / ${lora.use_rslora ? '√' : ''}r of \`${shapes[0].name}\`: ${Number(shapes[0].scaling.toPrecision(4))}` : '';
  if (relevant && shapes.length) return hover(title, `${adaptersTable(shapes)}${scaling}\n\nread from \`adapter_model.safetensors\``);
  return hover(title, relevant && model ? loraHover(key, model, lora) : undefined);
}

function pythonHover(lab: Lab, document: vscode.TextDocument, position: vscode.Position): vscode.Hover | undefined {
  const config = pythonLoraConfig(document.getText(), document.offsetAt(position));
  const documentation = config && settingHover(['lora', config.key]);
  if (!documentation) return undefined;
  const model = readyModel(lab);
  const effect = model && loraHover(config.key, model, config.lora);
  return hover(documentation, effect && `On \`${path.basename(model.folder).replace(/`/g, '')}\`, the model of the current experiment:\n\n${effect}`);
}

/** Path to the key at `offset` (its name or its value), cut to `depth` steps. */
function keyPath(text: string, offset: number, depth: number): string[] | undefined {
  const keys = getLocation(text, offset).path.slice(0, depth).map(String).filter(Boolean);
  return keys.length ? keys : undefined;
}

function adapterSettings(json: unknown): AdapterSettings | undefined {
  if (typeof json !== 'object' || json === null) return undefined;
  const lora = json as Partial<AdapterSettings>;
  if (typeof lora.r !== 'number') return undefined;
  return { ...lora, r: lora.r, lora_alpha: lora.lora_alpha ?? 8, target_modules: lora.target_modules ?? null, rank_pattern: lora.rank_pattern ?? {}, alpha_pattern: lora.alpha_pattern ?? {} };
}

const readyModel = (lab: Lab): (ModelShape & { folder: string }) | undefined => (lab.model.state === 'ready' ? lab.model.model : undefined);

function hover(...parts: (string | undefined)[]): vscode.Hover {
  return new vscode.Hover(parts.filter(part => part !== undefined).map(part => new vscode.MarkdownString(part)));
}
