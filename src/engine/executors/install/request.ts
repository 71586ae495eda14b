/** One GET over the network: through the proxy that the editor's settings or the environment name, after redirects. */
import { get as getPlain, type IncomingMessage } from 'node:http';
import { get as getSecure } from 'node:https';
import { HttpProxyAgent } from 'http-proxy-agent';
import { HttpsProxyAgent } from 'https-proxy-agent';
import { LabError } from '../../errors';
import type { ProxySettings } from '../../../protocol/engine';

/** A server that says nothing for so long is taken for gone. */
const SILENCE_MS = 120_000;
const REDIRECTS = 5;

export interface Answer {
  response: IncomingMessage;
  /** Where it came from in the end. */
  url: string;
}

/** A proxy and who named it: `HTTPS_PROXY`, or `http.proxy` of the editor. */
interface Proxy { url: URL; named: string }

/**
 * Asks and follows redirects. `response` may have any status. Errors: LabError `runtime.proxy` for a proxy of a kind that is not
 * spoken, and whatever the network says (`ECONNREFUSED`, …).
 */
export async function request(url: string, signal: AbortSignal, settings?: ProxySettings): Promise<Answer> {
  for (let at = new URL(url), left = REDIRECTS; ; left--) {
    const response = await ask(at, signal, settings);
    const to = response.headers.location;
    if (!to || ![301, 302, 303, 307, 308].includes(response.statusCode!) || left === 0) return { response, url: at.href };
    response.resume();
    const next = new URL(to, at);
    // What was asked for in secret is not told in the open.
    if (at.protocol === 'https:' && next.protocol !== 'https:') throw new Error(`it sends on to ${next.origin}, which is not encrypted`);
    at = next;
  }
}

function ask(url: URL, signal: AbortSignal, settings: ProxySettings | undefined): Promise<IncomingMessage> {
  const secure = url.protocol === 'https:';
  const proxy = proxyOf(url, settings)?.url;
  const headers = settings?.authorization ? { 'Proxy-Authorization': settings.authorization } : undefined;
  const agent = proxy && (secure ? new HttpsProxyAgent(proxy, { headers }) : new HttpProxyAgent(proxy, { headers }));
  return new Promise((resolve, reject) => {
    // Encoded content would not have the length and the checksum of the file.
    const asked = (secure ? getSecure : getPlain)(url, { agent, signal, timeout: SILENCE_MS, headers: { 'accept-encoding': 'identity', 'user-agent': 'lora-lab' } }, resolve);
    asked.once('timeout', () => asked.destroy(new Error(`no answer within ${SILENCE_MS / 1000} s`))).once('error', reject);
  });
}

/** The proxy on the way to an address, in words for a message; empty where it is asked directly. Without name and password. */
export function throughProxy(url: string, settings?: ProxySettings): string {
  const proxy = proxyOf(new URL(url), settings);
  return proxy ? ` through the proxy ${proxy.url.host} (${proxy.named})` : '';
}

/** The proxy for an address: the settings', or without them that of the environment, small letters first, as curl reads it. */
function proxyOf(url: URL, settings: ProxySettings | undefined): Proxy | undefined {
  const from = (name: string): [string, string] | undefined => [name.toLowerCase(), name].flatMap((key): [string, string][] => (process.env[key] ? [[key, process.env[key]]] : []))[0];
  const [named, value] = settings ? ['http.proxy', settings.url] : from(url.protocol === 'https:' ? 'HTTPS_PROXY' : 'HTTP_PROXY') ?? from('ALL_PROXY') ?? ['', null];
  const except = settings ? settings.except : (from('NO_PROXY')?.[1] ?? '').split(/[\s,]+/);
  if (!value || except.some(entry => covers(entry, url))) return undefined;
  let proxy: URL | undefined;
  try { proxy = new URL(/^[\w+.-]+:\/\//.test(value) ? value : `http://${value}`); } catch { /* it is no address */ }
  if (proxy && (proxy.protocol === 'http:' || proxy.protocol === 'https:')) return { url: proxy, named };
  throw new LabError({ code: 'runtime.proxy', where: named, cause: `${proxy ? `a proxy that speaks ${proxy.protocol.slice(0, -1)}` : 'this'} is not supported`, action: 'give the address of an HTTP proxy: http://host:port' });
}

/** Whether an entry of NO_PROXY means this address: `*`, a host with the hosts below it, with or without a dot or `*.` before it, perhaps a port. */
function covers(entry: string, { hostname, port, protocol }: URL): boolean {
  if (entry === '*') return true;
  const [, name = '', only] = /^(?:\*?\.)?(.*?)(?::(\d+))?$/.exec(entry.toLowerCase()) ?? [];
  if (name === '' || (only !== undefined && only !== (port || (protocol === 'https:' ? '443' : '80')))) return false;
  return hostname === name || hostname.endsWith(`.${name}`);
}
