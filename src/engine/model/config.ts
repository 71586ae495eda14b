/** Reads values out of a checkpoint's config.json, with messages that name the key. */
import { LabError } from '../errors';
import type { Config } from './family';

/** Error `checkpoint.config`: the value of a key is not what it should be. */
export function wrongValue(key: string, value: unknown, expected: string): LabError {
  return new LabError({
    code: 'checkpoint.config', file: 'config.json', where: key,
    cause: value === undefined ? 'the key is missing' : `${JSON.stringify(value)} is not ${expected}`,
    action: 'use the config.json that belongs to this checkpoint',
  });
}

/** A whole number of at least 1. */
export function size(config: Config, key: string): number {
  const value = config[key];
  // Far above any real model, and low enough that products of sizes stay exact.
  if (!Number.isSafeInteger(value) || (value as number) < 1 || (value as number) > 1e8) throw wrongValue(key, value, 'a whole number of at least 1');
  return value as number;
}

export function number(config: Config, key: string, otherwise: number): number {
  const value = config[key] ?? otherwise;
  if (typeof value !== 'number' || !Number.isFinite(value)) throw wrongValue(key, value, 'a number');
  return value;
}

export function probability(config: Config, key: string, otherwise: number): number {
  const value = number(config, key, otherwise);
  if (value < 0 || value >= 1) throw wrongValue(key, value, 'a probability below 1');
  return value;
}

/** A text out of a list of those that the engine supports. */
export function oneOf<T extends string>(config: Config, key: string, supported: readonly T[], otherwise: T): T {
  const value = config[key] ?? otherwise;
  if (!supported.includes(value as T)) throw wrongValue(key, value, `supported; supported are ${supported.join(', ')}`);
  return value as T;
}

/** True or false; an absent key and null stand for `otherwise`. */
export function flag(config: Config, key: string, otherwise: boolean): boolean {
  const value = config[key] ?? otherwise;
  if (typeof value !== 'boolean') throw wrongValue(key, value, 'true or false');
  return value;
}

/** A whole number of at least 1, or null. */
export const optionalSize = (config: Config, key: string): number | null => (config[key] == null ? null : size(config, key));

/** Refuses a switch that is on. */
export function mustBeOff(config: Config, ...keys: string[]): void {
  for (const key of keys) if (flag(config, key, false)) throw wrongValue(key, true, 'supported; only false is');
}

/** The token number that pads, or null; an absent key stands for `otherwise`. */
export function padToken(config: Config, otherwise: number | null = null): number | null {
  const value = config.pad_token_id === undefined ? otherwise : config.pad_token_id;
  return Number.isSafeInteger(value) ? value as number : null;
}
