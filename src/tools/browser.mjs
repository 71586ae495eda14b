/** Finds a Chromium, Chrome or Edge on this machine and starts it without a window. */
import { spawnSync } from 'node:child_process';
import { accessSync, constants, existsSync } from 'node:fs';
import { homedir } from 'node:os';
import { delimiter, join } from 'node:path';
import { onEnd, run } from './processes.mjs';

const names = ['chromium', 'chromium-browser', 'google-chrome', 'google-chrome-stable', 'microsoft-edge', 'microsoft-edge-stable', 'chrome', 'msedge'];

function places() {
  const path = (process.env.PATH ?? '').split(delimiter).filter(Boolean);
  if (process.platform === 'darwin') {
    return ['/Applications', join(homedir(), 'Applications')].flatMap((folder) => [
      'Google Chrome.app/Contents/MacOS/Google Chrome', 'Microsoft Edge.app/Contents/MacOS/Microsoft Edge', 'Chromium.app/Contents/MacOS/Chromium',
    ].map((name) => join(folder, name)));
  }
  if (process.platform === 'win32') {
    return [process.env.PROGRAMFILES, process.env['PROGRAMFILES(X86)'], process.env.LOCALAPPDATA].filter(Boolean).flatMap((folder) => [
      'Google/Chrome/Application/chrome.exe', 'Microsoft/Edge/Application/msedge.exe', 'Chromium/Application/chrome.exe',
    ].map((name) => join(folder, name)));
  }
  return [...path, '/usr/bin', '/usr/local/bin', '/snap/bin'].flatMap((folder) => names.map((name) => join(folder, name)));
}

function executable(path) {
  try {
    accessSync(path, constants.X_OK);
    return true;
  } catch {
    return false;
  }
}

/** Path of a browser of the Chromium family, or undefined. `LORA_LAB_BROWSER` comes first. */
export function findBrowser() {
  const named = process.env.LORA_LAB_BROWSER;
  if (named) {
    if (!existsSync(named)) throw new Error(`LORA_LAB_BROWSER: there is no ${named}. Give the path of a Chromium, Chrome or Edge program.`);
    return named;
  }
  return places().find(executable);
}

/** As `findBrowser`, but installs Debian's Chromium when run as root on a Debian-like system, and else says what to install. */
export async function ensureBrowser() {
  const found = findBrowser();
  if (found) return found;
  const debian = process.getuid?.() === 0 && spawnSync('apt-get', ['--version']).status === 0;
  if (debian) {
    console.error('set-up: apt-get install chromium');
    const env = { ...process.env, DEBIAN_FRONTEND: 'noninteractive' };
    await run('apt-get', ['update'], { env, quiet: true });
    await run('apt-get', ['install', '-y', '--no-install-recommends', 'chromium', 'libvulkan1'], { env, quiet: true });
    const installed = findBrowser();
    if (installed) return installed;
  }
  throw new Error('No Chromium, Chrome or Edge was found. Install one (on Debian or Ubuntu: sudo apt-get install chromium), or give its path in LORA_LAB_BROWSER.');
}

/**
 * Starts the browser without a window and with a fresh profile.
 * @returns {Promise<import('playwright-core').Browser>}
 */
export async function launchBrowser() {
  const { chromium } = await import('playwright-core');
  const executablePath = await ensureBrowser();
  const browser = await chromium.launch({
    executablePath,
    headless: true,
    // Chromium refuses its own sandbox to root, which is who runs in most containers.
    chromiumSandbox: process.platform !== 'linux' || process.getuid() !== 0 ? undefined : false,
    args: ['--disable-gpu', '--disable-quic', '--no-first-run', '--disable-background-networking', '--disable-component-update', '--disable-sync', '--disable-dev-shm-usage'],
    handleSIGINT: false, handleSIGTERM: false, handleSIGHUP: false,
  });
  const takeBack = onEnd(() => browser.close());
  browser.once('disconnected', takeBack);
  return browser;
}
