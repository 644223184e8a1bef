import assert from 'node:assert/strict';
import { afterEach, describe, it } from 'node:test';
import type { Page } from 'playwright-core';
import { WebSocket } from 'ws';
import { type Client, connect, type WebSocketClass } from '../../src/index.js';
import { bubble, composer, DEADLINE, enter, reconnect, send, settled, setUp, texts } from './support/browser.js';

describe('a rejected message', { timeout: 10 * DEADLINE }, () => {
  const stage = setUp();
  const clients: Client[] = [];
  afterEach(() => Promise.all(clients.splice(0).map(client => client.close())));

  function program(user: string): Client {
    const client = connect({ url: stage.server.url, user, WebSocket: WebSocket as unknown as WebSocketClass });
    client.on('message', () => {});
    clients.push(client);
    return client;
  }
  const rejected = (page: Page, text: string) => bubble(page, text).getByText('Not sent').waitFor();
  const discard = (page: Page, text: string) => bubble(page, text).getByRole('button', { name: 'Discard' }).click();

  it('stays between the messages before and after it, also after a reload', async () => {
    const peer = program('bob');
    const page = await stage.world.visitor();
    await enter(page, stage.server.url, 'ann', 'bob');
    await send(page, 'one');
    await settled(page, 1);
    await peer.send('ann', 'two');
    await bubble(page, 'two').waitFor();
    await peer.block('ann');
    for (const text of ['failed 1', 'failed 2']) {
      await send(page, text);
      await rejected(page, text);
    }
    await peer.send('ann', 'three');
    await bubble(page, 'three').waitFor();
    await send(page, 'failed 3');
    await rejected(page, 'failed 3');
    await peer.unblock('ann');
    await send(page, 'four');
    await bubble(page, 'four').waitFor();
    await settled(page, 7);
    await peer.send('ann', 'five');
    await bubble(page, 'five').waitFor();
    const expected = ['one', 'two', 'failed 1', 'failed 2', 'three', 'failed 3', 'four', 'five'];
    assert.deepEqual(await texts(page), expected);
    const preview = page.getByRole('button', { name: /bob/ }).first().locator('.preview');
    assert.equal(await preview.innerText(), 'five');
    // All of today: a failed message does not start another day.
    assert.equal(await page.locator('.day:not(.new-messages)').count(), 1);

    await page.reload();
    await bubble(page, 'five').waitFor();
    assert.deepEqual(await texts(page), expected);
    assert.equal(await preview.innerText(), 'five');
    // Without the one before, the other keeps its place; and a message that is sent again moves to the end.
    await discard(page, 'failed 1');
    await bubble(page, 'failed 1').waitFor({ state: 'detached' });
    await page.reload();
    await bubble(page, 'five').waitFor();
    assert.deepEqual(await texts(page), expected.toSpliced(2, 1));
    await bubble(page, 'failed 2').getByRole('button', { name: 'Try again' }).click();
    await settled(page, 7);
    await page.waitForFunction(
      () => [...document.querySelectorAll('.message .text')].at(-1)?.textContent === 'failed 2',
    );
    assert.deepEqual(await texts(page), ['one', 'two', 'three', 'failed 3', 'four', 'five', 'failed 2']);
    await page.reload();
    await bubble(page, 'failed 2')
      .getByText(/Stored|Received|Read/)
      .waitFor();
    assert.deepEqual(await texts(page), ['one', 'two', 'three', 'failed 3', 'four', 'five', 'failed 2']);
  });

  it('is before all later messages while its place in the history is not loaded', async () => {
    const peer = program('dee');
    const page = await stage.world.visitor();
    await enter(page, stage.server.url, 'cem', 'dee');
    await peer.send('cem', 'old');
    await bubble(page, 'old').waitFor();
    await peer.block('cem');
    await send(page, 'failed');
    await rejected(page, 'failed');
    const later = Array.from({ length: 230 }, (_, i) => `later ${i}`);
    await Promise.all(later.map(text => peer.send('cem', text)));
    await bubble(page, 'later 229').waitFor();
    let shown: string[] = [];
    // A reload before the page has stored its place in the inbox shows all of them.
    for (let reloads = 0; reloads === 0 || (shown.length >= 230 && reloads < 5); reloads++) {
      await page.reload();
      await bubble(page, 'later 229').waitFor({ state: 'attached' });
      shown = await texts(page);
    }
    assert.ok(shown.length < 230);
    assert.deepEqual(shown, ['failed', ...later.slice(1 - shown.length)]);
    await page.waitForFunction(() => {
      document.querySelector('.scroller')?.scrollTo(0, 0);
      return document.querySelector('.message .text')?.textContent === 'old';
    });
    assert.deepEqual(await texts(page), ['old', 'failed', ...later]);
  });

  it('that was written offline is after what arrived before it was rejected', async () => {
    const peer = program('fay');
    const page = await stage.world.visitor();
    await enter(page, stage.gate.url, 'eva', 'fay');
    await peer.send('eva', 'one');
    await bubble(page, 'one').waitFor();
    stage.gate.shut();
    await page.getByText('No connection to the server.').waitFor();
    await send(page, 'offline');
    await bubble(page, 'offline').getByText('Waiting for the connection').waitFor();
    await peer.send('eva', 'meanwhile');
    await peer.block('eva');
    stage.gate.open();
    await reconnect(page);
    await rejected(page, 'offline');
    await peer.send('eva', 'later');
    await bubble(page, 'later').waitFor();
    assert.deepEqual(await texts(page), ['one', 'meanwhile', 'offline', 'later']);
    await page.reload();
    await bubble(page, 'later').waitFor();
    assert.deepEqual(await texts(page), ['one', 'meanwhile', 'offline', 'later']);
    // It is still shown while the history cannot be loaded.
    stage.gate.shut();
    await page.getByText('No connection to the server.').waitFor();
    await page.reload();
    await rejected(page, 'offline');
    assert.equal(await composer(page).isEnabled(), true);
    stage.gate.open();
    await reconnect(page);
  });
});
