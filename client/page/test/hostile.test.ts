import assert from 'node:assert/strict';
import { after, afterEach, before, describe, it } from 'node:test';
import type { Page } from 'playwright-core';
import { WebSocket } from 'ws';
import { connect, type WebSocketClass } from '../../src/index.js';
import { connected, DEADLINE, EVIL, enter, launch, Server, setUp, type World } from './support/browser.js';
import { fakeServer } from './support/gate.js';
import { Site } from './support/site.js';

const RUN = "globalThis.pwned='yes'";
/** Texts that would run code, load resources or navigate if the page did not treat them as text. */
const PAYLOADS = [
  `<script>${RUN}</script>`,
  `<img src=x onerror="${RUN}">`,
  `"><svg onload="${RUN}">`,
  `' onmouseover='${RUN}' x='`,
  `</style><script>${RUN}</script>`,
  `</script><script>${RUN}</script>`,
  `<iframe srcdoc="<script>parent.${RUN}</script>"></iframe>`,
  `<a href="javascript:${RUN}">x</a>`,
  `javascript:${RUN}`,
  `JaVaScRiPt\t:${RUN}`,
  `data:text/html,<script>${RUN}</script>`,
  `vbscript:${RUN}`,
  `[x](javascript:${RUN})`,
  `[x](\x01javascript:${RUN})`,
  `[x](data:text/html,<script>${RUN}</script>)`,
  `![x](https://evil.example/"onerror="${RUN})`,
  `![x](https://evil.example/pixel.png)`,
  `<https://evil.example/" onclick="${RUN}>`,
  `https://evil.example/"onmouseover="${RUN}"`,
  `[<img src=x onerror=${RUN}>](https://evil.example/)`,
  `{{constructor.constructor("${RUN}")()}}`,
  '<form action="https://evil.example/"><button>x',
  '<base href="https://evil.example/">',
  '<link rel=stylesheet href="https://evil.example/a.css">',
  '<meta http-equiv=refresh content="0;url=https://evil.example/">',
  '<style>*{background:url(https://evil.example/a)}</style>',
  '\u202Egnp.exe',
  '__proto__',
  'https://user:pass@evil.example/',
];
/** Elements that content must never create. The page itself does not use these elements and attributes. */
const FORBIDDEN =
  '.app script, .app iframe, .app img, .app video, .app audio, .app object, .app embed, .app base, .app link, .app meta, .app style, .app form[action], .app [onerror], .app [onload], .app [onmouseover], .app [onclick], .app [srcdoc], .app [style*=url]';

describe('content of peers', { timeout: 10 * DEADLINE }, () => {
  const stage = setUp();

  async function assertHarmless(page: Page): Promise<void> {
    const found = await page.evaluate(selector => {
      const links = [...document.querySelectorAll<HTMLAnchorElement>('.app a')];
      return {
        pwned: (globalThis as { pwned?: string }).pwned,
        forbidden: [...document.querySelectorAll(selector)].map(element => element.outerHTML),
        links: links.filter(({ protocol }) => !/^https?:$/.test(protocol)).map(({ href }) => href),
        referring: links.filter(({ host, rel }) => host !== location.host && !/noopener noreferrer/.test(rel)).length,
      };
    }, FORBIDDEN);
    assert.deepEqual(found, { pwned: undefined, forbidden: [], links: [], referring: 0 });
  }

  it('is shown as text, in every field that the server accepts', async () => {
    const mallory = connect({
      url: stage.server.url,
      user: 'mallory',
      WebSocket: WebSocket as unknown as WebSocketClass,
    });
    mallory.on('message', () => {});
    const page = await stage.world.visitor();
    await enter(page, stage.server.url, 'victim', 'mallory');
    let count = 0;
    const send = async (content: Parameters<typeof mallory.send>[1]) => {
      count += 1;
      return (await mallory.send('victim', content)).id;
    };
    for (const text of PAYLOADS) {
      const id = await send(text);
      await send({
        type: 'markdown',
        text: `${text}\n\n# ${text}\n\n- ${text}\n\n> ${text}\n\n\`\`\`${text}\n${text}\n\`\`\`\n\n**${text}**`,
      });
      await mallory.react('victim', id, text.slice(0, 16));
    }
    for (const text of PAYLOADS.slice(0, 12)) {
      const url = `https://evil.example/?${text}`;
      await send({ type: 'image', url, alt: text, mime: text.slice(0, 100) });
      await send({ type: 'file', url, name: text, mime: text.slice(0, 100) });
      await send({ type: 'location', latitude: 1, longitude: 2, label: text });
      await send({ type: 'data', name: text.slice(0, 100), data: { [text]: text, __proto__x: [text] } });
    }
    mallory.typing('victim');
    await page
      .locator('.message')
      .nth(count - 1)
      .waitFor({ state: 'attached' });
    assert.ok((await page.locator('.message .text').allInnerTexts()).includes(PAYLOADS[0] as string));
    for (const details of await page.locator('details').all())
      await details.evaluate(element => element.setAttribute('open', ''));
    await assertHarmless(page);
    // The frames drawer shows text as well.
    await page.getByRole('button', { name: 'Frames on the wire' }).first().click();
    await page.getByRole('complementary').locator('summary').first().click();
    await assertHarmless(page);
    // After a reload the messages come from the history instead of live frames.
    await page.reload();
    await page.locator('.message').first().waitFor();
    await page.getByText('Beginning').or(page.locator('.message')).first().waitFor();
    await assertHarmless(page);
    await mallory.close();
  });

  it('is shown as text from a server that validates nothing', async () => {
    const page = await stage.world.visitor();
    const id = (i: number) => `00000000-0000-4000-8000-${String(i).padStart(12, '0')}`;
    const contents = PAYLOADS.flatMap((text): unknown[] => [
      { type: 'image', url: text, alt: text, width: text, height: { x: 1 }, size: text },
      { type: 'video', url: text, duration_ms: text },
      { type: 'audio', url: { toString: text } },
      { type: 'file', url: text, name: text, mime: text },
      { type: 'file', name: [text] },
      { type: 'location', latitude: text, longitude: text, label: { text } },
      { type: 'markdown', text: { text } },
      { type: text, text },
      { type: { text } },
      { type: 'data', name: text, data: text },
      // An object that a UI library could mistake for a virtual element.
      { type: 'div', props: { dangerouslySetInnerHTML: { __html: text } }, constructor: null, __k: [text] },
      [text],
      7,
    ]);
    const history = contents.map((message, i) => ({
      type: 'message',
      id: id(i),
      from_user: i % 2 ? 'mallory' : 'victim',
      target_user: i % 2 ? 'victim' : 'mallory',
      message,
      sent_at: i % 7 ? '2026-01-01T00:00:00.000Z' : (PAYLOADS[i % PAYLOADS.length] as string),
      reply_to: PAYLOADS[i % PAYLOADS.length],
      edited_at: PAYLOADS[i % PAYLOADS.length],
      reactions: [{ emoji: PAYLOADS[i % PAYLOADS.length], users: PAYLOADS.slice(0, 3) }],
    }));
    stage.gate.play((socket, request) => {
      fakeServer('victim', 'mallory', history)(socket, request);
      PAYLOADS.forEach((text, i) => {
        const place = { id: id(1000 + i), seq: i + 1, from_user: text, target_user: 'victim' };
        socket.send(JSON.stringify({ type: 'message', ...place, message: text, sent_at: text }));
        socket.send(JSON.stringify({ type: 'typing', from_user: text, target_user: 'victim', active: true }));
        socket.send(JSON.stringify({ type: 'error', code: text, detail: text, retryable: false }));
      });
      PAYLOADS.forEach((text, i) => {
        const room = { room: text, user: text, seq: i + 1 + PAYLOADS.length };
        socket.send(JSON.stringify({ type: 'room', ...room, event: text, members: text, at: text }));
        socket.send(JSON.stringify({ type: 'typing', from_user: text, target_room: text, active: true }));
        socket.send(JSON.stringify({ type: 'receipt', kind: text, by_user: text, target_room: text, id: text }));
      });
    });
    await enter(page, stage.gate.url, 'victim', 'mallory');
    await page
      .locator('.message')
      .nth(contents.length - 1)
      .waitFor({ state: 'attached' });
    await page.locator('.conversation').nth(PAYLOADS.length).waitFor({ state: 'attached' });
    await assertHarmless(page);
    await page.getByRole('button', { name: 'Frames on the wire' }).first().click();
    await page.locator('.conversation').nth(3).click();
    await assertHarmless(page);
  });

  it('cannot be injected by the address of the page', async () => {
    const page = await stage.world.visitor();
    for (const text of PAYLOADS.slice(0, 10)) {
      await page.goto(
        `${stage.server.url}/?${new URLSearchParams({ user: text, to: text, room: text, membership: text })}`,
      );
      await page.getByLabel('User name').waitFor();
      assert.equal(await page.evaluate(() => (globalThis as { pwned?: string }).pwned), undefined);
    }
    await page.goto(`${stage.server.url}/?user=..&to=a`);
    await page.getByRole('button', { name: 'Start' }).waitFor();
  });

  it('cannot run even if it gets into the document', async () => {
    const page = await stage.world.visitor();
    await enter(page, stage.server.url, 'victim');
    // Asynchronously, because the evaluation itself is exempt from the policy.
    const result = await page.evaluate(async run => {
      await new Promise(resolve => setTimeout(resolve));
      const blocked: string[] = [];
      const attempt = (name: string, act: () => unknown) => {
        try {
          act();
        } catch {
          blocked.push(name);
        }
      };
      attempt('markup', () => {
        document.body.innerHTML += '<img src=x onerror=1>';
      });
      attempt('eval', () => new Function(run)());
      const script = document.createElement('script');
      attempt('script', () => {
        script.textContent = run;
      });
      script.append(run);
      document.body.append(script);
      const button = document.createElement('button');
      attempt('attribute', () => button.setAttribute('onclick', run));
      button.click();
      return { blocked, pwned: (globalThis as { pwned?: string }).pwned };
    }, RUN);
    assert.equal(result.pwned, undefined);
    for (const name of ['markup', 'eval', 'script']) assert.ok(result.blocked.includes(name), name);
    assert.ok(stage.world.errors.splice(0).length > 0);
    // It cannot send data to other hosts.
    const reported = await page.evaluate(async () => {
      const results = await Promise.allSettled([fetch('https://evil.example/'), fetch('http://evil.example/')]);
      return results.map(({ status }) => status);
    });
    assert.deepEqual(reported, ['rejected', 'rejected']);
    stage.world.errors.splice(0);
  });
});

describe('a page of another site', { timeout: 4 * DEADLINE }, () => {
  let world: World;
  let server: Server;
  let site: Site;
  let origin: string;
  before(async () => {
    [world, server] = await Promise.all([launch(), Server.start()]);
    site = await Site.of({ '/': '<!doctype html><title>evil</title>' });
    origin = site.origin(EVIL);
  });
  afterEach(() => {
    world.foreignRequests.length = 0;
    return world.finish();
  });
  after(async () => {
    await world?.browser.close();
    await site?.close();
    await server?.stop();
  });

  it('cannot embed the chat in a frame or read it', async () => {
    const page = await world.visitor();
    await page.goto(origin);
    const read = await page.evaluate(async address => {
      const frame = document.createElement('iframe');
      frame.src = `${address}/?user=victim&to=boss`;
      const loaded = new Promise(resolve => {
        frame.onload = resolve;
      });
      document.body.append(frame);
      await loaded;
      return fetch(address).then(
        () => 'read',
        () => 'blocked',
      );
    }, server.url);
    assert.equal(read, 'blocked');
    const inner = page.frames().find(frame => frame !== page.mainFrame());
    assert.equal(await inner?.locator('.app, .sign-in').count(), 0);
    assert.ok(world.errors.splice(0).some(text => text.includes('frame-ancestors')));
  });

  it('cannot access a window that it has opened', async () => {
    const page = await world.visitor();
    await page.goto(origin);
    const [popup] = await Promise.all([
      page.context().waitForEvent('page'),
      page.evaluate(address => {
        (globalThis as { w?: Window | null }).w = open(`${address}/?user=victim&to=boss`);
      }, server.url),
    ]);
    await connected(popup);
    assert.equal(await popup.evaluate(() => opener), null);
    assert.equal(await page.evaluate(() => (globalThis as { w?: Window | null }).w?.closed ?? true), true);
  });
});
