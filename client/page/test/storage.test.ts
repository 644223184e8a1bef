import assert from 'node:assert/strict';
import { after, before, describe, it } from 'node:test';
import type { Page } from 'playwright-core';
import { build, type Rollup } from 'vite';
import { WebSocket } from 'ws';
import { type Client, connect, type PastMessage, type WebSocketClass } from '../../src/index.js';
import { DEADLINE, setUp } from './support/browser.js';
import { Site } from './support/site.js';

/** Globals of the test page, a typical program that uses the package. */
interface Program {
  client: Client;
  /** Messages passed to the handler, and those that it has handled. */
  delivered: string[];
  handled: string[];
  sent: string[];
}
declare const dmwire: typeof import('../../src/index.js');
declare const program: Program;

describe('the client package with webStorage', { timeout: 10 * DEADLINE }, () => {
  const stage = setUp({ each: true });
  let site: Site;
  before(async () => {
    const entry = new URL('../../../../src/index.ts', import.meta.url).pathname;
    const made = (await build({
      configFile: false,
      logLevel: 'error',
      build: { write: false, lib: { entry, formats: ['es'], fileName: 'dmwire' } },
    })) as Rollup.RollupOutput[];
    const script = made[0]?.output[0].code ?? '';
    const page =
      '<!doctype html><script type="module">import * as all from "/dmwire.js"; globalThis.dmwire = all</script>';
    site = await Site.of({ '/': page, '/dmwire.js': script });
  });
  after(() => site?.close());

  /** Runs the program in a page. Its handler never finishes messages that start with "stuck". */
  async function run(page: Page): Promise<void> {
    await page.goto(site.origin());
    await page.evaluate(url => {
      const client = dmwire.connect({ url, user: 'ann', storage: dmwire.webStorage('test') });
      const [delivered, handled, sent]: string[][] = [[], [], []];
      Object.assign(globalThis, { program: { client, delivered, handled, sent } });
      client.on('message', ({ message }) => {
        delivered?.push(String(message));
        if (String(message).startsWith('stuck')) return new Promise(() => {});
        handled?.push(String(message));
      });
      client.on('sent', ({ frame }) => void sent?.push(String((frame as { message?: unknown }).message)));
    }, stage.gate.url);
  }
  const waitForCount = (page: Page, list: 'delivered' | 'handled' | 'sent', count: number) =>
    page.waitForFunction(([name, minimum]) => program[name].length >= minimum, [list, count] as const, {
      timeout: DEADLINE,
    });
  const synced = (page: Page) =>
    page.waitForFunction(() => program.client.state.status === 'open', undefined, { timeout: DEADLINE });
  const pending = (page: Page) =>
    page.evaluate(() => program.client.pending.map(frame => String((frame as { message?: unknown }).message)));
  /** Returns the saved state of each tab. */
  const savedStates = (page: Page) =>
    page.evaluate(() =>
      Object.keys(localStorage)
        .filter(key => key.startsWith('test:'))
        .map(key => JSON.parse(localStorage.getItem(key) ?? '') as { seq?: number; device: string; outbox: unknown[] }),
    );
  const waitForSavedSeq = (page: Page, seq: number) =>
    page.waitForFunction(
      wanted => Object.values(localStorage).some(text => (JSON.parse(text) as { seq?: number }).seq === wanted),
      seq,
      { timeout: DEADLINE },
    );
  function connectAs(user: string): Client {
    return connect({ url: stage.server.url, user, WebSocket: WebSocket as unknown as WebSocketClass });
  }
  /** Returns the messages that the server has stored. */
  async function stored(): Promise<string[]> {
    const ben = connectAs('ben');
    ben.on('message', () => {});
    const found: PastMessage[] = [];
    for await (const message of ben.history('ann')) found.unshift(message);
    await ben.close();
    return found.map(({ message }) => String(message));
  }

  it('continues after the handled messages on a reload', async () => {
    const ben = connectAs('ben');
    const page = await stage.world.visitor();
    await run(page);
    for (const text of ['one', 'two', 'stuck', 'three']) await ben.send('ann', text);
    await waitForCount(page, 'delivered', 3);
    await waitForSavedSeq(page, 2);
    assert.deepEqual(await page.evaluate(() => program.delivered), ['one', 'two', 'stuck']);
    // Each reload delivers the unhandled message again, but no handled one.
    for (let i = 0; i < 2; i += 1) {
      await run(page);
      await waitForCount(page, 'delivered', 1);
      assert.deepEqual(await page.evaluate(() => program.delivered), ['stuck']);
      const query = new URL(stage.gate.requests.at(-1) ?? '', stage.gate.url).searchParams;
      assert.equal(query.get('since'), '2');
      assert.match(query.get('epoch') ?? '', /^[0-9a-f-]{36}$/);
    }
    assert.equal(
      new Set(stage.gate.requests.map(url => new URL(url, stage.gate.url).searchParams.get('device'))).size,
      1,
    );
    await ben.close();
  });

  /** Returns the device names of all connections so far. */
  const devices = () =>
    new Set(stage.gate.requests.map(url => new URL(url, stage.gate.url).searchParams.get('device')));

  it('is one device over reloads of an idle page', async () => {
    const page = await stage.world.visitor();
    for (let i = 0; i < 3; i += 1) {
      await run(page);
      await synced(page);
      await page.waitForFunction(() => Object.keys(localStorage).length === 1, undefined, { timeout: DEADLINE });
    }
    assert.equal(stage.gate.requests.length, 3);
    assert.equal(devices().size, 1);
  });

  it('continues in a client that is created right after another was disposed of', async () => {
    const page = await stage.world.visitor();
    await page.goto(site.origin());
    for (const round of [1, 2]) {
      await page.evaluate(
        ([url, n]) => {
          const start = () => dmwire.connect({ url, user: 'ann', storage: dmwire.webStorage('test') });
          for (const name of ['a', 'b']) {
            const client = start();
            client.send('ben', name + n).catch(() => {});
            client.dispose();
          }
          const client = start();
          Object.assign(globalThis, { program: { client, sent: [] } });
          client.on('sent', ({ frame }) => void program.sent.push(String((frame as { message?: unknown }).message)));
          void client.send('ben', `c${n}`);
        },
        [stage.gate.url, round] as const,
      );
      await waitForCount(page, 'sent', 3);
      assert.deepEqual(
        await page.evaluate(() => program.sent),
        ['a', 'b', 'c'].map(name => name + round),
      );
      assert.equal((await savedStates(page)).length, 1);
      await page.evaluate(() => program.client.close());
    }
    assert.deepEqual(await stored(), ['a1', 'b1', 'c1', 'a2', 'b2', 'c2']);
    assert.equal(devices().size, 1);
  });

  for (const [type, target] of [
    ['visibilitychange', 'document'],
    ['resume', 'document'],
    ['pageshow', 'window'],
    ['online', 'window'],
  ] as const) {
    it(`reconnects quickly on ${type}`, async () => {
      const page = await stage.world.visitor();
      await page.goto(site.origin());
      await page.evaluate(url => {
        Math.random = () => 0.99;
        const client = dmwire.connect({ url, user: 'ann', backoff: { base: 1_000_000, max: 1_000_000 } });
        Object.assign(globalThis, { program: { client } });
      }, stage.gate.url);
      await synced(page);
      const dispatch = () =>
        page.evaluate(([name, on]) => void globalThis[on].dispatchEvent(new Event(name)), [type, target] as const);
      const waiting = () =>
        page.waitForFunction(() => program.client.state.status === 'waiting', undefined, { timeout: DEADLINE });
      // The connection is dead, and nothing says so.
      stage.gate.muteServer();
      await dispatch();
      await waiting();
      await dispatch();
      await synced(page);
      stage.gate.shut();
      await waiting();
      stage.gate.open();
      await dispatch();
      await synced(page);
      assert.equal(stage.gate.requests.length, 3);
    });
  }

  it('sends unsent messages once and in order after a reload', async () => {
    const page = await stage.world.visitor();
    await run(page);
    await synced(page);
    stage.gate.shut();
    await page.waitForFunction(() => program.client.state.status === 'waiting', undefined, { timeout: DEADLINE });
    await page.evaluate(() => {
      for (const text of ['one', 'two', 'three']) void program.client.send('ben', text).catch(() => {});
    });
    assert.deepEqual(await pending(page), ['one', 'two', 'three']);
    for (let i = 0; i < 2; i += 1) {
      await run(page);
      await page.waitForFunction(() => program.client.pending.length === 3, undefined, { timeout: DEADLINE });
      assert.deepEqual(await pending(page), ['one', 'two', 'three']);
    }
    assert.deepEqual(await stored(), []);
    stage.gate.open();
    await page.evaluate(() => program.client.reconnect());
    await waitForCount(page, 'sent', 3);
    assert.deepEqual(await page.evaluate(() => program.sent), ['one', 'two', 'three']);
    assert.deepEqual(await stored(), ['one', 'two', 'three']);
    // The outbox is empty afterwards.
    await waitForSavedSeq(page, 3);
    await run(page);
    await synced(page);
    assert.deepEqual(await pending(page), []);
    assert.deepEqual(
      (await savedStates(page)).map(({ outbox }) => outbox.length),
      [0],
    );
    assert.deepEqual(await stored(), ['one', 'two', 'three']);
  });

  it('does not duplicate a stored message whose ack was lost with the page', async () => {
    const page = await stage.world.visitor();
    await run(page);
    await synced(page);
    stage.gate.muteServer();
    const ben = connectAs('ben');
    const received = new Promise(resolve => ben.on('message', resolve));
    await page.evaluate(() => void program.client.send('ben', 'once').catch(() => {}));
    await received;
    await ben.close();
    assert.deepEqual(await page.evaluate(() => program.sent), []);
    await run(page);
    await waitForCount(page, 'sent', 1);
    assert.deepEqual(await pending(page), []);
    assert.deepEqual(await stored(), ['once']);
  });

  it('gives each tab its own position and outbox', async () => {
    const first = await stage.world.visitor();
    const second = await first.context().newPage();
    await run(first);
    await run(second);
    for (const [page, text] of [
      [first, 'from the first'],
      [second, 'from the second'],
    ] as const) {
      await synced(page);
      await page.evaluate(async message => void (await program.client.send('ben', message)), text);
    }
    const ben = connectAs('ben');
    await ben.send('ann', 'to both');
    for (const page of [first, second]) {
      await page.waitForFunction(() => program.handled.includes('to both'), undefined, { timeout: DEADLINE });
      await waitForSavedSeq(page, 3);
    }
    await first.waitForFunction(
      () => Object.values(localStorage).filter(text => (JSON.parse(text) as { seq?: number }).seq === 3).length === 2,
      undefined,
      { timeout: DEADLINE },
    );
    const slots = await savedStates(first);
    assert.equal(slots.length, 2);
    assert.notEqual(slots[0]?.device, slots[1]?.device);
    assert.deepEqual(await stored(), ['from the first', 'from the second', 'to both']);
    await ben.close();
  });
});
