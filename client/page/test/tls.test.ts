import assert from 'node:assert/strict';
import { execFileSync } from 'node:child_process';
import { mkdtemp, rm } from 'node:fs/promises';
import { tmpdir } from 'node:os';
import { join } from 'node:path';
import { after, afterEach, before, describe, it } from 'node:test';
import type { Page } from 'playwright-core';
import {
  bubble,
  connected,
  DEADLINE,
  launch,
  reconnect,
  Server,
  send,
  settled,
  texts,
  type World,
} from './support/browser.js';
import { SECRET, token } from './support/token.js';

describe('the page over TLS', { timeout: 4 * DEADLINE }, () => {
  let world: World;
  let server: Server;
  let folder: string;
  before(async () => {
    folder = await mkdtemp(join(tmpdir(), 'dmwire-tls-'));
    const [cert, key] = [join(folder, 'cert.pem'), join(folder, 'key.pem')];
    const command = 'req -x509 -newkey ec -pkeyopt ec_paramgen_curve:prime256v1 -nodes -days 2 -subj /CN=localhost';
    const names = ['-addext', 'subjectAltName=DNS:localhost,IP:127.0.0.1'];
    execFileSync('openssl', [...command.split(' '), ...names, '-keyout', key, '-out', cert], { stdio: 'pipe' });
    [world, server] = await Promise.all([
      launch(),
      Server.start('--tls-cert', cert, '--tls-key', key, '--jwt-secret', SECRET),
    ]);
  });
  afterEach(() => world.finish());
  after(async () => {
    await world?.browser.close();
    await server?.stop();
    await rm(folder, { recursive: true, force: true });
  });

  async function visit(user: string, to: string): Promise<{ page: Page; sockets: string[] }> {
    // The certificate is self-signed.
    const page = await world.visitor({ ignoreHTTPSErrors: true });
    const sockets: string[] = [];
    page.on('websocket', socket => sockets.push(socket.url()));
    await page.goto(`${server.url}/?to=${to}#token=${token(user)}`);
    await connected(page);
    return { page, sockets };
  }

  it('uses wss and reconnects after a restart of the server', async () => {
    assert.match(server.url, /^https:/);
    const [a, b] = [await visit('ann', 'ben'), await visit('ben', 'ann')];
    for (const [{ page, sockets }, user] of [
      [a, 'ann'],
      [b, 'ben'],
    ] as const) {
      assert.equal(await page.evaluate(() => isSecureContext && location.protocol), 'https:');
      assert.equal(sockets.length, 1);
      assert.ok(sockets[0]?.startsWith(`${server.url.replace('https', 'wss')}/ws/${user}?`), sockets[0]);
      // The token is not part of any URL.
      assert.doesNotMatch(`${sockets[0]} ${page.url()}`, /token|bearer/);
    }
    await send(a.page, 'hello');
    await bubble(b.page, 'hello').waitFor();
    await bubble(a.page, 'hello').getByText('Read', { exact: true }).waitFor();
    await server.kill();
    await a.page.getByText('No connection to the server.').waitFor();
    await send(a.page, 'are you there');
    await server.restart();
    await Promise.all([reconnect(a.page), reconnect(b.page)]);
    await settled(a.page, 2);
    await bubble(b.page, 'are you there').waitFor();
    for (const { page } of [a, b]) assert.deepEqual(await texts(page), ['hello', 'are you there']);
    for (const { sockets } of [a, b]) assert.ok(sockets.every(url => url.startsWith('wss://')));
  });

  it('is not loaded by a browser that does not trust the certificate', async () => {
    const page = await world.visitor();
    await assert.rejects(page.goto(server.url), /ERR_CERT/);
  });
});
