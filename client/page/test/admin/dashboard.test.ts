import assert from 'node:assert/strict';
import { describe, it } from 'node:test';
import type { Page } from 'playwright-core';
import { DEADLINE, dialogClosed } from '../support/browser.js';
import { live, setUpDashboard, TestSession, tile } from '../support/dashboard.js';

async function enterKey(page: Page, key: string): Promise<void> {
  await page.getByLabel('API key').fill(key);
  await page.getByRole('button', { name: 'Continue' }).click();
}

describe('keys of the dashboard', { timeout: 10 * DEADLINE }, () => {
  const stage = setUpDashboard({ keys: true });

  it('a key is asked for, kept in the tab, and never in an address', async () => {
    const page = await stage.world.visitor();
    const addresses: string[] = [];
    page.on('request', request => addresses.push(request.url()));
    page.on('websocket', socket => addresses.push(socket.url()));
    await page.goto(stage.url);
    await page.getByLabel('API key').waitFor();
    assert.equal(await page.getByRole('alert').innerText(), '');
    await enterKey(page, 'nonsense');
    await page.getByText("The key is not one of this server's API keys.").waitFor();
    await enterKey(page, 'with space');
    await page.getByText('A browser cannot send this key').waitFor();
    await enterKey(page, stage.keys.read);
    await live(page);
    await page.reload();
    await live(page);
    await page.getByRole('link', { name: 'Sessions' }).click();
    await page.getByText('No sessions are open.').waitFor();
    addresses.push(page.url());
    for (const address of addresses) assert.ok(!address.includes(stage.keys.read), address);

    // Another tab does not have the key, nor has this one after it was given up.
    const other = await page.context().newPage();
    await other.goto(stage.url);
    await other.getByLabel('API key').waitFor();
    await page.getByRole('button', { name: 'Change key' }).click();
    await page.getByLabel('API key').waitFor();
    await page.reload();
    await page.getByLabel('API key').waitFor();
  });

  it('a key without the scope is told which scope it needs', async () => {
    const writer = await stage.world.visitor();
    await writer.goto(stage.url);
    await enterKey(writer, stage.keys.write);
    await writer
      .locator('.banner', { hasText: 'the scope `read`' })
      .or(writer.getByText('The server has rejected the monitor'))
      .first()
      .waitFor();
    assert.match(await writer.locator('.banner').innerText(), /scope `read`/);
    await writer.locator('.panel .problem', { hasText: 'scope `read`' }).waitFor();
    await writer.locator('.banner').getByRole('button', { name: 'Change key' }).click();
    await enterKey(writer, stage.keys.read);
    await live(writer);

    const session = await TestSession.open(stage.server, 'stays');
    await writer.goto(`${stage.url}#/users/stays`);
    await writer.getByRole('button', { name: 'Disconnect' }).click();
    const dialog = writer.getByRole('dialog');
    await dialog.getByRole('button', { name: 'Disconnect' }).click();
    await dialog.getByText('This call needs a key with the scope `admin`.').waitFor();
    await dialog.getByRole('button', { name: 'Cancel' }).click();
    await writer.getByRole('table', { name: 'Sessions' }).waitFor();
    assert.equal(session.socket.readyState, session.socket.OPEN);
    session.close();
  });
});

describe('dashboard', { timeout: 10 * DEADLINE }, () => {
  const stage = setUpDashboard();

  it('needs no key on this machine, and its plots and tiles follow the traffic', async () => {
    const page = await stage.world.visitor();
    await page.goto(stage.url);
    await live(page);
    const traffic = page.getByRole('slider', { name: /^Traffic/ });
    await page.waitForFunction(
      () =>
        document.querySelector('[role=slider]')?.getAttribute('aria-valuetext') === 'now: Messages 0/s, Deliveries 0/s',
    );
    const before = await traffic.screenshot();
    const sender = await TestSession.open(stage.server, 'sender');
    const receiver = await TestSession.open(stage.server, 'receiver');
    sender.send({ type: 'nonsense' });
    const timer = setInterval(() => sender.send({ target_user: 'receiver', message: 'hello' }), 100);
    try {
      await page.waitForFunction(() =>
        /^now: Messages [1-9].*, Deliveries [1-9]/.test(
          document.querySelector('[role=slider]')?.getAttribute('aria-valuetext') ?? '',
        ),
      );
      await tile(page, 'Messages')
        .filter({ hasText: /^[1-9][\d.]* ?\/s$/ })
        .waitFor();
      await tile(page, 'Sessions').filter({ hasText: /^2$/ }).waitFor();
      await tile(page, 'Commit p99')
        .filter({ hasText: /^[\d.]+ m?s$/ })
        .waitFor();
      await tile(page, 'Memory').filter({ hasText: /MiB$/ }).waitFor();
      await page.locator('.legend', { hasText: 'unknown_type' }).waitFor();
      assert.notDeepEqual(await traffic.screenshot(), before, 'something is drawn');

      await page.getByRole('table', { name: 'Top senders' }).getByRole('link', { name: 'sender' }).waitFor();
      await page.getByRole('link', { name: 'Sessions' }).click();
      const row = page.getByRole('table', { name: 'Open sessions' }).getByRole('row').nth(1);
      await row.getByText('sender').waitFor();
      await row.getByText('127.0.0.1').waitFor();
      await page.getByLabel('Order').selectOption('Oldest first');
      await page.getByText('2 open').waitFor();
    } finally {
      clearInterval(timer);
      sender.close();
      receiver.close();
    }
  });

  it('shows a user, and closes the sessions of the user', async () => {
    const session = await TestSession.open(stage.server, 'anna', '?device=laptop&room=lobby');
    const other = await TestSession.open(stage.server, 'other');
    other.send({ target_user: 'anna', message: 'hello' });
    const page = await stage.world.visitor();
    await page.goto(`${stage.url}#/users`);
    await page.getByRole('textbox', { name: 'User' }).fill('no name');
    await page.getByRole('button', { name: 'Look up' }).click();
    await page.getByText('A name has 1 to 64 characters').waitFor();
    await page.getByRole('textbox', { name: 'User' }).fill('anna');
    await page.keyboard.press('Enter');
    await page.getByRole('heading', { name: 'anna' }).waitFor();
    await page.locator('.status.online').waitFor();
    await page.locator('.facts').getByRole('link', { name: 'lobby' }).waitFor();
    await page.getByRole('table', { name: 'Sessions' }).getByText('laptop').waitFor();
    await page.getByRole('table', { name: 'Conversations' }).getByRole('link', { name: 'other' }).first().waitFor();
    await page.getByRole('button', { name: 'Disconnect' }).click();
    await page.getByRole('dialog').getByText('One session of anna is closed.').waitFor();
    await page.getByRole('dialog').getByRole('button', { name: 'Disconnect' }).click();
    assert.equal(await session.closed, 4403);
    await page.getByText('1 session closed.').waitFor();
    await page.getByText('The user has no open session.').waitFor();
    await page.locator('.status.offline').waitFor();
    await page.goto(`${stage.url}#/users/nobody`);
    await page.getByText('This user is not known.').waitFor();
    assert.equal(other.socket.readyState, other.socket.OPEN);
    other.close();
  });

  it('revokes the tokens of a user, and accepts them again', async () => {
    const session = await TestSession.open(stage.server, 'ben');
    const page = await stage.world.visitor();
    await page.goto(`${stage.url}#/users/ben`);
    await page.getByText('1 open').waitFor();
    const act = async (name: string) => {
      await page.getByRole('button', { name }).click();
      await page.getByRole('dialog').getByRole('button', { name }).click();
    };
    const button = (name: string) => page.getByRole('button', { name, exact: true });
    const fact = page.locator('.facts').getByText('revoked', { exact: true });
    await button('Revoke tokens').waitFor();
    await button('Lift revocation').waitFor({ state: 'detached' });
    await fact.waitFor({ state: 'detached' });
    await act('Revoke tokens');
    assert.equal(await session.closed, 4403);
    await page.getByText('Tokens revoked, 1 session closed.').waitFor();
    await dialogClosed(page);
    await fact.waitFor();
    await button('Revoke newer tokens').waitFor();
    await act('Lift revocation');
    await page.getByText('Revocation lifted.').waitFor();
    await dialogClosed(page);
    await fact.waitFor({ state: 'detached' });
    await button('Lift revocation').waitFor({ state: 'detached' });
    await button('Revoke tokens').waitFor();
    // A user need not be known for it.
    await page.goto(`${stage.url}#/users/nobody`);
    await page.getByText('This user is not known.').waitFor();
    await act('Lift revocation');
    await page.getByText('The tokens of this user were not revoked.').waitFor();
  });

  it('shows rooms, and deletes one after its name was typed', async () => {
    const sessions = [
      await TestSession.open(stage.server, 'dora', '?room=tea'),
      await TestSession.open(stage.server, 'emil', '?room=tea&room=coffee'),
    ];
    sessions[0]?.send({ target_room: 'tea', message: { type: 'markdown', text: '**black** or green?' } });
    const page = await stage.world.visitor();
    await page.goto(`${stage.url}#/rooms`);
    const row = (name: string) => page.getByRole('table', { name: 'Rooms' }).getByRole('row', { name });
    await row('coffee').getByText('1').waitFor();
    await row('tea').getByText('2').waitFor();
    await row('tea').getByRole('link').click();
    await page.getByText('2 members').waitFor();
    await page.getByRole('table', { name: 'Members' }).getByRole('link', { name: 'emil' }).waitFor();
    await page.getByRole('table', { name: 'Messages' }).getByText('**black** or green?').waitFor();
    await page.getByRole('button', { name: 'Delete room' }).click();
    const dialog = page.getByRole('dialog');
    const remove = dialog.getByRole('button', { name: 'Delete room' });
    assert.ok(await remove.isDisabled());
    await dialog.getByLabel('Type tea to confirm').fill('tea');
    await remove.click();
    await page.getByText('Room deleted: ended memberships: 2, messages: 1.').waitFor();
    await page.getByRole('table', { name: 'Members' }).waitFor({ state: 'detached' });
    for (const session of sessions) session.close();
  });

  it('erases a user only after the name was typed', async () => {
    const session = await TestSession.open(stage.server, 'carla');
    const other = await TestSession.open(stage.server, 'frida');
    session.send({ target_user: 'frida', message: 'hello' });
    const page = await stage.world.visitor();
    const calls: string[] = [];
    page.on('request', request => {
      if (request.method() === 'DELETE') calls.push(new URL(request.url()).pathname);
    });
    await page.goto(`${stage.url}#/users/carla`);
    await page.getByRole('table', { name: 'Conversations' }).getByRole('link', { name: 'frida' }).waitFor();
    await page.getByRole('button', { name: 'Erase user' }).click();
    const dialog = page.getByRole('dialog');
    const erase = dialog.getByRole('button', { name: 'Erase user' });
    const field = dialog.getByLabel('Type carla to confirm');
    for (const text of ['', 'carl', 'Carla', 'carla2']) {
      await field.fill(text);
      assert.ok(await erase.isDisabled(), text);
      await field.press('Enter');
    }
    assert.deepEqual(calls, []);
    await field.fill('carla');
    await erase.click();
    assert.equal(await session.closed, 4403);
    await page.getByText(/^User erased: closed sessions: 1, messages: 1, .*notified users: 1\.$/).waitFor();
    await page.getByText('This user is not known.').waitFor();
    assert.deepEqual(calls, ['/v1/users/carla']);
    assert.equal(other.socket.readyState, other.socket.OPEN);
    other.close();
  });

  it('reconnects after a restart of the server', async () => {
    const page = await stage.world.visitor();
    await page.goto(stage.url);
    await live(page);
    await stage.server.kill();
    await page.locator('.banner', { hasText: 'No connection to the server.' }).waitFor();
    await page.locator('.connection.waiting').waitFor();
    await page.locator('.tiles.stale').waitFor();
    await page.getByText('The server cannot be reached.').waitFor();
    await stage.server.restart();
    await page.getByRole('button', { name: 'Connect now' }).evaluateAll(found => {
      for (const button of found) (button as HTMLButtonElement).click();
    });
    await live(page);
    await page.locator('.banner').waitFor({ state: 'detached' });
    await page.getByText('The server cannot be reached.').waitFor({ state: 'detached' });
  });
});
