/** What the Linux kernel tells of GPUs, made up: descriptors of this process with their fdinfo, and cards. */
import { mkdirSync, rmSync, symlinkSync, writeFileSync } from 'node:fs';
import { join } from 'node:path';
import type { DrmFolders } from '../../src/engine/drmUsage';

export interface MadeUpDrm {
  folders: DrmFolders;
  /** A card with its nodes `card<n>` and `renderD<128+n>`, and files of its device such as `mem_info_vram_used`. */
  card(number: number, files?: Record<string, number | string>): void;
  /** A descriptor that leads to a file of /dev/dri or to any other, and what its fdinfo says. */
  descriptor(number: number, target: string, fdinfo: string | object): void;
}

/** Below `folder`, which is to be empty. */
export function makeUpDrm(folder: string): MadeUpDrm {
  const folders = { dev: join(folder, 'dev/dri'), process: join(folder, 'proc'), cards: join(folder, 'sys/class/drm') };
  for (const path of [folders.dev, join(folders.process, 'fd'), join(folders.process, 'fdinfo'), folders.cards]) mkdirSync(path, { recursive: true });
  return {
    folders,
    card(number, files = {}) {
      const device = join(folder, `sys/devices/0000:0${number}:00.0`);
      mkdirSync(device, { recursive: true });
      for (const [name, value] of Object.entries(files)) writeFileSync(join(device, name), `${value}\n`);
      for (const name of [`card${number}`, `renderD${128 + number}`]) {
        mkdirSync(join(folders.cards, name), { recursive: true });
        rmSync(join(folders.cards, name, 'device'), { force: true });
        symlinkSync(device, join(folders.cards, name, 'device'));
      }
    },
    descriptor(number, target, fdinfo) {
      const link = join(folders.process, 'fd', String(number));
      rmSync(link, { force: true });
      symlinkSync(target.startsWith('/') ? target : join(folders.dev, target), link);
      const text = typeof fdinfo === 'string' ? fdinfo : Object.entries(fdinfo).map(([key, value]) => `drm-${key}:\t${value}\n`).join('');
      writeFileSync(join(folders.process, 'fdinfo', String(number)), `pos:\t0\nflags:\t02100002\nmnt_id:\t26\nino:\t685\n${text}`);
    },
  };
}
