/** What a checkpoint consists of and what a LoRA configuration does to it, from headers alone. */
import { labelForm, scanLabels, writtenClasses } from './data/examples';
import { labelsFor, namingConfig } from './data/labels';
import { scanTags } from './data/tagExamples';
import { openCheckpoint } from './model/checkpoint';
import { families } from './model/families';
import { classWeight, type ParameterSpec } from './model/family';
import { familyOf, modelOf, storedTensor, usualTask } from './model/loadModel';
import { adapterTensors, planAdapter } from './model/lora';
import { problemTypeOf, VALUE_LABELS } from './model/problemType';
import type { LoadedModel } from './model/weights';
import type { BaseDropout, EngineRequests, Inspection, ModuleInfo } from '../protocol/engine';
import type { MemoryModel } from '../protocol/memoryEstimate';
import { hasClasses, parseExperiment, type LoraSettings, type ProblemType } from '../protocol/experiment';
import { LabError } from './errors';
import { lookUp } from './files';
import { stepProgram } from './training/step';

/**
 * Modules, shapes and counts of a checkpoint as a model for `task`; null takes the one it is stored for. With `dataset` the head gets as many classes as that data has, if it can be read;
 * with `lora` the matched modules and trainable parameters are those that PEFT counts.
 * Errors: those of the checkpoint; with `lora` also `experiment.problem` and those of the targets.
 */
export function inspectCheckpoint({ folder, task: wanted, problem_type: asked = null, lora, dataset }: EngineRequests['inspect'][0]): Inspection {
  const checkpoint = openCheckpoint(folder);
  const family = familyOf(checkpoint.config, families, checkpoint.folder);
  const task = wanted ?? usualTask(checkpoint.config, family);
  const stored = storedTensor(checkpoint, family, classWeight(family, task))?.shape[0] ?? null;
  const problem_type = problemTypeOf(checkpoint.config, { task, asked, classes: stored });
  const labels = !hasClasses(task) ? null : problem_type === 'regression' ? VALUE_LABELS : dataset ? labelsOfData(dataset, checkpoint.config, stored, task, problem_type) : null;
  const model = modelOf(checkpoint, { task, labels, seed: 0, families });
  const base_parameters = parametersOf(model);
  const inspection: Inspection = {
    folder: checkpoint.folder, model_type: String(checkpoint.config.model_type), modules: modulesOf(model), base_parameters,
    default_target_modules: [...family.default_target_modules], matched: [], trainable_parameters: 0, all_parameters: base_parameters, labels: model.labels,
    ...whatMemoryTakes(model), data_bytes: sizeOf(dataset),
  };
  if (!lora) return inspection;
  const settings = settingsOf(lora);
  const plan = planAdapter(model, settings);
  return {
    ...inspection, trainable_parameters: plan.trainable_parameters, all_parameters: plan.all_parameters,
    matched: plan.modules.map(module => {
      const { name, r, lora_alpha, in_features, out_features } = module;
      return { name, r, lora_alpha, A: [r, in_features], B: [out_features, r], parameters: adapterTensors(module, settings).reduce((sum, [, shape]) => sum + count(shape), 0) };
    }),
  };
}

/** Where the forward pass, recorded without adapters, masks the states of tokens, and attention probabilities; and the query heads of each layer. */
function whatMemoryTakes(model: LoadedModel): { dropout: BaseDropout; heads: number } {
  const { sites, layout } = stepProgram({ model, plan: null, lora: settingsOf({}), train: true });
  const hidden = sites.reduce((sum, { rows, width }) => sum + (typeof width === 'number' && rows !== 'R' ? width : 0), 0);
  return { dropout: { hidden, attention: sites.filter(({ rows, width }) => typeof width === 'string' && rows !== 'H').length }, heads: layout.heads.query };
}

/** A model that is loaded, as its memory is estimated. */
export const memoryModel = (model: LoadedModel): MemoryModel => ({
  modules: modulesOf(model), base_parameters: parametersOf(model), default_target_modules: [...model.family.default_target_modules], ...whatMemoryTakes(model),
});

const parametersOf = ({ parameters }: LoadedModel): number => parameters.reduce((sum, { shape }) => sum + count(shape), 0);

/** Of compressed files the size says little of what is in them. */
function sizeOf(dataset: EngineRequests['inspect'][0]['dataset']): number | null {
  const files = [dataset?.train, dataset?.eval].filter(file => typeof file === 'string');
  if (files.some(file => /\.parquet$/i.test(file))) return null;
  const sizes = files.flatMap(file => lookUp(file)?.size ?? []);
  return sizes.length ? sizes.reduce((sum, size) => sum + size, 0) : null;
}

/** Class names of the data; null if it cannot be read, which a run will say with more to go by. */
function labelsOfData(dataset: NonNullable<EngineRequests['inspect'][0]['dataset']>, config: Record<string, unknown>, stored: number | null, task: string, problem_type: ProblemType): string[] | null {
  const { train: file, text_column, label_column } = dataset;
  const options = { file, dataset: { text_column, label_column }, problem_type };
  try {
    const { form } = task === 'TOKEN_CLS' ? { form: 'numbers' as const } : labelForm(options);
    const values = task === 'TOKEN_CLS' ? scanTags({ file, dataset }) : scanLabels({ ...options, form });
    const written = writtenClasses(file, task === 'TOKEN_CLS' ? dataset.tags_column : label_column);
    return labelsFor(namingConfig(config, form, stored, values.size), stored, values, problem_type === 'multi_label_classification' ? 1 : 2, written).names;
  } catch { return null; }
}

function settingsOf({ full, ...lora }: Record<string, unknown>): LoraSettings {
  const { experiment, problems } = parseExperiment({ base_model: '-', dataset: { train: '-' }, lora: full === true ? null : lora });
  if (experiment) return experiment.lora;
  throw new LabError({ code: 'experiment.problem', where: problems[0].path.join('.'), cause: problems[0].cause, action: problems[0].action });
}

const count = (shape: readonly number[]): number => shape.reduce((product, size) => product * size, 1);
const TYPES = { linear: 'Linear', embedding: 'Embedding', norm: 'LayerNorm' } as const;

/** One entry for each module with a weight, in the order of the forward pass; the modules that share a table have one each after it. */
function modulesOf(model: LoadedModel): ModuleInfo[] {
  const heads = model.family.headModules(model.task);
  const weights = model.parameters.filter((spec): spec is ParameterSpec & { kind: keyof typeof TYPES } => spec.name.endsWith('.weight') && spec.kind !== 'bias');
  return weights.flatMap(({ name: parameter, shape: stored, kind, modules = [], fan_in_fan_out, output = false }) => {
    const shape = fan_in_fan_out ? [...stored].reverse() : stored;
    const name = parameter.replace(/\.weight$/, '');
    const own = model.parameters.filter(spec => spec.name === parameter || spec.name === `${name}.bias`);
    const source = model.weights.get(parameter)!;
    const dtype = source.source === 'file' && ['F32', 'F16', 'BF16'].includes(source.ref.dtype) ? source.ref.dtype as ModuleInfo['dtype'] : null;
    const saved = heads.some(head => name === head || name.startsWith(`${head}.`));
    const info: ModuleInfo = {
      name, type: TYPES[kind], shape, parameters: own.reduce((sum, spec) => sum + count(spec.shape), 0), dtype,
      adaptable: kind !== 'norm' && !saved && !modules.length, saved, ...(kind === 'linear' && output ? { output } : {}),
    };
    return [info, ...modules.map(reader => ({ ...info, name: reader, adaptable: true }))];
  });
}
