import assert from 'node:assert/strict';
import { afterEach, describe, it } from 'node:test';
import { WebSocket } from 'ws';
import { type Client, connect, type WebSocketClass } from '../../src/index.js';
import {
  bubble,
  composer,
  connected,
  DEADLINE,
  dialogClosed,
  enter,
  send,
  settled,
  setUp,
  texts,
} from './support/browser.js';

describe('two pages', { timeout: 10 * DEADLINE }, () => {
  const clients: Client[] = [];
  const stage = setUp();
  afterEach(() => Promise.all(clients.splice(0).map(client => client.close())));

  function program(user: string): Client {
    const client = connect({
      url: stage.server.url,
      user,
      device: 'program',
      WebSocket: WebSocket as unknown as WebSocketClass,
    });
    client.on('message', () => {});
    clients.push(client);
    return client;
  }

  it('exchange messages and show the delivery state', async () => {
    const a = await stage.world.visitor();
    await a.goto(stage.server.url);
    await a.getByLabel('User name').fill('ann');
    await a.getByLabel('Recipient').fill('ben');
    await a.getByRole('button', { name: 'Start' }).click();
    await connected(a);
    assert.equal(new URL(a.url()).search, '?user=ann&to=ben');
    await send(a, 'hello');
    await bubble(a, 'hello').getByText('Stored').waitFor();

    const b = await stage.world.visitor();
    await enter(b, stage.server.url, 'ben');
    await b.getByRole('button', { name: /ann/ }).getByText('1 unread').waitFor();
    assert.equal(await b.title(), '(1) ben · dmwire');
    await b.getByRole('button', { name: /ann/ }).click();
    await bubble(a, 'hello').getByText('Read', { exact: true }).waitFor();
    await b.locator('.count').waitFor({ state: 'detached' });
    await b.getByText('Today').waitFor();

    // Receipts and typing are shown to users who have both written.
    await send(b, 'first answer');
    await bubble(a, 'first answer').waitFor();
    await b.goto(`${stage.server.url}/?user=ben`);
    await connected(b);
    await send(a, 'are you there?');
    await bubble(a, 'are you there\\?').getByText('Received').waitFor();
    await b.getByRole('button', { name: /ann/ }).click();
    await bubble(a, 'are you there\\?').getByText('Read', { exact: true }).waitFor();
    await composer(b).fill('hi');
    await a.locator('.title').getByText('is typing…').waitFor();
    await composer(b).press('Enter');
    await bubble(a, 'hi').waitFor();
    await a.locator('.title').getByText('is typing…').waitFor({ state: 'detached' });
    // It is announced to screen readers.
    await a.getByRole('log').getByText('ben: hi').waitFor({ state: 'attached' });
    await bubble(b, 'hi').getByText('Read', { exact: true }).waitFor();
  });

  it('edit, delete, react and reply', async () => {
    const [a, b] = [await stage.world.visitor(), await stage.world.visitor()];
    await enter(a, stage.server.url, 'cem', 'dee');
    await enter(b, stage.server.url, 'dee', 'cem');
    await send(a, 'helo');
    await send(a, 'nonsense');
    await bubble(a, 'nonsense').getByText('Read', { exact: true }).waitFor();

    const choose = async (page: typeof a, text: string, item: string) => {
      await bubble(page, text).hover();
      await bubble(page, text).getByRole('button', { name: 'More' }).click();
      await page.getByRole('menuitem', { name: item }).click();
    };
    await choose(a, 'helo', 'Edit');
    await a.waitForFunction(() => document.querySelector<HTMLTextAreaElement>('.composer textarea')?.value === 'helo');
    await composer(a).fill('hello');
    await composer(a).press('Enter');
    await bubble(b, 'hello').getByText('edited').waitFor();

    await choose(a, 'nonsense', 'Delete');
    await a.getByRole('dialog').getByRole('button', { name: 'Cancel' }).click();
    await dialogClosed(a);
    await choose(a, 'nonsense', 'Delete');
    await a.getByRole('dialog').getByRole('button', { name: 'Delete' }).click();
    await b.getByText('This message was deleted.').waitFor();

    await choose(b, 'hello', '🎉');
    await a.getByRole('button', { name: '🎉 1 by dee' }).click();
    await b
      .getByRole('button', { name: '🎉 2 by dee and you' })
      .or(b.getByRole('button', { name: '🎉 2 by you and cem' }))
      .click();
    await a.getByRole('button', { name: '🎉 1 by you' }).waitFor();

    await choose(b, 'hello', 'Reply');
    await send(b, 'indeed');
    const original = bubble(a, 'indeed').getByRole('button', { name: 'In reply to You hello' });
    await original.click();
    await a.waitForFunction(
      () => document.activeElement?.matches('.message') && document.activeElement.textContent?.includes('hello'),
    );

    // A reload shows the same.
    await settled(a, 3);
    await a.reload();
    await bubble(a, 'indeed').waitFor();
    assert.deepEqual(await texts(a), ['hello', 'indeed']);
    await a.getByRole('button', { name: '🎉 1 by you' }).waitFor();
    await a.getByText('This message was deleted.').waitFor();
  });

  it('send and show every kind of content', async () => {
    const [a, b] = [await stage.world.visitor(), await stage.world.visitor()];
    await enter(a, stage.server.url, 'eva', 'fay');
    await enter(b, stage.server.url, 'fay', 'eva');
    await a.getByRole('button', { name: 'Markdown' }).click();
    await a.getByPlaceholder('Message in Markdown').fill('**bold** [there](https://example.org/)\n\n- one\n- two');
    await a.getByPlaceholder('Message in Markdown').press('Enter');
    await b.locator('.markdown strong', { hasText: 'bold' }).waitFor();
    assert.deepEqual(await b.locator('.markdown li').allInnerTexts(), ['one', 'two']);
    assert.equal(await b.getByRole('link', { name: 'there' }).getAttribute('href'), 'https://example.org/');
    await b.getByText('(example.org)').waitFor();

    const other = async (kind: string, fields: Record<string, string>) => {
      await a.getByRole('button', { name: 'Send media or data' }).click();
      const dialog = a.getByRole('dialog');
      await dialog.getByLabel('Type', { exact: true }).selectOption(kind);
      for (const [label, value] of Object.entries(fields)) await dialog.getByLabel(label, { exact: true }).fill(value);
      await dialog.getByRole('button', { name: 'Send' }).click();
      await dialogClosed(a);
    };
    await other('image', { URL: 'https://example.org/cat.png', Description: 'A cat' });
    await other('file', { URL: 'https://example.org/a.pdf', Name: 'a.pdf' });
    await other('audio', { URL: 'https://example.org/a.mp3' });
    await other('video', { URL: 'https://example.org/a.mp4' });
    await other('location', { Latitude: '52.52', Longitude: '-13.405', Name: 'Here' });
    await other('data', { Name: 'order', JSON: '{"id": 7}' });
    await b.getByRole('button', { name: 'Show image A cat' }).waitFor();
    assert.equal(await b.getByRole('link', { name: 'a.pdf' }).getAttribute('href'), 'https://example.org/a.pdf');
    await b.getByRole('button', { name: 'Play audio' }).waitFor();
    await b.getByRole('button', { name: 'Play video' }).waitFor();
    await b.getByText('52.52000° N, 13.40500° W').waitFor();
    await b.locator('.data summary').click();
    await b.locator('pre', { hasText: '"id": 7' }).waitFor();
  });

  it('load an image on request without a referrer', async () => {
    const page = await stage.world.visitor();
    const referrers: (string | undefined)[] = [];
    await page.context().route('https://pictures.example/**', async route => {
      referrers.push((await route.request().allHeaders()).referer);
      const body = '<svg xmlns="http://www.w3.org/2000/svg" width="40" height="30"/>';
      await route.fulfill({ contentType: 'image/svg+xml', body });
    });
    const sender = program('gil');
    await sender.send('hal', { type: 'image', url: 'https://pictures.example/cat.svg', alt: 'A cat' });
    await sender.send('hal', { type: 'image', url: 'http://pictures.example/cat.svg', alt: 'A plain cat' });
    await enter(page, stage.server.url, 'hal', 'gil');
    await page.locator('.card .name', { hasText: 'A plain cat' }).waitFor();
    // An unencrypted image cannot be loaded into the page.
    assert.equal(await page.getByRole('button', { name: 'Show image' }).count(), 1);
    assert.deepEqual(referrers, []);
    await page.getByRole('button', { name: 'Show image' }).click();
    await page.waitForFunction(() => document.querySelector('img')?.naturalWidth === 40);
    assert.deepEqual(referrers, [undefined]);
    assert.deepEqual(stage.world.foreignRequests.splice(0), ['https://pictures.example/cat.svg']);
  });

  it('load older messages when scrolling and keep the scroll position', async () => {
    const sender = program('ida');
    const all = Array.from({ length: 180 }, (_, i) => `number ${i}`);
    const acks = await Promise.all(all.map(text => sender.send('jon', text)));
    await program('jon').markRead('ida', acks.at(-1)?.id ?? '');
    const page = await stage.world.visitor();
    await enter(page, stage.server.url, 'jon', 'ida');
    await bubble(page, 'number 179').waitFor();
    assert.equal((await texts(page))[0], 'number 130');
    for (const first of ['number 80', 'number 30', 'number 0']) {
      const row = page.locator('.message').first();
      await page.locator('.scroller').evaluate(element => {
        element.scrollTop = 0;
      });
      await bubble(page, first).waitFor({ state: 'attached' });
      // The message that was at the top is still visible.
      const shift = await bubble(page, first).evaluate(element => element.closest('.scroller')?.scrollTop ?? 0);
      assert.ok(shift > 500, `${first}: the list is at ${shift}`);
      await row.waitFor({ state: 'attached' });
    }
    await page.getByText('Beginning of the conversation').waitFor({ state: 'attached' });
    assert.deepEqual(await texts(page), all);

    await sender.send('jon', 'newest');
    await page.getByRole('button', { name: '1 new', exact: true }).click();
    await page.waitForFunction(() => {
      const scroller = document.querySelector('.scroller');
      return scroller && scroller.scrollHeight - scroller.scrollTop - scroller.clientHeight < 2;
    });
    await page.locator('.to-end').waitFor({ state: 'detached' });
    assert.deepEqual(await texts(page), [...all, 'newest']);
  });

  it('open at the first unread message and mark messages as read once visible', async () => {
    const [sender, reader] = [program('ned'), program('ola')];
    const { id } = await sender.send('ola', 'read already');
    await reader.markRead('ned', id);
    const all = Array.from({ length: 120 }, (_, i) => `number ${i}`);
    await Promise.all(all.map(text => sender.send('ola', text)));
    const page = await stage.world.visitor();
    await enter(page, stage.server.url, 'ola', 'ned');
    const line = page.getByText('New messages', { exact: true });
    await line.waitFor();
    const place = () =>
      line.evaluate(element => {
        const scroller = element.closest('.scroller')?.getBoundingClientRect().top ?? 0;
        return element.getBoundingClientRect().top - scroller;
      });
    const top = await place();
    assert.ok(top >= 0 && top < 100, `the line is at ${top}`);
    assert.deepEqual((await texts(page)).slice(0, 2), ['read already', 'number 0']);
    const { value } = await reader.conversations().next();
    assert.equal(value?.unread, 120);
    await page.getByRole('button', { name: '120 new', exact: true }).click();
    await page.locator('.to-end').waitFor({ state: 'detached' });
    let unread: number | undefined;
    for (const end = Date.now() + DEADLINE; unread !== 0 && Date.now() < end; )
      unread = (await reader.conversations().next()).value?.unread;
    assert.equal(unread, 0);
  });

  it('show all frames and send frames written by hand', async () => {
    const page = await stage.world.visitor();
    await enter(page, stage.server.url, 'kim', 'lea');
    await page.getByRole('button', { name: 'Frames on the wire' }).first().click();
    const drawer = page.getByRole('complementary', { name: 'Frames on the wire' });
    await drawer.getByText('welcome', { exact: true }).click();
    await drawer.locator('pre', { hasText: '"protocol": "dmwire.v1"' }).waitFor();
    await drawer.getByRole('combobox').selectOption('Invalid frame');
    await drawer.getByRole('button', { name: 'Send frame' }).click();
    await drawer.locator('li.bad', { hasText: '"path":"/message"' }).waitFor();
    await drawer.getByLabel('Frame', { exact: true }).fill('{');
    await drawer.getByRole('button', { name: 'Send frame' }).click();
    await drawer.locator('li.bad', { hasText: 'invalid_json' }).waitFor();
    await drawer.getByRole('combobox').selectOption('Message');
    await drawer.getByRole('button', { name: 'Send frame' }).click();
    await bubble(page, 'hello').waitFor();
    await drawer.getByRole('button', { name: 'Clear' }).click();
    assert.equal(await drawer.locator('li').count(), 0);
    // The client still works after raw frames.
    await send(page, 'more');
    await bubble(page, 'more').getByText('Stored').waitFor();
    assert.deepEqual(await texts(page), ['hello', 'more']);
  });

  it('show receipts and messages from other devices', async () => {
    const page = await stage.world.visitor();
    await enter(page, stage.server.url, 'mia', 'ned');
    const phone = program('mia');
    await phone.send('ned', 'from the phone');
    await bubble(page, 'from the phone').waitFor();
    const ned = program('ned');
    const { id } = await ned.send('mia', 'one');
    await ned.send('mia', 'two');
    await bubble(page, 'two').waitFor();
    await ned.markRead('mia', id);
    await bubble(page, 'from the phone').getByText('Read', { exact: true }).waitFor();

    // A closed conversation is unread until it is read on the other device.
    const oda = program('oda');
    const ack = await oda.send('mia', 'three');
    await page.getByRole('button', { name: /oda/ }).getByText('1 unread').waitFor();
    await phone.markRead('oda', ack.id);
    await page.getByRole('button', { name: /oda/ }).getByText('1 unread').waitFor({ state: 'detached' });
  });

  it('work on a phone: list, conversation and back navigation', async () => {
    const sender = program('pam');
    await sender.send('quy', 'hello');
    const page = await stage.world.visitor({ viewport: { width: 390, height: 844 }, isMobile: true, hasTouch: true });
    await enter(page, stage.server.url, 'quy');
    await page.getByRole('button', { name: /pam/ }).tap();
    await bubble(page, 'hello').waitFor();
    assert.equal(await page.locator('.sidebar').isVisible(), false);
    await composer(page).fill('one\ntwo');
    await page.getByRole('button', { name: 'Send', exact: true }).tap();
    await page.locator('.message.mine').getByText('Received').waitFor();
    const overflow = await page.evaluate(() => document.documentElement.scrollWidth - innerWidth);
    assert.ok(overflow <= 0, `${overflow} pixels wider than the phone`);
    await page.goBack();
    await page.getByRole('button', { name: /pam/ }).tap();
    await page.getByRole('button', { name: 'All conversations' }).tap();
    await page.getByRole('textbox', { name: 'Write to' }).waitFor();
  });
});

describe('a page below a base path', { timeout: 4 * DEADLINE }, () => {
  const stage = setUp({ flags: ['--base-path', '/de/mo'] });

  it('connects and restores drafts with and without a trailing slash', async () => {
    const page = await stage.world.visitor();
    for (const path of ['/de/mo', '/de/mo/']) {
      await page.goto(`${stage.server.url}${path}?user=a&to=b`);
      await connected(page);
      const draft = await composer(page).inputValue();
      assert.equal(draft, path === '/de/mo' ? '' : 'half');
      await send(page, path);
      await bubble(page, path).getByText('Stored').waitFor();
      await composer(page).fill('half');
    }
  });
});
