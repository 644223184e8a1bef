import assert from 'node:assert/strict';
import { readFile } from 'node:fs/promises';
import { after, before, describe, it } from 'node:test';
import { DEADLINE, setUp } from './support/browser.js';
import { Site } from './support/site.js';

describe('the example page without a build', { timeout: 2 * DEADLINE }, () => {
  const stage = setUp();
  let site: Site;
  before(async () => {
    const html = await readFile(new URL('../../../../../examples/browser/index.html', import.meta.url), 'utf8');
    site = await Site.of({ '/': html });
  });
  after(() => site?.close());

  it('shows the whole message that was sent, and restores one that was not', async () => {
    const page = await stage.world.visitor();
    await page.goto(`${site.origin()}/?user=ex&to=ex&server=${stage.server.url.replace('http', 'ws')}`);
    await page.getByText('Connected as ex').waitFor();
    const field = page.getByLabel('Message');
    const lines = page.locator('#messages li');
    // A surrogate pair at different positions.
    for (const text of [`${'a'.repeat(29)}😀 hello`, `${'a'.repeat(30)}😀`]) {
      await field.fill(text);
      await field.press('Enter');
      await lines.getByText(`me: ${text} (stored)`, { exact: true }).waitFor();
    }
    await field.evaluate(element => {
      (element as HTMLInputElement).value = 'half\ud83d';
    });
    await field.press('Enter');
    await lines.getByText('me: half\ufffd (stored)', { exact: true }).waitFor();
    const long = 'x'.repeat(16_001);
    await field.fill(long);
    await field.press('Enter');
    await lines.filter({ hasText: /^not sent: x+: / }).waitFor();
    assert.equal(await field.inputValue(), long);
    // A message that cannot be sent on a closed connection stays in the field.
    await stage.server.kill();
    await page.getByText('the connection is closed').waitFor();
    await field.fill('later');
    await field.press('Enter');
    assert.equal(await field.inputValue(), 'later');
  });
});
