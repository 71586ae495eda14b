/** Names for what a person is about to save. */
import * as fs from 'node:fs/promises';
import * as path from 'node:path';

/** The first of `name`, `name-2` …, each with `extension`, that is not in the folder yet. */
export async function freeName(folder: string, name: string, extension = ''): Promise<string> {
  const taken = await fs.readdir(folder).catch(() => [] as string[]);
  for (let number = 1; ; number++) {
    const file = `${name}${number > 1 ? `-${number}` : ''}${extension}`;
    if (!taken.includes(file)) return path.join(folder, file);
  }
}
