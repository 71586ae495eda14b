/** Reads values out of a checkpoint's config.json, with messages that name the key. */
import { LabError } from '../errors';
import type { Config } from './family';

function wrong(key: string, value: unknown, expected: string): LabError {
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
  if (!Number.isSafeInteger(value) || (value as number) < 1 || (value as number) > 1e8) throw wrong(key, value, 'a whole number of at least 1');
  return value as number;
}

export function number(config: Config, key: string, otherwise: number): number {
  const value = config[key] ?? otherwise;
  if (typeof value !== 'number' || !Number.isFinite(value)) throw wrong(key, value, 'a number');
  return value;
}

export function probability(config: Config, key: string, otherwise: number): number {
  const value = number(config, key, otherwise);
  if (value < 0 || value >= 1) throw wrong(key, value, 'a probability below 1');
  return value;
}

/** A text out of a list of those that the engine supports. */
export function oneOf<T extends string>(config: Config, key: string, supported: readonly T[], otherwise: T): T {
  const value = config[key] ?? otherwise;
  if (!supported.includes(value as T)) throw wrong(key, value, `supported; supported are ${supported.join(', ')}`);
  return value as T;
}
