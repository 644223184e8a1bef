import assert from 'node:assert/strict';
import { describe, it } from 'node:test';
import { bubble, DEADLINE, enter, send, setUp } from './support/browser.js';

describe('a message beyond a limit of the server', { timeout: 6 * DEADLINE }, () => {
  const stage = setUp({ flags: ['--user-bytes-per-day', '2000'] });

  it('shows when it is sent, and others are sent meanwhile', async () => {
    const page = await stage.world.visitor();
    await enter(page, stage.server.url, 'ann', 'ben');
    const long = (name: string) => name.repeat(300);
    await send(page, long('first'));
    await bubble(page, long('first')).getByText('Stored').waitFor();
    for (const text of [long('large'), 'later']) await send(page, text);
    for (const delayed of [bubble(page, long('large')), bubble(page, 'later')]) {
      // More than half of a day, so the time may be that of tomorrow.
      await delayed.getByText(/^Delayed by a limit of the server until .*\d:\d\d/).waitFor();
    }
    await page.getByRole('textbox', { name: 'Write to' }).fill('cem');
    await page.getByRole('textbox', { name: 'Write to' }).press('Enter');
    await send(page, 'short');
    await bubble(page, 'short').getByText('Stored').waitFor();
    assert.equal(await page.getByRole('alert').locator('.banner').count(), 0);
  });
});
