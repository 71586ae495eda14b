/** Memory of the card while something runs on it, as nvidia-smi tells: the same measure for every program. */
import { spawn, type ChildProcess } from 'node:child_process';
import { nvidiaSmi, visibleCard } from '../../../src/engine/executors/hardware';

const QUERY = ['--query-gpu=memory.used', '--format=csv,noheader,nounits', '--loop-ms=100'];
/** nvidia-smi takes a second or two to answer for the first time. */
const PATIENCE_MS = 10_000;

/** Runs `work` and tells by how much the memory in use grew at most; null where no tool tells. */
export async function watchCard<T>(work: () => Promise<T>): Promise<{ result: T; card_memory_bytes: number | null }> {
  const program = nvidiaSmi();
  const seen: number[] = [];
  const tool = program === undefined ? undefined : await follow(program, seen);
  try {
    const result = await work();
    return { result, card_memory_bytes: seen.length ? (Math.max(...seen) - seen[0]) * 2 ** 20 : null };
  } finally { tool?.kill('SIGKILL'); }
}

/** Starts the tool and waits for its first figure, that of the idle card. */
async function follow(program: string, seen: number[]): Promise<ChildProcess> {
  const tool = spawn(program, ['-i', visibleCard(), ...QUERY], { stdio: ['ignore', 'pipe', 'ignore'] });
  await new Promise<void>(done => {
    const timer = setTimeout(done, PATIENCE_MS);
    const answered = (): void => { clearTimeout(timer); done(); };
    tool.once('error', answered).once('exit', answered);
    tool.stdout.setEncoding('utf8').on('data', (text: string) => {
      seen.push(...text.split('\n').filter(line => /^\s*\d+/.test(line)).map(Number));
      if (seen.length) answered();
    });
  });
  return tool;
}
