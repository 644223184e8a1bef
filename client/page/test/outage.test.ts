import assert from 'node:assert/strict';
import { describe, it } from 'node:test';
import { WebSocket } from 'ws';
import { connect, type PastMessage, type WebSocketClass } from '../../src/index.js';
import {
  back,
  bubble,
  closed,
  composer,
  connected,
  DEADLINE,
  enter,
  say,
  settled,
  setUp,
  texts,
} from './support/browser.js';
import { actor } from './support/gate.js';

describe('when the line breaks', { timeout: 10 * DEADLINE }, () => {
  const stage = setUp({ each: true });

  /** What the server holds, as somebody sees it who comes anew. */
  async function stored(user: string, peer: string): Promise<string[]> {
    const client = connect({
      url: stage.server.url,
      user,
      device: 'witness',
      WebSocket: WebSocket as unknown as WebSocketClass,
    });
    client.on('message', () => {});
    const found: PastMessage[] = [];
    for await (const message of client.history(peer)) found.unshift(message);
    await client.close();
    return found.map(({ message }) => String(message));
  }

  it('because the server is killed, again and again, while both write: nothing is lost, nothing doubled', async () => {
    const [a, b] = [await stage.world.visitor(), await stage.world.visitor()];
    await enter(a, stage.server.url, 'ann', 'ben');
    await enter(b, stage.server.url, 'ben', 'ann');
    const own = (name: string) => Array.from({ length: 40 }, (_, i) => `${name} ${i}`);
    const write = async (page: typeof a, name: string) => {
      for (const text of own(name)) await say(page, text);
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
    // The same for both, as the server has it, and in the order in which each has written.
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

  it('because the device is offline: what is written waits, and all is there afterwards', async () => {
    const [a, b] = [await stage.world.visitor(), await stage.world.visitor()];
    await enter(a, stage.gate.url, 'cem', 'dee');
    await enter(b, stage.server.url, 'dee', 'cem');
    await say(a, 'before');
    await bubble(b, 'before').waitFor();
    // The browser's emulation concerns everything but open sockets.
    stage.gate.shut();
    await a.getByText('No connection to the server.').waitFor();
    await a.context().setOffline(true);
    await a.getByText('This device is offline.').waitFor();
    await say(a, 'written offline');
    await bubble(a, 'written offline').getByText('Waiting for the connection').waitFor();
    await say(b, 'said meanwhile');
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

  it('or the browser only believes that the device is offline: an open line is believed more', async () => {
    const page = await stage.world.visitor();
    await page.addInitScript(() => Object.defineProperty(Navigator.prototype, 'onLine', { get: () => false }));
    await enter(page, stage.gate.url, 'sue', 'tom');
    assert.equal(await page.locator('.banner').count(), 0);
    await say(page, 'sent all the same');
    await bubble(page, 'sent all the same').getByText('Stored').waitFor();
    stage.gate.shut();
    await page.getByText('This device is offline.').waitFor();
    stage.gate.open();
    await back(page);
    await settled(page, 1);
  });

  it('and the page is loaded anew: what was not sent is still there, and goes out once', async () => {
    const [a, b] = [await stage.world.visitor(), await stage.world.visitor()];
    await enter(a, stage.gate.url, 'eva', 'fay');
    await enter(b, stage.server.url, 'fay', 'eva');
    await say(a, 'one');
    await bubble(b, 'one').waitFor();
    stage.gate.shut();
    await a.getByText('No connection to the server.').waitFor();
    await say(a, 'two');
    await say(a, 'three');
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
    await back(a);
    await settled(a, 3);
    await bubble(b, 'three').waitFor();
    for (const page of [a, b]) assert.deepEqual(await texts(page), ['one', 'two', 'three']);
    await a.reload();
    await bubble(a, 'three').waitFor();
    assert.deepEqual(await texts(a), ['one', 'two', 'three']);
    assert.deepEqual(await stored('fay', 'eva'), ['one', 'two', 'three']);
  });

  it('and the tab is closed: the next one sends what it has left', async () => {
    const a = await stage.world.visitor();
    await enter(a, stage.gate.url, 'gil', 'hal');
    stage.gate.shut();
    await a.getByText('No connection to the server.').waitFor();
    await say(a, 'last words');
    await bubble(a, 'last words').waitFor();
    const next = await a.context().newPage();
    await a.close();
    stage.gate.open();
    await enter(next, stage.gate.url, 'gil', 'hal');
    await bubble(next, 'last words').getByText('Stored').waitFor();
    assert.deepEqual(await stored('hal', 'gil'), ['last words']);
  });

  it('over an edit, a deletion and a reaction: they show at once and are stored later', async () => {
    const [a, b] = [await stage.world.visitor(), await stage.world.visitor()];
    await enter(a, stage.gate.url, 'ida', 'jon');
    await enter(b, stage.server.url, 'jon', 'ida');
    await say(a, 'helo');
    await say(a, 'away');
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
    await back(a);
    await bubble(b, 'hello').getByRole('button', { name: '👍 1 by ida' }).waitFor();
    await b.getByText('This message was deleted.').waitFor();
  });

  it('opens no menu for what waits, not even when it does not any more', async () => {
    const page = await stage.world.visitor();
    await enter(page, stage.gate.url, 'una', 'val');
    await say(page, 'first');
    await settled(page, 1);
    stage.gate.shut();
    await page.getByText('No connection to the server.').waitFor();
    await say(page, 'second');
    await bubble(page, 'second').getByText('Waiting for the connection').waitFor();
    await bubble(page, 'second').focus();
    await page.keyboard.press('Enter');
    await composer(page).focus();
    await page.keyboard.type('third');
    stage.gate.open();
    await back(page);
    await settled(page, 2);
    await page.keyboard.press('Enter');
    await settled(page, 3);
    assert.deepEqual(await texts(page), ['first', 'second', 'third']);
    assert.equal(await page.locator('.menu, .reactions').count(), 0);
    // One that is there goes with the focus.
    await bubble(page, 'second').focus();
    await page.keyboard.press('Enter');
    await page.getByRole('menu').waitFor();
    await composer(page).focus();
    await page.getByRole('menu').waitFor({ state: 'detached' });
    // And its button shuts it.
    const handle = bubble(page, 'second').getByRole('button', { name: 'More' });
    for (const state of ['visible', 'detached'] as const) {
      await bubble(page, 'second').hover();
      await handle.click();
      await page.getByRole('menu').waitFor({ state });
    }
  });

  it('tells what was refused, and sends it again when asked to', async () => {
    const page = await stage.world.visitor();
    let refuse = true;
    const sent: unknown[] = [];
    stage.gate.play(
      actor('kim', 'lea', [], ({ type, id, ref }, send) => {
        if (type !== 'message') return;
        sent.push(id);
        if (refuse)
          send({ type: 'error', code: 'forbidden', detail: 'they take nothing from you', retryable: false, ref });
        else send({ type: 'ack', id, seq: 1, status: 'stored', sent_at: new Date().toISOString(), ref });
      }),
    );
    await enter(page, stage.gate.url, 'kim', 'lea');
    await say(page, 'hello');
    await page.getByText('Not sent: they take nothing from you').waitFor();
    await say(page, 'another');
    await page.getByText('Not sent: they take nothing from you').nth(1).waitFor();
    await page.reload();
    await bubble(page, 'another').getByRole('button', { name: 'Discard' }).click();
    await bubble(page, 'another').waitFor({ state: 'detached' });
    refuse = false;
    await bubble(page, 'hello').getByRole('button', { name: 'Try again' }).click();
    await bubble(page, 'hello').getByText('Stored').waitFor();
    // It is the same message, so that it cannot be there twice.
    assert.deepEqual([sent.length, sent[0]], [3, sent[2]]);
  });

  it('and the user leaves the tab to somebody else: what waits is kept for them, and nothing else is', async () => {
    const page = await stage.world.visitor();
    const arrived: unknown[] = [];
    const play = actor('wes', 'xia', [], ({ type, id, ref, message }, send) => {
      if (type !== 'message') return;
      arrived.push(message);
      if (message === 'no') send({ type: 'error', code: 'forbidden', detail: 'never', retryable: false, ref });
      else send({ type: 'ack', id, seq: 1, status: 'stored', sent_at: new Date().toISOString(), ref });
    });
    stage.gate.play(play);
    await enter(page, stage.gate.url, 'wes', 'xia');
    await say(page, 'no');
    await page.getByText('Not sent: never').waitFor();
    stage.gate.shut();
    await page.getByText('No connection to the server.').waitFor();
    await say(page, 'waits');
    await composer(page).fill('half');
    const change = page.getByRole('button', { name: 'Change user' });
    const dialog = page.getByRole('dialog', { name: 'Change user?' });
    await change.click();
    assert.deepEqual((await dialog.getByRole('paragraph').allInnerTexts()).slice(0, 3), [
      'What is not sent yet is kept in this browser, and goes out when wes comes back.',
      'Messages that were refused are removed.',
      'Drafts are removed.',
    ]);
    await dialog.getByRole('button', { name: 'Stay' }).click();
    await closed(page);
    assert.equal(await composer(page).inputValue(), 'half');
    await change.click();
    await dialog.getByRole('button', { name: 'Change user' }).click();
    await page.getByRole('button', { name: 'Start' }).waitFor();
    const kept = (place: 'localStorage' | 'sessionStorage') =>
      page.evaluate(place => JSON.stringify(Object.entries(globalThis[place])), place);
    for (const text of ['half', 'no"', 'waits']) {
      assert.equal((await kept('sessionStorage')).includes(text), false, text);
      assert.equal((await kept('localStorage')).includes(text), text === 'waits', text);
    }
    stage.gate.open();
    await page.getByLabel('I am').fill('wes');
    await page.getByLabel('Writing to').fill('xia');
    await page.getByRole('button', { name: 'Start' }).click();
    await bubble(page, 'waits').getByText('Stored').waitFor();
    assert.deepEqual([await texts(page), await composer(page).inputValue()], [['waits'], '']);
    assert.deepEqual(arrived, ['no', 'waits']);
    // With nothing to lose nothing is asked.
    await change.click();
    await page.getByRole('button', { name: 'Start' }).waitFor();
  });

  it('keeps drafts apart, by both users and by the server', async () => {
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
    // Who leaves takes only what is their own.
    await page.getByRole('button', { name: 'Change user' }).click();
    await page.getByRole('dialog').getByRole('button', { name: 'Change user' }).click();
    await enter(page, stage.gate.url, 'a', 'b.c');
    assert.equal(await composer(page).inputValue(), 'for b.c');
  });

  it('for good: the page says why, and connects again when asked to', async () => {
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
    stage.gate.play(actor('mia', 'ned', []));
    await page.getByRole('button', { name: 'Connect again' }).click();
    await connected(page);
    assert.equal(await composer(page).isEnabled(), true);
  });
});

describe('a token', { timeout: 4 * DEADLINE }, () => {
  const stage = setUp();
  const claims = Buffer.from(JSON.stringify({ sub: 'oda' })).toString('base64url');
  const token = `e30.${claims}.c2ln`;

  it('comes behind the # of the address, leaves it at once, and goes to the server as a subprotocol', async () => {
    const asked: [string | undefined, string | undefined][] = [];
    stage.gate.play((socket, request) => {
      asked.push([request.url?.split('?')[0], request.headers['sec-websocket-protocol']]);
      actor('oda', 'pam', [])(socket, request);
    });
    const page = await stage.world.visitor();
    await page.goto(`${stage.gate.url}/?user=oda&to=pam#token=${token}`);
    await connected(page);
    assert.equal(page.url(), `${stage.gate.url}/?user=oda&to=pam`);
    await page.reload();
    await connected(page);
    // Without a name in the address the token tells it.
    await page.goto(`${stage.gate.url}/`);
    await connected(page);
    const expected = ['/ws/oda', `dmwire.v1,bearer.${token}`];
    assert.deepEqual(
      asked.map(([path, protocols]) => [path, protocols?.replaceAll(' ', '')]),
      [expected, expected, expected],
    );
    // It is nowhere but in this tab, and not in what the page shows.
    assert.equal(await page.evaluate(() => Object.values(localStorage).join().includes('e30.')), false);
    assert.equal((await page.content()).includes(token), false);
    const other = await page.context().newPage();
    await other.goto(`${stage.gate.url}/?user=oda`);
    await connected(other);
    assert.equal(asked.at(-1)?.[1], 'dmwire.v1');
  });

  it('may come with a link that is pasted into the open page: then the page is for whom it names', async () => {
    const asked: (string | undefined)[] = [];
    stage.gate.play((socket, request) => {
      const protocols = request.headers['sec-websocket-protocol']?.replaceAll(' ', '');
      asked.push(protocols);
      actor(protocols?.includes('bearer.') ? 'oda' : 'guest', 'pam', [])(socket, request);
    });
    const pages = [await stage.world.visitor(), await stage.world.visitor()] as const;
    // At the form, and as somebody else.
    await pages[0].goto(stage.gate.url);
    await pages[0].getByRole('button', { name: 'Start' }).waitFor();
    await enter(pages[1], stage.gate.url, 'guest', 'pam');
    for (const page of pages) {
      const before = page.url();
      await page.evaluate(hash => {
        location.hash = hash;
      }, `token=${token}`);
      await page.locator('.me strong', { hasText: /^oda$/ }).waitFor();
      await connected(page);
      assert.equal(asked.at(-1), `dmwire.v1,bearer.${token}`);
      // It is in no address, and the page's is that of the new user.
      const expected = `${stage.gate.url}/?user=oda${before.includes('to=pam') ? '&to=pam' : ''}`;
      await page.waitForURL(expected);
      await page.goBack();
      await page.waitForURL(expected);
      await page.goForward();
      await page.waitForURL(expected);
      await page.reload();
      await connected(page);
      assert.equal(asked.at(-1), `dmwire.v1,bearer.${token}`);
    }
  });

  it('that only the server can read tells who the user is, also where the address names nobody', async () => {
    const asked: (string | undefined)[] = [];
    stage.gate.play((socket, request) => {
      asked.push(request.url?.split('?')[0]);
      actor('rex', 'pam', [])(socket, request);
    });
    const page = await stage.world.visitor();
    await page.goto(`${stage.gate.url}/?user=..&to=pam`);
    await page.getByRole('button', { name: 'Start' }).waitFor();
    await page.evaluate(() => {
      location.hash = 'token=opaque';
    });
    await connected(page);
    await page.waitForURL(`${stage.gate.url}/?user=rex&to=pam`);
    assert.deepEqual(asked, ['/ws']);
  });

  it('is not there for a name that cannot be one, and the form says so', async () => {
    const page = await stage.world.visitor();
    await page.goto(`${stage.gate.url}/?user=a%20b`);
    await page.getByRole('alert').getByText('A name is 1 to 64 of').waitFor();
  });

  it('is asked for when the server wants one', async () => {
    stage.gate.play((socket, request) => {
      if (request.headers['sec-websocket-protocol']?.includes(token)) return actor('oda', 'pam', [])(socket, request);
      const detail = 'this server asks for a token';
      socket.send(JSON.stringify({ type: 'goodbye', code: 4401, reason: 'unauthorized', detail, reconnect: false }));
      socket.close(4401);
    });
    const page = await stage.world.visitor();
    await page.goto(`${stage.gate.url}/?user=oda&to=pam`);
    // Not in the server's words, which are for who writes programs.
    await page.getByRole('alert').getByText('It wants a token').waitFor();
    assert.equal(await page.getByText('Loading').count(), 0);
    await page.getByRole('alert').getByRole('button', { name: 'Enter a token' }).click();
    await page.getByLabel('Your token').fill(token);
    await page.getByLabel('Writing to').fill('pam');
    await page.getByRole('button', { name: 'Start' }).click();
    await connected(page);
    assert.equal(await page.locator('.me strong').innerText(), 'oda');
  });
});
