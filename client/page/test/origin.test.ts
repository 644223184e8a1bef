import assert from 'node:assert/strict';
import { after, afterEach, before, describe, it } from 'node:test';
import type { Frame, Page } from 'playwright-core';
import { WebSocket } from 'ws';
import { connect, type WebSocketClass } from '../../src/index.js';
import { connected, DEADLINE, EVIL, launch, Server, type World } from './support/browser.js';
import { Site } from './support/site.js';
import { SECRET, token } from './support/token.js';

/** What a page receives when it connects as the victim and writes to the boss. */
interface Outcome {
  readonly types: readonly string[];
  /** Close code; absent if the connection was accepted. */
  readonly code?: number;
}
const ACCEPTED: Outcome = { types: ['welcome', 'synced', 'ack'] };
const FORBIDDEN: Outcome = { types: ['goodbye'], code: 4403 };
const UNAUTHORIZED: Outcome = { types: ['goodbye'], code: 4401 };
/** Without the subprotocol the handshake fails, and the browser reports no reason. */
const REJECTED: Outcome = { types: [], code: 1006 };

const DMWIRE = ['dmwire.v1'];
const WITH_TOKEN = ['dmwire.v1', `bearer.${token('victim')}`];

function attempt(page: Page | Frame, address: string, protocols: string[]): Promise<Outcome> {
  return page.evaluate(
    ([url, offered]) =>
      new Promise<Outcome>(resolve => {
        const socket = new globalThis.WebSocket(url, offered);
        const types: string[] = [];
        socket.onopen = () => socket.send('{"message":"forged","target_user":"boss"}');
        socket.onmessage = ({ data }) => {
          const { type } = JSON.parse(String(data)) as { type: string };
          types.push(type);
          if (type !== 'ack') return;
          socket.onclose = null;
          socket.close();
          resolve({ types });
        };
        socket.onclose = ({ code }) => resolve({ types, code });
      }),
    [`${address.replace('http', 'ws')}/ws/victim`, protocols] as const,
  );
}

describe('a page of another origin', { timeout: 10 * DEADLINE }, () => {
  let world: World;
  let site: Site;
  const servers: Server[] = [];
  before(async () => {
    world = await launch();
    const page = '<!doctype html><title>elsewhere</title>';
    // A sandboxed frame has the origin `null`, wherever it is loaded from.
    const framed = `${page}<iframe sandbox="allow-scripts" src="/"></iframe>`;
    site = await Site.of({ '/': page, '/framed': framed });
  });
  afterEach(async () => {
    world.foreignRequests.length = 0;
    await Promise.all(servers.splice(0).map(server => server.stop()));
    await world.finish();
  });
  after(async () => {
    await site?.close();
    await world?.browser.close();
  });

  async function start(...flags: string[]): Promise<Server> {
    const server = await Server.start(...flags);
    servers.push(server);
    return server;
  }
  async function at(address: string): Promise<Page> {
    const page = await world.visitor();
    await page.goto(address);
    return page;
  }
  async function sandboxed(): Promise<Frame> {
    const page = await at(`${site.origin()}/framed`);
    const frame = page.frames().find(frame => frame !== page.mainFrame());
    assert.ok(frame);
    await frame.waitForLoadState();
    assert.equal(await frame.evaluate(() => origin), 'null');
    return frame;
  }
  /** Returns the number of messages sent in the victim's name. */
  async function forged(server: Server, withToken: boolean): Promise<number> {
    const boss = connect({
      url: server.url,
      user: 'boss',
      ...(withToken && { token: token('boss') }),
      WebSocket: WebSocket as unknown as WebSocketClass,
    });
    boss.on('message', () => {});
    let count = 0;
    for await (const _ of boss.history('victim')) count += 1;
    await boss.close();
    return count;
  }

  it('is rejected by a server without authentication unless its origin is loopback', async () => {
    const server = await start();
    const evil = await at(site.origin(EVIL));
    assert.deepEqual(await attempt(evil, server.url, DMWIRE), FORBIDDEN);
    assert.deepEqual(await attempt(evil, server.url, []), REJECTED);
    assert.deepEqual(await attempt(await sandboxed(), server.url, DMWIRE), FORBIDDEN);
    assert.equal(await forged(server, false), 0);
    for (const name of ['127.0.0.1', 'localhost'])
      assert.deepEqual(await attempt(await at(site.origin(name)), server.url, DMWIRE), ACCEPTED);
    assert.equal(await forged(server, false), 2);
  });

  it('is accepted without authentication if its origin is allowed, including null', async () => {
    const server = await start('--allowed-origin', site.origin(EVIL), '--allowed-origin', 'null');
    assert.deepEqual(await attempt(await at(site.origin(EVIL)), server.url, DMWIRE), ACCEPTED);
    assert.deepEqual(await attempt(await sandboxed(), server.url, DMWIRE), ACCEPTED);
    assert.equal(await forged(server, false), 2);
  });

  it('is rejected with a valid token, even from loopback with another port or name', async () => {
    const server = await start('--jwt-secret', SECRET);
    for (const origin of [site.origin(EVIL), site.origin(), site.origin('localhost')]) {
      const page = await at(origin);
      assert.deepEqual(await attempt(page, server.url, WITH_TOKEN), FORBIDDEN, origin);
      const { types, code } = await attempt(page, server.url, DMWIRE);
      assert.deepEqual([types, code === 4401 || code === 4403], [['goodbye'], true], origin);
      // A token in the query of the address, without a subprotocol.
      const address = `${server.url.replace('http', 'ws')}/ws?token=${token('victim')}`;
      const opened = await page.evaluate(
        url =>
          new Promise<boolean>(resolve => {
            const socket = new globalThis.WebSocket(url);
            socket.onopen = () => resolve(true);
            socket.onclose = () => resolve(false);
          }),
        address,
      );
      assert.equal(opened, false, origin);
    }
    assert.deepEqual(await attempt(await sandboxed(), server.url, WITH_TOKEN), FORBIDDEN);
    assert.equal(await forged(server, true), 0);
    // The token is valid: the server's own page connects with it.
    const own = await at(`${server.url}/?to=boss#token=${token('victim')}`);
    await connected(own);
    assert.equal(await own.locator('.me strong').innerText(), 'victim');
    assert.deepEqual(await attempt(own, server.url, WITH_TOKEN), ACCEPTED);
    assert.equal(await forged(server, true), 1);
  });

  it('is accepted if its origin is allowed, with a valid token only', async () => {
    const server = await start('--jwt-secret', SECRET, '--allowed-origin', site.origin(EVIL));
    const allowed = await at(site.origin(EVIL));
    assert.deepEqual(await attempt(allowed, server.url, DMWIRE), UNAUTHORIZED);
    const bad = `bearer.${token('victim').slice(0, -2)}`;
    assert.deepEqual(await attempt(allowed, server.url, ['dmwire.v1', bad]), UNAUTHORIZED);
    assert.deepEqual(await attempt(allowed, server.url, ['dmwire.v1', `bearer.${token('boss')}`]), FORBIDDEN);
    assert.deepEqual(await attempt(allowed, server.url, WITH_TOKEN), ACCEPTED);
    // Other origins stay rejected.
    assert.deepEqual(await attempt(await at(site.origin()), server.url, WITH_TOKEN), FORBIDDEN);
    assert.deepEqual(await attempt(await sandboxed(), server.url, WITH_TOKEN), FORBIDDEN);
    assert.equal(await forged(server, true), 1);
  });

  it('is accepted with the origin null if that is allowed', async () => {
    const server = await start('--jwt-secret', SECRET, '--allowed-origin', 'null');
    const frame = await sandboxed();
    assert.deepEqual(await attempt(frame, server.url, WITH_TOKEN), ACCEPTED);
    assert.deepEqual(await attempt(frame, server.url, DMWIRE), UNAUTHORIZED);
    assert.deepEqual(await attempt(await at(site.origin()), server.url, WITH_TOKEN), FORBIDDEN);
  });

  it('is rejected if its host name resolves to the server (DNS rebinding)', async () => {
    const server = await start();
    const rebound = server.url.replace('127.0.0.1', EVIL);
    // For the browser, page and socket have the same origin.
    const page = await at(`${rebound}/?user=victim&to=boss`);
    await page.getByRole('alert').getByText('Access denied.').waitFor();
    assert.equal(await page.evaluate(() => origin), rebound);
    assert.deepEqual(await attempt(page, rebound, DMWIRE), FORBIDDEN);
    assert.deepEqual(await attempt(page, rebound, []), REJECTED);
    assert.equal(await forged(server, false), 0);
    // The browser warns that it ignores the opener policy of an insecure page.
    assert.ok(world.errors.splice(0).every(text => text.includes('Cross-Origin-Opener-Policy')));
  });
});
