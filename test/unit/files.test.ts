import assert from 'node:assert/strict';
import { mkdirSync, readdirSync, readFileSync, renameSync, writeFileSync } from 'node:fs';
import { join } from 'node:path';
import { test } from 'node:test';
import { LabError } from '../../src/engine/errors';
import { makeFolder, nodeFileSystem, readJsonObject, readText, useFileSystem } from '../../src/engine/files';
import { abandon, recover, transaction, writeFile, writeFileAtomic } from '../../src/engine/transaction';
import { inTemporaryFolder, withFault } from '../support/faults';

const isProblem = (code: string) => (error: unknown): boolean => error instanceof LabError && error.report.code === code && Boolean(error.report.file);

test('text is UTF-8 without byte order mark, within a limit', async () => {
  await inTemporaryFolder(folder => {
    const path = join(folder, 'x.json');
    writeFileSync(path, '\ufeff{"ü":1}');
    assert.deepEqual(readJsonObject(path, 100), { ü: 1 });
    assert.throws(() => readText(path, 5), isProblem('text.too-large'));
    writeFileSync(path, Buffer.from([0x22, 0xe4, 0x22]));
    assert.throws(() => readText(path, 100), isProblem('text.not-utf8'));
    writeFileSync(path, '{"a":NaN}');
    assert.throws(() => readJsonObject(path, 100), isProblem('json.invalid'));
    assert.throws(() => readText(folder, 100), isProblem('disk.not-a-file'));
    assert.throws(() => readText(join(folder, 'none'), 100), isProblem('disk.not-found'));
  });
});

test('a replaced file is the old or the new one after any fault, and nothing else stays', async () => {
  await inTemporaryFolder(async folder => {
    const path = join(folder, 'summary.json');
    for (const code of ['ENOSPC', 'EDQUOT', 'EIO', 'EACCES', 'EROFS', 'EMFILE']) {
      for (let n = 1; ; n++) {
        writeFileSync(path, 'old');
        const { reached, error } = await withFault(n, code, () => writeFileAtomic(path, 'new content'));
        if (!reached) { assert.ok(n > 4); break; }
        const report = (error as LabError).report;
        assert.ok(report.cause.includes(code), report.cause);
        assert.ok(report.file === path || report.file === folder, report.file);
        assert.ok(['old', 'new content'].includes(readFileSync(path, 'utf8')));
        assert.deepEqual(readdirSync(folder), ['summary.json']);
      }
    }
  });
});

test('short writes are continued', async () => {
  await inTemporaryFolder(folder => {
    const restore = useFileSystem({ ...nodeFileSystem, write: (fd, buffer, offset, length) => nodeFileSystem.write(fd, buffer, offset, Math.min(3, length)) });
    try { writeFileAtomic(join(folder, 'x'), 'more than three bytes'); } finally { restore(); }
    assert.equal(readFileSync(join(folder, 'x'), 'utf8'), 'more than three bytes');
  });
});

test('everything in a transaction reaches the disk before it gets its name', async () => {
  await inTemporaryFolder(async folder => {
    const log: string[] = [];
    const names = new Map<number, string>();
    const restore = useFileSystem({
      ...nodeFileSystem,
      open: (path, flags) => { const fd = nodeFileSystem.open(path, flags); names.set(fd, path); return fd; },
      fsync: () => assert.fail('the work of this thread waits for the disk'),
      force: async fd => {
        const name = names.get(fd)!.replace(/\.tmp-[^/]*/, 'TMP').replace(folder, '');
        await nodeFileSystem.force(fd);
        log.push(`sync ${name}`);
      },
      rename: (from, to) => { log.push(`rename ${to.replace(folder, '')}`); nodeFileSystem.rename(from, to); },
    });
    try {
      await transaction(join(folder, 'out'), temporary => { mkdirSync(join(temporary, 'sub')); writeFile(join(temporary, 'sub/b'), 'b'); writeFileSync(join(temporary, 'a'), 'a'); });
    } finally { restore(); }
    const renamed = log.indexOf('rename /out');
    assert.deepEqual(log.slice(0, renamed).sort(), ['sync /TMP', 'sync /TMP/a', 'sync /TMP/sub', 'sync /TMP/sub/b'], 'each once: every one costs some milliseconds');
    assert.deepEqual(log.slice(renamed + 1), ['sync ']);
  });
});

test('what dead writers left is cleared away, and a folder they had set aside gets its name back', async () => {
  await inTemporaryFolder(folder => {
    const dead = 4_000_000; // above the largest process number of Linux by default
    for (const name of [`.tmp-out-${dead}-0123456789ab`, `.old-out-${dead}-0123456789ab`, `.tmp-out-${process.pid}-0123456789ab`, `.old-out-${dead}-0123456789cd`, `.old-there-${dead}-0123456789ab`, 'there', '.tmp-mine']) mkdirSync(join(folder, name));
    recover(folder);
    assert.deepEqual(readdirSync(folder).sort(), ['.tmp-mine', `.tmp-out-${process.pid}-0123456789ab`, 'out', 'there']);
  });
});

test('a folder whose name is too long for a temporary one, and that a dead writer had set aside, gets that very name back', async () => {
  await inTemporaryFolder(async folder => {
    const name = `${'ü'.repeat(120)}.d`;
    await transaction(join(folder, name), temporary => writeFile(join(temporary, 'f'), 'old'));
    // The process dies when the old folder has been set aside: nothing of what follows happens.
    let renamed = false;
    const restore = useFileSystem({
      ...nodeFileSystem,
      rename: (from, to) => { if (renamed) throw Object.assign(new Error('dead'), { code: 'EIO' }); nodeFileSystem.rename(from, to); renamed = true; },
      remove: path => { if (!renamed) nodeFileSystem.remove(path); },
    });
    try { await assert.rejects(transaction(join(folder, name), temporary => writeFile(join(temporary, 'f'), 'new'))); } finally { restore(); }
    const died = (): string[] => {
      for (const left of readdirSync(folder)) renameSync(join(folder, left), join(folder, left.replace(`-${process.pid}-`, '-4000000-')));
      return readdirSync(folder);
    };
    assert.ok(died().every(left => left.startsWith('.')), readdirSync(folder).join());
    // Who does not know the name cannot give it back, and takes nothing away.
    recover(folder);
    const [aside, ...more] = readdirSync(folder);
    assert.deepEqual([aside.startsWith('.old'), more, readFileSync(join(folder, aside, 'f'), 'utf8')], [true, [], 'old']);
    recover(folder, { target: join(folder, name) });
    assert.deepEqual(readdirSync(folder), [name]);
    assert.equal(readFileSync(join(folder, name, 'f'), 'utf8'), 'old');
    // Where its replacement has arrived, it goes.
    mkdirSync(join(folder, aside));
    recover(folder);
    assert.deepEqual(readdirSync(folder), [name]);
  });
});

test('a folder is made with those above it, is there already, or cannot be made, which is said and not tried for ever', async () => {
  await inTemporaryFolder(folder => {
    for (let time = 0; time < 2; time++) makeFolder(join(folder, 'a/b/c'));
    assert.deepEqual(readdirSync(join(folder, 'a/b')), ['c']);
    writeFileSync(join(folder, 'file'), '');
    assert.throws(() => makeFolder(join(folder, 'file')), (error: unknown) => isProblem('disk.exists')(error) && /there is a file of this name\. Choose another name/.test((error as LabError).message));
    assert.throws(() => makeFolder(join(folder, 'file/x')), isProblem('disk.not-a-folder'));
    if (process.platform === 'linux') assert.throws(() => makeFolder('/proc/lora-lab/run'), isProblem('disk.not-found'));
  });
});

test('what is interrupted while it is written leaves nothing of its own behind, and the work of others alone', async () => {
  await inTemporaryFolder(folder => {
    const of = (kind: string, name: string, pid = process.pid): string => `.${kind}-${name}-${pid}-0123456789ab`;
    for (const name of [of('tmp', 'out'), of('tmp', 'other'), of('tmp', 'out', process.ppid), of('old', 'set-aside')]) mkdirSync(join(folder, name));
    abandon(join(folder, 'out'));
    abandon(join(folder, 'set-aside'));
    abandon(join(folder, 'nowhere/out'));
    assert.deepEqual(readdirSync(folder).sort(), [of('tmp', 'other'), of('tmp', 'out', process.ppid), 'set-aside'].sort());
  });
});

test('names of any length and form can be saved under', async () => {
  await inTemporaryFolder(async folder => {
    for (const name of ['a b', 'Žü-日本', 'n'.repeat(250), '-x', '$(x);%']) {
      for (const text of ['one', 'two']) await transaction(join(folder, name), temporary => writeFile(join(temporary, 'f'), text));
      assert.equal(readFileSync(join(folder, name, 'f'), 'utf8'), 'two');
    }
    assert.equal(readdirSync(folder).length, 5);
  });
});
