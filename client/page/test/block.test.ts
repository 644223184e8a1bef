import assert from 'node:assert/strict';
import { describe, it } from 'node:test';
import type { Page } from 'playwright-core';
import { bubble, composer, DEADLINE, dialogClosed, enter, reconnect, send, setUp, texts } from './support/browser.js';

describe('a blocked user', { timeout: 10 * DEADLINE }, () => {
  const stage = setUp();

  const header = (page: Page) => page.locator('.thread > header');
  const strip = (page: Page) => page.getByRole('status').filter({ hasText: 'You have blocked' });

  async function block(page: Page, peer: string): Promise<void> {
    await header(page)
      .getByRole('button', { name: `Block ${peer}` })
      .click();
    await page.getByRole('dialog').getByRole('button', { name: 'Block', exact: true }).click();
    await strip(page).waitFor();
  }

  it('gets an error until unblocked, then the same message is delivered', async () => {
    const [a, b] = [await stage.world.visitor(), await stage.world.visitor()];
    await enter(a, stage.server.url, 'ann', 'ben');
    await enter(b, stage.server.url, 'ben', 'ann');
    await send(b, 'hello');
    await bubble(a, 'hello').waitFor();

    // Canceling the confirmation blocks nobody.
    await header(a).getByRole('button', { name: 'Block ben' }).click();
    await a.getByRole('dialog', { name: 'Block ben?' }).getByRole('button', { name: 'Cancel' }).click();
    await dialogClosed(a);
    await send(b, 'still there');
    await bubble(a, 'still there').waitFor();

    await block(a, 'ben');
    await a.getByRole('button', { name: /ben , blocked/ }).waitFor();
    await send(b, 'let me explain');
    await bubble(b, 'let me explain').getByText('Not sent: ann has blocked you.').waitFor();
    await bubble(b, 'let me explain').getByRole('button', { name: 'Try again' }).click();
    await bubble(b, 'let me explain').getByText('Not sent: ann has blocked you.').waitFor();
    // Reactions are rejected as well, and are not shown.
    await bubble(b, 'hello').hover();
    await bubble(b, 'hello').getByRole('button', { name: 'More' }).click();
    await b.getByRole('menuitem', { name: '👍' }).click();
    await b.getByRole('alert').getByText('The reaction was rejected: ann has blocked you.').waitFor();
    assert.equal(await b.locator('.reactions').count(), 0);
    await b.getByRole('alert').getByRole('button', { name: 'Close' }).click();

    // The blocking user can still write.
    await send(a, 'not now');
    await bubble(b, 'not now').waitFor();
    assert.deepEqual(await texts(a), ['hello', 'still there', 'not now']);

    await strip(a).getByRole('button', { name: 'Unblock' }).click();
    await strip(a).waitFor({ state: 'hidden' });
    await bubble(b, 'let me explain').getByRole('button', { name: 'Try again' }).click();
    await bubble(a, 'let me explain').waitFor();
    await bubble(b, 'let me explain').getByText('Read', { exact: true }).waitFor();
    assert.deepEqual(await texts(b), ['hello', 'still there', 'not now', 'let me explain']);
    assert.deepEqual(await texts(a), await texts(b));
  });

  it('stays blocked after a reload and in other tabs, per user', async () => {
    const page = await stage.world.visitor();
    await enter(page, stage.server.url, 'cem', 'dee');
    const other = await page.context().newPage();
    await enter(other, stage.server.url, 'cem', 'dee');
    const otherUser = await page.context().newPage();
    await enter(otherUser, stage.server.url, 'eva', 'dee');
    await block(page, 'dee');
    await strip(other).waitFor();
    await page.reload();
    await strip(page).waitFor();
    await header(other).getByRole('button', { name: 'Unblock dee' }).click();
    await strip(page).waitFor({ state: 'hidden' });
    await block(page, 'dee');
    await otherUser.reload();
    await header(otherUser).getByRole('button', { name: 'Block dee' }).waitFor();
    assert.equal(await strip(otherUser).count(), 0);
  });

  it('who was blocked on another device can be unblocked after blocking again', async () => {
    const [phone, desk] = [await stage.world.visitor(), await stage.world.visitor()];
    await enter(phone, stage.server.url, 'fay', 'gil');
    await block(phone, 'gil');
    await enter(desk, stage.server.url, 'fay', 'gil');
    assert.equal(await strip(desk).count(), 0);
    await block(desk, 'gil');
    await header(desk).getByRole('button', { name: 'Unblock gil' }).click();
    await strip(desk).waitFor({ state: 'hidden' });
    const gil = await stage.world.visitor();
    await enter(gil, stage.server.url, 'gil', 'fay');
    await send(gil, 'hello');
    await bubble(desk, 'hello').waitFor();
  });

  it('can be blocked and unblocked with the keyboard without losing the focus', async () => {
    const page = await stage.world.visitor();
    await enter(page, stage.server.url, 'hal', 'ida');
    const focused = () => page.evaluate(() => document.activeElement?.textContent);
    const button = header(page).getByRole('button', { name: 'Block ida' });
    for (let i = 0; i < 10 && (await focused()) !== 'Block ida'; i += 1) await page.keyboard.press('Shift+Tab');
    await page.keyboard.press('Enter');
    await page.getByRole('dialog').waitFor();
    await page.keyboard.press('Escape');
    await dialogClosed(page);
    assert.equal(await focused(), 'Block ida');
    await page.keyboard.press('Enter');
    await page.getByRole('dialog').waitFor();
    await page.keyboard.press('Tab');
    assert.equal(await focused(), 'Block');
    await page.keyboard.press('Enter');
    await strip(page).waitFor();
    assert.equal(await focused(), 'Unblock ida');
    await strip(page).getByRole('button').focus();
    await page.keyboard.press('Enter');
    await strip(page).waitFor({ state: 'hidden' });
    assert.equal(await focused(), 'Block ida');
    await button.waitFor();
  });

  it('cannot be the user themselves, and cannot be blocked while offline', async () => {
    const page = await stage.world.visitor();
    await enter(page, stage.gate.url, 'jon', 'jon');
    await composer(page).waitFor();
    assert.equal(await header(page).getByRole('button', { name: 'Block' }).count(), 0);
    await enter(page, stage.gate.url, 'jon', 'kim');
    const button = header(page).getByRole('button', { name: 'Block kim' });
    assert.equal(await button.getAttribute('aria-disabled'), 'false');
    stage.gate.shut();
    await page.getByText('No connection to the server.').waitFor();
    assert.equal(await button.getAttribute('aria-disabled'), 'true');
    await button.focus();
    await page.keyboard.press('Enter');
    assert.equal(await page.getByRole('dialog').count(), 0);
    stage.gate.open();
    await reconnect(page);
    await block(page, 'kim');
  });

  it('is not shown as blocked if the server rejects the block', async () => {
    const page = await stage.world.visitor();
    await enter(page, stage.server.url, 'lea', 'mia');
    await page.evaluate(() => {
      const send = WebSocket.prototype.send;
      WebSocket.prototype.send = function (data) {
        const frame = JSON.parse(String(data));
        // The server rejects blocking oneself.
        send.call(this, frame.type === 'block' ? JSON.stringify({ ...frame, user: 'lea' }) : data);
      };
    });
    await header(page).getByRole('button', { name: 'Block mia' }).click();
    await page.getByRole('dialog').getByRole('button', { name: 'Block', exact: true }).click();
    await page.getByRole('alert').getByText('Could not block mia:').waitFor();
    assert.equal(await strip(page).count(), 0);
    await header(page).getByRole('button', { name: 'Block mia' }).waitFor();
  });
});
