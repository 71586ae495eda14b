/** Where base weights in int8 are refused, and tests of them skipped. */
import { readFileSync } from 'node:fs';

const EXACT = /\b(?:avx512_vnni|avx_vnni|amx_int8)\b/;

/** Why there is no int8 on this machine, by what Linux says of an x86 processor; elsewhere it is expected. The engine itself asks for a product (`checkIntegerProducts`). */
export const WITHOUT_INT8 = process.platform === 'linux' && process.arch === 'x64' && !EXACT.test(readFileSync('/proc/cpuinfo', 'utf8'))
  ? 'this processor has no exact products of 8-bit numbers (VNNI or AMX)' : undefined;

/** For the tests of one precision. */
export const without = (precision: string): { skip?: string } => (precision === 'int8' ? { skip: WITHOUT_INT8 } : {});
