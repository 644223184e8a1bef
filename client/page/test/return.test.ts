import assert from 'node:assert/strict';
import { afterEach, describe, it } from 'node:test';
import type { Page } from 'playwright-core';
import { WebSocket } from 'ws';
import { type Client, connect, type WebSocketClass } from '../../src/index.js';
import { bubble, connected, DEADLINE, enter, setUp } from './support/browser.js';

describe('a page to which the user returns', { timeout: 6 * DEADLINE }, () => {
  const stage = setUp({ each: true });
  const clients: Client[] = [];
  afterEach(() => Promise.all(clients.splice(0).map(client => client.close())));

  function program(user: string): Client {
    const client = connect({ url: stage.server.url, user, WebSocket: WebSocket as unknown as WebSocketClass });
    clients.push(client);
    return client;
  }
  /** Reports to the page that it is shown again, in one of the ways of browsers. */
  const show = (page: Page, event: 'visibilitychange' | 'pageshow') =>
    page.evaluate(type => {
      (type === 'pageshow' ? globalThis : document).dispatchEvent(new Event(type));
    }, event);

  for (const event of ['visibilitychange', 'pageshow'] as const) {
    it(`notices within seconds that its connection is dead (${event})`, async () => {
      const page = await stage.world.visitor();
      await enter(page, stage.gate.url, 'ann', 'ben');
      stage.gate.muteServer();
      await program('ben').send('ann', 'while away');
      const start = performance.now();
      await show(page, event);
      await bubble(page, 'while away').waitFor();
      // Without the event it takes two heartbeats, which are a minute.
      assert.ok(performance.now() - start < 20_000);
    });

    it(`connects at once instead of waiting for the next attempt (${event})`, async () => {
      const page = await stage.world.visitor();
      // The longest delays that are possible.
      await page.addInitScript(() => {
        Math.random = () => 0.9999;
      });
      await enter(page, stage.gate.url, 'ann', 'ben');
      stage.gate.shut();
      const countdown = page.getByText(/Next attempt in ([5-9]|\d\d) s/);
      await countdown.waitFor();
      stage.gate.open();
      const start = performance.now();
      await show(page, event);
      await page.locator('.banner').waitFor({ state: 'detached' });
      await connected(page);
      assert.ok(performance.now() - start < 4_000);
    });
  }

  it('is the same device after each load, also if nothing is sent or received', async () => {
    const page = await stage.world.visitor();
    await enter(page, stage.gate.url, 'cem', 'dee');
    for (let i = 0; i < 3; i += 1) {
      await page.reload();
      await connected(page);
    }
    // The tab opens the page anew.
    await page.goto('about:blank');
    await enter(page, stage.gate.url, 'cem', 'dee');
    const devices = stage.gate.requests.map(path => new URL(path, stage.gate.url).searchParams.get('device'));
    assert.deepEqual([devices.length, new Set(devices).size], [5, 1]);
    // Another tab is another device.
    const tab = await page.context().newPage();
    await enter(tab, stage.gate.url, 'cem', 'dee');
    const last = new URL(stage.gate.requests.at(-1) ?? '', stage.gate.url).searchParams.get('device');
    assert.equal(devices.includes(last), false);
  });
});
