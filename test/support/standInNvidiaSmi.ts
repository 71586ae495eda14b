/** A stand-in for nvidia-smi: tells what the file `used` beside it says (MiB) of card 0, and something else of card 1; with `--loop-ms` again and again. Once it was asked, `grows` MiB more are in use. */
import { chmodSync, existsSync, statSync, writeFileSync } from 'node:fs';
import { join } from 'node:path';

export interface StandInCard {
  program: string;
  use(mebibytes: number): void;
  /** Milliseconds for which it has gone on telling with `--loop-ms`. */
  telling(): number;
}

const LOOP_MS = 100;

export function writeNvidiaSmi(folder: string, mebibytes: number, grows = 0): StandInCard {
  const [program, used, told] = [join(folder, 'nvidia-smi'), join(folder, 'used'), join(folder, 'told')];
  writeFileSync(program, `#!${process.execPath}
const { appendFileSync, readFileSync, writeFileSync } = require('node:fs');
const used = () => Number(readFileSync(${JSON.stringify(used)}, 'utf8'));
const tell = () => console.log('1, 5, 8192, 0\\n0, ' + used() + ', 8192, 97');
tell();
if (process.argv.some(word => word.startsWith('--loop-ms'))) setInterval(() => { tell(); appendFileSync(${JSON.stringify(told)}, '.'); }, ${LOOP_MS});
else writeFileSync(${JSON.stringify(used)}, String(used() + ${grows}));
`);
  chmodSync(program, 0o755);
  const use = (amount: number): void => writeFileSync(used, String(amount));
  use(mebibytes);
  return { program, use, telling: () => (existsSync(told) ? LOOP_MS * statSync(told).size : 0) };
}
