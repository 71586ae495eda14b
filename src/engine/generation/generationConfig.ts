/** A checkpoint's generation_config.json: of its keys `eos_token_id` and `repetition_penalty` are followed. */
import { join } from 'node:path';
import { LabError } from '../errors';
import { lookUp, readJsonObject } from '../files';
import { GENERATION, wrongSetting } from '../../protocol/generation';

const fileOf = (folder: string): string => join(folder, 'generation_config.json');

/** Its content; empty where there is none. */
export const readGenerationConfig = (folder: string): Record<string, unknown> => (lookUp(fileOf(folder))?.isFile ? readJsonObject(fileOf(folder), 1 << 20) : {});

/** Its `repetition_penalty`, 1 where it has none. Error `predict.setting`: it is no number above 0. */
export function repetitionPenalty(folder: string): number {
  const value = readGenerationConfig(folder).repetition_penalty ?? GENERATION.repetition_penalty.default;
  const right = typeof value === 'number' ? wrongSetting('repetition_penalty', value) : 'a number above 0';
  if (right) throw new LabError({ code: 'predict.setting', file: fileOf(folder), where: 'repetition_penalty', cause: `${JSON.stringify(value)} is no possible value`, action: `give ${right}` });
  return value as number;
}
