/**
 * The commands of the command line. Results go to standard output as JSON, everything for people to standard error.
 * Exit codes: 0 done, 2 the input is at fault, 130 interrupted, 1 a fault of the engine.
 */
import { extname, resolve } from 'node:path';
import { parseArgs, type ParseArgsConfig } from 'node:util';
import { showProgress } from './cliProgress';
import { placeIn, readRecords, readRows, textOf, type Column } from './data/dataset';
import { DeviceWatch } from './deviceWatch';
import { settled, startThread, type EngineThread } from './engineThread';
import { formatReport, LabError } from './errors';
import { readExperimentFile } from './experimentFile';
import { lookUp, readText } from './files';
import { onInterrupt, outliveReaders } from './interrupts';
import type { StartedWorker } from './startWorker';
import { Telemetry } from './telemetry';
import { abandon } from './transaction';
import { predictTask } from './model/predictTask';
import type { EngineRequests, RuntimeName } from '../protocol/engine';
import { DEVICES, PRECISIONS, valueProblem } from '../protocol/experiment';
import { silentReport } from '../protocol/silentGpu';

const USAGE = `LoRA Lab

  npm run --silent lab -- train EXPERIMENT [--resume]                trains an experiment (*.lora.json); --resume goes on from the last checkpoint
  npm run --silent lab -- sweep EXPERIMENT [--resume]                trains every member of the experiment's section "sweep" on one base in memory and ranks them
  npm run --silent lab -- merge --base DIR --adapter DIR --out DIR   writes base + adapter as a new checkpoint
  npm run --silent lab -- predict --base DIR [--adapter DIR] --input FILE [--text_column NAME] [--text_pair_column NAME] [--device auto|cpu|webgpu|cuda|tensorflow] [--precision fp32|fp16|int8|int4] [--threads N]
                                                                     classifies, or with a language model continues, the texts of a .jsonl, .csv, .tsv,
                                                                     .parquet or .txt file (one text a line); T5 writes the target of each source (column "source");
                                                                     with TOKEN_CLS tags the words of each list, or of a text split at spaces (column "tokens");
                                                                     writing takes --max_new_tokens N, --repetition_penalty X (1 for none; by default that of
                                                                     the checkpoint's generation_config.json) and, to draw instead of
                                                                     taking the most probable token, --temperature X [--top_k N] [--top_p X] [--seed N];
                                                                     with --chat each text is a user's turn, put through the checkpoint's chat template
  npm run --silent lab -- inspect DIR|EXPERIMENT                     modules and shapes of a checkpoint, and what an experiment's target_modules match
  npm run --silent lab -- preview EXPERIMENT [--examples N]          what training will read: its first N (5) examples token by token, what of them is learned, how many are cut
  npm run --silent lab -- devices                                    what this machine can train on
  npm run --silent lab -- install tensorflow|cuda [--from FILE|FOLDER|URL] [--variant gpu|cpu] [--link PYTHON] [--list]
                                                                     fetches, checks and unpacks a GPU runtime (Linux, x64); --from gives the archive, a folder of
                                                                     downloads or a mirror; --link uses the TensorFlow of a Python environment; --list names what
                                                                     would be fetched, one address a line for wget -x -i -
  npm run --silent lab -- uninstall tensorflow|cuda                  removes it

Results go to standard output as JSON. Exit codes: 0 done, 2 the input is at fault, 1 a fault of the engine,
130 interrupted: train and sweep wrote a checkpoint if a step was done, merge and install removed what was unfinished; a second Ctrl+C ends them at once.`;

const usageError = (cause: string, action = 'see: npm run --silent lab -- --help'): LabError => new LabError({ code: 'cli.usage', cause, action });

type Options = Record<string, string | boolean | undefined>;

function parse(args: string[], options: NonNullable<ParseArgsConfig['options']>, positionals: number, names: string): { options: Options; positionals: string[] } {
  let parsed;
  try { parsed = parseArgs({ args, options, allowPositionals: true, strict: true }); } catch (error) {
    const { message } = error as Error;
    const option = /^Option '(--\S+)' argument is ambiguous/.exec(message)?.[1];
    throw option ? usageError(`the value of ${option} begins with a dash`, `write "${option}=${args[args.indexOf(option) + 1]}"`) : usageError(message.split(/\.\s/)[0]);
  }
  if (parsed.positionals.length !== positionals) throw usageError(`${positionals ? `give ${names}` : 'there is an argument too many'}`);
  return { options: parsed.values as Options, positionals: parsed.positionals };
}

function required(options: Options, name: string): string {
  const value = options[name];
  if (typeof value !== 'string' || value === '') throw usageError(`--${name} is missing`);
  return resolve(value);
}

function runtimeName(name: string): RuntimeName {
  if (name === 'tensorflow' || name === 'cuda') return name;
  throw usageError(`"${name}" is no runtime; there are tensorflow and cuda`);
}

function numberOf(options: Options, name: string): number {
  const value = Number(options[name]);
  if (options[name] === '' || !Number.isFinite(value)) throw usageError(`--${name} is no number`);
  return value;
}

const text = { type: 'string' } as const;

/** What an experiment's file calls `engine.device` is `--device` here. */
function asOption(error: unknown): unknown {
  const place = error instanceof LabError && /^engine\.(\w+)$/.exec(error.report.where ?? '');
  return place ? new LabError({ ...(error as LabError).report, where: `--${place[1]}` }, { cause: error }) : error;
}

/** What is said of one of the texts that were given. */
const OF_A_TEXT = ['predict.no-texts', 'predict.too-long', 'predict.context', 'predict.chat-template', 'dataset.token-beyond-vocabulary', 'dataset.token-type'];

/** An error about a text names the file and the line that the text came from. */
function inInput(error: unknown, file: string, lines: readonly number[]): unknown {
  if (!(error instanceof LabError) || !OF_A_TEXT.includes(error.report.code)) return error;
  // Of several texts the engine gives the number of one, as "text 2" or "prompt 2".
  const [, number = 1] = /^\w+ (\d+)$/.exec(error.report.where ?? '') ?? [];
  return new LabError({ ...error.report, file, where: placeIn({ file, line: lines[Number(number) - 1] }) }, { cause: error });
}

/** A run or a sweep, which a signal ends with a checkpoint. */
async function trained<M extends 'train' | 'sweep'>(method: M, args: string[], started?: StartedWorker): Promise<EngineRequests[M][1]> {
  let given;
  try { given = parse(args, { resume: { type: 'boolean' } }, 1, 'one experiment file'); } catch (error) {
    if (started) await settled(started);
    throw error;
  }
  const { options, positionals: [file] } = given;
  const engine = startThread(started);
  const telemetry = new Telemetry(engine.peaks, sample => progress.telemetry(sample));
  const progress = showProgress(engine, process.stderr, device => telemetry.follow(device));
  const watch = new DeviceWatch(engine.calls, since => progress.silent(since));
  telemetry.start();
  watch.start();
  onInterrupt(() => {
    watch.hurry();
    void engine.request('stop', {}).catch(() => process.exit(130));
  });
  let summary: EngineRequests[M][1];
  try { summary = await engine.request(method, { experiment_file: resolve(file), resume: options.resume === true }); } catch (error) {
    if (error instanceof LabError && error.report.code === 'run.cancelled') { process.stderr.write('interrupted before the first step\n'); process.exit(130); }
    throw error;
  } finally { progress.end(); telemetry.stop(); watch.stop(); }
  if (summary.state === 'stopped') { process.stdout.write(`${JSON.stringify(summary, null, 2)}\n`); process.exit(130); }
  return summary;
}

const COMMANDS: Record<string, (args: string[], started?: StartedWorker) => Promise<unknown>> = {
  train: (args, started) => trained('train', args, started),
  sweep: (args, started) => trained('sweep', args, started),

  async merge(args) {
    const { options } = parse(args, { base: text, adapter: text, out: text }, 0, '');
    const params = { base: required(options, 'base'), adapter: required(options, 'adapter'), out: required(options, 'out') };
    const engine = startThread();
    onInterrupt(() => void engine.end().then(() => {
      let said = 'what was unfinished is removed';
      try { abandon(params.out); } catch (error) {
        if (!(error instanceof LabError)) throw error;
        said = `what was unfinished could not be removed: ${formatReport(error.report)}`;
      }
      process.stderr.write(`interrupted; ${said}\n`);
      process.exit(130);
    }));
    return engine.request('merge', params);
  },

  async predict(args) {
    const numbers = ['max_new_tokens', 'temperature', 'top_k', 'top_p', 'repetition_penalty', 'seed'] as const;
    const { options } = parse(args, { base: text, adapter: text, input: text, text_column: text, text_pair_column: text, device: text, precision: text, threads: text, ...Object.fromEntries(numbers.map(name => [name, text])), chat: { type: 'boolean' } }, 0, '');
    const column = (name: string): string | null => (typeof options[name] === 'string' ? options[name] : null);
    const precision = PRECISIONS.find(name => name === (options.precision ?? 'fp32'));
    if (!precision) throw usageError(`--precision is one of ${PRECISIONS.join(', ')}`);
    const device = DEVICES.find(name => name === (options.device ?? 'auto'));
    if (!device) throw usageError(`--device is one of ${DEVICES.join(', ')}`);
    const threads = options.threads === undefined ? null : numberOf(options, 'threads');
    const wrong = valueProblem(['engine', 'threads'], threads);
    if (wrong) throw usageError(`--threads: ${wrong}`);
    const model = { base: required(options, 'base'), adapter: options.adapter === undefined ? null : required(options, 'adapter'), device, precision, threads };
    const settings = Object.fromEntries(numbers.flatMap(name => (options[name] === undefined ? [] : [[name, numberOf(options, name)]])));
    const task = predictTask(model.base, model.adapter);
    const asked = <T>(lines: readonly number[], answer: (engine: EngineThread) => Promise<T>): Promise<T> => {
      const engine = startThread();
      engine.on('log', ({ level, message }) => { if (level === 'warn') process.stderr.write(`warn: ${message}\n`); });
      const watch = new DeviceWatch(engine.calls, since => {
        process.stderr.write(since === null ? 'the GPU has answered\n' : `warn: ${formatReport(silentReport(since, 'Ctrl+C ends it', 'the work'))}\n`);
      });
      watch.start();
      return answer(engine).catch(error => { throw asOption(inInput(error, required(options, 'input'), lines)); }).finally(() => watch.stop());
    };
    const classify = ({ lines, ...request }: Pick<EngineRequests['predict'][0], 'texts' | 'pairs'> & Lines): Promise<unknown> => asked(lines, engine => engine.request('predict', { ...model, ...request }));
    if (task === 'TOKEN_CLS') {
      const [unused] = [...Object.keys(settings), ...(options.chat ? ['chat'] : []), ...(column('text_pair_column') === null ? [] : ['text_pair_column'])];
      if (unused !== undefined) throw usageError(`--${unused} is not used by ${task}`);
      return classify(readWords(required(options, 'input'), column('text_column') ?? 'tokens'));
    }
    const given = readTexts(required(options, 'input'), column('text_column') ?? (task === 'SEQ_2_SEQ_LM' ? 'source' : 'text'), column('text_pair_column'));
    if (task === 'CAUSAL_LM' || task === 'SEQ_2_SEQ_LM') {
      if (given.pairs) throw usageError('--text_pair_column is only for classifiers');
      const drawing = (['top_k', 'top_p', 'seed'] as const).find(name => settings[name] !== undefined);
      if (drawing && settings.temperature === undefined) throw usageError(`--${drawing} needs --temperature: without it the most probable token is taken, and nothing is drawn`, `add --temperature, or leave --${drawing} out`);
      return asked(given.lines, engine => engine.request('generate', { ...model, prompts: given.texts, chat: options.chat === true, ...settings }));
    }
    const [foreign] = [...Object.keys(settings), ...(options.chat ? ['chat'] : [])];
    if (foreign !== undefined) throw usageError(`--${foreign} is only for language models`);
    return classify(given);
  },

  async inspect(args) {
    const { positionals: [path] } = parse(args, {}, 1, 'a checkpoint folder or an experiment file');
    const engine = startThread();
    const { isFile } = lookUp(resolve(path)) ?? { isFile: extname(path) === '.json' };
    // Of weights it is to be said that their folder is wanted.
    if (!isFile || extname(path) === '.safetensors') return engine.request('inspect', { folder: resolve(path), task: null });
    const source = readExperimentFile(path);
    const { base_model, task, problem_type, lora, dataset } = source.experiment;
    return engine.request('inspect', {
      folder: source.resolve(base_model), task, problem_type, lora, dataset: { ...dataset, train: source.resolve(dataset.train), eval: dataset.eval === null ? null : source.resolve(dataset.eval) },
    }).catch((error: unknown) => {
      if (!(error instanceof LabError) || error.report.file !== undefined) throw error;
      throw new LabError({ ...error.report, file: source.file, where: source.place(error.report.where) });
    });
  },

  async preview(args) {
    const { options, positionals: [file] } = parse(args, { examples: text }, 1, 'one experiment file');
    const examples = options.examples === undefined ? undefined : numberOf(options, 'examples');
    if (examples !== undefined && !(Number.isSafeInteger(examples) && examples > 0)) throw usageError('--examples is no number of examples');
    return startThread().request('preview', { experiment_file: resolve(file), examples });
  },

  async devices(args) {
    parse(args, {}, 0, '');
    return (await import('./executors/devices')).listDevices();
  },

  async install(args) {
    const { options, positionals: [runtime] } = parse(args, { from: text, variant: text, link: text, list: { type: 'boolean' } }, 1, 'a runtime: tensorflow or cuda');
    const variant = options.variant as 'gpu' | 'cpu' | undefined;
    if (variant !== undefined && variant !== 'gpu' && variant !== 'cpu') throw usageError('--variant is gpu or cpu');
    if (options.list) {
      const sources = (await import('./executors/install/install')).listSources(runtimeName(runtime), variant);
      process.stdout.write(`${sources.map(({ url }) => url).join('\n')}\n`);
      process.exit(0);
    }
    const engine = startThread();
    const progress = showProgress(engine, process.stderr);
    onInterrupt(() => void engine.request('cancelInstall', {}));
    try {
      return await engine.request('install', {
        runtime: runtimeName(runtime), variant, from: options.from === undefined ? null : /^https?:/.test(String(options.from)) ? String(options.from) : required(options, 'from'),
        link: options.link === undefined ? null : required(options, 'link'),
      });
    } catch (error) {
      if (!(error instanceof LabError) || error.report.code !== 'runtime.cancelled') throw error;
      process.stderr.write('cancelled; nothing was left behind\n');
      process.exit(130);
    } finally { progress.end(); }
  },

  async uninstall(args) {
    const { positionals: [runtime] } = parse(args, {}, 1, 'a runtime: tensorflow or cuda');
    return startThread().request('uninstall', { runtime: runtimeName(runtime) });
  },
};

/** The line, or row, on which each text of a file begins. */
interface Lines { lines: number[] }

function readTexts(file: string, text_column: string, text_pair_column: string | null): { texts: string[]; pairs?: string[] } & Lines {
  if (extname(file) === '.txt') {
    if (text_pair_column !== null) throw usageError('--text_pair_column needs a file with columns: .jsonl, .csv, .tsv or .parquet');
    const rows = readText(file, 1 << 28).split(/\r?\n/).map((text, i) => ({ text, line: i + 1 })).filter(({ text }) => text !== '');
    if (!rows.length) throw new LabError({ code: 'dataset.empty', file, cause: 'the file holds no text', action: 'write one text a line, or name another file' });
    return { texts: rows.map(row => row.text), lines: rows.map(row => row.line) };
  }
  const rows = [...readRows({ file, text_column, text_pair_column, label_column: null, keys: `--text_column${text_pair_column === null ? '' : ' and --text_pair_column'}` })];
  return { texts: rows.map(row => row.text), ...(text_pair_column === null ? {} : { pairs: rows.map(row => row.pair!) }), lines: rows.map(row => row.line) };
}

/** Lists of words, or texts that are split at spaces. */
function readWords(file: string, name: string): { texts: (string | string[])[] } & Lines {
  if (extname(file) === '.txt') return readTexts(file, name, null);
  const words: Column<string | string[]> = { name, read: (value, column, at) => (Array.isArray(value) ? value.map(word => textOf(word, column, at)) : textOf(value, column, at)) };
  const rows = [...readRecords({ file, columns: { words }, keys: '--text_column' })];
  return { texts: rows.map(row => row.values.words), lines: rows.map(row => row.line) };
}

/** Indented, with each token of a preview on a line of its own. */
const json = (result: unknown): string => JSON.stringify(result, null, 2).replace(/\{\n +"id": [^{}]*\}/g, token => token.replace(/\n */g, ' '));

/** Runs a command and ends the process. `started`: a worker that is booting already. */
export async function main([name, ...args]: string[], started?: StartedWorker): Promise<void> {
  outliveReaders();
  if (name === undefined || name === '--help' || name === 'help' || args.includes('--help')) {
    (name === undefined ? process.stderr : process.stdout).write(`${USAGE}\n`);
    process.exit(name === undefined ? 2 : 0);
  }
  try {
    const command = Object.hasOwn(COMMANDS, name) ? COMMANDS[name] : undefined;
    if (!command) throw usageError(`"${name}" is no command; there are ${Object.keys(COMMANDS).join(', ')}`);
    const result = await command(args, started);
    await new Promise<void>(done => process.stdout.write(`${json(result)}\n`, () => done()));
    process.exit(0);
  } catch (error) {
    if (error instanceof LabError) {
      const { lastGoodCheckpoint } = error.report;
      process.stderr.write(`error: ${formatReport(error.report)}${lastGoodCheckpoint ? `\nThe last good checkpoint is ${lastGoodCheckpoint}` : ''}\n`);
      process.exit(2);
    }
    process.stderr.write(`${error instanceof Error ? error.stack ?? error.message : String(error)}\n`);
    process.exit(1);
  }
}
