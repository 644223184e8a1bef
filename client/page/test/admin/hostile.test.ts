import assert from 'node:assert/strict';
import { describe, it } from 'node:test';
import type { Page } from 'playwright-core';
import { DEADLINE } from '../support/browser.js';
import { setUpDashboard } from '../support/dashboard.js';

const HOSTILE = `<img src=x onerror="globalThis.hacked=1"><script>globalThis.hacked=1</script>\u202e"'&`;
const TIME = '2026-11-20T11:03:00.123Z';

/** Answers of the API in which every text is hostile, by the end of the path. */
const ANSWERS: readonly (readonly [RegExp, unknown])[] = [
  [
    /^\/v1\/sessions$/,
    {
      sessions: [
        {
          session_id: HOSTILE,
          user: HOSTILE,
          device: HOSTILE,
          since: HOSTILE,
          client_ip: HOSTILE,
          frames_per_second: 1,
        },
      ],
      total: 1,
    },
  ],
  [/\/users\/[^/]+$/, { user: HOSTILE, status: HOSTILE, last_seen: HOSTILE, sessions: 1, unread: 1, rooms: [HOSTILE] }],
  [
    /\/users\/[^/]+\/sessions$/,
    { sessions: [{ session_id: HOSTILE, device: HOSTILE, since: TIME, client_ip: HOSTILE }] },
  ],
  [
    /\/conversations$/,
    {
      type: 'conversations',
      items: [
        { target_room: HOSTILE, unread: 1, last: { id: 'x', from_user: HOSTILE, sent_at: HOSTILE, message: HOSTILE } },
      ],
    },
  ],
  [
    /\/webhooks$/,
    {
      webhooks: [
        {
          url: HOSTILE,
          events: [HOSTILE],
          state: HOSTILE,
          lag_seconds: 1,
          in_flight: 1,
          delivered: 1,
          retried: 1,
          dropped: 1,
          last_delivered_at: HOSTILE,
          last_error: HOSTILE,
          last_error_at: HOSTILE,
        },
      ],
    },
  ],
  [/\/rooms$/, { rooms: [{ room: HOSTILE, members: 1 }] }],
  [/\/rooms\/[^/]+$/, { room: HOSTILE, users: [{ user: HOSTILE, joined_at: HOSTILE }], total: 1 }],
  [
    /\/history$/,
    {
      messages: [
        { id: 'a', from_user: HOSTILE, sent_at: TIME, message: HOSTILE },
        { id: 'b', from_user: HOSTILE, sent_at: TIME, message: { type: 'markdown', text: HOSTILE } },
      ],
      more: false,
    },
  ],
];

/** Lets the page get these answers, and a sample with a hostile code. */
async function play(page: Page, answer: (path: string) => { status: number; json: unknown }): Promise<void> {
  await page.route(/\/v1\//, route => {
    const { status, json } = answer(new URL(route.request().url()).pathname);
    return route.fulfill({ status, json });
  });
  await page.routeWebSocket(/\/monitor$/, socket => {
    socket.send('not JSON');
    socket.send('{"type":"something"}');
    const frame = {
      type: 'metrics',
      timestamp: new Date().toISOString(),
      sessions: 1,
      users: 1,
      messages_per_second: 1,
      deliveries_per_second: 1,
      queue: 0,
      rejected_per_second: { [HOSTILE]: 1 },
    };
    socket.send(JSON.stringify(frame));
  });
}

async function assertHarmless(page: Page, view: string): Promise<void> {
  const found = await page.evaluate(() => ({
    hacked: 'hacked' in globalThis,
    elements: [...document.querySelectorAll('#app img, #app script')].map(each => each.outerHTML),
  }));
  assert.deepEqual(found, { hacked: false, elements: [] }, view);
}

describe('hostile texts in the dashboard', { timeout: 10 * DEADLINE }, () => {
  const stage = setUpDashboard();

  it('names, devices, codes and messages are text', async () => {
    const page = await stage.world.visitor();
    await play(page, path => ({ status: 200, json: ANSWERS.find(([pattern]) => pattern.test(path))?.[1] ?? {} }));
    for (const [view, texts] of [
      ['overview', 4],
      ['sessions', 3],
      ['users/anna', 7],
      ['rooms', 1],
      ['rooms/lobby', 4],
      ['webhooks', 6],
    ] as const) {
      await page.goto(`${stage.url}#/${view}`);
      await page.locator('.connection.open').waitFor();
      await page.waitForFunction(([text, count]) => (document.body.innerText.split(text).length ?? 0) > count, [
        '<img src=x',
        texts,
      ] as const);
      await assertHarmless(page, view);
    }
  });

  it('so are the errors of calls', async () => {
    const page = await stage.world.visitor();
    await play(page, () => ({ status: 500, json: { code: HOSTILE, detail: HOSTILE } }));
    for (const view of ['overview', 'sessions', 'users/anna', 'rooms', 'rooms/lobby', 'webhooks']) {
      await page.goto(`${stage.url}#/${view}`);
      await page.locator('.problem', { hasText: '<img src=x' }).first().waitFor();
      await assertHarmless(page, view);
    }
  });

  it('a call that the server does not have is named as such', async () => {
    const page = await stage.world.visitor();
    await play(page, () => ({ status: 404, json: { code: 'not_found', detail: 'nothing exists at this path' } }));
    await page.goto(`${stage.url}#/webhooks`);
    await page.getByText('This server does not support this call.').waitFor();
  });

  it('an answer that is not one of the API is an error', async () => {
    const page = await stage.world.visitor();
    await page.route(/\/v1\//, route =>
      route.fulfill({ status: 502, contentType: 'text/html', body: '<h1>Bad gateway</h1>' }),
    );
    await page.goto(`${stage.url}#/sessions`);
    await page.getByText('The answer is not one of this API (status 502).').waitFor();
  });
});
