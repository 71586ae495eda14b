/** The built panel in a browser, with a stand-in for VS Code around it. Browser and server end with the tests of the file that imports this. */
import assert from 'node:assert/strict';
import { join } from 'node:path';
import { after, before } from 'node:test';
import { pathToFileURL } from 'node:url';
import type { Browser, BrowserContext, Page } from 'playwright-core';
import { ROOT } from '../../support/paths';

interface Opened { page: Page; errors: string[] }
interface Preview { servePreview(options: { built: boolean }): Promise<{ address: string; stop(): Promise<void> }>; openPanel(browser: BrowserContext, address: string, options?: { state?: string; theme?: string; width?: number }): Promise<Opened> }

// Loaded by path: what starts a browser must not be bundled.
const load = <T>(path: string): Promise<T> => import(pathToFileURL(join(ROOT, path)).href) as Promise<T>;
let browser: Browser;
// One for all pages, which compile the panel's script once.
let context: BrowserContext;
let preview: Preview;
let served: Awaited<ReturnType<Preview['servePreview']>>;

before(async () => {
  preview = await load<Preview>('test/webview/support/preview.mjs');
  browser = await (await load<{ launchBrowser(): Promise<Browser> }>('src/tools/browser.mjs')).launchBrowser();
  context = await browser.newContext();
  served = await preview.servePreview({ built: true });
});
after(async () => {
  await browser?.close();
  await served?.stop();
});

/** Opens the panel in a state, a theme and a width; the page must be without errors, violated content policies among them, when `use` is done. */
export async function inPanel(options: { state?: string; theme?: string; width?: number }, use: (page: Page) => Promise<void>): Promise<void> {
  const { page, errors } = await preview.openPanel(context, served.address, options);
  try {
    await use(page);
    assert.deepEqual(errors, []);
  } finally {
    await page.close();
  }
}

/** What the panel has asked the host for, all of one method, without the experiment that was shown. */
export const asked = (page: Page, method: string): Promise<Record<string, unknown>[]> => page.evaluate(name =>
  (window as unknown as { mock: { asked: { method: string; params: Record<string, unknown> }[] } }).mock.asked.filter(entry => entry.method === name).map(({ params: { experiment, ...params } }) => params), method);
/** Waits until the host was asked for that so many times; returns what for. */
export async function askedTimes(page: Page, method: string, times: number): Promise<Record<string, unknown>[]> {
  await page.waitForFunction(([name, wanted]) =>
    (window as unknown as { mock: { asked: { method: string }[] } }).mock.asked.filter(entry => entry.method === name).length >= Number(wanted), [method, times]);
  return asked(page, method);
}
export const notify = (page: Page, method: string, params: unknown): Promise<void> => page.evaluate(([name, what]) =>
  (window as unknown as { mock: { notify(method: unknown, params: unknown): void } }).mock.notify(name, what), [method, params]);
export const text = async (page: Page, selector: string): Promise<string> => (await page.textContent(selector)) ?? '';
export const eventually = (page: Page, selector: string, expected: string): Promise<unknown> => page.waitForFunction(([at, what]) => document.querySelector(at)?.textContent === what, [selector, expected]);
