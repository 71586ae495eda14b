/** ONNX Runtime sends no usage data and keeps no identifier of the machine. */
import assert from 'node:assert/strict';
import { spawn } from 'node:child_process';
import { mkdirSync, readdirSync } from 'node:fs';
import { join } from 'node:path';
import { test } from 'node:test';
import { inTemporaryFolder } from '../support/faults';
import { built } from '../support/paths';
import { copyCase } from '../support/runs';

/** What turns it off without us: this project's own tests, and a CI. */
const ELSEWHERE = /^(ORT_|CI$|GITHUB_ACTIONS$|TF_BUILD$|XDG_)/;

/** Runs a program of the engine as a person whose home folder is empty, and returns what is there then. */
async function leftAtHome(folder: string, script: string, args: string[]): Promise<string[]> {
  const home = join(folder, `home-${script}`);
  mkdirSync(home);
  const env = { ...Object.fromEntries(Object.entries(process.env).filter(([name]) => !ELSEWHERE.test(name))), HOME: home, LORA_LAB_CACHE: join(folder, 'cache') };
  const child = spawn(process.execPath, [built(`engine/${script}.js`), ...args], { env, stdio: ['ignore', 'ignore', 'pipe'] });
  let err = '';
  child.stderr.on('data', data => { err += data; });
  const code = await new Promise(resolve => child.once('close', resolve));
  assert.equal(code, 0, err);
  return readdirSync(home, { recursive: true }).map(String);
}

test('neither a run nor the probe of a device leaves anything of ONNX Runtime\'s in the home folder', { skip: process.platform === 'win32' && 'there it keeps nothing' }, () => inTemporaryFolder(async folder => {
  assert.deepEqual(await leftAtHome(folder, 'cli', ['train', copyCase(join(folder, 'run'))]), []);
  assert.deepEqual(await leftAtHome(folder, 'probe', ['cpu']), []);
}));
