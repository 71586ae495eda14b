/** Making TensorFlow's binding for Node from the package's own source, against the TensorFlow that it will use. */
import { execFile, spawn } from 'node:child_process';
import { delimiter, dirname, join, resolve } from 'node:path';
import { LabError } from '../../errors';
import { listFolder, lookUp, makeFolder, realPath } from '../../files';
import { cancelled } from './download';

/** A TensorFlow to link with. */
export interface TensorFlowLibrary {
  include: string;
  /** Folder of the libraries; `rpath` is how the binding finds it when it runs. */
  folder: string;
  rpath: string;
  libraries: string[];
  version: string;
}

const COMPILERS = ['c++', 'g++', 'clang++'];
const LIMIT_MS = 300_000;
/** The newest version of Node's binary interface that the package knows. */
const NODE_API = 8;

/** The first C++ compiler that answers; `CXX` comes first. Error `runtime.no-compiler`. */
export async function findCompiler(): Promise<string> {
  const names = process.env.CXX ? [process.env.CXX] : COMPILERS;
  for (const name of names) if (await output(name, ['--version']) !== undefined) return name;
  throw new LabError({
    code: 'runtime.no-compiler', cause: `no C++ compiler was found (${names.join(', ')}); TensorFlow's binding is made for this machine`,
    action: 'install one, on Debian and Ubuntu with "sudo apt install g++", on Fedora with "sudo dnf install gcc-c++", then install again',
  });
}

/** Compiles `<package>/binding/*.cc` to `lib/napi-v8/tfjs_binding.node`. Errors: `runtime.compile` with the compiler's first error, `runtime.cancelled`. */
export async function compileBinding(compiler: string, folder: string, headers: string, library: TensorFlowLibrary, signal: AbortSignal): Promise<void> {
  const out = join(folder, `lib/napi-v${NODE_API}`);
  makeFolder(out);
  const sources = listFolder(join(folder, 'binding')).filter(name => name.endsWith('.cc')).map(name => join('binding', name));
  const args = [
    '-shared', '-fPIC', '-O2', '-std=c++17', `-DNAPI_VERSION=${NODE_API}`, '-I..', `-I${headers}`, `-I${library.include}`, ...sources,
    `-L${library.folder}`, ...library.libraries.map(name => `-l:${name}`), `-Wl,-rpath,${library.rpath}`, '-o', join(out, 'tfjs_binding.node'),
  ];
  // A group of its own: a compiler is several processes, and all of them must end.
  const child = spawn(compiler, args, { cwd: folder, stdio: ['ignore', 'ignore', 'pipe'], detached: true });
  const stop = (): void => { try { process.kill(-child.pid!, 'SIGKILL'); } catch { /* it has ended */ } };
  signal.addEventListener('abort', stop);
  const timer = setTimeout(stop, LIMIT_MS);
  let errors = '';
  child.stderr.setEncoding('utf8').on('data', (text: string) => { errors = (errors + text).slice(0, 100_000); });
  const code = await new Promise<number | null>(done => child.once('close', done).once('error', () => done(null)));
  signal.removeEventListener('abort', stop);
  clearTimeout(timer);
  if (signal.aborted) throw cancelled();
  if (code === 0) return;
  const first = errors.split('\n').find(line => /error|undefined reference|cannot find/.test(line)) ?? errors.trim().split('\n').pop();
  throw new LabError({
    code: 'runtime.compile', file: folder, cause: `${compiler} could not make TensorFlow's binding (TensorFlow ${library.version}): ${first || `exit code ${code}`}`,
    action: 'use the TensorFlow that this package was made for (without "--link"), or another compiler in CXX',
  });
}

/** The libraries that were unpacked into `<package>/deps`. */
export const unpackedLibrary = (folder: string, version: string): TensorFlowLibrary => ({
  include: join(folder, 'deps/include'), folder: join(folder, 'deps/lib'), rpath: '$ORIGIN/../../deps/lib',
  libraries: ['libtensorflow.so.2', 'libtensorflow_framework.so.2'], version,
});

const WHEEL_LIBRARIES = ['libtensorflow_cc.so.2', 'libtensorflow_framework.so.2'];

/**
 * TensorFlow as Python has it: `place` is an interpreter, a virtual environment, or the folder `…/site-packages/tensorflow`.
 * Error `runtime.no-tensorflow` that names what is missing.
 */
export async function pythonTensorFlow(place: string): Promise<TensorFlowLibrary> {
  const path = resolve(place);
  const info = lookUp(path);
  const missing = (what: string): LabError => new LabError({
    code: 'runtime.no-tensorflow', file: path, cause: what, action: 'give a Python, its environment, or the folder of its package tensorflow (version 2.10 or newer, from pip)',
  });
  if (!info) throw missing('there is no such file or folder');
  const python = info.isDirectory ? ['bin/python3', 'bin/python'].map(name => join(path, name)).find(file => lookUp(file)) : path;
  const folder = python === undefined ? path : await packageFolder(python);
  if (folder === undefined) throw missing(`${python} has no package tensorflow`);
  for (const name of [...WHEEL_LIBRARIES, 'include/tensorflow/c/c_api.h', 'include/tensorflow/c/eager/c_api.h']) {
    if (!lookUp(join(folder, name))) throw missing(`${join(folder, name)} is missing`);
  }
  const real = realPath(folder);
  return { include: join(real, 'include'), folder: real, rpath: real, libraries: WHEEL_LIBRARIES, version: versionBeside(real) };
}

/** A TensorFlow of the workspace's Python environment or of the Python that this shell would start, for an offer; undefined if there is none. Takes a second at most. */
export async function offeredTensorFlow(): Promise<TensorFlowLibrary | undefined> {
  const environments = [process.env.VIRTUAL_ENV, process.env.CONDA_PREFIX, resolve('.venv'), resolve('venv')].filter(Boolean).map(folder => join(folder!, 'bin/python'));
  const found = (process.env.PATH ?? '').split(delimiter).map(folder => join(folder, 'python3')).find(file => lookUp(file));
  for (const python of [process.env.LORA_LAB_PYTHON, ...environments, found]) {
    if (!python || !lookUp(python)) continue;
    const library = await pythonTensorFlow(python).catch(() => undefined);
    if (library) return library;
  }
  return undefined;
}

/** Asks Python where the package lies, without importing it. */
async function packageFolder(python: string): Promise<string | undefined> {
  const code = 'import importlib.util as u\ns = u.find_spec("tensorflow")\nprint(s.submodule_search_locations[0] if s else "")';
  return (await output(python, ['-c', code]))?.trim() || undefined;
}

/** `2.21.0` from `tensorflow_cpu-2.21.0.dist-info` beside the package. */
const versionBeside = (folder: string): string =>
  listFolder(dirname(folder)).map(name => /^tensorflow(?:_cpu|_intel|_rocm)?-(\d[\w.]*)\.dist-info$/.exec(name)?.[1]).find(Boolean) ?? 'of an unknown version';

function output(program: string, args: string[]): Promise<string | undefined> {
  return new Promise(done => execFile(program, args, { timeout: 10_000, windowsHide: true }, (error, stdout) => done(error ? undefined : stdout)));
}
