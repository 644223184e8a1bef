import assert from 'node:assert/strict';
import { after, before, describe, it } from 'node:test';
import type { Page } from 'playwright-core';
import { assertAccessible } from '../support/axe.js';
import { DEADLINE, dialogClosed } from '../support/browser.js';
import { live, setUpDashboard, TestSession } from '../support/dashboard.js';

const LONG_NAME = 'a.very.long.name.without.any.space.of.sixty.four.characters.1234';

async function assertFits(page: Page, view: string): Promise<void> {
  const overflow = await page.evaluate(() => document.documentElement.scrollWidth - innerWidth);
  assert.ok(overflow <= 0, `${view}: ${overflow} pixels too wide`);
}

describe('accessibility of the dashboard', { timeout: 10 * DEADLINE }, () => {
  const stage = setUpDashboard({ keys: true });
  const sessions: TestSession[] = [];
  before(async () => {
    for (const user of ['anna', LONG_NAME]) {
      sessions.push(await TestSession.open(stage.server, user, `?device=${LONG_NAME}&room=lobby`));
    }
    sessions[0]?.send({ target_user: LONG_NAME, message: 'hello' });
    sessions[0]?.send({ target_room: 'lobby', message: `${'long '.repeat(100)}${'w'.repeat(200)}` });
    sessions[0]?.send({ type: 'nonsense' });
  });
  after(() => {
    for (const session of sessions) session.close();
  });

  for (const colorScheme of ['light', 'dark'] as const) {
    it(`axe finds no violation, and all views fit on a phone, ${colorScheme}`, async () => {
      const page = await stage.world.visitor({ colorScheme });
      const check = async (view: string) => {
        for (const width of [360, 1280]) {
          await page.setViewportSize({ width, height: 800 });
          await assertAccessible(page, `${view}, ${width} pixels wide`);
          await assertFits(page, `${view}, ${width} pixels wide`);
        }
      };
      await page.goto(stage.url);
      await page.getByLabel('API key').fill('nonsense');
      await page.getByRole('button', { name: 'Continue' }).click();
      await page.locator('.problem').waitFor();
      await check('key');
      await page.getByLabel('API key').fill(stage.keys.all);
      await page.getByRole('button', { name: 'Continue' }).click();
      await live(page);
      await page.getByRole('table', { name: 'Top senders' }).waitFor();
      await check('overview');
      const views = page.getByRole('navigation', { name: 'Views' });
      await views.getByRole('link', { name: 'Sessions' }).click();
      await page.getByRole('table', { name: 'Open sessions' }).waitFor();
      await check('sessions');
      await page.getByRole('link', { name: LONG_NAME }).click();
      await page.getByRole('table', { name: 'Sessions' }).waitFor();
      await page.getByRole('table', { name: 'Conversations' }).waitFor();
      await check('user');
      await page.getByRole('button', { name: 'Erase user' }).click();
      await page.getByRole('dialog').getByRole('textbox').fill('x');
      await check('erase');
      await page.keyboard.press('Escape');
      await dialogClosed(page);
      await views.getByRole('link', { name: 'Rooms' }).click();
      await page.getByRole('textbox', { name: 'Room' }).fill('.');
      await page.getByRole('button', { name: 'Look up' }).click();
      await page.getByText('A name has 1 to 64 characters').waitFor();
      await check('rooms');
      await page.goto(`${stage.url}#/rooms/lobby`);
      await page.getByRole('heading', { name: 'lobby' }).waitFor();
      await check('room');
      await views.getByRole('link', { name: 'Webhooks' }).click();
      await page.getByRole('heading', { name: 'Webhooks' }).waitFor();
      await page.locator('.panel').waitFor();
      await check('webhooks');
    });
  }

  it('everything can be operated with the keyboard', async () => {
    const page = await stage.world.visitor();
    const focused = () => page.evaluate(() => (document.activeElement as HTMLElement)?.innerText ?? '');
    const tabTo = async (text: RegExp) => {
      for (let i = 0; i < 40; i += 1) {
        await page.keyboard.press('Tab');
        if (text.test(await focused())) return;
      }
      assert.fail(`the focus does not get to ${text}`);
    };
    await page.goto(stage.url);
    // The field has the focus.
    await page.waitForFunction(() => document.activeElement?.matches('input[type=password]'));
    await page.keyboard.type(stage.keys.all);
    await page.keyboard.press('Enter');
    await live(page);

    // The arrow keys move the cursor of a plot.
    const traffic = page.getByRole('slider', { name: /^Traffic/ });
    await page.waitForFunction(
      () => Number(document.querySelector('[role=slider]')?.getAttribute('aria-valuemin')) <= -3,
    );
    await traffic.focus();
    await page.keyboard.press('ArrowLeft');
    await page.locator('.plot .when').first().waitFor();
    assert.match((await traffic.getAttribute('aria-valuetext')) ?? '', /^at [\d:]+: Messages /);
    await page.keyboard.press('Escape');
    await page.locator('.plot .when').first().waitFor({ state: 'detached' });

    // A view, a user, an action.
    await page.getByRole('link', { name: 'Overview' }).focus();
    await tabTo(/^Users$/);
    await page.keyboard.press('Enter');
    await page.getByRole('textbox', { name: 'User' }).waitFor();
    await page.keyboard.press('Tab');
    await page.waitForFunction(() => document.activeElement?.matches('.lookup input'));
    await page.keyboard.type('anna');
    await page.keyboard.press('Enter');
    await page.getByRole('heading', { name: 'anna' }).waitFor();
    await tabTo(/^Erase user$/);
    await page.keyboard.press('Enter');
    await page.getByRole('dialog').waitFor();
    await page.waitForFunction(() => document.activeElement?.matches('dialog input'));
    await page.keyboard.press('Escape');
    await dialogClosed(page);
    assert.match(await focused(), /^Erase user$/);
    const outline = await page.evaluate(() => getComputedStyle(document.activeElement as Element).outlineStyle);
    assert.equal(outline, 'solid', 'the focus is visible');
  });
});
