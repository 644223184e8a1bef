import assert from 'node:assert/strict';
import { before, describe, it } from 'node:test';
import type { Page } from 'playwright-core';
import { WebSocket } from 'ws';
import { connect, type WebSocketClass } from '../../src/index.js';
import { assertAccessible } from './support/axe.js';
import { back, bubble, connected, DEADLINE, enter, say, setUp } from './support/browser.js';

/** More than two parts of the list. */
const MANY = 230;
const PART = 100;

describe('a list of many conversations', { timeout: 10 * DEADLINE }, () => {
  const stage = setUp();
  /** Those who have written, the last one first. */
  const peers = Array.from({ length: MANY }, (_, i) => `peer-${String(MANY - i).padStart(3, '0')}`);
  before(async () => {
    // A user with all of them, who has written to each: one after the other, so that their order is known.
    const hub = connect({ url: stage.server.url, user: 'hub', WebSocket: WebSocket as unknown as WebSocketClass });
    hub.on('message', () => {});
    for (const peer of peers.toReversed()) await hub.send(peer, `to ${peer}`);
    await hub.close();
  });

  const names = (page: Page) => page.locator('.conversation .who').allInnerTexts();
  const listed = (page: Page, count: number) =>
    page.waitForFunction(most => document.querySelectorAll('.conversation').length >= most, count, {
      timeout: DEADLINE,
    });
  const toEnd = (page: Page) =>
    page.locator('.conversations').evaluate(list => {
      list.scrollTop = list.scrollHeight;
    });

  it('goes on where it is scrolled to its end, each conversation once and in order', async () => {
    const page = await stage.world.visitor();
    await enter(page, stage.server.url, 'hub');
    await listed(page, PART);
    assert.deepEqual(await names(page), peers.slice(0, PART));
    for (const count of [2 * PART, MANY]) {
      await toEnd(page);
      await listed(page, count);
      assert.deepEqual(await names(page), peers.slice(0, count));
    }
    assert.equal(await page.getByRole('button', { name: 'Show older conversations' }).count(), 0);
    // The oldest can be opened, and talked in; then it is the newest.
    await page.getByRole('button', { name: /peer-001/ }).click();
    await bubble(page, 'to peer-001').waitFor();
    await say(page, 'again');
    await bubble(page, 'again').getByText('Stored').waitFor();
    const order = ['peer-001', ...peers.slice(0, -1)];
    await page.waitForFunction(() => document.querySelector('.conversation .who')?.textContent === 'peer-001');
    assert.deepEqual(await names(page), order);
    // A new line brings no other list: neither a shorter one nor anybody twice.
    await stage.server.kill();
    await page.getByText('No connection to the server.').waitFor();
    await stage.server.restart();
    await back(page);
    await say(page, 'and again');
    await bubble(page, 'and again').getByText('Stored').waitFor();
    assert.deepEqual(await names(page), order);
  });

  it('goes on with the keyboard, which then stands on what has come', async () => {
    const page = await stage.world.visitor();
    await enter(page, stage.server.url, 'hub');
    await listed(page, PART);
    for (const colorScheme of ['dark', 'light'] as const) {
      await page.emulateMedia({ colorScheme });
      await assertAccessible(page, `a list that goes on, ${colorScheme}`);
    }
    const before = await names(page);
    const more = page.getByRole('button', { name: 'Show older conversations' });
    // Without scrolling, which would bring them by itself.
    await more.evaluate(button => button.focus({ preventScroll: true }));
    await page.keyboard.press('Enter');
    await listed(page, 2 * PART);
    const after = await names(page);
    assert.deepEqual(after.slice(0, PART), before);
    assert.equal(new Set(after).size, after.length);
    const [first] = after.slice(PART);
    await page.waitForFunction(name => document.activeElement?.querySelector('.who')?.textContent === name, first);
    await page.keyboard.press('Enter');
    await page.getByRole('heading', { name: String(first) }).waitFor();
  });

  it('shows once who writes while they are not listed yet', async () => {
    const page = await stage.world.visitor();
    await enter(page, stage.server.url, 'hub');
    await listed(page, PART);
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
    for (const count of [2 * PART, MANY]) {
      await toEnd(page);
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
