import assert from 'node:assert/strict';
import { afterEach, describe, it } from 'node:test';
import type { Locator, Page } from 'playwright-core';
import { WebSocket } from 'ws';
import { type Client, type Content, connect, type WebSocketClass } from '../../src/index.js';
import { bubble, composer, DEADLINE, enter, send, setUp } from './support/browser.js';

const RTL = 'שלום לכולם, מה שלומכם היום?';
/** Marks above and below a letter that are many times as high as the line. */
const STACK = `zo${'\u0300'.repeat(60)}a${'\u0300\u0301'.repeat(30)}e${'\u0323\u0331'.repeat(30)}lgo`;

describe('text in all scripts', { timeout: 10 * DEADLINE }, () => {
  const stage = setUp();
  const clients: Client[] = [];
  afterEach(() => Promise.all(clients.splice(0).map(client => client.close())));

  function program(user: string): Client {
    const client = connect({ url: stage.server.url, user, WebSocket: WebSocket as unknown as WebSocketClass });
    client.on('message', () => {});
    clients.push(client);
    return client;
  }

  /** Returns the texts of the page with half of a surrogate pair, or with a mark or joiner at the start or end. */
  const broken = (page: Page) =>
    page.evaluate(() => {
      const walker = document.createTreeWalker(document.body, NodeFilter.SHOW_TEXT);
      const found: string[] = [];
      while (walker.nextNode()) {
        const text = (walker.currentNode as Text).data;
        const half = /[\ud800-\udbff](?![\udc00-\udfff])|(?<![\ud800-\udbff])[\udc00-\udfff]/;
        if (half.test(text) || /\u200d(?:…|$)/.test(text)) found.push(text.slice(-8));
      }
      return found;
    });

  it('is cut between characters, wherever it is shortened', async () => {
    const page = await stage.world.visitor();
    await enter(page, stage.server.url, 'cut-a', 'cut-b');
    const peer = program('cut-b');
    await page.getByRole('button', { name: 'Frames on the wire' }).first().click();
    for (const emoji of ['🎉', '👨‍👩‍👧‍👦']) {
      for (const at of [39, 119, 159, 160, 999]) {
        for (const shift of [0, 1, 2, 3]) {
          const start = 'x'.repeat(at - shift);
          for (const content of [
            `${start}${emoji}${emoji} and so on`,
            { type: 'markdown', text: `${start}${emoji}${emoji} and **so** on` },
            { type: 'file', url: 'https://example.org/a', name: `${start.slice(6, 200)}${emoji}${emoji}` },
          ] satisfies Content[]) {
            const { id } = await peer.send('cut-a', content);
            const row = page.locator(`[data-id="${id}"]`);
            await row.waitFor();
            assert.deepEqual(await broken(page), [], `${JSON.stringify(content).slice(0, 40)} at ${at - shift}`);
          }
        }
      }
    }
    const last = page.locator('.message').last();
    await last.hover();
    await last.getByRole('button', { name: 'More' }).click();
    await page.getByRole('menuitem', { name: 'Reply' }).click();
    await page.locator('.context').waitFor();
    assert.deepEqual(await broken(page), []);
    await send(page, 'an answer');
    await bubble(page, 'an answer').waitFor();
    assert.deepEqual(await broken(page), []);
  });

  /** Returns the distances of the lines of a text from the left and right edge of an element. */
  async function edges(text: Locator, frame: Locator): Promise<{ left: number; right: number }[]> {
    const box = await frame.boundingBox();
    assert.ok(box);
    const lines = await text.evaluate(element => {
      const range = document.createRange();
      range.selectNodeContents(element);
      // A line may consist of several parts.
      const found: { bottom: number; left: number; right: number }[] = [];
      for (const { bottom, left, right, width } of range.getClientRects()) {
        const line = found.find(other => Math.abs(other.bottom - bottom) < 8);
        if (line) Object.assign(line, { left: Math.min(left, line.left), right: Math.max(right, line.right) });
        else if (width > 1) found.push({ bottom, left, right });
      }
      return found;
    });
    return lines.map(({ left, right }) => ({ left: left - box.x, right: box.x + box.width - right }));
  }

  it('from right to left is aligned and ordered from right to left', async () => {
    const page = await stage.world.visitor();
    await enter(page, stage.server.url, 'rtl-a', 'rtl-b');
    const peer = program('rtl-b');
    const isRight = ({ left, right }: { left: number; right: number }) => right < left;

    // Two lines, the second one shorter; both users; digits, punctuation and an emoji come first.
    for (const text of [`${RTL}\nכן`, `123 «${RTL}»\nכן`, `👍 ${RTL}\nכן!`]) {
      const { id } = await peer.send('rtl-a', text);
      await composer(page).fill(text);
      assert.equal(await composer(page).evaluate(element => getComputedStyle(element).direction), 'rtl');
      await composer(page).press('Enter');
      for (const row of [page.locator(`[data-id="${id}"]`), page.locator('.message.mine').last()]) {
        const lines = await edges(row.locator('.text'), row.locator('.bubble'));
        assert.equal(lines.length >= 2 && lines.every(line => line.right < 30), true, JSON.stringify(lines));
        assert.ok(isRight(lines.at(-1) as (typeof lines)[0]));
      }
    }
    // Each paragraph has its own direction.
    const mixed = await peer.send('rtl-a', `hello, this is the long first line of it\n${RTL}\nbye`);
    const row = page.locator(`[data-id="${mixed.id}"]`);
    const [first, second, third] = await edges(row.locator('.text'), row.locator('.bubble'));
    assert.ok(first && second && third && !isRight(third) && isRight(second), JSON.stringify([first, second, third]));
    // Left-to-right text stays as it is.
    await peer.send('rtl-a', 'hello, this is English and long enough\nshort.');
    const [, short] = await edges(page.locator('.text').last(), page.locator('.bubble').last());
    assert.ok(short && short.left < 30 && short.right > 30);

    // The sign at the end of the sentence is at the left, in the message and everywhere else that shows its text.
    const question = await peer.send('rtl-a', RTL);
    const endIsLeft = (locator: Locator) =>
      locator.evaluate(element => {
        const walker = document.createTreeWalker(element, NodeFilter.SHOW_TEXT);
        let node: Text | undefined;
        while (walker.nextNode())
          if ((walker.currentNode as Text).data.includes('שלום')) node = walker.currentNode as Text;
        if (!node) return 'no text';
        const at = (index: number) => {
          const range = document.createRange();
          range.setStart(node, index);
          range.setEnd(node, index + 1);
          return range.getBoundingClientRect();
        };
        const start = node.data.indexOf('שלום');
        return at(start + 26).right <= at(start).left;
      });
    const preview = page.getByRole('button', { name: /rtl-b/ }).locator('.preview');
    await preview.getByText(RTL).waitFor();
    assert.equal(await endIsLeft(preview), true);
    const last = page.locator(`[data-id="${question.id}"]`);
    assert.equal(await endIsLeft(last.locator('.text')), true);
    await last.hover();
    await last.getByRole('button', { name: 'More' }).click();
    await page.getByRole('menuitem', { name: 'Reply' }).click();
    assert.equal(await endIsLeft(page.locator('.context')), true);
    await send(page, RTL);
    await page.locator('.original').waitFor();
    assert.equal(await endIsLeft(page.locator('.original')), true);
    await preview.getByText('You:').waitFor();
    assert.equal(await endIsLeft(preview), true);
    const box = await preview.locator('bdi').boundingBox();
    const frame = await preview.boundingBox();
    assert.ok(box && frame && box.x + box.width > frame.x + frame.width - 10, 'the prefix is at the right');

    for (const content of [
      { type: 'image', url: 'https://example.org/a', alt: RTL },
      { type: 'file', url: 'https://example.org/a', name: RTL },
      { type: 'location', latitude: 1, longitude: 2, label: RTL },
      { type: 'markdown', text: `- ${RTL}\n\n> ${RTL}` },
    ] satisfies Content[]) {
      const { id } = await peer.send('rtl-a', content);
      const text = page.locator(`[data-id="${id}"]`).locator('.name, .markdown');
      assert.equal(await endIsLeft(text), true, content.type);
      assert.equal(await endIsLeft(preview), true, `the preview of ${content.type}`);
    }
    const markdown = page.locator('.markdown').last();
    for (const element of ['ul', 'blockquote'])
      assert.equal(await markdown.locator(element).evaluate(found => getComputedStyle(found).direction), 'rtl');
  });

  it('cannot reorder what the page shows beside it', async () => {
    const page = await stage.world.visitor();
    await enter(page, stage.server.url, 'bidi-a', 'bidi-b');
    const { id } = await program('bidi-b').send('bidi-a', {
      type: 'markdown',
      text: `[\u202emoc.knab](https://evil.example/) and [${RTL}](https://evil.example/) here`,
    });
    const hosts = page.locator(`[data-id="${id}"] .host`);
    await hosts.first().waitFor();
    for (const host of await hosts.all()) {
      const [first, last] = await host.evaluate(element => {
        const node = document.createTreeWalker(element, NodeFilter.SHOW_TEXT);
        node.nextNode();
        const whole = document.createRange();
        whole.selectNodeContents(element);
        // Preact makes several text nodes.
        const texts = [...element.childNodes].filter(child => child.textContent?.includes('evil'));
        return [0, 11].map(index => {
          const range = document.createRange();
          range.setStart(texts[0] as Node, index);
          range.setEnd(texts[0] as Node, index + 1);
          return range.getBoundingClientRect().left;
        });
      });
      assert.ok(first !== undefined && last !== undefined && first < last, 'the host is in reading order');
    }
  });

  it('with stacked marks paints over nothing else', async () => {
    const page = await stage.world.visitor();
    await enter(page, stage.server.url, 'stack-a', 'stack-b');
    const peer = program('stack-b');
    await peer.send('stack-a', 'before');
    const contents = [STACK, { type: 'markdown', text: `# ${STACK}\n\n- ${STACK}` }] satisfies Content[];
    for (const content of contents) {
      const { id } = await peer.send('stack-a', content);
      await peer.react('stack-a', id, `o${'\u0300'.repeat(12)}`);
      await peer.send('stack-a', 'after', { replyTo: id });
    }
    await peer.send('stack-a', STACK);
    await peer.send('stack-a', 'end');
    // Its preview is above that of the other conversation.
    await program('stack-c').send('stack-a', STACK);
    await page
      .getByRole('button', { name: /stack-c/ })
      .getByText('1 unread')
      .waitFor();
    await bubble(page, 'end').waitFor();
    await page.locator('.reactions button').nth(1).waitFor();
    await page.mouse.move(0, 0);

    // Wait until the page has come to rest.
    const all = async () => (await page.screenshot()).toString('base64');
    for (let last = '', now = await all(); last !== now; now = await all()) {
      last = now;
      await page.evaluate(() => new Promise(resolve => requestAnimationFrame(() => requestAnimationFrame(resolve))));
    }
    // Everything but the elements with the marks looks the same when the marks are transparent.
    const frames = await page.evaluate(() =>
      ['.bubble', '.reactions button', '.conversation', '.thread > header'].flatMap(selector =>
        [...document.querySelectorAll(selector)]
          .filter(element => !element.textContent?.includes('\u0300'))
          .map(element => {
            const { x, y, width, height } = element.getBoundingClientRect();
            // Without the rounded edges, whose colours vary slightly.
            return { x: x + 7, y: y + 7, width: width - 14, height: height - 14 };
          }),
      ),
    );
    assert.ok(frames.length >= 4);
    const shots = async () => {
      const taken: string[] = [];
      for (const clip of frames) taken.push((await page.screenshot({ clip })).toString('base64'));
      return taken;
    };
    const before = await shots();
    await page.evaluate(() => {
      for (const element of document.querySelectorAll<HTMLElement>('.text, .markdown, bdi, .original span, .preview'))
        if (element.textContent?.includes('\u0300')) element.style.color = 'transparent';
    });
    const after = await shots();
    frames.forEach((frame, i) => void assert.ok(before[i] === after[i], `painted over ${JSON.stringify(frame)}`));
  });

  it('with marks above and below its letters is not clipped', async () => {
    const page = await stage.world.visitor();
    await enter(page, stage.server.url, 'marks-a', 'marks-b');
    const peer = program('marks-b');
    const shot = (row: Locator) => row.locator('.bubble').screenshot();
    for (const text of ['ปู่ย่า กี่ ญี่ปุ่น', 'Ấ Ậ Ể Ỵ ỗ', 'بِسْمِ ٱللَّٰهِ', 'בְּרֵאשִׁית', 'བོད་སྐད་ཧཱུྃ']) {
      const { id } = await peer.send('marks-a', text);
      const row = page.locator(`[data-id="${id}"]`);
      await row.waitFor();
      await page.mouse.move(0, 0);
      const clipped = (await shot(row)).toString('base64');
      await row.locator('.bubble').evaluate(element => {
        (element as HTMLElement).style.overflow = 'visible';
      });
      assert.equal((await shot(row)).toString('base64') === clipped, true, text);
    }
  });
});
