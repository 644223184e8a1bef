import assert from 'node:assert/strict';
import { after, before, describe, it } from 'node:test';
import { WebSocket } from 'ws';
import { type Client, connect, type WebSocketClass } from '../../src/index.js';
import { assertAccessible } from './support/axe.js';
import { bubble, composer, connected, DEADLINE, dialogClosed, enter, send, setUp, texts } from './support/browser.js';

describe('accessibility', { timeout: 10 * DEADLINE }, () => {
  const stage = setUp();
  let friend: Client;
  before(() => {
    friend = connect({ url: stage.server.url, user: 'friend', WebSocket: WebSocket as unknown as WebSocketClass });
    friend.on('message', () => {});
  });
  after(() => friend?.close());

  /** Creates a conversation with every kind of content. */
  async function fill(user: string): Promise<void> {
    const mine = connect({
      url: stage.server.url,
      user,
      device: 'seed',
      WebSocket: WebSocket as unknown as WebSocketClass,
    });
    mine.on('message', () => {});
    const contents = [
      'Notes are at https://example.org/notes.',
      {
        type: 'markdown',
        text: '# Title\n\n**bold** *em* ~~gone~~ `code` [link](https://example.org/)\n\n- a\n- b\n\n1. x\n\n> quoted\n\n```\ncode that is so long that it has to scroll to the side, on a phone at the least, and here too, I hope\n```\n\n---',
      },
      { type: 'image', url: 'https://example.org/a.png', alt: 'A cat', width: 100, height: 80, size: 12345 },
      { type: 'file', url: 'https://example.org/a.pdf', name: 'a.pdf', mime: 'application/pdf', size: 1 },
      { type: 'audio', url: 'https://example.org/a.mp3', duration_ms: 61000 },
      { type: 'video', url: 'http://example.org/a.mp4' },
      { type: 'location', latitude: 1, longitude: 2, label: 'Here' },
      { type: 'data', name: 'order', data: { id: 7 } },
    ] as const;
    for (const content of contents) {
      const theirs = await friend.send(user, content);
      const { id } = await mine.send('friend', content, { replyTo: theirs.id });
      await mine.react('friend', theirs.id, '👍');
      await friend.react(user, id, '🎉');
      await friend.react(user, theirs.id, '👍');
    }
    const { id } = await mine.send('friend', 'away');
    await mine.delete('friend', id);
    const edited = await mine.send('friend', 'helo');
    await mine.edit('friend', edited.id, 'hello');
    const stranger = connect({
      url: stage.server.url,
      user: 'stranger',
      WebSocket: WebSocket as unknown as WebSocketClass,
    });
    await stranger.send(user, 'are you there?');
    await stranger.close();
    await mine.close();
  }

  for (const [width, height] of [
    [390, 844],
    [1280, 800],
  ] as const) {
    for (const colorScheme of ['light', 'dark'] as const) {
      it(`axe finds no violation, ${colorScheme} and ${width} pixels wide`, async () => {
        const user = `${colorScheme}-${width}`;
        stage.gate.open();
        await fill(user);
        const page = await stage.world.visitor({
          viewport: { width, height },
          colorScheme,
          ...(width < 500 && { hasTouch: true, isMobile: true }),
        });
        await enter(page, stage.gate.url, `${user}-alone`);
        await page.getByText('No conversations yet.').waitFor();
        await assertAccessible(page, 'empty list');
        await page.goto(stage.gate.url);
        await page.getByLabel('User name').waitFor();
        await assertAccessible(page, 'sign in');
        await page.getByRole('button', { name: 'Sign in with a token' }).click();
        await assertAccessible(page, 'token');
        await enter(page, stage.gate.url, user);
        await page.getByRole('button', { name: /friend/ }).waitFor();
        await assertAccessible(page, 'list');
        await page.getByRole('button', { name: /friend/ }).click();
        await bubble(page, 'hello').waitFor();
        await assertAccessible(page, 'conversation');
        await page.locator('summary').first().click();
        await bubble(page, 'hello').hover();
        await bubble(page, 'hello').getByRole('button', { name: 'More' }).click();
        await assertAccessible(page, 'menu');
        await page.getByRole('menuitem', { name: 'Edit' }).click();
        await assertAccessible(page, 'editing');
        await page.getByRole('button', { name: 'Cancel' }).click();
        await page.getByRole('button', { name: 'Markdown' }).click();
        await page.getByRole('button', { name: 'Send media or data' }).click();
        await assertAccessible(page, 'dialog');
        await page.keyboard.press('Escape');
        await dialogClosed(page);
        await page.getByRole('button', { name: 'Frames on the wire' }).locator('visible=true').first().click();
        await page.getByRole('complementary').locator('summary').first().click();
        await assertAccessible(page, 'frames');
        await page.getByRole('button', { name: 'Close frames' }).click();
        await page.getByRole('button', { name: 'Block friend' }).click();
        await page.getByRole('dialog').waitFor();
        await assertAccessible(page, 'block confirmation');
        await page.getByRole('dialog').getByRole('button', { name: 'Block', exact: true }).click();
        await page.getByText('You have blocked friend.').waitFor();
        await friend.block(user);
        await composer(page).fill('hello?');
        await page.getByRole('button', { name: 'Send', exact: true }).click();
        await page.getByText('Not sent: friend has blocked you.').waitFor();
        await assertAccessible(page, 'mutual block');
        await page.locator('.message.failed').getByRole('button', { name: 'Discard' }).click();
        await friend.unblock(user);
        await page.locator('.blocked').getByRole('button', { name: 'Unblock' }).click();
        await page.locator('.blocked').waitFor({ state: 'detached' });
        stage.gate.shut();
        await page.getByText('No connection to the server.').waitFor();
        await composer(page).fill('later');
        await page.getByRole('button', { name: 'Send', exact: true }).click();
        await page.getByText('Waiting for the connection').first().waitFor();
        await assertAccessible(page, 'no connection');
        const overflow = await page.evaluate(() => document.documentElement.scrollWidth - innerWidth);
        assert.ok(overflow <= 0, `${overflow} pixels too wide`);
        const all = page.getByRole('button', { name: 'All conversations' });
        if (await all.isVisible()) await all.click();
        await page.getByRole('button', { name: 'Change user' }).click();
        await page.getByRole('dialog').waitFor();
        await assertAccessible(page, 'change user');
      });
    }
  }

  it('everything can be operated with the keyboard', async () => {
    const page = await stage.world.visitor();
    const press = (...keys: string[]) =>
      keys.reduce((before, next) => before.then(() => page.keyboard.press(next)), Promise.resolve());
    const focused = () => page.evaluate(() => (document.activeElement as HTMLElement)?.innerText ?? '');
    await page.goto(stage.server.url);
    await page.getByLabel('User name').waitFor();
    await press('Tab', 'ControlOrMeta+a');
    await page.keyboard.type('keys');
    await press('Tab', 'ControlOrMeta+a');
    await page.keyboard.type('friend');
    await press('Enter');
    await connected(page);
    // The composer has the focus.
    await page.waitForFunction(() => document.activeElement?.matches('.composer textarea'));
    await page.keyboard.type('first');
    await press('Shift+Enter');
    await page.keyboard.type('line two');
    await press('Enter');
    await page.keyboard.type('secnd');
    await press('Enter');
    await bubble(page, 'secnd')
      .getByText(/Stored|Received/)
      .waitFor();

    // The up arrow edits the last message.
    await press('ArrowUp');
    await page.getByText('Editing').waitFor();
    await page.waitForFunction(() => (document.activeElement as HTMLTextAreaElement)?.value === 'secnd');
    await press('ControlOrMeta+a');
    await page.keyboard.type('second');
    await press('Enter');
    await bubble(page, 'second').getByText('edited').waitFor();

    // Move to the message list, to another message, and into its menu.
    for (let i = 0; i < 10 && !(await page.evaluate(() => document.activeElement?.matches('.message'))); i += 1)
      await press('Shift+Tab');
    assert.match(await focused(), /second/);
    await press('ArrowUp');
    assert.match(await focused(), /first/);
    await press('ArrowUp', 'End');
    assert.match(await focused(), /second/);
    await press('Home', 'Enter');
    await page.getByRole('menu').waitFor();
    await press('Escape');
    await page.getByRole('menu').waitFor({ state: 'detached' });
    assert.match(await focused(), /first/);
    await press('Enter', 'Enter');
    await page.getByRole('button', { name: '👍 1 by you' }).waitFor();
    assert.match(await focused(), /first/);
    await press('Enter', 'ArrowUp');
    assert.match(await focused(), /Delete/);
    await press('Enter');
    await page.getByRole('dialog').waitFor();
    await press('Escape');
    await dialogClosed(page);
    await press('Escape');
    await page.waitForFunction(() => document.activeElement?.matches('.composer textarea'));
    assert.deepEqual(await texts(page), ['first\nline two', 'second']);

    // Start another conversation.
    for (let i = 0; i < 30 && !(await page.evaluate(() => document.activeElement?.matches('.new input'))); i += 1)
      await press('Shift+Tab');
    await page.keyboard.type('stranger');
    await press('Enter');
    await page.getByRole('heading', { name: 'stranger' }).waitFor();
    await page.waitForFunction(() => document.activeElement?.matches('.composer textarea'));
    await send(page, 'hello');
  });
});
