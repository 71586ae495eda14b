/** Makes an experiment file from a checkpoint folder and a data file that the person picks. */
import * as fs from 'node:fs/promises';
import * as path from 'node:path';
import { asyncBufferFromFile, parquetMetadataAsync, parquetSchema } from 'hyparquet';
import * as vscode from 'vscode';
import type { DatasetSettings, TASKS } from '../protocol/experiment';
import { kindOfModel, type ModelKind } from '../protocol/modelTypes';
import { experimentName } from './experimentDocument';
import { freeName } from './freeName';
import type { Lab } from './lab';
import { ReportedError } from './reports';
import { isCheckpointFolder } from './runFolders';

/** What the names of data files end with. */
export const DATA_FILES = ['jsonl', 'csv', 'tsv', 'parquet'];

export interface NewExperimentArguments { model?: string; train?: string; file?: string }

/** Returns the new file, or undefined if the person gave up. Arguments that are not given are asked for. */
export async function newExperiment(lab: Lab, args: NewExperimentArguments = {}): Promise<string | undefined> {
  const start = vscode.workspace.workspaceFolders?.[0]?.uri;
  const model = args.model ?? (await vscode.window.showOpenDialog({
    title: 'New experiment (1 of 3): base model, a folder with config.json and *.safetensors', canSelectFolders: true, canSelectFiles: false, openLabel: 'Use as base model', defaultUri: start,
  }))?.[0].fsPath;
  if (!model) return undefined;
  if (!await isCheckpointFolder(model)) {
    throw new ReportedError({ code: 'checkpoint.no-config', file: model, cause: 'the folder has no config.json', action: 'choose a folder in the Hugging Face layout' });
  }
  const train = args.train ?? (await vscode.window.showOpenDialog({
    title: 'New experiment (2 of 3): training data', filters: { 'Training data': DATA_FILES }, openLabel: 'Train on this', defaultUri: start,
  }))?.[0].fsPath;
  if (!train) return undefined;
  return createExperiment(lab, { title: 'New experiment (3 of 3): experiment file', folder: start?.fsPath, name: 'experiment', given: args.file }, target => experimentText(target, model, train));
}

interface Place { title: string; folder: string | undefined; name: string; given?: string }

/** Writes an experiment, asking where unless that is `given`, and opens it. Returns the new file, or undefined if the person gave up. Error `experiment.exists`. */
export async function createExperiment(lab: Lab, { title, folder, name, given }: Place, text: (target: string) => Promise<string> | string): Promise<string | undefined> {
  const defaultUri = folder === undefined ? undefined : vscode.Uri.file(await freeName(folder, name, '.lora.json'));
  // VS Code's own dialog compares the last part of an extension alone. Without "json" it would append .lora.json to a name that has it.
  const file = given ?? (await vscode.window.showSaveDialog({ title, filters: { Experiment: ['lora.json', 'json'] }, defaultUri }))?.fsPath;
  if (!file) return undefined;
  const target = `${file.replace(/(\.lora\.json|\.json)+$/, '')}.lora.json`;
  // The dialog has asked whether a file that is there is to be replaced, but only about the name that it knows.
  const flag = given === undefined && target === file ? 'w' : 'wx';
  await fs.writeFile(target, await text(target), { flag }).catch((error: NodeJS.ErrnoException) => {
    if (error.code !== 'EEXIST') throw error;
    throw new ReportedError({ code: 'experiment.exists', file: target, cause: 'there is an experiment of this name already', action: 'choose another name' });
  });
  const uri = vscode.Uri.file(target);
  await lab.current.choose(uri);
  await vscode.window.showTextDocument(uri);
  return target;
}

/** `file` as an experiment in `folder` names it. */
export const relativeTo = (folder: string, file: string): string => path.relative(folder, file).split(path.sep).join('/') || '.';

/** A complete experiment with the settings that people change first. */
async function experimentText(target: string, model: string, train: string): Promise<string> {
  const relative = (file: string): string => relativeTo(path.dirname(target), file);
  const evaluation = await evaluationBeside(train);
  const { task, ...names } = await columns(train, await kindOf(model));
  const experiment = {
    base_model: relative(model),
    task,
    dataset: { train: relative(train), ...(evaluation ? { eval: relative(evaluation) } : {}), ...names },
    lora: { r: 8, lora_alpha: 16, lora_dropout: 0.05 },
    training: { per_device_train_batch_size: 16, num_train_epochs: 3, learning_rate: 5e-4 },
    // Experiments on the same data are not to take each other's runs for their own.
    output_dir: `runs/${experimentName(target)}`,
  };
  return `${JSON.stringify(experiment, null, 2)}\n`;
}

/** The file that is called as the training data are, with the name of an evaluation set for "train". */
async function evaluationBeside(train: string): Promise<string | undefined> {
  const files = await fs.readdir(path.dirname(train));
  const named = (set: string): string => path.basename(train).replace('train', set);
  const found = ['eval', 'dev', 'validation', 'valid', 'val', 'test'].map(named).find(name => name !== path.basename(train) && files.includes(name));
  return found && path.join(path.dirname(train), found);
}

/** Columns that make a pair of texts, as those of GLUE and SuperGLUE are called. */
const PAIRS = [
  [/^(sentence|text|question)_?(1|a)$/i, /^(sentence|text|question)_?(2|b)$/i],
  [/^premise$/i, /^hypothesis$/i],
  [/^(question|query)$/i, /^(sentence|passage|answer)$/i],
];

/** Columns that hold what a classifier is to tell. */
const LABEL = /^(labels?|class|category|sentiment)$/i;
/** Columns that number the rows. */
const ID = /^(|.*_?id|idx|index|unnamed: 0)$/i;

type Columns = { task: (typeof TASKS)[number] } & Partial<Record<keyof DatasetSettings, string>>;
interface Header { names: string[]; lists: string[] }

/** What a checkpoint can learn. One that cannot be read or trained is taken for an encoder: the run will say what is wrong with it. */
async function kindOf(model: string): Promise<ModelKind> {
  const { model_type } = objectOf(await fs.readFile(path.join(model, 'config.json'), 'utf8').catch(() => ''));
  return kindOfModel(model_type) ?? 'encoder';
}

/**
 * Task and column names from the kind of the model and the beginning of the data: an encoder tells classes apart, of texts, or of words where
 * there is a list of them with a list of tags; a decoder writes, unless the data has labels.
 */
async function columns(train: string, kind: ModelKind): Promise<Columns> {
  const { names, lists } = /\.parquet$/i.test(train) ? await parquetHeader(train) : headerOf(await firstLine(train), train);
  const found = (pattern: RegExp, among = names): string | undefined => among.find(name => pattern.test(name));
  const [text_column = found(/^(text|sentence|review|content|body)$/i) ?? 'text', text_pair_column] = PAIRS.map(pair => pair.map(name => found(name))).find(pair => pair.every(Boolean)) ?? [];
  const texts = { text_column, ...(text_pair_column ? { text_pair_column } : {}) };
  if (kind === 'encoder-decoder') return { task: 'SEQ_2_SEQ_LM', source_column: found(/^(source|input|prompt|question|article|document|text)$/i) ?? 'source', target_column: found(/^(target|output|completion|answer|summary|response)$/i) ?? 'target' };
  const [tokens_column, tags_column] = [/^(tokens|words)$/i, /^(tags|labels|.+_tags)$/i].map(pattern => found(pattern, lists));
  if (kind === 'encoder' && tokens_column && tags_column) return { task: 'TOKEN_CLS', tokens_column, tags_column };
  if (kind === 'encoder') return { task: 'SEQ_CLS', ...texts, label_column: found(LABEL) ?? found(/^target$/i) ?? onlyBeside(Object.values(texts), names) ?? 'label' };
  const messages_column = found(/^(messages|conversations?)$/i, lists);
  if (messages_column) return { task: 'CAUSAL_LM', messages_column };
  const [prompt_column, completion_column] = [/^(prompt|instruction|question|input|source)$/i, /^(completion|response|output|answer|target)$/i].map(pattern => found(pattern));
  if (prompt_column && completion_column) return { task: 'CAUSAL_LM', prompt_column, completion_column };
  const label_column = found(LABEL);
  return label_column ? { task: 'SEQ_CLS', ...texts, label_column } : { task: 'CAUSAL_LM', text_column };
}

/** The one column that is left where the texts have been found, apart from numbers of rows. */
function onlyBeside(texts: string[], names: string[]): string | undefined {
  const left = names.filter(name => !texts.includes(name) && !ID.test(name));
  return left.length === 1 && texts.every(name => names.includes(name)) ? left[0] : undefined;
}

async function firstLine(train: string): Promise<string> {
  const handle = await fs.open(train);
  const { buffer, bytesRead } = await handle.read(Buffer.alloc(65536), 0, 65536, 0).finally(() => handle.close());
  return buffer.subarray(0, bytesRead).toString('utf8').replace(/^\uFEFF/, '').split(/\r?\n/)[0];
}

function headerOf(line: string, train: string): Header {
  if (!train.endsWith('.jsonl')) return { names: line.split(train.endsWith('.tsv') ? '\t' : ',').map(name => name.trim().replace(/^"|"$/g, '')), lists: [] };
  const row = objectOf(line);
  return { names: Object.keys(row), lists: Object.keys(row).filter(name => Array.isArray(row[name])) };
}

/** None of a file that is damaged: the run will say what is wrong with it. */
async function parquetHeader(train: string): Promise<Header> {
  try {
    const { children } = parquetSchema(await parquetMetadataAsync(await asyncBufferFromFile(train)));
    return { names: children.map(({ element }) => element.name), lists: children.filter(column => column.children.length > 0).map(({ element }) => element.name) };
  } catch {
    return { names: [], lists: [] };
  }
}

function objectOf(line: string): Record<string, unknown> {
  try {
    return Object(JSON.parse(line)) as Record<string, unknown>;
  } catch {
    return {};
  }
}
