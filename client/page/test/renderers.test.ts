import assert from 'node:assert/strict';
import { cp, mkdtemp, rm, writeFile } from 'node:fs/promises';
import { tmpdir } from 'node:os';
import { join } from 'node:path';
import { after, afterEach, describe, it } from 'node:test';
import { WebSocket } from 'ws';
import { type Client, connect, type WebSocketClass } from '../../src/index.js';
import { assertAccessible } from './support/axe.js';
import { bubble, DEADLINE, enter, setUp } from './support/browser.js';

/** The content types of these tests. */
type App = { type: 'order.updated'; order: object; actions?: string[] } | { type: `note.${string}`; text: string };

// The example, with one type that has no renderer and one whose renderer fails.
const folder = await mkdtemp(join(tmpdir(), 'dmwire-renderers-'));
const [types, renderers] = [join(folder, 'content-types'), join(folder, 'renderers')];
const example = new URL('../../../../../examples/order/', import.meta.url).pathname;
await cp(join(example, 'content-types'), types, { recursive: true });
await cp(join(example, 'renderers'), renderers, { recursive: true });
for (const name of ['note.plain', 'note.broken']) await writeFile(join(types, `${name}.schema.json`), '{}');
await writeFile(
  join(renderers, 'note.broken.js'),
  `dmwire.addRenderer('note.broken', ({ text }) => {
    if (text === 'throw') throw new Error('cannot show it');
    return text === 'number' ? { title: 1 } : { title: text, lines: [text], link: { label: text, url: 'javascript:alert(1)' } };
  });`,
);

describe('renderers of content types', { timeout: 4 * DEADLINE }, () => {
  const clients: Client<App>[] = [];
  const stage = setUp({ flags: ['--content-types', types, '--page-renderers', renderers] });
  afterEach(() => Promise.all(clients.splice(0).map(client => client.close())));
  after(() => rm(folder, { recursive: true, force: true }));

  function program(user: string): Client<App> {
    const client = connect<App>({
      url: stage.server.url,
      user,
      device: 'program',
      WebSocket: WebSocket as unknown as WebSocketClass,
    });
    clients.push(client);
    return client;
  }

  it('show an order card, whose action reaches the other user and is answered by an edit', async () => {
    const order = {
      id: 'A-17',
      status: 'placed',
      lines: [{ name: '<b>Coffee</b>', quantity: 2 }],
      total: { amount: 1150, currency: 'EUR' },
      url: 'https://shop.example/orders/A-17',
    };
    const shop = program('shop');
    const actions: unknown[] = [];
    shop.on('message', async ({ message, reply_to }) => {
      actions.push({ message, reply_to });
      await shop.edit('eve', sent.id, { type: 'order.updated', order: { ...order, status: 'paid' } });
    });
    const sent = await shop.send('eve', { type: 'order.updated', order, actions: ['pay', 'cancel'] });

    const seller = await stage.world.visitor();
    await enter(seller, stage.server.url, 'shop', 'eve');
    const page = await stage.world.visitor();
    await enter(page, stage.server.url, 'eve');
    await page.getByRole('button', { name: /shop/ }).getByText('Order A-17: placed').waitFor();
    await page.getByRole('button', { name: /shop/ }).click();
    const card = page.locator(`[data-id="${sent.id}"] .card`);
    await card.getByText('2 × <b>Coffee</b>').waitFor();
    await card.getByText('€11.50').waitFor();
    const link = card.getByRole('link', { name: 'Show in the shop Order A-17: placed, in a new tab' });
    assert.equal(await link.getAttribute('href'), order.url);
    await assertAccessible(page, 'an order');
    const sellersCard = seller.locator(`[data-id="${sent.id}"] .card`);
    await sellersCard.getByText('Order A-17: placed', { exact: true }).waitFor();
    assert.equal(await sellersCard.getByRole('button').count(), 0);

    await card.getByRole('button', { name: 'Pay now Order A-17: placed' }).click();
    await card.getByText('Order A-17: paid', { exact: true }).waitFor();
    assert.equal(await card.getByRole('button').count(), 0);
    const message = { type: 'order.action', order_id: 'A-17', action: 'pay' };
    assert.deepEqual(actions, [{ message, reply_to: sent.id }]);
    // Both pages show the action as a card that replies to the order.
    for (const view of [page, seller]) {
      const reply = view.locator('.message', { has: view.locator('.original') });
      await reply.locator('.card').getByText('Pay now: A-17').waitFor();
      await reply.locator('.original').getByText('Order A-17: paid').waitFor();
    }
  });

  it('are not needed: without one, and if it fails, the page shows the type and the data', async () => {
    const sender = program('fay');
    sender.on('message', () => {});
    const markup = '<img src=x onerror="document.title=1">';
    await sender.send('gus', { type: 'note.plain', text: markup });
    for (const text of ['throw', 'number', markup]) await sender.send('gus', { type: 'note.broken', text });
    await sender.send('gus', 'the last one');
    const page = await stage.world.visitor();
    await enter(page, stage.server.url, 'gus', 'fay');
    await bubble(page, 'the last one').waitFor();
    assert.deepEqual(await page.locator('.data summary bdi').allInnerTexts(), [
      'note.plain',
      'note.broken',
      'note.broken',
    ]);
    await page.locator('.data summary').first().click();
    const data = await page.locator('.data pre').first().innerText();
    assert.deepEqual(JSON.parse(data), { type: 'note.plain', text: markup });
    const card = page.locator('.card');
    assert.equal(await card.locator('.name').innerText(), markup);
    assert.equal(await card.locator('li').innerText(), markup);
    assert.equal(await card.locator('a, img').count(), 0);
    const [error, ...others] = stage.world.errors.splice(0);
    assert.match(error ?? '', /The renderer of note\.broken has failed.*cannot show it/s);
    assert.deepEqual(others, []);
  });
});
