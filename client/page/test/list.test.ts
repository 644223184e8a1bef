import assert from 'node:assert/strict';
import { before, describe, it } from 'node:test';
import type { Page } from 'playwright-core';
import { WebSocket } from 'ws';
import { connect, type WebSocketClass } from '../../src/index.js';
import { assertAccessible } from './support/axe.js';
import { bubble, connected, DEADLINE, enter, reconnect, send, setUp } from './support/browser.js';

/** More than two pages of the list. */
const COUNT = 230;
const PAGE_SIZE = 100;

describe('a list of many conversations', { timeout: 10 * DEADLINE }, () => {
  const stage = setUp();
  /** Peers with the newest message first. */
  const peers = Array.from({ length: COUNT }, (_, i) => `peer-${String(COUNT - i).padStart(3, '0')}`);
  before(async () => {
    // One user writes to all peers one after the other, so that the order is known.
    const hub = connect({ url: stage.server.url, user: 'hub', WebSocket: WebSocket as unknown as WebSocketClass });
    hub.on('message', () => {});
    for (const peer of peers.toReversed()) await hub.send(peer, `to ${peer}`);
    await hub.close();
  });

  const names = (page: Page) => page.locator('.conversation .peer').allInnerTexts();
  const listed = (page: Page, count: number) =>
    page.waitForFunction(minimum => document.querySelectorAll('.conversation').length >= minimum, count, {
      timeout: DEADLINE,
    });
  const scrollToEnd = (page: Page) =>
    page.locator('.conversations').evaluate(list => {
      list.scrollTop = list.scrollHeight;
    });

  it('loads more at the end, each conversation once and in order', async () => {
    const page = await stage.world.visitor();
    await enter(page, stage.server.url, 'hub');
    await listed(page, PAGE_SIZE);
    assert.deepEqual(await names(page), peers.slice(0, PAGE_SIZE));
    for (const count of [2 * PAGE_SIZE, COUNT]) {
      await scrollToEnd(page);
      await listed(page, count);
      assert.deepEqual(await names(page), peers.slice(0, count));
    }
    assert.equal(await page.getByRole('button', { name: 'Show older conversations' }).count(), 0);
    // Writing in the oldest conversation moves it to the top.
    await page.getByRole('button', { name: /peer-001/ }).click();
    await bubble(page, 'to peer-001').waitFor();
    await send(page, 'again');
    await bubble(page, 'again').getByText('Stored').waitFor();
    const order = ['peer-001', ...peers.slice(0, -1)];
    await page.waitForFunction(() => document.querySelector('.conversation .peer')?.textContent === 'peer-001');
    assert.deepEqual(await names(page), order);
    // After a reconnect the list is the same.
    await stage.server.kill();
    await page.getByText('No connection to the server.').waitFor();
    await stage.server.restart();
    await reconnect(page);
    await send(page, 'and again');
    await bubble(page, 'and again').getByText('Stored').waitFor();
    assert.deepEqual(await names(page), order);
  });

  it('loads more with the keyboard and focuses the first new conversation', async () => {
    const page = await stage.world.visitor();
    await enter(page, stage.server.url, 'hub');
    await listed(page, PAGE_SIZE);
    for (const colorScheme of ['dark', 'light'] as const) {
      await page.emulateMedia({ colorScheme });
      await assertAccessible(page, `a list with more pages, ${colorScheme}`);
    }
    const before = await names(page);
    const more = page.getByRole('button', { name: 'Show older conversations' });
    // Without scrolling, which would load the next page.
    await more.evaluate(button => button.focus({ preventScroll: true }));
    await page.keyboard.press('Enter');
    await listed(page, 2 * PAGE_SIZE);
    const after = await names(page);
    assert.deepEqual(after.slice(0, PAGE_SIZE), before);
    assert.equal(new Set(after).size, after.length);
    const [first] = after.slice(PAGE_SIZE);
    await page.waitForFunction(name => document.activeElement?.querySelector('.peer')?.textContent === name, first);
    await page.keyboard.press('Enter');
    await page.getByRole('heading', { name: String(first) }).waitFor();
  });

  it('shows a peer once who writes before the list includes them', async () => {
    const page = await stage.world.visitor();
    await enter(page, stage.server.url, 'hub');
    await listed(page, PAGE_SIZE);
    const late = connect({
      url: stage.server.url,
      user: 'peer-002',
      WebSocket: WebSocket as unknown as WebSocketClass,
    });
    late.on('message', () => {});
    await late.send('hub', 'hello');
    await page
      .getByRole('button', { name: /peer-002/ })
      .getByText('1 unread')
      .waitFor();
    for (const count of [2 * PAGE_SIZE, COUNT]) {
      await scrollToEnd(page);
      await listed(page, count);
    }
    await connected(page);
    const all = await names(page);
    assert.equal(all[0], 'peer-002');
    assert.deepEqual(all.toSorted(), peers.toSorted());
    await page
      .getByRole('button', { name: /peer-002/ })
      .getByText('1 unread')
      .waitFor();
    await late.close();
  });
});
