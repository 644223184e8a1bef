import assert from 'node:assert/strict';
import { describe, it } from 'node:test';
import type { Page } from 'playwright-core';
import { bubble, composer, connected, DEADLINE, dialogClosed, enter, send, setUp } from './support/browser.js';
import { SECRET, token } from './support/token.js';

describe('a link with the token of another user', { timeout: 10 * DEADLINE }, () => {
  const stage = setUp({ flags: ['--jwt-secret', SECRET] });

  const link = (user: string, query = '') => `${stage.gate.url}/${query}#token=${token(user)}`;
  const me = (page: Page, name: string) => page.locator('.me strong', { hasText: new RegExp(`^${name}$`) }).waitFor();
  const question = (page: Page) => page.getByRole('dialog', { name: 'Change user?' });
  const choose = async (page: Page, name: string) => {
    await question(page).getByRole('button', { name }).click();
    await dialogClosed(page);
  };
  /** Opens a link in the open page without loading it, as the address bar does if only the fragment differs. */
  const paste = (page: Page, user: string) =>
    page.evaluate(
      hash => {
        location.hash = hash;
      },
      `token=${token(user)}`,
    );
  const users = () => stage.gate.requests.map(path => path.split('?')[0]?.slice('/ws/'.length));
  async function signedIn(user: string): Promise<Page> {
    const page = await stage.world.visitor();
    await page.goto(link(user, '?to=peer'));
    await connected(page);
    assert.equal(await question(page).count(), 0);
    stage.gate.requests.length = 0;
    return page;
  }

  it('asks before it changes the user of an open page', async () => {
    const page = await signedIn('ann');
    await composer(page).fill('half');
    await paste(page, 'mallory');
    await question(page).getByText('This link signs you in as mallory.').waitFor();
    assert.equal(new URL(page.url()).hash, '');
    await choose(page, 'Cancel');
    assert.equal(await composer(page).inputValue(), 'half');
    await send(page, 'by ann');
    await bubble(page, 'by ann').getByText('Stored').waitFor();
    await page.reload();
    await me(page, 'ann');
    await connected(page);
    assert.deepEqual([...new Set(users())], ['ann']);

    await composer(page).fill('kept');
    await paste(page, 'bob');
    await choose(page, 'Change user');
    await me(page, 'bob');
    await connected(page);
    assert.equal(users().at(-1), 'bob');
    assert.equal(await page.evaluate(() => JSON.stringify(sessionStorage).includes('kept')), true);
    // A new link of the same user needs no question.
    await paste(page, 'bob');
    await page.waitForFunction(() => location.hash === '');
    await connected(page);
    assert.equal(await question(page).count(), 0);
  });

  it('asks before it changes the user when it loads the page', async () => {
    const page = await signedIn('cem');
    await page.goto(link('mallory', '?user=mallory&to=boss'));
    await question(page).getByText('This link signs you in as mallory.').waitFor();
    assert.equal(new URL(page.url()).hash, '');
    // Meanwhile the user stays signed in.
    await me(page, 'cem');
    await choose(page, 'Cancel');
    await me(page, 'cem');
    await connected(page);
    await page.waitForURL(`${stage.gate.url}/?user=cem`);
    await page.reload();
    await me(page, 'cem');
    await connected(page);
    assert.deepEqual([...new Set(users())], ['cem']);
    await page.goto(link('dee', '?to=boss'));
    await choose(page, 'Change user');
    await me(page, 'dee');
    await page.waitForURL(`${stage.gate.url}/?user=dee&to=boss`);
    await connected(page);
    await page.reload();
    await me(page, 'dee');
  });

  it('asks in a new tab as well, until the user signs out', async () => {
    const page = await signedIn('eva');
    const tab = await page.context().newPage();
    await tab.goto(link('mallory'));
    await question(tab).waitFor();
    await choose(tab, 'Cancel');
    await tab.getByRole('button', { name: 'Start' }).waitFor();
    // A link of the same user, and one after signing out, need no question.
    await tab.goto(link('eva', '?to=peer'));
    await me(tab, 'eva');
    await connected(tab);
    assert.equal(users().includes('mallory'), false);
    await tab.close();
    await page.getByRole('button', { name: 'Change user' }).click();
    await page.getByRole('button', { name: 'Start' }).waitFor();
    await page.goto(link('fay', '?to=x'));
    await me(page, 'fay');
    await connected(page);
    assert.equal(await question(page).count(), 0);
  });

  it('asks if the token names nobody, and changes nothing on a reload', async () => {
    const page = await signedIn('kay');
    await composer(page).fill('half');
    await page.evaluate(() => {
      location.hash = 'token=opaque';
    });
    await question(page).getByText('This link signs you in as another user.').waitFor();
    await choose(page, 'Cancel');
    assert.equal(await composer(page).inputValue(), 'half');
    await page.goto(`${stage.gate.url}/?user=kay#token=opaque`);
    await question(page).waitFor();
    await page.reload();
    await me(page, 'kay');
    await connected(page);
    assert.equal(await question(page).count(), 0);
    assert.deepEqual([...new Set(users())], ['kay']);
    // At the sign-in form of a new tab.
    const tab = await page.context().newPage();
    await tab.goto(link('mallory', '?user=mallory'));
    await question(tab).waitFor();
    await tab.reload();
    await tab.getByRole('button', { name: 'Start' }).waitFor();
    assert.equal(users().includes('mallory'), false);
  });

  it('leaves the user signed in if the server rejects the token', async () => {
    const page = await signedIn('leo');
    const valid = token('leo');
    const forged = `${valid.slice(0, valid.lastIndexOf('.'))}.${'A'.repeat(43)}`;
    for (const open of [
      () => page.goto(`${stage.gate.url}/#token=${forged}`),
      () =>
        page.evaluate(hash => {
          location.hash = hash;
        }, `token=${forged}`),
    ]) {
      await open();
      await page.getByRole('alert').getByText('The link is not valid').waitFor();
      await me(page, 'leo');
      await connected(page);
      await page.reload();
      await me(page, 'leo');
      await connected(page);
    }
  });

  it('loses no unsent messages of the user before', async () => {
    const page = await signedIn('gil');
    stage.gate.shut();
    await page.getByText('No connection to the server.').waitFor();
    await send(page, 'unsent');
    await bubble(page, 'unsent').getByText('Waiting for the connection').waitFor();
    await paste(page, 'hal');
    await question(page).getByText('Unsent messages of gil stay in this browser.').waitFor();
    await choose(page, 'Change user');
    await me(page, 'hal');
    stage.gate.open();
    await page.goto(link('gil', '?to=peer'));
    await choose(page, 'Change user');
    await bubble(page, 'unsent').getByText('Stored').waitFor();
  });
});

describe('an address without a token', { timeout: 4 * DEADLINE }, () => {
  const stage = setUp();

  it('sends nothing and signs nobody in at a server with tokens', async () => {
    const page = await stage.world.visitor();
    await enter(page, stage.server.url, 'ida', 'jon');
    await page.goto(
      `${stage.server.url}/?user=ida&to=jon&text=forged&message=forged&as=mallory&send=1#text=forged&as=mallory`,
    );
    await connected(page);
    assert.equal(await page.locator('.me strong').innerText(), 'ida');
    assert.equal(await composer(page).inputValue(), '');
    await page.getByText('No messages with jon yet.').waitFor();
  });
});
