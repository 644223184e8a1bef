import assert from 'node:assert/strict';
import { randomBytes } from 'node:crypto';
import { mkdtemp, rm, writeFile } from 'node:fs/promises';
import { createServer, type Server as HttpServer } from 'node:http';
import type { AddressInfo } from 'node:net';
import { tmpdir } from 'node:os';
import { join } from 'node:path';
import { after, before, describe, it } from 'node:test';
import { ANY_PORT } from '../../../test/support/server.js';
import { assertAccessible } from '../support/axe.js';
import { DEADLINE, launch, Server, type World } from '../support/browser.js';
import { TestSession } from '../support/dashboard.js';

describe('webhooks in the dashboard', { timeout: 10 * DEADLINE }, () => {
  let world: World;
  let server: Server;
  let receiver: HttpServer;
  let folder: string;
  before(async () => {
    receiver = createServer((request, response) => {
      request.resume().on('end', () => response.writeHead(request.url === '/gone' ? 410 : 204).end());
    });
    await new Promise<void>(resolve => receiver.listen(0, '127.0.0.1', resolve));
    const base = `http://127.0.0.1:${(receiver.address() as AddressInfo).port}`;
    folder = await mkdtemp(join(tmpdir(), 'dmwire-secrets-'));
    const secret = join(folder, 'secret');
    await writeFile(secret, `whsec_${randomBytes(32).toString('base64')}\n`, { mode: 0o600 });
    const webhooks = ['/works', '/gone'].flatMap(path => ['--webhook', base + path]);
    const flags = ['--webhook-secret-file', secret, '--webhook-events', 'message.created', '--webhook-allow-private'];
    world = await launch();
    server = await Server.start('--ops-listen', ANY_PORT, ...webhooks, ...flags);
  });
  after(async () => {
    await world?.browser.close();
    await server?.stop();
    receiver?.closeAllConnections();
    receiver?.close();
    await rm(folder, { recursive: true, force: true });
  });

  it('each receiver is shown with its state', async () => {
    const session = await TestSession.open(server, 'anna');
    const page = await world.visitor();
    await page.goto(`${server.opsUrl}/admin#/webhooks`);
    const works = page.getByRole('region', { name: /\/works$/ });
    const gone = page.getByRole('region', { name: /\/gone$/ });
    await works.getByText('Active').waitFor();
    await works.getByText('none since the start').waitFor();
    session.send({ target_user: 'anna', message: 'hello' });
    await works.locator('div', { hasText: /^Delivered1$/ }).waitFor();
    await gone.getByText('Paused').waitFor();
    await gone.getByText('The receiver has answered with 410.').waitFor();
    await gone.getByText('Last error, ').waitFor();
    assert.equal(await works.getByText('message.created').count(), 1);
    await assertAccessible(page, 'webhooks');
    session.close();
    await world.finish();
  });
});
