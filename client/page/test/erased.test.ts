import assert from 'node:assert/strict';
import { describe, it } from 'node:test';
import { assertAccessible } from './support/axe.js';
import { bubble, composer, DEADLINE, dialogClosed, enter, setUp } from './support/browser.js';
import { fakeServer } from './support/gate.js';

describe('a conversation with an erased user', { timeout: 4 * DEADLINE }, () => {
  const stage = setUp();
  const erased = 'erased.0123456789abcdef0123456789abcdef';
  const message = (n: number, from_user: string, target_user: string, text: string) => ({
    type: 'message',
    id: `00000000-0000-4000-8000-00000000000${n}`,
    from_user,
    target_user,
    message: text,
    sent_at: '2026-01-01T00:00:00.000Z',
    reactions: [{ emoji: '👍', users: ['ann'] }],
  });

  it('can be read but not continued', async () => {
    const sent: unknown[] = [];
    const history = [message(1, erased, 'ann', 'theirs'), message(2, 'ann', erased, 'mine')];
    stage.gate.play(fakeServer('ann', erased, history, ({ type }) => void sent.push(type)));
    const page = await stage.world.visitor();
    await enter(page, stage.gate.url, 'ann');
    await page.getByRole('button', { name: /erased\./ }).click();
    await bubble(page, 'mine').waitFor();
    await page.getByText('This user was erased.').waitFor();
    assert.equal(await composer(page).count(), 0);
    assert.equal(await page.getByRole('button', { name: /^(Block|Send|Unblock)/ }).count(), 0);
    assert.equal(await page.locator('.reactions button:not(:disabled)').count(), 0);
    // One's own messages can still be deleted.
    const items = async (text: string) => {
      await bubble(page, text).focus();
      await page.keyboard.press('Enter');
      const names = await page.getByRole('menuitem').allInnerTexts();
      return names.map(name => name.trim());
    };
    assert.deepEqual(await items('theirs'), ['Copy']);
    await page.keyboard.press('Escape');
    await assertAccessible(page, 'erased');
    assert.deepEqual(await items('mine'), ['Copy', 'Delete']);
    await page.getByRole('menuitem', { name: 'Delete' }).click();
    await page.getByRole('dialog').getByRole('button', { name: 'Delete' }).click();
    await dialogClosed(page);
    await page.getByText('This message was deleted.').waitFor();
    // Up to the frame with the deletion nothing else was sent, apart from the read mark.
    assert.deepEqual(
      sent.filter(type => type !== 'read'),
      ['delete'],
    );
  });

  it('is only one whose name has exactly the form of such names', async () => {
    stage.gate.play(fakeServer('ann', 'x', []));
    const page = await stage.world.visitor();
    for (const name of [erased.slice(0, -1), `${erased}0`, `${erased.slice(0, -1)}F`, `x${erased}`, 'erased.user']) {
      await enter(page, stage.gate.url, 'ann', name);
      await composer(page).waitFor();
    }
  });
});
