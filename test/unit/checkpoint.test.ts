import assert from 'node:assert/strict';
import { copyFileSync, mkdirSync, readFileSync, renameSync, rmSync, symlinkSync, truncateSync, writeFileSync } from 'node:fs';
import { join } from 'node:path';
import { test } from 'node:test';
import { LabError } from '../../src/engine/errors';
import { openCheckpoint } from '../../src/engine/model/checkpoint';
import { bert } from '../../src/engine/model/bert';
import { loadModel } from '../../src/engine/model/loadModel';
import { readTensor } from '../../src/engine/model/safetensors';
import { oldNames, withoutPrefix, writeCheckpoint, type CheckpointOptions } from '../support/checkpoints';
import { inTemporaryFolder } from '../support/faults';

function problem(use: () => unknown): LabError['report'] {
  try { use(); } catch (error) { assert.ok(error instanceof LabError, String(error)); return error.report; }
  throw new assert.AssertionError({ message: 'no error' });
}
const load = (folder: string, labels: string[] | null = ['a', 'b', 'c'], seed = 1) => loadModel(folder, { task: 'SEQ_CLS', labels, seed, families: [bert] });
const withCheckpoint = (options: CheckpointOptions, use: (folder: string) => void | Promise<void>): Promise<void> => inTemporaryFolder(async parent => {
  const folder = join(parent, 'model');
  await writeCheckpoint(folder, options);
  await use(folder);
});
const INDEX = 'model.safetensors.index.json';

test('folders that are no checkpoint', async () => {
  await withCheckpoint({}, folder => {
    assert.equal(problem(() => openCheckpoint(join(folder, 'none'))).code, 'checkpoint.no-folder');
    assert.equal(problem(() => openCheckpoint(join(folder, 'vocab.txt'))).code, 'checkpoint.no-folder');
    renameSync(join(folder, 'model.safetensors'), join(folder, 'other.safetensors'));
    assert.equal(problem(() => openCheckpoint(folder)).code, 'checkpoint.no-weights');
    writeFileSync(join(folder, 'pytorch_model.bin'), 'x');
    const pickle = problem(() => openCheckpoint(folder));
    assert.equal(pickle.code, 'checkpoint.pickle-only');
    assert.match(pickle.action, /safe_serialization=True/);
    for (const bad of ['{', '[]', '{"a":1}', '\xff\xfe']) {
      writeFileSync(join(folder, 'config.json'), bad, 'latin1');
      assert.equal(problem(() => openCheckpoint(folder)).code, 'checkpoint.bad-config', bad);
    }
    rmSync(join(folder, 'config.json'));
    assert.equal(problem(() => openCheckpoint(folder)).code, 'checkpoint.no-config');
    writeFileSync(join(folder, 'adapter_config.json'), '{}');
    assert.match(problem(() => openCheckpoint(folder)).cause, /adapter/);
  });
});

test('a byte order mark in config.json does no harm; an unsupported type names the supported ones', async () => {
  await withCheckpoint({}, folder => {
    const config = readFileSync(join(folder, 'config.json'), 'utf8');
    writeFileSync(join(folder, 'config.json'), `\ufeff${config}`);
    assert.equal(openCheckpoint(folder).config.model_type, 'bert');
    writeFileSync(join(folder, 'config.json'), config.replace('"bert"', '"mamba"'));
    const report = problem(() => load(folder));
    assert.equal(report.code, 'checkpoint.model-type');
    assert.match(report.action, /bert/);
  });
});

test('weights in several files are the same model, with the same fingerprint', async () => {
  await withCheckpoint({}, async one => {
    const several = join(one, '../several');
    await writeCheckpoint(several, { shards: 3 });
    const [a, b] = [openCheckpoint(one), openCheckpoint(several)];
    assert.deepEqual([...b.tensors.keys()].sort(), [...a.tensors.keys()].sort());
    for (const [name, ref] of a.tensors) assert.deepEqual(readTensor(b.tensors.get(name)!), readTensor(ref), name);
    assert.equal(a.fingerprint, b.fingerprint);
    const changed = join(one, '../changed');
    await writeCheckpoint(changed, { seed: 2 });
    assert.notEqual(openCheckpoint(changed).fingerprint, a.fingerprint);
  });
});

test('an index is not trusted', async () => {
  await withCheckpoint({ shards: 2 }, folder => {
    const good = JSON.parse(readFileSync(join(folder, INDEX), 'utf8')) as { weight_map: Record<string, string> };
    const [first] = Object.keys(good.weight_map);
    copyFileSync(join(folder, good.weight_map[first]), join(folder, '../outside.safetensors'));
    const withShard = (shard: unknown): LabError['report'] => {
      writeFileSync(join(folder, INDEX), JSON.stringify({ ...good, weight_map: { ...good.weight_map, [first]: shard } }));
      return problem(() => openCheckpoint(folder));
    };
    const absolute = join(folder, '../outside.safetensors');
    for (const shard of ['../outside.safetensors', absolute, 'a/../../outside.safetensors', '..\\outside.safetensors', 'C:\\x.safetensors', 'C:x.safetensors', 'file:///x.safetensors', './x.safetensors', 'a//b.safetensors', '\\\\host\\x.safetensors', 'x\0.safetensors', '', '/dev/zero', 'pytorch_model.bin']) {
      assert.equal(withShard(shard).code, 'checkpoint.shard-outside', shard);
    }
    assert.equal(withShard(7).code, 'checkpoint.bad-index');
    assert.equal(withShard('none.safetensors').code, 'checkpoint.shard-missing');
    symlinkSync(absolute, join(folder, 'link.safetensors'));
    assert.equal(withShard('link.safetensors').code, 'checkpoint.shard-outside');
    mkdirSync(join(folder, 'folder.safetensors'));
    assert.equal(withShard('folder.safetensors').code, 'safetensors.invalid');
    const other = Object.values(good.weight_map).find(shard => shard !== good.weight_map[first]);
    const absent = withShard(other);
    assert.equal(absent.code, 'checkpoint.tensor-not-in-shard');
    assert.match(absent.where!, new RegExp(first));
    for (const map of [[], null, {}, 'x']) {
      writeFileSync(join(folder, INDEX), JSON.stringify({ weight_map: map }));
      assert.equal(problem(() => openCheckpoint(folder)).code, 'checkpoint.bad-index');
    }
    writeFileSync(join(folder, INDEX), '{');
    assert.equal(problem(() => openCheckpoint(folder)).file, join(folder, INDEX));
  });
});

test('the layout of the Hugging Face cache works, with its links to blobs', async () => {
  await withCheckpoint({ shards: 2 }, folder => {
    const repository = join(folder, '../models--x--y');
    const snapshot = join(repository, 'snapshots/0123456789abcdef0123456789abcdef01234567');
    mkdirSync(snapshot, { recursive: true });
    mkdirSync(join(repository, 'blobs'));
    for (const [n, name] of ['config.json', INDEX, 'model-00001-of-00002.safetensors', 'model-00002-of-00002.safetensors'].entries()) {
      const hash = String(n).repeat(64);
      copyFileSync(join(folder, name), join(repository, 'blobs', hash));
      symlinkSync(`../../blobs/${hash}`, join(snapshot, name));
    }
    assert.equal(openCheckpoint(snapshot).fingerprint, openCheckpoint(folder).fingerprint);
  });
});

test('parameters are found under every name that checkpoints give them', async () => {
  await withCheckpoint({}, async usual => {
    const model = load(usual);
    assert.deepEqual(model.missing, []);
    for (const stored of [withoutPrefix, oldNames]) {
      const folder = join(usual, '..', stored.name);
      await writeCheckpoint(folder, { stored });
      const other = load(folder);
      assert.deepEqual(other.missing, ['classifier.weight', 'classifier.bias'], stored.name);
      for (const [name, weight] of other.weights) {
        if (weight.source !== 'file') continue;
        const expected = model.weights.get(name)!;
        assert.ok(expected.source === 'file');
        assert.deepEqual(readTensor(weight.ref), readTensor(expected.ref), name);
      }
    }
  });
});

test('a missing head starts at random: reproducible, of the right spread, bias zero', async () => {
  await withCheckpoint({ stored: withoutPrefix, config: { initializer_range: 0.5 } }, folder => {
    const head = (seed: number) => {
      const weight = load(folder, ['no', 'yes'], seed).weights.get('classifier.weight')!;
      assert.ok(weight.source === 'memory');
      return weight;
    };
    assert.deepEqual(head(1).shape, [2, 16]);
    assert.deepEqual(head(1), head(1));
    assert.notDeepEqual(head(1).data, head(2).data);
    const deviation = Math.sqrt(head(1).data.reduce((sum, x) => sum + x * x, 0) / 32);
    assert.ok(deviation > 0.3 && deviation < 0.7, `${deviation}`);
    const bias = load(folder).weights.get('classifier.bias')!;
    assert.ok(bias.source === 'memory' && bias.data.every(x => x === 0));
  });
});

test('labels come from the config where none are given, and must fit the checkpoint\'s head', async () => {
  await withCheckpoint({ labels: ['bad', 'good', 'mixed'] }, folder => {
    assert.deepEqual(load(folder, null).labels, ['bad', 'good', 'mixed']);
    const report = problem(() => load(folder, ['no', 'yes']));
    assert.equal(report.code, 'model.labels');
    assert.match(report.cause, /3 classes.* 2 \(no, yes\)/);
    const value = problem(() => loadModel(folder, { task: 'SEQ_CLS', labels: ['LABEL_0'], problem_type: 'regression', seed: 1, families: [bert] }));
    assert.match(`${value.cause}. ${value.action}`, /head has 3 outputs, and a value .*takes one.*set problem_type/);
  });
});

test('weights that do not belong to the config', async () => {
  await withCheckpoint({ config: {} }, async folder => {
    const config = readFileSync(join(folder, 'config.json'), 'utf8');
    writeFileSync(join(folder, 'config.json'), config.replace('"vocab_size":50', '"vocab_size":60'));
    const report = problem(() => load(folder));
    assert.equal(report.code, 'model.shape');
    assert.match(`${report.where} ${report.cause}`, /word_embeddings\.weight.*\[50, 16\].*\[60, 16\]/);
    assert.match(report.file!, /model\.safetensors$/);
    writeFileSync(join(folder, 'config.json'), config.replace('"num_hidden_layers":2', '"num_hidden_layers":3'));
    const missing = problem(() => load(folder));
    assert.equal(missing.code, 'model.missing-weights');
    assert.match(missing.cause, /16 .*bert\.encoder\.layer\.2\.attention\.self\.query\.weight/);
  });
  await withCheckpoint({}, folder => {
    truncateSync(join(folder, 'model.safetensors'), 5000);
    assert.equal(problem(() => load(folder)).code, 'safetensors.truncated');
  });
});
