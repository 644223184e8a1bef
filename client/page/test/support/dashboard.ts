/** Runs the dashboard of a real server in a browser. */

import { createHash, randomBytes } from 'node:crypto';
import { mkdtemp, rm, writeFile } from 'node:fs/promises';
import { tmpdir } from 'node:os';
import { join } from 'node:path';
import { after, afterEach, before } from 'node:test';
import type { Page } from 'playwright-core';
import { WebSocket } from 'ws';
import { ANY_PORT } from '../../../test/support/server.js';
import { DEADLINE, launch, Server, type World } from './browser.js';

/** Errors of calls and lost connections, which a browser logs although the page handles them. */
const EXPECTED = /Failed to load resource: (the server responded with a status of|net::ERR_)/;

export interface Stage {
  world: World;
  server: Server;
  /** The URL of the dashboard. */
  url: string;
  /** Keys by their scopes. */
  keys: Record<'all' | 'read' | 'write', string>;
}

/** Starts a browser and a server for a test suite; with `keys`, calls need one. */
export function setUpDashboard({ keys = false } = {}): Stage {
  const stage = { keys: { all: newKey(), read: newKey(), write: newKey() } } as Stage;
  let folder: string;
  before(async () => {
    folder = await mkdtemp(join(tmpdir(), 'dmwire-keys-'));
    const file = join(folder, 'keys');
    const { all, read, write } = stage.keys;
    const lines = [`operator ${hash(all)}`, `reader ${hash(read)} read`, `writer ${hash(write)} write`];
    await writeFile(file, `${lines.join('\n')}\n`, { mode: 0o600 });
    stage.world = await launch();
    stage.world.expected = EXPECTED;
    stage.server = await Server.start('--ops-listen', ANY_PORT, ...(keys ? ['--api-key-file', file] : []));
    stage.url = `${stage.server.opsUrl}/admin`;
  });
  afterEach(() => stage.world.finish());
  after(async () => {
    await stage.world?.browser.close();
    await stage.server?.stop();
    await rm(folder, { recursive: true, force: true });
  });
  return stage;
}

function newKey(): string {
  return randomBytes(32).toString('base64url');
}

function hash(key: string): string {
  return createHash('sha256').update(key).digest('hex');
}

/** Waits until the page gets samples. */
export async function live(page: Page): Promise<void> {
  await page.locator('.connection.open').waitFor();
  await page.locator('.tile .value', { hasNotText: '–' }).first().waitFor();
}

/** The value of a tile, as shown. */
export function tile(page: Page, label: string) {
  return page.locator('.tile', { has: page.locator('dt', { hasText: new RegExp(`^${label}$`) }) }).locator('.value');
}

/** A session of a user that reads everything. */
export class TestSession {
  /** The code with which the server has closed the session. */
  readonly closed: Promise<number>;

  private constructor(
    readonly socket: WebSocket,
    readonly user: string,
  ) {
    socket.on('error', () => {});
    this.closed = new Promise(resolve => socket.once('close', resolve));
  }

  static async open(server: Server, user: string, query = ''): Promise<TestSession> {
    const socket = new WebSocket(`${server.url.replace('http', 'ws')}/ws/${user}${query}`);
    const session = new TestSession(socket, user);
    await new Promise<void>((resolve, reject) => {
      const timer = setTimeout(() => reject(new Error(`no session of ${user}`)), DEADLINE);
      socket.on('message', data => {
        if (JSON.parse(String(data)).type !== 'synced') return;
        clearTimeout(timer);
        resolve();
      });
    });
    return session;
  }

  send(frame: object): void {
    this.socket.send(JSON.stringify(frame));
  }

  close(): void {
    this.socket.terminate();
  }
}
