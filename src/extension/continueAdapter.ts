/** Makes an experiment that goes on from a trained adapter, as on other data or with another learning rate. */
import * as fs from 'node:fs/promises';
import * as path from 'node:path';
import * as vscode from 'vscode';
import { SECTIONS, SETTINGS, type Setting } from '../protocol/experiment';
import type { Lab } from './lab';
import { createExperiment, relativeTo } from './newExperiment';
import { ReportedError } from './reports';
import { readJson } from './runFolders';
import type { RunNode } from './runTree';

type Values = Record<string, unknown>;

/**
 * Writes an experiment with the settings of a run, of those that are not the defaults, which starts from `adapter`, the run's or that of one of its checkpoints.
 * The person is asked where to. Returns the new file, or undefined if the person gave up. Errors `run.no-settings`, `experiment.exists`.
 */
export async function continueAdapter(lab: Lab, { run, experiment }: RunNode & { kind: 'run' }, adapter: string): Promise<string | undefined> {
  const settings = await readObject(run.folder, 'experiment.json');
  const config = await readObject(adapter, 'adapter_config.json');
  if (!settings || !config) throw new ReportedError({ code: 'run.no-settings', file: run.folder, cause: 'its experiment.json, or the adapter_config.json of its adapter, cannot be read', action: 'make a new experiment and name the adapter in lora.init_adapter' });
  const folder = experiment ? path.dirname(experiment) : await folderOf(settings, run.folder);
  return createExperiment(lab, { title: 'Continue from this adapter: experiment file', folder, name: `${run.name}-continued` }, target => {
    const of = (section: keyof typeof SETTINGS, values: Values): Values => changed(section, values, file => relativeTo(path.dirname(target), path.resolve(folder, file)));
    const { output_dir: _, ...top } = of('experiment', settings);
    const sections = Object.fromEntries(SECTIONS.map(name => [name, of(name, sectionOf(settings, name))] as const).filter(([, values]) => Object.keys(values).length > 0));
    const lora = { ...sections.lora, ...startOf(sectionOf(settings, 'lora'), config), init_adapter: relativeTo(path.dirname(target), adapter) };
    return `${JSON.stringify({ ...top, ...sections, lora, output_dir: `runs/${path.basename(target, '.lora.json')}` }, null, 2)}\n`;
  });
}

/** One that is missing, or null, has the defaults. */
const sectionOf = (settings: Values, name: string): Values => (settings[name] ?? {}) as Values;

/** A start from the weights of the base is saved as a plain adapter of twice the rank, and an adapter brings its own start. */
function startOf({ init_lora_weights }: Values, config: Values): Values {
  if (typeof init_lora_weights !== 'string' || init_lora_weights === 'gaussian') return {};
  const { r, lora_alpha, rank_pattern, alpha_pattern } = config;
  return { r, lora_alpha, rank_pattern, alpha_pattern, init_lora_weights: true };
}

/** The values of a section that are not the defaults; paths as `place` gives them. */
function changed(section: keyof typeof SETTINGS, values: Values, place: (file: string) => string): Values {
  return Object.fromEntries(Object.entries(SETTINGS[section] as Record<string, Setting<unknown>>).flatMap(([key, setting]) => {
    const value = values[key];
    if (value === undefined || JSON.stringify(value) === JSON.stringify(setting.default)) return [];
    return [[key, setting.path && typeof value === 'string' ? place(value) : value]];
  }));
}

/** The folder that the paths of a run's settings start from: nearest above the run, else of the workspace, where its training data are. */
async function folderOf(settings: Values, run: string): Promise<string> {
  const above = (folder: string): string[] => (path.dirname(folder) === folder ? [] : [path.dirname(folder), ...above(path.dirname(folder))]);
  const folders = [...above(run), ...(vscode.workspace.workspaceFolders ?? []).map(({ uri }) => uri.fsPath)];
  for (const folder of folders) if (await fs.access(path.resolve(folder, String(sectionOf(settings, 'dataset').train))).then(() => true, () => false)) return folder;
  return folders[0];
}

async function readObject(folder: string, name: string): Promise<Values | undefined> {
  const json = await readJson(folder, name);
  return typeof json === 'object' && json !== null ? json as Values : undefined;
}
