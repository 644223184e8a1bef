import assert from 'node:assert/strict';
import { describe, it } from 'node:test';
import type { Locator } from 'playwright-core';
import { bubble, composer, DEADLINE, enter, send, setUp, texts } from './support/browser.js';

/** Keys of an input method: Chromium and Firefox report `isComposing`, Safari only the key code of the Enter that ends it. */
const COMPOSING = [
  { isComposing: true, keyCode: 229 },
  { isComposing: true, keyCode: 13 },
  { isComposing: false, keyCode: 229 },
];

/** Reports a key to the page. Returns whether the page has handled it itself. */
function press(field: Locator, key: string, init: { isComposing: boolean; keyCode: number }): Promise<boolean> {
  return field.evaluate(
    (element, [key, init]) =>
      !element.dispatchEvent(new KeyboardEvent('keydown', { key, bubbles: true, cancelable: true, ...init })),
    [key, init] as const,
  );
}

describe('an input method', { timeout: 4 * DEADLINE }, () => {
  const stage = setUp();

  it('confirms a word with Enter without sending the message', async () => {
    const page = await stage.world.visitor();
    await enter(page, stage.server.url, 'ime-1', 'peer');
    await composer(page).fill('にほんご');
    for (const init of COMPOSING) await press(composer(page), 'Enter', init);
    assert.equal(await composer(page).inputValue(), 'にほんご');
    assert.equal(await page.locator('.message').count(), 0);
    await press(composer(page), 'Enter', { isComposing: false, keyCode: 13 });
    await bubble(page, 'にほんご').waitFor();
    assert.deepEqual(await texts(page), ['にほんご']);
  });

  it('uses Escape and the arrows while a message is edited or answered', async () => {
    const page = await stage.world.visitor();
    await enter(page, stage.server.url, 'ime-2', 'peer');
    await send(page, 'first');
    await bubble(page, 'first').getByText('Stored').waitFor();
    for (const init of COMPOSING) await press(composer(page), 'ArrowUp', init);
    assert.equal(await page.getByText('Editing').count(), 0);
    await press(composer(page), 'ArrowUp', { isComposing: false, keyCode: 38 });
    await page.getByText('Editing').waitFor();
    await composer(page).fill('changed');
    for (const key of ['Enter', 'Escape']) for (const init of COMPOSING) await press(composer(page), key, init);
    assert.equal(await page.getByText('Editing').count(), 1);
    assert.equal(await composer(page).inputValue(), 'changed');
    await press(composer(page), 'Enter', { isComposing: false, keyCode: 13 });
    await bubble(page, 'changed').getByText('edited').waitFor();
  });

  it('confirms a word with Enter in the fields of forms', async () => {
    const page = await stage.world.visitor();
    await page.goto(stage.server.url);
    await page.getByLabel('User name').waitFor();
    const session = await page.context().newCDPSession(page);
    // A key as the browser reports it itself, whose default action is to submit the form.
    const enterKey = async (field: Locator, windowsVirtualKeyCode: number) => {
      await field.focus();
      const key = { key: 'Enter', code: 'Enter', text: '\r', windowsVirtualKeyCode };
      await session.send('Input.dispatchKeyEvent', { type: 'keyDown', ...key });
      await session.send('Input.dispatchKeyEvent', { type: 'keyUp', ...key });
    };
    await enterKey(page.getByLabel('User name'), 229);
    await page.getByLabel('User name').fill('ime-3');
    assert.equal(await page.getByLabel('User name').inputValue(), 'ime-3');
    await enterKey(page.getByLabel('User name'), 13);
    await page.getByRole('heading', { name: '6666' }).waitFor();

    const start = page.getByRole('textbox', { name: 'Write to' });
    await start.fill('someone');
    await enterKey(start, 229);
    assert.equal(await start.inputValue(), 'someone');
    await page.getByRole('button', { name: 'Send media or data' }).click();
    const dialog = page.getByRole('dialog');
    await dialog.getByLabel('URL').fill('https://example.org/cat.png');
    await dialog.getByLabel('Description').fill('ねこ');
    for (const key of ['Enter', 'Escape'])
      for (const init of COMPOSING) await press(dialog.getByLabel('Description'), key, init);
    await enterKey(dialog.getByLabel('Description'), 229);
    assert.equal(await dialog.getByLabel('Description').inputValue(), 'ねこ');
    assert.equal(await page.locator('.message').count(), 0);
    await enterKey(dialog.getByLabel('Description'), 13);
    await page.locator('.card .name', { hasText: 'ねこ' }).waitFor();
  });
});

describe('the length of a text', { timeout: 4 * DEADLINE }, () => {
  const stage = setUp();

  it('is counted in code points, and a text that is too long is not cut', async () => {
    const page = await stage.world.visitor();
    await enter(page, stage.server.url, 'long', 'peer');
    await composer(page).fill('🎉'.repeat(16_001));
    await page.getByText('1 characters too long').waitFor();
    await composer(page).press('Enter');
    assert.equal(await page.locator('.message').count(), 0);
    await composer(page).fill('🎉'.repeat(16_000));
    await composer(page).press('Enter');
    await page.locator('.message').getByText('Stored').waitFor();

    await page.getByRole('button', { name: 'Send media or data' }).click();
    const dialog = page.getByRole('dialog');
    await dialog.getByLabel('Type', { exact: true }).selectOption('file');
    await dialog.getByLabel('URL').fill('https://example.org/a');
    // Pasted, as `fill` bypasses the attribute `maxlength`.
    const paste = async (text: string) => {
      await dialog.getByLabel('Name').fill('');
      await dialog.getByLabel('Name').focus();
      await page.keyboard.insertText(text);
    };
    await paste('👩‍👩‍👧‍👦'.repeat(37));
    assert.equal((await dialog.getByLabel('Name').inputValue()).length, 37 * 11);
    await dialog.getByRole('button', { name: 'Send' }).click();
    await dialog.getByText('Name: 4 characters too long').waitFor();
    await paste('🎉'.repeat(255));
    await dialog.getByRole('button', { name: 'Send' }).click();
    await page.locator('.card .name', { hasText: '🎉'.repeat(255) }).waitFor();
    await page.locator('.message').nth(1).getByText('Stored').waitFor();
  });

  it('does not turn a name that is too long into the name of somebody else', async () => {
    const page = await stage.world.visitor();
    await enter(page, stage.server.url, 'long-2');
    await page.getByRole('textbox', { name: 'Write to' }).focus();
    await page.keyboard.insertText('x'.repeat(65));
    await page.keyboard.press('Enter');
    await page.getByRole('alert').getByText('A user name has 1 to 64').waitFor();
  });

  it('that ends within an emoji is sent with a replacement character', async () => {
    const page = await stage.world.visitor();
    await enter(page, stage.server.url, 'long-3', 'peer');
    await composer(page).evaluate(element => {
      (element as HTMLTextAreaElement).value = 'half\ud83d';
      element.dispatchEvent(new Event('input', { bubbles: true }));
    });
    await composer(page).press('Enter');
    await bubble(page, 'half\ufffd').getByText('Stored').waitFor();
  });
});
