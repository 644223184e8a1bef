import assert from 'node:assert/strict';
import { after, before, describe, it } from 'node:test';
import type { Page } from 'playwright-core';
import { build, type Rollup } from 'vite';
import { WebSocket } from 'ws';
import { type Client, connect, type PastMessage, type WebSocketClass } from '../../src/index.js';
import { DEADLINE, setUp } from './support/browser.js';
import { Site } from './support/site.js';

/** What the page of a program has; it is written as one would write it. */
interface Program {
  client: Client;
  /** Messages that were handed over, and those that are handled. */
  given: string[];
  handled: string[];
  sent: string[];
}
declare const dmwire: typeof import('../../src/index.js');
declare const program: Program;

describe('the package in a browser, with a storage', { timeout: 10 * DEADLINE }, () => {
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

  /** Runs the program in a page: a message that begins with "stuck" is never handled. */
  async function run(page: Page): Promise<void> {
    await page.goto(site.origin());
    await page.evaluate(url => {
      const client = dmwire.connect({ url, user: 'ann', storage: dmwire.webStorage('test') });
      const [given, handled, sent]: string[][] = [[], [], []];
      Object.assign(globalThis, { program: { client, given, handled, sent } });
      client.on('message', ({ message }) => {
        given?.push(String(message));
        if (String(message).startsWith('stuck')) return new Promise(() => {});
        handled?.push(String(message));
      });
      client.on('sent', ({ frame }) => void sent?.push(String((frame as { message?: unknown }).message)));
    }, stage.gate.url);
  }
  const until = (page: Page, list: 'given' | 'handled' | 'sent', count: number) =>
    page.waitForFunction(([name, most]) => program[name].length >= most, [list, count] as const, { timeout: DEADLINE });
  const synced = (page: Page) =>
    page.waitForFunction(() => program.client.state.status === 'open', undefined, { timeout: DEADLINE });
  const pending = (page: Page) =>
    page.evaluate(() => program.client.pending.map(frame => String((frame as { message?: unknown }).message)));
  /** What lies in the browser: the cursor and how much is to be sent, for each tab. */
  const kept = (page: Page) =>
    page.evaluate(() =>
      Object.keys(localStorage)
        .filter(key => key.startsWith('test:'))
        .map(key => JSON.parse(localStorage.getItem(key) ?? '') as { seq?: number; device: string; outbox: unknown[] }),
    );
  const keptSeq = (page: Page, seq: number) =>
    page.waitForFunction(
      wanted => Object.values(localStorage).some(text => (JSON.parse(text) as { seq?: number }).seq === wanted),
      seq,
      { timeout: DEADLINE },
    );
  function other(user: string): Client {
    return connect({ url: stage.server.url, user, WebSocket: WebSocket as unknown as WebSocketClass });
  }
  /** What the server holds. */
  async function stored(): Promise<string[]> {
    const ben = other('ben');
    ben.on('message', () => {});
    const found: PastMessage[] = [];
    for await (const message of ben.history('ann')) found.unshift(message);
    await ben.close();
    return found.map(({ message }) => String(message));
  }

  it('goes on behind what it has handled when it is loaded anew', async () => {
    const ben = other('ben');
    const page = await stage.world.visitor();
    await run(page);
    for (const text of ['one', 'two', 'stuck', 'three']) await ben.send('ann', text);
    await until(page, 'given', 3);
    await keptSeq(page, 2);
    assert.deepEqual(await page.evaluate(() => program.given), ['one', 'two', 'stuck']);
    // Again and again: what is not handled comes again, what is handled does not.
    for (let i = 0; i < 2; i += 1) {
      await run(page);
      await until(page, 'given', 1);
      assert.deepEqual(await page.evaluate(() => program.given), ['stuck']);
      const asked = new URL(stage.gate.asked.at(-1) ?? '', stage.gate.url).searchParams;
      assert.equal(asked.get('since'), '2');
      assert.match(asked.get('epoch') ?? '', /^[0-9a-f-]{36}$/);
    }
    assert.equal(new Set(stage.gate.asked.map(url => new URL(url, stage.gate.url).searchParams.get('device'))).size, 1);
    await ben.close();
  });

  it('sends once and in order what was not sent when it was loaded anew', async () => {
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
    await until(page, 'sent', 3);
    assert.deepEqual(await page.evaluate(() => program.sent), ['one', 'two', 'three']);
    assert.deepEqual(await stored(), ['one', 'two', 'three']);
    // And it is over with them.
    await keptSeq(page, 3);
    await run(page);
    await synced(page);
    assert.deepEqual(await pending(page), []);
    assert.deepEqual(
      (await kept(page)).map(({ outbox }) => outbox.length),
      [0],
    );
    assert.deepEqual(await stored(), ['one', 'two', 'three']);
  });

  it('does not double what was stored, though its ack was lost with the page', async () => {
    const page = await stage.world.visitor();
    await run(page);
    await synced(page);
    stage.gate.hush();
    const ben = other('ben');
    const heard = new Promise(resolve => ben.on('message', resolve));
    await page.evaluate(() => void program.client.send('ben', 'once').catch(() => {}));
    await heard;
    await ben.close();
    assert.deepEqual(await page.evaluate(() => program.sent), []);
    await run(page);
    await until(page, 'sent', 1);
    assert.deepEqual(await pending(page), []);
    assert.deepEqual(await stored(), ['once']);
  });

  it('keeps tabs apart: each has a place in the log, and what it sends goes out once', async () => {
    const first = await stage.world.visitor();
    const second = await first.context().newPage();
    await run(first);
    await run(second);
    for (const [page, text] of [
      [first, 'from the first'],
      [second, 'from the second'],
    ] as const) {
      await synced(page);
      await page.evaluate(async words => void (await program.client.send('ben', words)), text);
    }
    const ben = other('ben');
    await ben.send('ann', 'to both');
    for (const page of [first, second]) {
      await page.waitForFunction(() => program.handled.includes('to both'), undefined, { timeout: DEADLINE });
      await keptSeq(page, 3);
    }
    await first.waitForFunction(
      () => Object.values(localStorage).filter(text => (JSON.parse(text) as { seq?: number }).seq === 3).length === 2,
      undefined,
      { timeout: DEADLINE },
    );
    const slots = await kept(first);
    assert.equal(slots.length, 2);
    assert.notEqual(slots[0]?.device, slots[1]?.device);
    assert.deepEqual(await stored(), ['from the first', 'from the second', 'to both']);
    await ben.close();
  });
});
