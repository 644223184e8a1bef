/** Runs pages in a real browser, and records their errors and their requests to other hosts. */

import assert from 'node:assert/strict';
import { existsSync } from 'node:fs';
import { after, afterEach, before, beforeEach } from 'node:test';
import { type Browser, type BrowserContextOptions, chromium, type Locator, type Page } from 'playwright-core';
import { DEADLINE, Server } from '../../../test/support/server.js';
import { Gate } from './gate.js';

export { DEADLINE, Server };

/** Host name of another site. It resolves to this machine. */
export const EVIL = 'evil.example';

const FLAGS = [
  '--no-sandbox',
  '--disable-gpu',
  '--disable-quic',
  '--no-first-run',
  '--disable-background-networking',
  '--disable-component-update',
  '--disable-sync',
  // No other host name resolves.
  `--host-resolver-rules=MAP ${EVIL} 127.0.0.1, MAP * ~NOTFOUND, EXCLUDE 127.0.0.1, EXCLUDE localhost`,
];

const executablePath = process.env.CHROMIUM || '/usr/bin/chromium';
if (!existsSync(executablePath)) {
  throw new Error(`these tests need a browser: CHROMIUM must name a Chromium (there is no ${executablePath})`);
}

export async function launch(): Promise<World> {
  return new World(await chromium.launch({ executablePath, args: FLAGS }));
}

export class World {
  /** URLs of requests to other hosts. */
  readonly foreignRequests: string[] = [];
  /** Console errors, warnings and exceptions of pages, except for lost connections. */
  readonly errors: string[] = [];
  /** Further console errors that the pages may have. */
  expected: RegExp | undefined;

  constructor(readonly browser: Browser) {}

  /** Opens a page in its own browser context, which shares no state with others. */
  async visitor(options: BrowserContextOptions = {}): Promise<Page> {
    const context = await this.browser.newContext({
      viewport: { width: 1280, height: 800 },
      locale: 'en-GB',
      ...options,
    });
    context.setDefaultTimeout(DEADLINE);
    context.on('request', request => {
      const url = new URL(request.url());
      if (url.hostname !== '127.0.0.1' && url.protocol !== 'data:') this.foreignRequests.push(request.url());
    });
    context.on('console', message => {
      const text = message.text();
      const isExpected = /WebSocket connection to .* failed|net::ERR_INTERNET_DISCONNECTED/.test(text);
      if (isExpected || this.expected?.test(text)) return;
      if (['error', 'warning'].includes(message.type())) this.errors.push(text);
    });
    context.on('weberror', error => {
      // Print it at once, because the test may fail later with a timeout only.
      console.error(error.error().stack);
      this.errors.push(String(error.error().stack));
    });
    return context.newPage();
  }

  /** Closes all pages and asserts that they had no errors and made no requests to other hosts. */
  async finish(): Promise<void> {
    for (const context of this.browser.contexts()) await context.close();
    const found = { foreignRequests: this.foreignRequests.splice(0), errors: this.errors.splice(0) };
    assert.deepEqual(found, { foreignRequests: [], errors: [] });
  }
}

interface Stage {
  world: World;
  server: Server;
  /** Proxy in front of the server. */
  gate: Gate;
}

/** Starts a browser and a server for a test suite; with `each`, a new server for each test. */
export function setUp({ each = false, flags = [] as string[] } = {}): Stage {
  const stage = {} as Stage;
  const start = async () => {
    stage.server = await Server.start(...flags);
    stage.gate = await Gate.inFrontOf(stage.server.url);
  };
  const stop = async () => {
    await stage.gate?.close();
    await stage.server?.stop();
  };
  before(async () => {
    stage.world = await launch();
    if (!each) await start();
  });
  if (each) beforeEach(start);
  afterEach(async () => {
    try {
      await stage.world.finish();
    } finally {
      if (each) await stop();
    }
  });
  after(async () => {
    await stage.world?.browser.close();
    if (!each) await stop();
  });
  return stage;
}

/** Opens the page as a user and waits until it is connected. */
export async function enter(page: Page, url: string, user: string, to?: string): Promise<void> {
  await page.goto(`${url}/?${new URLSearchParams({ user, ...(to && { to }) })}`);
  await connected(page);
}

export async function connected(page: Page): Promise<void> {
  await page.locator('.connection.open').waitFor({ state: 'attached' });
}

/** Makes a page reconnect now and waits for it. Does not fail if the page has reconnected by itself. */
export async function reconnect(page: Page): Promise<void> {
  await page.getByRole('button', { name: 'Retry now' }).evaluateAll(found => {
    for (const button of found) (button as HTMLButtonElement).click();
  });
  await page.locator('.banner').waitFor({ state: 'detached' });
}

export function composer(page: Page): Locator {
  return page.getByRole('textbox', { name: 'Message', exact: true });
}

/** Writes a message in the composer and sends it. */
export async function send(page: Page, text: string): Promise<void> {
  await composer(page).fill(text);
  await composer(page).press('Enter');
}

/** Waits until the dialog is removed. A dialog that is only hidden cannot be opened again yet. */
export async function dialogClosed(page: Page): Promise<void> {
  await page.locator('dialog').waitFor({ state: 'detached' });
}

/** Returns the message with this text. */
export function bubble(page: Page, text: string): Locator {
  return page.locator('.message', { has: page.locator('.text', { hasText: new RegExp(`^${text}$`) }) });
}

/** Returns the texts of all messages, in order. */
export function texts(page: Page): Promise<string[]> {
  return page.locator('.message .text').allInnerTexts();
}

/** Waits until at least `count` messages are shown and none of them is unsent. */
export async function settled(page: Page, count: number): Promise<void> {
  await page.waitForFunction(
    minimum =>
      document.querySelectorAll('.message').length >= minimum &&
      !document.querySelector('.message.offline, .message.sending'),
    count,
    { timeout: 2 * DEADLINE },
  );
}
