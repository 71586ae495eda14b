/** Downloads behind a proxy: which one is asked for which address, what reaches it, and what a person reads when it refuses. */
import assert from 'node:assert/strict';
import { readFileSync } from 'node:fs';
import { createServer as createSecure } from 'node:https';
import type { AddressInfo } from 'node:net';
import { after, afterEach, before, test } from 'node:test';
import { fetchFile, fetchJson, type Fetching } from '../../src/engine/executors/install/download';
import type { ProxySettings } from '../../src/protocol/engine';
import { selfSigned } from '../support/certificate';
import { inTemporaryFolder } from '../support/faults';
import { startProxy, type Proxy } from '../support/proxy';
import { startRegistry, type Registry } from '../support/registry';

const NAMES = ['HTTP_PROXY', 'HTTPS_PROXY', 'ALL_PROXY', 'NO_PROXY'].flatMap(name => [name, name.toLowerCase()]);
const kept = { ...process.env };
const clear = (): void => { for (const name of NAMES) delete process.env[name]; };
const secure = createSecure(selfSigned('files.example'), (request, response) => response.end(`{ "path": "${request.url}" }`));
let registry: Registry, plain: Proxy, tunnel: Proxy;

before(async () => {
  // The certificate is signed by nobody.
  process.env.NODE_TLS_REJECT_UNAUTHORIZED = '0';
  registry = await startRegistry(new Map([['/a.tgz', Buffer.from('content')], ['/a.json', Buffer.from('{"a":1}')]]));
  await new Promise<void>(done => secure.listen(0, '127.0.0.1', done));
  plain = await startProxy(Number(new URL(registry.url).port));
  tunnel = await startProxy((secure.address() as AddressInfo).port);
  clear();
});
afterEach(() => { clear(); plain.asked.length = tunnel.asked.length = 0; });
after(async () => {
  process.env = kept;
  secure.closeAllConnections();
  secure.close();
  for (const server of [registry, plain, tunnel]) await server.close();
});

const json = (url: string, proxy?: ProxySettings): Promise<Record<string, unknown>> => fetchJson(url, { signal: new AbortController().signal, proxy });
const lines = ({ asked }: Proxy): string[] => asked.map(({ line }) => line);

test('HTTPS_PROXY is asked for a tunnel to hosts that only it can find, and HTTP_PROXY for the file itself', () => inTemporaryFolder(async folder => {
  process.env.HTTPS_PROXY = `http://me:se%40cret@${tunnel.address}`;
  assert.deepEqual(await json('https://files.example/x.json'), { path: '/x.json' });
  assert.deepEqual(tunnel.asked, [{ line: 'CONNECT files.example:443', authorization: `Basic ${Buffer.from('me:se@cret').toString('base64')}` }]);
  process.env.http_proxy = plain.address;
  const fetching: Fetching = { folder, mirror: null, signal: new AbortController().signal, progress: () => {} };
  assert.equal(readFileSync(await fetchFile({ url: 'http://files.example/a.tgz', integrity: null }, fetching), 'utf8'), 'content');
  assert.deepEqual(lines(plain), ['GET http://files.example/a.tgz']);
}));

test("hosts of NO_PROXY and loopback servers named there are asked directly, and the editor's settings come before the environment", async () => {
  Object.assign(process.env, { ALL_PROXY: plain.address, NO_PROXY: 'other.example, 127.0.0.1' });
  assert.deepEqual(await json(`${registry.url}/a.json`), { a: 1 });
  assert.deepEqual(plain.asked, []);
  process.env.NO_PROXY = '127.0.0.1:1';
  assert.deepEqual(await json(`${registry.url}/a.json`), { a: 1 });
  assert.equal(plain.asked.length, 1);
  // With a proxy of its own the editor's exceptions hold, and a proxy that is switched off is none.
  process.env.NO_PROXY = '*';
  await json('http://a.files.example/a.json', { url: plain.address, except: ['*.other.example'], authorization: 'Bearer x' });
  assert.deepEqual(plain.asked.at(-1), { line: 'GET http://a.files.example/a.json', authorization: 'Bearer x' });
  delete process.env.NO_PROXY;
  for (const proxy of [{ url: null, except: [] }, { url: plain.address, except: ['.0.0.1'] }]) await json(`${registry.url}/a.json`, proxy);
  assert.equal(plain.asked.length, 2);
});

test('a proxy that refuses, is not there or is of another kind is named without its password, with a way to go on', async () => {
  const closed = await startProxy(0, '407 Proxy Authentication Required');
  process.env.HTTPS_PROXY = `http://me:secret@${closed.address}`;
  const says = async (url: string, proxy?: ProxySettings): Promise<string> => json(url, proxy).then(() => assert.fail('it was fetched'), (error: Error) => error.message);
  const message = await says('https://files.example/x.json');
  assert.match(message, /files\.example, asked through the proxy 127\.0\.0\.1:\d+ \(HTTPS_PROXY\), answered 407 Proxy Authentication Required\. Fetch the files on another machine.*--list.*runtimeMirror.*HTTPS_PROXY.*http\.proxy/);
  assert.doesNotMatch(message, /secret/);
  await closed.close();
  assert.match(await says('https://files.example/x.json'), /through the proxy .* cannot be reached: ECONNREFUSED/);
  assert.match(await says('https://files.example/x.json', { url: 'socks5://127.0.0.1:1080', except: [] }), /http\.proxy: a proxy that speaks socks5 is not supported\. Give the address of an HTTP proxy/);
});

test('a file that was moved is followed, but not out of an encrypted connection', async () => {
  registry.answer(/moved/, (response, _, request) => { response.writeHead(302, { location: request.url === '/moved' ? '/moved-again' : '/a.json' }).end(); });
  assert.deepEqual(await json(`${registry.url}/moved`), { a: 1 });
  registry.answer(/circle/, response => { response.writeHead(302, { location: '/circle' }).end(); });
  await assert.rejects(json(`${registry.url}/circle`), /answered 302/);
  secure.removeAllListeners('request').on('request', (_, response) => response.writeHead(301, { location: 'http://files.example/' }).end());
  await assert.rejects(json('https://files.example/x.json', { url: tunnel.address, except: [] }), /sends on to http:\/\/files\.example, which is not encrypted/);
});
