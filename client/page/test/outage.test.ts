import assert from 'node:assert/strict';
import { describe, it } from 'node:test';
import { WebSocket } from 'ws';
import { connect, type PastMessage, type WebSocketClass } from '../../src/index.js';
import {
  bubble,
  composer,
  connected,
  DEADLINE,
  dialogClosed,
  enter,
  reconnect,
  send,
  settled,
  setUp,
  texts,
} from './support/browser.js';
import { fakeServer } from './support/gate.js';

describe('a lost connection', { timeout: 10 * DEADLINE }, () => {
  const stage = setUp({ each: true });

  /** Returns the messages that the server has stored, with a new client. */
  async function stored(user: string, peer: string): Promise<string[]> {
    const client = connect({
      url: stage.server.url,
      user,
      device: 'observer',
      WebSocket: WebSocket as unknown as WebSocketClass,
    });
    client.on('message', () => {});
    const found: PastMessage[] = [];
    for await (const message of client.history(peer)) found.unshift(message);
    await client.close();
    return found.map(({ message }) => String(message));
  }

  it('loses and duplicates nothing while the server is killed repeatedly and both users write', async () => {
    const [a, b] = [await stage.world.visitor(), await stage.world.visitor()];
    await enter(a, stage.server.url, 'ann', 'ben');
    await enter(b, stage.server.url, 'ben', 'ann');
    const own = (name: string) => Array.from({ length: 40 }, (_, i) => `${name} ${i}`);
    const write = async (page: typeof a, name: string) => {
      for (const text of own(name)) await send(page, text);
    };
    const crash = async () => {
      for (const count of [8, 24, 45]) {
        await a.locator('.message').nth(count).waitFor();
        await stage.server.restart();
      }
    };
    await Promise.all([write(a, 'a'), write(b, 'b'), crash()]);
    await Promise.all([settled(a, 80), settled(b, 80)]);
    const seen = await texts(a);
    assert.equal(seen.length, 80);
    // Both pages show the same, the server has stored the same, and each user's messages are in order.
    assert.deepEqual(await texts(b), seen);
    assert.deepEqual(await stored('ann', 'ben'), seen);
    for (const name of ['a', 'b']) {
      assert.deepEqual(
        seen.filter(text => text.startsWith(name)),
        own(name),
      );
    }
    await bubble(a, 'a 39').getByText('Read', { exact: true }).waitFor();
    assert.equal(await a.locator('.banner').count(), 0);
  });

  it('keeps messages written offline and sends them afterwards', async () => {
    const [a, b] = [await stage.world.visitor(), await stage.world.visitor()];
    await enter(a, stage.gate.url, 'cem', 'dee');
    await enter(b, stage.server.url, 'dee', 'cem');
    await send(a, 'before');
    await bubble(b, 'before').waitFor();
    // The browser's offline emulation does not affect open sockets.
    stage.gate.shut();
    await a.getByText('No connection to the server.').waitFor();
    await a.context().setOffline(true);
    await a.getByText('This device is offline.').waitFor();
    await send(a, 'written offline');
    await bubble(a, 'written offline').getByText('Waiting for the connection').waitFor();
    await send(b, 'said meanwhile');
    await bubble(b, 'said meanwhile').getByText('Stored').waitFor();
    assert.equal(await bubble(b, 'written offline').count(), 0);
    stage.gate.open();
    await a.context().setOffline(false);
    await settled(a, 3);
    await bubble(b, 'written offline').waitFor();
    await a.locator('.banner').waitFor({ state: 'detached' });
    assert.deepEqual(await texts(a), ['before', 'said meanwhile', 'written offline']);
    assert.deepEqual(await texts(b), await texts(a));
  });

  it('shows no banner if the browser reports offline while the connection is open', async () => {
    const page = await stage.world.visitor();
    await page.addInitScript(() => Object.defineProperty(Navigator.prototype, 'onLine', { get: () => false }));
    await enter(page, stage.gate.url, 'sue', 'tom');
    assert.equal(await page.locator('.banner').count(), 0);
    await send(page, 'sent all the same');
    await bubble(page, 'sent all the same').getByText('Stored').waitFor();
    stage.gate.shut();
    await page.getByText('This device is offline.').waitFor();
    stage.gate.open();
    await reconnect(page);
    await settled(page, 1);
  });

  it('keeps unsent messages over a reload and sends them once', async () => {
    const [a, b] = [await stage.world.visitor(), await stage.world.visitor()];
    await enter(a, stage.gate.url, 'eva', 'fay');
    await enter(b, stage.server.url, 'fay', 'eva');
    await send(a, 'one');
    await bubble(b, 'one').waitFor();
    stage.gate.shut();
    await a.getByText('No connection to the server.').waitFor();
    await send(a, 'two');
    await send(a, 'three');
    await composer(a).fill('half a th');
    for (let i = 0; i < 2; i += 1) {
      await a.reload();
      await bubble(a, 'three').getByText('Waiting for the connection').waitFor();
      assert.deepEqual((await texts(a)).slice(-2), ['two', 'three']);
      await a.waitForFunction(
        () => document.querySelector<HTMLTextAreaElement>('.composer textarea')?.value === 'half a th',
      );
    }
    stage.gate.open();
    await reconnect(a);
    await settled(a, 3);
    await bubble(b, 'three').waitFor();
    for (const page of [a, b]) assert.deepEqual(await texts(page), ['one', 'two', 'three']);
    await a.reload();
    await bubble(a, 'three').waitFor();
    assert.deepEqual(await texts(a), ['one', 'two', 'three']);
    assert.deepEqual(await stored('fay', 'eva'), ['one', 'two', 'three']);
  });

  it('has the next tab send the unsent messages of a closed one', async () => {
    const a = await stage.world.visitor();
    await enter(a, stage.gate.url, 'gil', 'hal');
    stage.gate.shut();
    await a.getByText('No connection to the server.').waitFor();
    await send(a, 'last words');
    await bubble(a, 'last words').waitFor();
    const next = await a.context().newPage();
    await a.close();
    // The browser may end the closed tab a little later.
    await next.goto(stage.gate.url);
    await next.waitForFunction(async () => (await navigator.locks.query()).held?.length === 0);
    stage.gate.open();
    await enter(next, stage.gate.url, 'gil', 'hal');
    await bubble(next, 'last words').getByText('Stored').waitFor();
    assert.deepEqual(await stored('hal', 'gil'), ['last words']);
  });

  it('shows edits, deletions and reactions at once and stores them later', async () => {
    const [a, b] = [await stage.world.visitor(), await stage.world.visitor()];
    await enter(a, stage.gate.url, 'ida', 'jon');
    await enter(b, stage.server.url, 'jon', 'ida');
    await send(a, 'helo');
    await send(a, 'away');
    await bubble(a, 'away').getByText('Read', { exact: true }).waitFor();
    stage.gate.shut();
    await a.getByText('No connection to the server.').waitFor();
    const choose = async (text: string, item: string) => {
      await bubble(a, text).hover();
      await bubble(a, text).getByRole('button', { name: 'More' }).click();
      await a.getByRole('menuitem', { name: item }).click();
    };
    await choose('helo', '👍');
    await choose('helo', 'Edit');
    await composer(a).fill('hello');
    await composer(a).press('Enter');
    await choose('away', 'Delete');
    await a.getByRole('dialog').getByRole('button', { name: 'Delete' }).click();
    await bubble(a, 'hello').getByRole('button', { name: '👍 1 by you' }).waitFor();
    await a.getByText('This message was deleted.').waitFor();
    assert.deepEqual(await texts(b), ['helo', 'away']);
    stage.gate.open();
    await reconnect(a);
    await bubble(b, 'hello').getByRole('button', { name: '👍 1 by ida' }).waitFor();
    await b.getByText('This message was deleted.').waitFor();
  });

  it('opens no menu for unsent messages, and none once they are stored', async () => {
    const page = await stage.world.visitor();
    await enter(page, stage.gate.url, 'una', 'val');
    await send(page, 'first');
    await settled(page, 1);
    stage.gate.shut();
    await page.getByText('No connection to the server.').waitFor();
    await send(page, 'second');
    await bubble(page, 'second').getByText('Waiting for the connection').waitFor();
    await bubble(page, 'second').focus();
    await page.keyboard.press('Enter');
    await composer(page).focus();
    await page.keyboard.type('third');
    stage.gate.open();
    await reconnect(page);
    await settled(page, 2);
    await page.keyboard.press('Enter');
    await settled(page, 3);
    assert.deepEqual(await texts(page), ['first', 'second', 'third']);
    assert.equal(await page.locator('.menu, .reactions').count(), 0);
    // An open menu closes when the focus leaves it.
    await bubble(page, 'second').focus();
    await page.keyboard.press('Enter');
    await page.getByRole('menu').waitFor();
    await composer(page).focus();
    await page.getByRole('menu').waitFor({ state: 'detached' });
    // Its button closes it.
    const handle = bubble(page, 'second').getByRole('button', { name: 'More' });
    for (const state of ['visible', 'detached'] as const) {
      await bubble(page, 'second').hover();
      await handle.click();
      await page.getByRole('menu').waitFor({ state });
    }
  });

  it('shows rejected messages and sends them again on request', async () => {
    const page = await stage.world.visitor();
    let reject = true;
    const sent: unknown[] = [];
    stage.gate.play(
      fakeServer('kim', 'lea', [], ({ type, id, ref }, send) => {
        if (type !== 'message') return;
        sent.push(id);
        if (reject) send({ type: 'error', code: 'forbidden', detail: 'not allowed', retryable: false, ref });
        else send({ type: 'ack', id, seq: 1, status: 'stored', sent_at: new Date().toISOString(), ref });
      }),
    );
    await enter(page, stage.gate.url, 'kim', 'lea');
    await send(page, 'hello');
    await page.getByText('Not sent: not allowed').waitFor();
    await send(page, 'another');
    await page.getByText('Not sent: not allowed').nth(1).waitFor();
    await page.reload();
    await bubble(page, 'another').getByRole('button', { name: 'Discard' }).click();
    await bubble(page, 'another').waitFor({ state: 'detached' });
    reject = false;
    await bubble(page, 'hello').getByRole('button', { name: 'Try again' }).click();
    await bubble(page, 'hello').getByText('Stored').waitFor();
    // The retry uses the same id, so that the message cannot be stored twice.
    assert.deepEqual([sent.length, sent[0]], [3, sent[2]]);
  });

  it('keeps only unsent messages when the user of the tab changes', async () => {
    const page = await stage.world.visitor();
    const received: unknown[] = [];
    const play = fakeServer('wes', 'xia', [], ({ type, id, ref, message }, send) => {
      if (type !== 'message') return;
      received.push(message);
      if (message === 'no') send({ type: 'error', code: 'forbidden', detail: 'never', retryable: false, ref });
      else send({ type: 'ack', id, seq: 1, status: 'stored', sent_at: new Date().toISOString(), ref });
    });
    stage.gate.play(play);
    await enter(page, stage.gate.url, 'wes', 'xia');
    await send(page, 'no');
    await page.getByText('Not sent: never').waitFor();
    stage.gate.shut();
    await page.getByText('No connection to the server.').waitFor();
    await send(page, 'waits');
    await composer(page).fill('half');
    const change = page.getByRole('button', { name: 'Change user' });
    const dialog = page.getByRole('dialog', { name: 'Change user?' });
    await change.click();
    assert.deepEqual((await dialog.getByRole('paragraph').allInnerTexts()).slice(0, 3), [
      'Unsent messages stay in this browser and are sent when wes signs in again.',
      'Rejected messages are deleted.',
      'Drafts are deleted.',
    ]);
    await dialog.getByRole('button', { name: 'Cancel' }).click();
    await dialogClosed(page);
    assert.equal(await composer(page).inputValue(), 'half');
    await change.click();
    await dialog.getByRole('button', { name: 'Change user' }).click();
    await page.getByRole('button', { name: 'Start' }).waitFor();
    const content = (storage: 'localStorage' | 'sessionStorage') =>
      page.evaluate(storage => JSON.stringify(Object.entries(globalThis[storage])), storage);
    for (const text of ['half', 'no"', 'waits']) {
      assert.equal((await content('sessionStorage')).includes(text), false, text);
      assert.equal((await content('localStorage')).includes(text), text === 'waits', text);
    }
    stage.gate.open();
    await page.getByLabel('User name').fill('wes');
    await page.getByLabel('Recipient').fill('xia');
    await page.getByRole('button', { name: 'Start' }).click();
    await bubble(page, 'waits').getByText('Stored').waitFor();
    assert.deepEqual([await texts(page), await composer(page).inputValue()], [['waits'], '']);
    assert.deepEqual(received, ['no', 'waits']);
    // Without unsent content there is no confirmation.
    await change.click();
    await page.getByRole('button', { name: 'Start' }).waitFor();
  });

  it('stores drafts per user, peer and server', async () => {
    const page = await stage.world.visitor();
    await enter(page, stage.gate.url, 'a.b', 'c');
    await composer(page).fill('for c');
    await enter(page, stage.gate.url, 'a', 'b.c');
    assert.equal(await composer(page).inputValue(), '');
    await composer(page).fill('for b.c');
    await enter(page, stage.gate.url, 'a.b', 'c');
    assert.equal(await composer(page).inputValue(), 'for c');
    const names = await page.evaluate(() => Object.keys(sessionStorage).filter(name => name.startsWith('dmwire.')));
    assert.deepEqual(names.sort(), [`dmwire.draft/a.b/c@${stage.gate.url}/`, `dmwire.draft/a/b.c@${stage.gate.url}/`]);
    // Changing the user deletes the drafts of that user only.
    await page.getByRole('button', { name: 'Change user' }).click();
    await page.getByRole('dialog').getByRole('button', { name: 'Change user' }).click();
    await enter(page, stage.gate.url, 'a', 'b.c');
    assert.equal(await composer(page).inputValue(), 'for b.c');
  });

  it('that is final shows the reason and reconnects on request', async () => {
    const page = await stage.world.visitor();
    stage.gate.play(socket => {
      socket.send(
        JSON.stringify({
          type: 'goodbye',
          code: 4408,
          reason: 'replaced',
          detail: 'too many windows',
          reconnect: false,
        }),
      );
      socket.close(4408);
    });
    await page.goto(`${stage.gate.url}/?user=mia&to=ned`);
    await page.getByRole('alert').getByText('too many windows').waitFor();
    assert.equal(await composer(page).isDisabled(), true);
    stage.gate.play(fakeServer('mia', 'ned', []));
    await page.getByRole('button', { name: 'Reconnect' }).click();
    await connected(page);
    assert.equal(await composer(page).isEnabled(), true);
  });
});

describe('a token', { timeout: 4 * DEADLINE }, () => {
  const stage = setUp();
  const claims = Buffer.from(JSON.stringify({ sub: 'oda' })).toString('base64url');
  const token = `e30.${claims}.c2ln`;

  it('in the fragment of the address is removed from it and sent as a subprotocol', async () => {
    const requests: [string | undefined, string | undefined][] = [];
    stage.gate.play((socket, request) => {
      requests.push([request.url?.split('?')[0], request.headers['sec-websocket-protocol']]);
      fakeServer('oda', 'pam', [])(socket, request);
    });
    const page = await stage.world.visitor();
    await page.goto(`${stage.gate.url}/?user=oda&to=pam#token=${token}`);
    await connected(page);
    assert.equal(page.url(), `${stage.gate.url}/?user=oda&to=pam`);
    await page.reload();
    await connected(page);
    // Without a user in the address the token names the user.
    await page.goto(`${stage.gate.url}/`);
    await connected(page);
    const expected = ['/ws/oda', `dmwire.v1,bearer.${token}`];
    assert.deepEqual(
      requests.map(([path, protocols]) => [path, protocols?.replaceAll(' ', '')]),
      [expected, expected, expected],
    );
    // It is stored in this tab only, and not part of the document.
    assert.equal(await page.evaluate(() => Object.values(localStorage).join().includes('e30.')), false);
    assert.equal((await page.content()).includes(token), false);
    const other = await page.context().newPage();
    await other.goto(`${stage.gate.url}/?user=oda`);
    await connected(other);
    assert.equal(requests.at(-1)?.[1], 'dmwire.v1');
  });

  it('in a link pasted into the open page changes the user', async () => {
    const offered: (string | undefined)[] = [];
    stage.gate.play((socket, request) => {
      const protocols = request.headers['sec-websocket-protocol']?.replaceAll(' ', '');
      offered.push(protocols);
      fakeServer(protocols?.includes('bearer.') ? 'oda' : 'guest', 'pam', [])(socket, request);
    });
    const pages = [await stage.world.visitor(), await stage.world.visitor()] as const;
    // At the sign-in form, and as another user.
    await pages[0].goto(stage.gate.url);
    await pages[0].getByRole('button', { name: 'Start' }).waitFor();
    await enter(pages[1], stage.gate.url, 'guest', 'pam');
    for (const page of pages) {
      const before = page.url();
      await page.evaluate(hash => {
        location.hash = hash;
      }, `token=${token}`);
      // Another user is signed in: the page asks.
      if (page === pages[1]) await page.getByRole('dialog').getByRole('button', { name: 'Change user' }).click();
      await page.locator('.me strong', { hasText: /^oda$/ }).waitFor();
      await connected(page);
      assert.equal(offered.at(-1), `dmwire.v1,bearer.${token}`);
      // The token is in no history entry, and the address names the new user.
      const expected = `${stage.gate.url}/?user=oda${before.includes('to=pam') ? '&to=pam' : ''}`;
      await page.waitForURL(expected);
      await page.goBack();
      await page.waitForURL(expected);
      await page.goForward();
      await page.waitForURL(expected);
      await page.reload();
      await connected(page);
      assert.equal(offered.at(-1), `dmwire.v1,bearer.${token}`);
    }
  });

  it('that is opaque lets the server name the user, even if the address has no valid user', async () => {
    const paths: (string | undefined)[] = [];
    stage.gate.play((socket, request) => {
      paths.push(request.url?.split('?')[0]);
      fakeServer('rex', 'pam', [])(socket, request);
    });
    const page = await stage.world.visitor();
    await page.goto(`${stage.gate.url}/?user=..&to=pam`);
    await page.getByRole('button', { name: 'Start' }).waitFor();
    await page.evaluate(() => {
      location.hash = 'token=opaque';
    });
    await connected(page);
    await page.waitForURL(`${stage.gate.url}/?user=rex&to=pam`);
    assert.deepEqual(paths, ['/ws']);
  });

  it('is not needed to report an invalid user name', async () => {
    const page = await stage.world.visitor();
    await page.goto(`${stage.gate.url}/?user=a%20b`);
    await page.getByRole('alert').getByText('A user name has 1 to 64').waitFor();
  });

  it('is requested when the server requires one', async () => {
    stage.gate.play((socket, request) => {
      if (request.headers['sec-websocket-protocol']?.includes(token))
        return fakeServer('oda', 'pam', [])(socket, request);
      const detail = 'this server requires a token';
      socket.send(JSON.stringify({ type: 'goodbye', code: 4401, reason: 'unauthorized', detail, reconnect: false }));
      socket.close(4401);
    });
    const page = await stage.world.visitor();
    await page.goto(`${stage.gate.url}/?user=oda&to=pam`);
    // The page has its own text, because the server's detail addresses developers.
    await page.getByRole('alert').getByText('Open your invitation link or paste a token.').waitFor();
    assert.equal(await page.getByText('Loading').count(), 0);
    await page.getByRole('alert').getByRole('button', { name: 'Enter a token' }).click();
    await page.getByLabel('Your token').fill(token);
    await page.getByLabel('Recipient').fill('pam');
    await page.getByRole('button', { name: 'Start' }).click();
    await connected(page);
    assert.equal(await page.locator('.me strong').innerText(), 'oda');
  });
});
