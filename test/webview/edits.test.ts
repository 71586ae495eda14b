import assert from 'node:assert/strict';
import { mock, test } from 'node:test';
import { Edits } from '../../webview/edits';
import { values } from './support/fixtures';

const settled = (): Promise<void> => new Promise(done => setImmediate(done));

/** Edits over a file that answers as told, and the clock in the test's hands. */
async function withEdits(use: (at: { edits: Edits; sent: unknown[][]; pass: (ms: number) => Promise<void>; changes: () => number }) => Promise<void>, answer: () => Promise<unknown> = async () => null): Promise<void> {
  mock.timers.enable({ apis: ['setTimeout'] });
  const sent: unknown[][] = [];
  let changes = 0;
  const edits = new Edits((file, all) => { sent.push([file, ...all.map(({ path, value }) => [path.join('.'), value])]); return answer(); }, () => { changes += 1; });
  edits.follow('a');
  edits.settle(values());
  try {
    await use({ edits, sent, changes: () => changes, pass: async ms => { mock.timers.tick(ms); await settled(); } });
  } finally {
    mock.timers.reset();
  }
}

const refused = (): Promise<never> => Promise.reject({ code: 'x', cause: 'the file could not be changed', action: 'check it' });

test('a moving slider shows each value at once and changes the file once', () => withEdits(async ({ edits, sent, pass }) => {
  for (const r of [9, 10, 12, 16]) {
    edits.set([{ path: ['lora', 'r'], value: r }]);
    assert.equal(edits.apply(values()).lora.r, r);
    await pass(40);
  }
  assert.deepEqual(sent, []);
  await pass(150);
  assert.deepEqual(sent, [['a', ['lora.r', 16]]]);
}));

test('a notification that still has the old value does not move the slider back', () => withEdits(async ({ edits, pass }) => {
  edits.set([{ path: ['lora', 'r'], value: 16 }]);
  edits.settle(values());
  assert.equal(edits.apply(values()).lora.r, 16, 'before it was sent');
  await pass(150);
  assert.equal(edits.apply(values()).lora.r, 16, 'after it was answered');
  edits.settle(values({ r: 16 }));
  assert.equal(edits.apply(values({ r: 32 })).lora.r, 32, 'an undo in the editor counts again');
}));

test('an edit that the host answers without changing anything is given up', () => withEdits(async ({ edits, pass, changes }) => {
  edits.set([{ path: ['lora', 'r'], value: 16 }]);
  await pass(150);
  await pass(1000);
  assert.equal(edits.apply(values()).lora.r, 8);
  assert.equal(changes(), 1);
}));

test('what a person sets after sending is not lost when the first answer arrives', () => withEdits(async ({ edits, sent, pass }) => {
  edits.set([{ path: ['lora', 'r'], value: 16 }]);
  await pass(150);
  edits.set([{ path: ['lora', 'r'], value: 32 }]);
  edits.settle(values({ r: 16 }));
  assert.equal(edits.apply(values({ r: 16 })).lora.r, 32);
  await pass(1150);
  assert.deepEqual(sent.at(-1), ['a', ['lora.r', 32]]);
}));

test('an edit that fails falls back to the file and keeps its report until the next try', () => withEdits(async ({ edits, pass, changes }) => {
  edits.set([{ path: ['lora', 'r'], value: 16 }]);
  await pass(150);
  assert.equal(edits.apply(values()).lora.r, 8);
  assert.equal(edits.failure(['lora', 'r'])?.cause, 'the file could not be changed');
  assert.equal(await edits.flush(), false, 'a run must not start with another value than the person set');
  assert.equal(changes(), 1);
  edits.set([{ path: ['lora', 'r'], value: 17 }]);
  assert.equal(edits.failure(['lora', 'r']), undefined);
}, refused));

test('an edit that failed holds no start once the file is another, or once the person was told why', () => withEdits(async ({ edits, pass }) => {
  const fail = async (): Promise<void> => {
    edits.set([{ path: ['lora', 'r'], value: 16 }]);
    await pass(150);
    assert.equal(await edits.flush(), false);
  };
  await fail();
  edits.settle(values());
  assert.equal(await edits.flush(), false, 'news of something else, as of the memory that is free');
  edits.settle(values({ lora_alpha: 32 }));
  assert.equal(await edits.flush(), true, 'the file was changed');
  const problem = { path: [], cause: 'not valid JSON: a comma is missing', action: 'correct the text at this place' };
  edits.settle(values(), [problem]);
  await fail();
  edits.settle(values());
  assert.equal(await edits.flush(), true, 'the file was corrected');
  await fail();
  assert.equal(edits.takeFailure()?.cause, 'the file could not be changed');
  assert.equal(await edits.flush(), true, 'it has been told');
  assert.equal(edits.takeFailure(), undefined);
}, refused));

test('Start waits for what was set a moment ago', () => withEdits(async ({ edits, sent }) => {
  edits.set([{ path: ['lora', 'r'], value: 16 }]);
  edits.set([{ path: ['training', 'learning_rate'], value: 1e-3 }]);
  assert.equal(await edits.flush(), true);
  assert.deepEqual(sent, [['a', ['lora.r', 16], ['training.learning_rate', 1e-3]]], 'as one edit');
}));

test('Start waits for what is on its way, and is held where that fails', async () => {
  let fail!: (report: object) => void;
  await withEdits(async ({ edits, pass }) => {
    edits.set([{ path: ['lora', 'r'], value: 16 }]);
    await pass(150);
    const ready = edits.flush();
    fail({ code: 'x', cause: 'the file could not be changed', action: 'check it' });
    assert.equal(await ready, false);
  }, () => new Promise((_, reject) => { fail = reject; }));
});

test('another experiment gets none of the edits of the first, which gets those that waited', () => withEdits(async ({ edits, sent, pass }) => {
  edits.set([{ path: ['lora', 'r'], value: 16 }]);
  edits.follow('b');
  assert.equal(edits.apply(values()).lora.r, 8);
  edits.set([{ path: ['lora', 'lora_alpha'], value: 4 }]);
  await pass(2000);
  assert.deepEqual(sent, [['a', ['lora.r', 16]], ['b', ['lora.lora_alpha', 4]]]);
}));

test('a key that is removed has its default at once, until the file says so', () => withEdits(async ({ edits, pass }) => {
  edits.settle(values({ exclude_modules: ['key'] }));
  edits.set([{ path: ['lora', 'exclude_modules'] }]);
  assert.equal(edits.apply(values({ exclude_modules: ['key'] })).lora.exclude_modules, null);
  await pass(150);
  edits.settle(values());
  assert.ok(!edits.has(['lora', 'exclude_modules']));
}));
