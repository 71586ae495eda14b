/**
 * ONNX Runtime's builds for Linux and macOS send usage data to Microsoft, and keep an identifier of the machine in the person's cache folder, unless
 * this variable is set before it is loaded (https://github.com/microsoft/onnxruntime/blob/main/docs/Privacy.md). On Windows they write events that
 * the system collects if it is set up to, and nothing that can be reached from Node turns these off.
 */

/** Has ONNX Runtime send and keep nothing. Only in the main thread of a process: the environment of a worker is a copy, which native code does not see. */
export function sendNothing(): void {
  process.env.ORT_DISABLE_TELEMETRY = '1';
}
