/** The files of a checkpoint folder that belong to its weights: tokenizer, generation settings, licence and the like. */
import { join } from 'node:path';
import { applyEdits, modify } from 'jsonc-parser';
import { closeFile, listFolder, lookUp, makeFolder, openFile, readInto, readText, statFile, syncFile, withFile, writeAll } from '../files';

/** Weights in any format: of the others there would be no merged version. Everything here is either written anew or left out. */
const WEIGHTS = /\.(safetensors|bin|pt|pth|ckpt|h5|msgpack|ot|onnx|onnx_data|gguf|mlmodel|tflite|pb|npz|index\.json)$/i;
/** Folders that are no part of the model: an adapter, or a run of this program. */
const FOREIGN = ['adapter_config.json', 'experiment.json'];

/**
 * The text of a JSON file with the keys of `wanted` that differ. The rest stays as it is written: 1.0 must not become 1,
 * which transformers refuses where it expects a float.
 */
export function changedJson(file: string, wanted: Record<string, unknown>): string {
  let text = readText(file, 1 << 20);
  const before = JSON.parse(text) as Record<string, unknown>;
  for (const [key, value] of Object.entries(wanted)) {
    if (JSON.stringify(value) !== JSON.stringify(before[key])) text = applyEdits(text, modify(text, [key], value, { formattingOptions: { insertSpaces: true, tabSize: 2 } }));
  }
  return text;
}

/** Copies everything but weights, `config.json` and hidden files from `from` to `to`. */
export function copyCompanions(from: string, to: string, top = true): void {
  for (const name of listFolder(from)) {
    if (name.startsWith('.') || WEIGHTS.test(name) || top && name === 'config.json') continue;
    const source = join(from, name);
    const info = lookUp(source);
    if (info?.isFile) copyFile(source, join(to, name));
    // Links to folders are left out: they could lead in a circle.
    else if (info?.isDirectory && !statFile(source, 'link').isLink && !FOREIGN.some(file => lookUp(join(source, file)))) {
      makeFolder(join(to, name));
      copyCompanions(source, join(to, name), false);
    }
  }
}

function copyFile(from: string, to: string): void {
  const buffer = new Uint8Array(1 << 20);
  const input = openFile(from, 'r');
  try {
    withFile(to, 'wx', fd => {
      for (let position = 0, read = buffer.length; read === buffer.length; position += read) {
        read = readInto(input, buffer, position, from);
        writeAll(fd, buffer.subarray(0, read), to);
      }
      syncFile(fd, to);
    });
  } finally { closeFile(input, from); }
}
