/** Runs that train the whole model (`"lora": null`): their values in checkpoints, and the checkpoint folder that they end with. */
import { join } from 'node:path';
import { LabError } from '../errors';
import { families } from './families';
import type { AdapterPlan } from './lora.types';
import { openCheckpoint } from './checkpoint';
import { mergedConfig, writeWeights } from './merge';
import { changedJson, copyCompanions } from './mergeFiles';
import { LIMITS } from './mergeTensor';
import { modelOf, storedTensor } from './loadModel';
import { readHeader, readTensor } from './safetensors';
import { writeSafetensors } from './safetensorsWriter';
import { transaction, writeFile } from '../transaction';
import type { LoadedModel } from './weights';

/** In a checkpoint: all values as float32, whatever the base is stored as. */
const VALUES = 'model.safetensors';

type Values = { plan: AdapterPlan; trainables: Float32Array };

/** Error `model.not-finite`, naming the parameter: one that cannot be stored as `dtype` of its own tensor. */
function check({ plan, trainables }: Values, folder: string, limitOf: (parameter: string) => number): void {
  for (const { name, offset, size } of plan.trainables) {
    const limit = limitOf(name);
    const bad = trainables.subarray(offset, offset + size).find(value => !(Math.abs(value) < limit));
    if (bad !== undefined) throw new LabError({ code: 'model.not-finite', file: folder, where: name, cause: `holds ${bad}, which cannot be stored`, action: 'go back to an earlier checkpoint and lower the learning rate' });
  }
}

/** Writes the values into the folder of a checkpoint. */
export async function writeValues(folder: string, values: Values): Promise<void> {
  check(values, folder, () => Infinity);
  const { plan, trainables } = values;
  await writeSafetensors(join(folder, VALUES), plan.trainables.map(({ name, shape, offset, size }) => ({ name, shape, dtype: 'F32' as const, data: trainables.subarray(offset, offset + size) })), { format: 'pt' });
}

/** The values of a checkpoint that has been verified, flat in the order of the plan. */
export function readValues(folder: string, plan: AdapterPlan): Float32Array {
  const { tensors } = readHeader(join(folder, VALUES));
  const values = new Float32Array(plan.trainable_parameters);
  for (const { name, offset } of plan.trainables) values.set(readTensor(tensors.get(name)!), offset);
  return values;
}

/** Writes the trained model as an ordinary checkpoint folder, in the base's types and files, with its tokenizer. Replaces an earlier one. */
export async function writeModel(folder: string, model: LoadedModel, values: Values): Promise<void> {
  const checkpoint = openCheckpoint(model.folder);
  const { plan, trainables } = values;
  check(values, folder, name => LIMITS[storedTensor(checkpoint, model.family, name)?.dtype ?? 'F32'] ?? Infinity);
  const saved = new Map(plan.trainables.map(({ name, shape, offset, size }) => [name, { shape, data: trainables.subarray(offset, offset + size) }]));
  const names = new Map(model.parameters.flatMap(({ name }) => { const ref = storedTensor(checkpoint, model.family, name); return ref ? [[ref.name, name] as const] : []; }));
  const content = { model, deltas: new Map(), saved, names, output: null };
  await transaction(folder, async temporary => {
    await writeWeights(temporary, checkpoint, content);
    writeFile(join(temporary, 'config.json'), changedJson(join(checkpoint.folder, 'config.json'), mergedConfig(checkpoint, content)));
    copyCompanions(checkpoint.folder, temporary);
    modelOf(openCheckpoint(temporary), { task: model.task, labels: model.labels, problem_type: model.problem_type, seed: 0, families });
  });
}
