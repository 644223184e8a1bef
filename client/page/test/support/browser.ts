/** Real pages in a real browser, and what they did that they should not. */

import assert from 'node:assert/strict';
import { existsSync } from 'node:fs';
import { after, afterEach, before, beforeEach } from 'node:test';
import { type Browser, type BrowserContextOptions, chromium, type Locator, type Page } from 'playwright-core';
import { DEADLINE, Server } from '../../../test/support/server.js';
import { Gate } from './gate.js';

export { DEADLINE, Server };

/** A site that is not this machine's own by its name, though it is by its address. */
export const EVIL = 'evil.example';

const FLAGS = [
  '--no-sandbox',
  '--disable-gpu',
  '--disable-quic',
  '--no-first-run',
  '--disable-background-networking',
  '--disable-component-update',
  '--disable-sync',
  // No name but these leads anywhere.
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
  /** What pages asked for, outside of where they come from. */
  readonly foreign: string[] = [];
  /** What pages complained about, lost connections left out. */
  readonly complaints: string[] = [];

  constructor(readonly browser: Browser) {}

  /** A page of a visitor of its own: nothing is shared with others. */
  async visitor(options: BrowserContextOptions = {}): Promise<Page> {
    const context = await this.browser.newContext({
      viewport: { width: 1280, height: 800 },
      locale: 'en-GB',
      ...options,
    });
    context.setDefaultTimeout(DEADLINE);
    context.on('request', request => {
      const url = new URL(request.url());
      if (url.hostname !== '127.0.0.1' && url.protocol !== 'data:') this.foreign.push(request.url());
    });
    context.on('console', message => {
      const text = message.text();
      const isExpected = /WebSocket connection to .* failed|net::ERR_INTERNET_DISCONNECTED/.test(text);
      if (['error', 'warning'].includes(message.type()) && !isExpected) this.complaints.push(text);
    });
    context.on('weberror', error => {
      // Said at once, too: a test that waits for what does not come would only say that.
      console.error(error.error().stack);
      this.complaints.push(String(error.error().stack));
    });
    return context.newPage();
  }

  /** Ends all pages; nothing may have gone wrong in them. */
  async over(): Promise<void> {
    for (const context of this.browser.contexts()) await context.close();
    const { foreign, complaints } = this;
    const seen = { foreign: foreign.splice(0), complaints: complaints.splice(0) };
    assert.deepEqual(seen, { foreign: [], complaints: [] });
  }
}

interface Stage {
  world: World;
  server: Server;
  /** Before that server. */
  gate: Gate;
}

/** Has a browser and a server for the tests of a suite; with `each` a new server for each of them. */
export function setUp({ each = false, flags = [] as string[] } = {}): Stage {
  const stage = {} as Stage;
  const start = async () => {
    stage.server = await Server.start(...flags);
    stage.gate = await Gate.before(stage.server.url);
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
      await stage.world.over();
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

/** Opens the page as a user, and waits until it is connected. */
export async function enter(page: Page, url: string, user: string, to?: string): Promise<void> {
  await page.goto(`${url}/?${new URLSearchParams({ user, ...(to && { to }) })}`);
  await connected(page);
}

export async function connected(page: Page): Promise<void> {
  await page.locator('.line.open').waitFor({ state: 'attached' });
}

/** Has a page connect again now, and waits for that. It may do so by itself before anybody could press the button. */
export async function back(page: Page): Promise<void> {
  await page.getByRole('button', { name: 'Try now' }).evaluateAll(found => {
    for (const button of found) (button as HTMLButtonElement).click();
  });
  await page.locator('.banner').waitFor({ state: 'detached' });
}

export function composer(page: Page): Locator {
  return page.getByRole('textbox', { name: 'Message', exact: true });
}

/** Writes and sends, as people do. */
export async function say(page: Page, text: string): Promise<void> {
  await composer(page).fill(text);
  await composer(page).press('Enter');
}

/** Waits until no dialog is there: one that is only closed is hidden already, and not yet ready to be opened again. */
export async function closed(page: Page): Promise<void> {
  await page.locator('dialog').waitFor({ state: 'detached' });
}

/** The bubble with this text. */
export function bubble(page: Page, text: string): Locator {
  return page.locator('.message', { has: page.locator('.text', { hasText: new RegExp(`^${text}$`) }) });
}

/** The texts on show, in order. */
export function texts(page: Page): Promise<string[]> {
  return page.locator('.message .text').allInnerTexts();
}

/** Waits until so many messages are on show and none of them waits any more. */
export async function settled(page: Page, count: number): Promise<void> {
  await page.waitForFunction(
    most =>
      document.querySelectorAll('.message').length >= most &&
      !document.querySelector('.message.offline, .message.sending'),
    count,
    { timeout: 2 * DEADLINE },
  );
}
