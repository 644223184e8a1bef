import assert from 'node:assert/strict';
import { afterEach, describe, it } from 'node:test';
import type { Page } from 'playwright-core';
import { WebSocket } from 'ws';
import { type Client, connect, type WebSocketClass } from '../../src/index.js';
import { assertAccessible } from './support/axe.js';
import {
  bubble,
  composer,
  connected,
  DEADLINE,
  dialogClosed,
  reconnect,
  send,
  setUp,
  texts,
} from './support/browser.js';
import { SECRET, token } from './support/token.js';

const notice = (page: Page, text: string) => page.locator('.notice', { hasText: new RegExp(`^${text}`) });
/** Returns the texts of the notices, without their times. */
const notices = (page: Page) => page.locator('.notice bdi').allInnerTexts();
const status = (page: Page, text: string) => page.locator('.title').getByText(text, { exact: true }).waitFor();
const strip = (page: Page, text: string) => page.locator('.blocked').getByText(text).waitFor();
const row = (page: Page, name: string) => page.locator('.conversation', { hasText: name });

const clients: Client[] = [];
afterEach(() => Promise.all(clients.splice(0).map(client => client.close())));

/** Returns a client of a user that is closed after the test. */
function program(url: string, options: { user?: string; token?: string }): Client {
  const device = 'program';
  const client = connect({ url, device, ...options, WebSocket: WebSocket as unknown as WebSocketClass });
  client.on('message', () => {});
  clients.push(client);
  return client;
}

/** Opens a room as a user by its address. */
async function enterRoom(page: Page, url: string, user: string, room: string, more = ''): Promise<void> {
  await page.goto(`${url}/?user=${user}&room=${room}${more}`);
  await connected(page);
}

/** Joins a room by the dialog. */
async function join(page: Page, room: string): Promise<void> {
  await page.getByRole('button', { name: 'Join a room' }).click();
  await page.getByLabel('Name of the room').fill(room);
  await page.getByRole('dialog').getByRole('button', { name: 'Join' }).click();
  await dialogClosed(page);
}

async function leave(page: Page, room: string): Promise<void> {
  await page.getByRole('button', { name: `Leave #${room}` }).click();
  await page.getByRole('dialog').getByRole('button', { name: 'Leave' }).click();
  await dialogClosed(page);
}

describe('three users in a room', { timeout: 10 * DEADLINE }, () => {
  const stage = setUp();
  it('join, write, type, list the members and leave', async () => {
    const [a, b, c] = [await stage.world.visitor(), await stage.world.visitor(), await stage.world.visitor()];
    await a.goto(`${stage.server.url}/?user=ann`);
    await connected(a);
    await join(a, 'lobby');
    assert.equal(new URL(a.url()).search, '?user=ann&room=lobby');
    await notice(a, 'You joined').waitFor();
    await status(a, '1 member');
    await a.getByText('No messages in #lobby yet.').waitFor();

    await enterRoom(b, stage.server.url, 'ben', 'lobby');
    await notice(a, 'ben joined').waitFor();
    await a.getByRole('log').getByText('ben joined').waitFor({ state: 'attached' });
    await enterRoom(c, stage.server.url, 'cem', 'lobby');
    for (const page of [a, b]) await notice(page, 'cem joined').waitFor();
    for (const page of [a, b, c]) await status(page, '3 members');

    // A message reaches all, with the name of its author.
    await composer(a).fill('hel');
    for (const page of [b, c]) await status(page, 'ann is typing…');
    await send(a, 'hello');
    for (const page of [b, c]) {
      await bubble(page, 'hello').locator('.sender', { hasText: 'ann' }).waitFor();
      await status(page, '3 members');
    }
    await b.getByRole('log').getByText('ann in #lobby: hello').waitFor({ state: 'attached' });
    assert.equal(await bubble(a, 'hello').locator('.sender').count(), 0);
    await bubble(a, 'hello').getByText('Read by all').waitFor();
    await send(b, 'good morning');
    await bubble(a, 'good morning').locator('.sender', { hasText: 'ben' }).waitFor();
    await bubble(c, 'good morning').waitFor();

    // Reactions, replies, edits and deletions.
    const choose = async (page: Page, text: string, item: string) => {
      await bubble(page, text).hover();
      await bubble(page, text).getByRole('button', { name: 'More' }).click();
      await page.getByRole('menuitem', { name: item }).click();
    };
    await choose(c, 'hello', '🎉');
    await choose(b, 'hello', '🎉');
    await a.getByRole('button', { name: '🎉 2 by cem and ben' }).waitFor();
    await choose(c, 'good morning', 'Reply');
    await send(c, 'indeed');
    await bubble(a, 'indeed').getByRole('button', { name: 'In reply to ben good morning' }).waitFor();
    await choose(a, 'hello', 'Edit');
    await composer(a).fill('hello all');
    await composer(a).press('Enter');
    await bubble(c, 'hello all').getByText('edited').waitFor();
    await send(a, 'nonsense');
    await bubble(c, 'nonsense').waitFor();
    await choose(a, 'nonsense', 'Delete');
    await a.getByText('It is deleted for all members.').waitFor();
    await a.getByRole('dialog').getByRole('button', { name: 'Delete' }).click();
    for (const page of [b, c]) await page.getByText('This message was deleted.').waitFor();

    // The members, and a direct conversation with one of them.
    await b.getByRole('button', { name: 'Members', exact: true }).click();
    const dialog = b.getByRole('dialog', { name: 'Members of #lobby' });
    await dialog.getByText('3 members').waitFor();
    await dialog.locator('.member').nth(2).waitFor();
    assert.deepEqual(await dialog.locator('.peer').allInnerTexts(), ['ann', 'ben (you)', 'cem']);
    await leave(c, 'lobby');
    await dialog.getByText('2 members').waitFor();
    assert.deepEqual(await dialog.locator('.peer').allInnerTexts(), ['ann', 'ben (you)']);
    await dialog.locator('.member', { hasText: 'ann' }).click();
    await b.getByRole('heading', { name: 'ann' }).waitFor();
    await dialogClosed(b);

    // The room is still in the list of its members only.
    for (const page of [a, b]) await row(page, '#lobby').waitFor();
    await notice(a, 'cem left').waitFor();
    await status(a, '2 members');
    await notice(c, 'You left').waitFor();
    await strip(c, 'You are not a member of this room.');
    await c.waitForFunction(() => document.activeElement?.textContent === 'Join');
    assert.equal(await composer(c).count(), 0);
    await bubble(c, 'indeed').focus();
    await c.keyboard.press('Enter');
    const items = (await c.getByRole('menuitem').allInnerTexts()).map(text => text.trim());
    assert.deepEqual(items, ['Copy']);
    await c.keyboard.press('Escape');
    assert.deepEqual(await notices(a), ['You joined', 'ben joined', 'cem joined', 'cem left']);

    // Unread messages are counted until the room is opened.
    await send(a, 'are you there?');
    await row(b, '#lobby').getByText('1 unread').waitFor();
    await row(b, '#lobby').getByText('ann: are you there?').waitFor();
    assert.equal(await b.title(), '(1) ann · dmwire');
    await row(b, '#lobby').click();
    await bubble(a, 'are you there\\?').getByText('Read by ben').waitFor();
    await row(b, '#lobby').getByText('1 unread').waitFor({ state: 'detached' });
    assert.equal(await bubble(c, 'are you there\\?').count(), 0);

    // A reload shows the same messages, and joins nothing.
    const before = await texts(a);
    assert.deepEqual(before, ['hello all', 'good morning', 'indeed', 'are you there?']);
    await a.reload();
    await bubble(a, 'are you there\\?').getByText('Read by ben').waitFor();
    assert.deepEqual(await texts(a), before);
    await c.reload();
    await strip(c, 'You are not a member of this room.');
    await status(b, '2 members');

    // Joining again shows what was missed.
    await c.getByRole('button', { name: 'Join', exact: true }).click();
    await notice(a, 'cem joined').waitFor();
    await bubble(c, 'are you there\\?').waitFor();
    await c.waitForFunction(() => document.activeElement?.matches('.composer textarea'));
    await send(c, 'back');
    for (const page of [a, b]) await bubble(page, 'back').waitFor();
  });

  it('show joins and leaves of the time without a connection once, in their order', async () => {
    const page = await stage.world.visitor();
    await enterRoom(page, stage.gate.url, 'dee', 'hall');
    await notice(page, 'You joined').waitFor();
    const eva = program(stage.server.url, { user: 'eva' });
    stage.gate.shut();
    await page.getByText('No connection to the server.').waitFor();
    await eva.join('hall');
    await eva.send({ room: 'hall' }, 'one');
    await eva.leave('hall');
    await eva.join('hall');
    await eva.send({ room: 'hall' }, 'two');
    stage.gate.open();
    await reconnect(page);
    await bubble(page, 'two').waitFor();
    const order = () => page.locator('.notice bdi, .message .text').allInnerTexts();
    const expected = ['You joined', 'eva joined', 'one', 'eva left', 'eva joined', 'two'];
    assert.deepEqual(await order(), expected);
    // Another connection adds nothing.
    stage.gate.shut();
    await page.getByText('No connection to the server.').waitFor();
    stage.gate.open();
    await reconnect(page);
    await eva.send({ room: 'hall' }, 'three');
    await bubble(page, 'three').waitFor();
    assert.deepEqual(await order(), [...expected, 'three']);
    // The notices are in the thread of this room only.
    await page.getByRole('textbox', { name: 'Write to' }).fill('eva');
    await page.getByRole('textbox', { name: 'Write to' }).press('Enter');
    await page.getByText('No messages with eva yet.').waitFor();
    assert.deepEqual(await notices(page), []);
  });

  it('page through many members', async () => {
    const first = program(stage.server.url, { user: 'member-000' });
    await first.join('crowd');
    await Promise.all(
      Array.from({ length: 149 }, async (_, i) => {
        const client = program(stage.server.url, { user: `member-${String(i + 1).padStart(3, '0')}` });
        await client.join('crowd');
        await client.close();
      }),
    );
    const page = await stage.world.visitor();
    await enterRoom(page, stage.server.url, 'hal', 'crowd');
    await status(page, '151 members');
    await page.getByRole('button', { name: 'Members', exact: true }).click();
    const dialog = page.getByRole('dialog', { name: 'Members of #crowd' });
    await dialog.getByText('151 members').waitFor();
    await dialog.locator('.member').nth(99).waitFor();
    assert.equal(await dialog.locator('.member').count(), 100);
    assert.equal(await dialog.locator('.peer').first().innerText(), 'hal (you)');
    const more = dialog.getByRole('button', { name: 'Show more members' });
    await more.focus();
    await dialog.locator('.member').nth(150).waitFor();
    assert.equal(await dialog.locator('.member').count(), 151);
    await more.waitFor({ state: 'detached' });
    await page.waitForFunction(() => document.activeElement?.textContent?.includes('member-099'));
  });

  it('are reached by the keyboard, and axe finds no violation', async () => {
    const other = program(stage.server.url, { user: 'ida' });
    await other.join('porch');
    await other.send({ room: 'porch' }, 'welcome');
    for (const [width, colorScheme] of [
      [390, 'light'],
      [1280, 'dark'],
    ] as const) {
      const page = await stage.world.visitor({ viewport: { width, height: 844 }, colorScheme });
      await page.goto(`${stage.server.url}/?user=jon-${width}`);
      await connected(page);
      await page.getByRole('button', { name: 'Join a room' }).focus();
      await page.keyboard.press('Enter');
      await page.getByRole('dialog').waitFor();
      await assertAccessible(page, 'join');
      await page.keyboard.type('not a name');
      await page.keyboard.press('Enter');
      await page.getByRole('alert').getByText('A room name has').waitFor();
      await assertAccessible(page, 'invalid name');
      await page.keyboard.press('ControlOrMeta+a');
      await page.keyboard.type('#porch');
      await page.keyboard.press('Enter');
      await dialogClosed(page);
      await bubble(page, 'welcome').waitFor();
      await notice(page, 'You joined').waitFor();
      await send(page, 'thanks');
      await bubble(page, 'thanks').getByText('Stored').waitFor();
      await assertAccessible(page, 'room');
      const overflow = await page.evaluate(() => document.documentElement.scrollWidth - innerWidth);
      assert.ok(overflow <= 0, `${overflow} pixels wider than the page`);
      await page.getByRole('button', { name: 'Members', exact: true }).focus();
      await page.keyboard.press('Enter');
      await page.locator('.member').nth(1).waitFor();
      await assertAccessible(page, 'members');
      await page.keyboard.press('Escape');
      await dialogClosed(page);
      await leave(page, 'porch');
      await strip(page, 'You are not a member of this room.');
      await assertAccessible(page, 'left');
    }
  });
});

describe('a membership of a session', { timeout: 10 * DEADLINE }, () => {
  // The time between two connections depends on the load of the machine.
  const stage = setUp({ flags: ['--presence-grace-seconds', '300'] });
  const short = setUp({ flags: ['--presence-grace-seconds', '0'] });

  it('lasts over reconnects and reloads', async () => {
    const page = await stage.world.visitor();
    await enterRoom(page, stage.gate.url, 'fay', 'den', '&membership=session');
    assert.equal(new URL(page.url()).search, '?user=fay&room=den&membership=session');
    await notice(page, 'You joined').waitFor();
    const gil = program(stage.server.url, { user: 'gil' });
    await gil.join('den');
    await notice(page, 'gil joined').waitFor();
    const left: string[] = [];
    gil.on('room', ({ event, user }) => void left.push(`${user} ${event}`));
    stage.gate.shut();
    await page.getByText('No connection to the server.').waitFor();
    stage.gate.open();
    await reconnect(page);
    await page.reload();
    await connected(page);
    assert.equal(new URL(page.url()).search, '?user=fay&room=den&membership=session');
    await gil.send({ room: 'den' }, 'still here?');
    await bubble(page, 'still here\\?').waitFor();
    assert.deepEqual(left, []);
    // In another conversation and after a reload there, too.
    await page.getByRole('textbox', { name: 'Write to' }).fill('gil');
    await page.getByRole('textbox', { name: 'Write to' }).press('Enter');
    await page.waitForURL(/\?user=fay&to=gil$/);
    await page.reload();
    await connected(page);
    await row(page, '#den').click();
    await page.waitForURL(/\?user=fay&room=den&membership=session$/);
    assert.deepEqual(left, []);
  });

  it('ends when the page is closed', async () => {
    const [page, other] = [await short.world.visitor(), await short.world.visitor()];
    await enterRoom(page, short.server.url, 'fay', 'den', '&membership=session');
    await enterRoom(other, short.server.url, 'gil', 'den', '&membership=session');
    await notice(page, 'gil joined').waitFor();
    await page.close();
    await notice(other, 'fay left').waitFor();
    await status(other, '1 member');
  });
});

describe('a room that the server refuses', { timeout: 4 * DEADLINE }, () => {
  const full = setUp({ flags: ['--room-limit', '1', '--rooms-per-user', '1'] });
  const off = setUp({ flags: ['--rooms', 'off'] });
  const managed = setUp({ flags: ['--rooms', 'managed'] });

  it('is explained: full, one too many, off, managed', async () => {
    const owner = program(full.server.url, { user: 'owner' });
    await owner.join('tiny');
    const page = await full.world.visitor();
    for (const more of ['', '&membership=session']) {
      await enterRoom(page, full.server.url, `kim${more.length}`, 'tiny', more);
      await strip(page, 'This room is full.');
      assert.equal(await composer(page).count(), 0);
      assert.equal(await page.locator('.banner').count(), 0);
    }
    await assertAccessible(page, 'full');
    await owner.leave('tiny');
    await page.getByRole('button', { name: 'Try again' }).click();
    await notice(page, 'You joined').waitFor();
    await send(page, 'in');
    await bubble(page, 'in').getByText('Stored').waitFor();
    await join(page, 'second');
    await strip(page, 'You are a member of the maximum number of rooms; leave one first');

    await enterRoom(page, off.server.url, 'lea', 'lobby');
    await strip(page, 'This server has no rooms.');
    await enterRoom(page, managed.server.url, 'mia', 'lobby');
    await strip(page, "You cannot join this room: its members are managed by the server's operator");
  });
});

describe('a link to a room without a user', { timeout: 4 * DEADLINE }, () => {
  const stage = setUp();

  it('asks for the user, and joins the room', async () => {
    const page = await stage.world.visitor();
    await page.goto(`${stage.server.url}/?room=lobby&membership=session`);
    assert.equal(await page.getByLabel('Room').inputValue(), 'lobby');
    await assertAccessible(page, 'sign in');
    await page.getByLabel('User name').fill('pam');
    await page.getByRole('button', { name: 'Start' }).click();
    await notice(page, 'You joined').waitFor();
    assert.equal(new URL(page.url()).search, '?user=pam&room=lobby&membership=session');
    // The next user of the tab does not get the room of this one.
    await page.getByRole('button', { name: 'Change user' }).click();
    await page.getByLabel('User name').fill('quy');
    await page.getByLabel('Recipient').fill('pam');
    await page.getByRole('button', { name: 'Start' }).click();
    await connected(page);
    await page.getByText('No messages with pam yet.').waitFor();
    assert.equal(await row(page, '#lobby').count(), 0);
    // An invalid name of a room is ignored.
    await page.goto(`${stage.server.url}/?user=quy&room=${encodeURIComponent('no room')}&to=pam`);
    await page.getByRole('heading', { name: 'pam' }).waitFor();
  });
});

describe('a room of which the user is no member', { timeout: 4 * DEADLINE }, () => {
  const stage = setUp({ flags: ['--jwt-secret', SECRET] });

  it('is not joined by a link of somebody else for a user with a token', async () => {
    const page = await stage.world.visitor();
    await page.goto(`${stage.server.url}/#token=${token('ned')}`);
    await connected(page);
    await page.goto(`${stage.server.url}/?user=ned&room=trap&membership=session`);
    await connected(page);
    await strip(page, 'You are not a member of this room.');
    await page.getByRole('button', { name: 'Join', exact: true }).click();
    await notice(page, 'You joined').waitFor();
    // A link with a token is one of this user.
    await page.goto(`${stage.server.url}/?room=own#token=${token('ned')}`);
    await notice(page, 'You joined').waitFor();
    assert.equal(new URL(page.url()).search, '?user=ned&room=own');
  });

  it('rejects a message, which is kept', async () => {
    const page = await stage.world.visitor();
    await page.goto(`${stage.gate.url}/?room=attic#token=${token('ola')}`);
    await notice(page, 'You joined').waitFor();
    // The user leaves on another device, while this one is offline and writes.
    stage.gate.shut();
    await page.getByText('No connection to the server.').waitFor();
    await send(page, 'late');
    const phone = program(stage.server.url, { token: token('ola') });
    await phone.leave('attic');
    stage.gate.open();
    await reconnect(page);
    await notice(page, 'You left').waitFor();
    await strip(page, 'You are not a member of this room.');
    await bubble(page, 'late').getByText('Not sent: You are not a member of this room.').waitFor();
    // A member can send it again.
    await phone.join('attic');
    await composer(page).waitFor();
    await bubble(page, 'late').getByRole('button', { name: 'Try again' }).click();
    await bubble(page, 'late').getByText('Stored').waitFor();
    assert.deepEqual(await notices(page), ['You joined', 'You left', 'You joined']);
  });
});
