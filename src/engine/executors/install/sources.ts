/** Where GPU runtimes come from: pinned versions, addresses and checksums. */
import { BINDING, PACKAGES, type PinnedPackage } from './packages';

/** A file to fetch and what its content must be. */
export interface Source {
  url: string;
  /** `sha512-<base64>` or `sha256-<hex>`; null where nobody has published one that could be pinned. */
  integrity: string | null;
}

export interface PackageSource extends Source { name: string; version: string }

export interface TensorFlowSources {
  version: string;
  /** The first is the binding. */
  packages: PackageSource[];
  library: Source & { version: string };
}

/** `url` is the package itself, `index` NuGet's list of services, through which the registry's own hash of it is found. */
export interface CudaSources { version: string; package: string; url: string; index: string; libraries: readonly string[] }

const REGISTRY = 'https://registry.npmjs.org';
const STORAGE = 'https://storage.googleapis.com/tensorflow/libtensorflow';
const LIBTENSORFLOW = '2.9.1';
const LIBRARY_SHA256 = {
  gpu: 'sha256-20c46f761d5905f592c4eac0812e8e50d9cb439f9440a9391912cf4c02ed8be8',
  cpu: 'sha256-7f510d2546e3db5e10b1d119463689003d587842892ad3c95bca51cf82820173',
};

const packageSource = ([name, version, integrity]: PinnedPackage): PackageSource => ({
  name, version, integrity, url: `${REGISTRY}/${name}/-/${name.split('/').pop()}-${version}.tgz`,
});

/** TensorFlow 2.9.1, which the binding was made for, for Linux on x64. */
export const tensorflowSources = (variant: 'gpu' | 'cpu'): TensorFlowSources => ({
  version: BINDING[variant][1],
  packages: [BINDING[variant], ...PACKAGES].map(packageSource),
  library: { url: `${STORAGE}/libtensorflow-${variant}-linux-x86_64-${LIBTENSORFLOW}.tar.gz`, integrity: LIBRARY_SHA256[variant], version: LIBTENSORFLOW },
});

/** The provider libraries that belong to the given version of ONNX Runtime, as its npm package's install script takes them (which checks nothing). */
export function cudaSources(version: string): CudaSources {
  const name = 'microsoft.ml.onnxruntime.gpu.linux';
  return {
    version, package: 'Microsoft.ML.OnnxRuntime.Gpu.Linux', url: `https://api.nuget.org/v3-flatcontainer/${name}/${version}/${name}.${version}.nupkg`,
    index: 'https://api.nuget.org/v3/index.json', libraries: ['libonnxruntime_providers_shared.so', 'libonnxruntime_providers_cuda.so'],
  };
}
