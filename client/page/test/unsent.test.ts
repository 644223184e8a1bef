import assert from 'node:assert/strict';
import { describe, it } from 'node:test';
import { bubble, composer, DEADLINE, enter, send, setUp } from './support/browser.js';

describe('a page whose browser stores nothing', { timeout: 6 * DEADLINE }, () => {
  const stage = setUp();

  it('sends messages all the same, says that they may be lost, and keeps drafts while it is open', async () => {
    const page = await stage.world.visitor();
    await page.addInitScript(() => {
      Storage.prototype.setItem = () => {
        throw new DOMException('full', 'QuotaExceededError');
      };
    });
    await enter(page, stage.server.url, 'dee', 'eva');
    await page.getByRole('alert').getByText('This browser stores no more data.').waitFor();
    await send(page, 'hello');
    await bubble(page, 'hello').getByText('Stored').waitFor();
    await composer(page).fill('half');
    const writeTo = page.getByRole('textbox', { name: 'Write to' });
    await writeTo.fill('fay');
    await writeTo.press('Enter');
    await page.getByRole('heading', { name: 'fay' }).waitFor();
    assert.equal(await composer(page).inputValue(), '');
    for (const peer of ['fay', 'eva']) {
      await page.getByRole('button', { name: `Block ${peer}` }).click();
      await page.getByRole('dialog').getByRole('button', { name: 'Block', exact: true }).click();
      await page.getByText(`You have blocked ${peer}.`).waitFor();
      await page.getByRole('button', { name: /^eva/ }).first().click();
    }
    await page.getByRole('heading', { name: 'eva' }).waitFor();
    assert.equal(await composer(page).inputValue(), 'half');
    await writeTo.fill('fay');
    await writeTo.press('Enter');
    await page.getByText('You have blocked fay.').waitFor();
  });
});
