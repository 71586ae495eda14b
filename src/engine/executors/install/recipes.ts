/** How each runtime is put together in an empty folder. */
import { basename, dirname, join } from 'node:path';
import { LabError } from '../../errors';
import { lookUp, readText, removeFile } from '../../files';
import { unpackTar, unpackZip } from './archive';
import { compileBinding, findCompiler, pythonTensorFlow, unpackedLibrary } from './compile';
import { checkFile, fetchFile, fetchJson, isUrl, type Fetching } from './download';
import type { CudaSources, PackageSource, TensorFlowSources } from './sources';

export interface Recipe {
  /** A file that the person gave: libtensorflow's archive, or the provider's package. */
  file: string | null;
  fetching: Fetching;
}

/** Version of what was put together, paths outside that it needs, and how its parts were checked. */
export interface Made { version: string; outside: string[]; checked: string[] }

/** Of tfjs's packages only what Node loads: the rest are bundles for browsers, maps and types. */
const UNION = /^@tensorflow\/tfjs(-core|-layers|-converter|-data|-backend-cpu|-backend-webgl)?$/;
const keepOf = (name: string) => (path: string): boolean =>
  UNION.test(name) ? /^(package\.json|LICENSE|dist\/tf[\w-]*\.node\.js)$/.test(path) : !/\.(map|ts|md|yml)$|^(test|tests|docs|example)\//.test(path);

/** Packages, libtensorflow and the binding between them. `link` names a TensorFlow of Python to use instead of libtensorflow. */
export async function makeTensorFlow(folder: string, sources: TensorFlowSources, link: string | null, { file, fetching }: Recipe): Promise<Made> {
  // What is missing on this machine is said before anything is fetched.
  const compiler = await findCompiler();
  const linked = link === null ? undefined : await pythonTensorFlow(link);
  // The large one first: it is the one that networks refuse.
  const archive = linked ? undefined : file ?? await fetchFile(sources.library, fetching);
  const published = file === null || basename(file) === basename(sources.library.url);
  if (file !== null && published) await checkFile(file, sources.library.integrity, fetching);
  const packages = join(folder, 'node_modules');
  for (const [i, source] of sources.packages.entries()) {
    const outer: Fetching = { ...fetching, progress: message => fetching.progress(message, i / sources.packages.length) };
    await addPackage(packages, source, outer);
  }
  const binding = join(packages, sources.packages[0].name);
  const checked = [`${sources.packages.length} packages by the SHA-512 of the npm registry`];
  if (archive !== undefined) {
    checked.push(published ? `libtensorflow ${sources.library.version} by its SHA-256` : `${file} was given and not checked`);
    await unpackTar(archive, join(binding, 'deps'), stage('Unpacking libtensorflow', fetching));
    if (archive !== file) discardDownload(archive, fetching);
    const header = join(binding, 'deps/include/tensorflow/c/c_api.h');
    if (!lookUp(header)) throw new LabError({ code: 'runtime.damaged', file: archive, cause: 'it holds no include/tensorflow/c/c_api.h: it is no archive of libtensorflow', action: 'give the file libtensorflow-….tar.gz of tensorflow.org' });
  }
  const library = linked ?? unpackedLibrary(binding, sources.library.version);
  fetching.progress('Compiling the binding', null);
  await compileBinding(compiler, binding, join(packages, 'node-api-headers/include'), library, fetching.signal);
  return { version: `${sources.version}, TensorFlow ${library.version}`, outside: linked ? [join(linked.folder, linked.libraries[0])] : [], checked };
}

async function addPackage(packages: string, source: PackageSource, fetching: Fetching): Promise<void> {
  const archive = await fetchFile(source, fetching);
  await unpackTar(archive, join(packages, source.name), { ...stage(`Unpacking ${source.name}`, fetching), strip: 1, keep: keepOf(source.name) });
  discardDownload(archive, fetching);
}

/** What was downloaded is removed once it is unpacked; what lies in the person's own folder stays. */
function discardDownload(archive: string, { folder }: Fetching): void {
  if (dirname(archive) === folder) removeFile(archive);
}

/** The two provider libraries out of NuGet's package. */
export async function makeCuda(folder: string, sources: CudaSources, { file, fetching }: Recipe): Promise<Made> {
  const { mirror } = fetching;
  const integrity = file === null && mirror === null ? await nugetHash(sources, fetching) : null;
  const archive = file ?? await fetchFile({ url: sources.url, integrity }, fetching);
  // NuGet keeps the hash of a package beside it under this name.
  const beside = `${archive}.sha512`;
  const said = integrity === null && lookUp(beside) ? `sha512-${readText(beside, 1024).trim()}` : null;
  await checkFile(archive, said, fetching);
  const wanted = new Map(sources.libraries.map(name => [`runtimes/linux-x64/native/${name}`, name]));
  const [specification = ''] = await unpackZip(archive, folder, wanted, /^[^/]+\.nuspec$/, stage('Unpacking', fetching));
  const version = /<version>([^<]+)<\/version>/.exec(specification)?.[1];
  if (version !== sources.version) {
    throw new LabError({ code: 'runtime.version', file: archive, cause: `it is of version ${version ?? 'unknown'}; ONNX Runtime here is ${sources.version}, and both must be the same`, action: `give ${sources.package} ${sources.version}` });
  }
  if (archive !== file) discardDownload(archive, fetching);
  return { version, outside: [], checked: [integrity ? 'package by the SHA-512 of NuGet' : said ? `package by ${beside}` : 'libraries by the CRC-32 in the package that was given'] };
}

/** NuGet tells the hash of a package in its catalogue, which its registrations lead to. */
async function nugetHash(sources: CudaSources, fetching: Fetching): Promise<string> {
  fetching.progress('Asking NuGet', null);
  const { resources } = await fetchJson(sources.index, fetching) as { resources?: { '@id': string; '@type': string }[] };
  const registrations = resources?.find(resource => resource['@type'] === 'RegistrationsBaseUrl')?.['@id'];
  const leaf = registrations && await fetchJson(`${registrations.replace(/\/*$/, '/')}${sources.package.toLowerCase()}/${sources.version}.json`, fetching);
  const entry = leaf && typeof leaf.catalogEntry === 'string' && isUrl(leaf.catalogEntry) ? await fetchJson(leaf.catalogEntry, fetching) : undefined;
  if (entry && entry.packageHashAlgorithm === 'SHA512' && typeof entry.packageHash === 'string') return `sha512-${entry.packageHash}`;
  throw new LabError({ code: 'runtime.checksum', where: sources.index, cause: `NuGet tells no SHA-512 of ${sources.package} ${sources.version}`, action: 'give the package as a file with --from' });
}

const stage = (message: string, { signal, progress }: Fetching): { signal: AbortSignal; progress(fraction: number): void } => ({ signal, progress: fraction => progress(message, fraction) });
