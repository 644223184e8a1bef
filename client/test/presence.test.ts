import assert from 'node:assert/strict';
import { afterEach, beforeEach, describe, it, mock } from 'node:test';
import { WebSocket } from 'ws';
import {
  type ChosenStatus,
  type Client,
  type ConnectOptions,
  connect,
  type InFrame,
  type WebSocketClass,
} from '../src/index.js';
import { FakeServer, type FakeSocket, flushMicrotasks, mockClock, waitUntil } from './support/fake.js';
import { DEADLINE, Server } from './support/server.js';

function names(from: number, to: number): string[] {
  return Array.from({ length: to - from }, (_, i) => `u${from + i}`);
}

describe('presence', { timeout: 60_000 }, () => {
  let server: FakeServer;
  let client: Client;

  beforeEach(() => {
    mockClock();
    mock.method(Math, 'random', () => 0.5);
    server = new FakeServer();
    client = connect({ url: 'ws://host', user: 'me', WebSocket: server.WebSocket });
  });
  afterEach(async () => {
    await client.close();
    mock.timers.reset();
    mock.restoreAll();
  });

  /** Waits for the client to reconnect. */
  async function session(): Promise<FakeSocket> {
    await flushMicrotasks();
    mock.timers.tick(30_000);
    return server.session();
  }
  /** Answers a `watch` frame with this status of all users, or of the first ones. */
  function answer(socket: FakeSocket, { users, ref }: InFrame, status = 'online', count?: number): void {
    for (const user of (users as string[]).slice(0, count)) socket.frame({ type: 'presence', user, status, ref });
  }
  /** The types and users or status of the frames that the client has sent. */
  function sent(socket: FakeSocket): string[] {
    return socket.sent.map(({ type, users, status }) => `${type} ${status ?? users}`);
  }

  it('is reported for each user, then for each change, until unwatch', async () => {
    const events: string[] = [];
    client.on('presence', ({ user, status }) => void events.push(`${user} ${status}`));
    const socket = await server.session();
    const watching = client.watch(['b', 'a', 'b']);
    const watch = await socket.expect('watch');
    assert.deepEqual(watch, { type: 'watch', users: ['b', 'a'], ref: watch.ref });
    // A notification that comes before the last answer is newer than the first one.
    answer(socket, watch, 'online', 1);
    socket.frame({ type: 'presence', user: 'b', status: 'busy' });
    socket.frame({ type: 'presence', user: 'a', status: 'offline', last_seen: 'T', ref: watch.ref });
    assert.deepEqual(await watching, [
      { type: 'presence', user: 'b', status: 'busy' },
      { type: 'presence', user: 'a', status: 'offline', last_seen: 'T', ref: watch.ref },
    ]);
    // Known already.
    socket.frame({ type: 'presence', user: 'a', status: 'away' });
    assert.deepEqual(await client.watch(['a']), [{ type: 'presence', user: 'a', status: 'away' }]);
    const ending = client.unwatch(['b', 'other']);
    const unwatch = await socket.expect('unwatch');
    assert.deepEqual(unwatch.users, ['b']);
    socket.frame({ type: 'presence', user: 'b', status: 'away' });
    socket.frame({ type: 'ok', ref: unwatch.ref });
    await ending;
    await client.unwatch(['b']);
    assert.deepEqual(await client.watch([]), []);
    assert.equal(socket.sent.length, 2);
    assert.deepEqual(events, ['b online', 'b busy', 'a offline', 'a away', 'b away']);
  });

  it('calls of one task share frames, and later ones wait for the answer', async () => {
    const socket = await server.session();
    const all = names(0, 150).map(user => client.watch([user]));
    const first = await socket.expect('watch');
    assert.deepEqual(first.users, names(0, 100));
    const ending = client.unwatch(['u0', 'u149']);
    answer(socket, first);
    const unwatch = await socket.expect('unwatch');
    assert.deepEqual(unwatch.users, ['u0']);
    // Watched again before the end is confirmed. A notification from before does not count.
    const again = client.watch(['u0']);
    socket.frame({ type: 'presence', user: 'u0', status: 'busy' });
    socket.frame({ type: 'ok', ref: unwatch.ref });
    await ending;
    const last = await socket.expect('watch');
    assert.deepEqual(last.users, [...names(100, 149), 'u0']);
    answer(socket, last, 'away');
    assert.deepEqual(
      (await again).map(({ status }) => status),
      ['away'],
    );
    const found = await Promise.all(all);
    assert.deepEqual(
      found.map(([presence]) => presence?.status),
      // A call whose user is unwatched before the answer finds nobody.
      [...Array(100).fill('online'), ...Array(49).fill('away'), undefined],
    );
  });

  it('is watched by each session anew', async () => {
    const events: string[] = [];
    client.on('presence', ({ user, status }) => void events.push(`${user} ${status}`));
    let socket = await server.session();
    const watching = client.watch(['a', 'b', 'c']);
    // The connection is lost between two answers.
    answer(socket, await socket.expect('watch'), 'online', 1);
    socket.drop();
    socket = await session();
    const watch = await socket.expect('watch');
    assert.deepEqual(watch.users, ['a', 'b', 'c']);
    answer(socket, watch, 'away');
    assert.deepEqual(
      (await watching).map(({ status }) => status),
      ['away', 'away', 'away'],
    );
    socket.drop();
    await flushMicrotasks();
    // While offline: nobody is watched, so the end needs no answer.
    await client.unwatch(['b']);
    const added = client.watch(['d']);
    socket = await session();
    const restored = await socket.expect('watch');
    assert.deepEqual(restored.users, ['a', 'c', 'd']);
    answer(socket, restored, 'busy');
    await added;
    assert.deepEqual(sent(socket), ['watch a,c,d']);
    assert.deepEqual(events, ['a online', 'a away', 'b away', 'c away', 'a busy', 'c busy', 'd busy']);
  });

  it('the newest of several statuses is set', async () => {
    const all = (['away', 'busy', 'invisible'] as const).map(status => client.setStatus(status));
    let socket = await server.session();
    const status = await socket.expect('status');
    assert.deepEqual(status, { type: 'status', status: 'invisible', ref: status.ref });
    const later = client.setStatus('online');
    // Rejected for now: it is not sent after the later one.
    socket.reject(status, 'overloaded', { retryable: true, retry_after_ms: 100 });
    mock.timers.tick(100);
    const retried = await socket.expect('status');
    assert.equal(retried.status, 'invisible');
    socket.frame({ type: 'ok', ref: retried.ref });
    const last = await socket.expect('status');
    assert.equal(last.status, 'online');
    // The answer is lost.
    socket.drop();
    socket = await session();
    const repeated = await socket.expect('status');
    assert.equal(repeated.status, 'online');
    socket.frame({ type: 'ok', ref: repeated.ref });
    await Promise.all([...all, later]);
    socket.drop();
    socket = await session();
    assert.deepEqual(sent(socket), []);
  });

  it('a call fails with the error of the server, and the others do not', async () => {
    const failed: unknown[] = [];
    client.on('failed', ({ frame, error }) => failed.push([frame, error.code]));
    let socket = await server.session();
    const [good, bad, both] = [client.watch(['a']), client.watch(['b', '?', 'c']), client.watch(['c', 'd'])];
    const watch = await socket.expect('watch');
    assert.deepEqual(watch.users, ['a', 'b', '?', 'c', 'd']);
    socket.reject(watch, 'invalid_frame', { path: '/users/2' });
    await assert.rejects(bad, { name: 'DmwireError', code: 'invalid_frame', path: '/users/2', retryable: false });
    const rest = await socket.expect('watch');
    assert.deepEqual(rest.users, ['a', 'c', 'd']);
    answer(socket, rest);
    await Promise.all([good, both]);
    const setting = client.setStatus('asleep' as ChosenStatus);
    socket.reject(await socket.expect('status'), 'invalid_frame', { path: '/status' });
    await assert.rejects(setting, { code: 'invalid_frame', path: '/status' });
    assert.deepEqual(failed, []);
    // Nobody waits for the answer of a later session.
    socket.drop();
    socket = await session();
    const restored = await socket.expect('watch');
    socket.reject(restored, 'forbidden', { path: '/users' });
    await flushMicrotasks();
    assert.deepEqual(failed, [[{ type: 'watch', users: ['a', 'c', 'd'] }, 'forbidden']]);
    assert.deepEqual(sent(socket), ['watch a,c,d']);
  });

  it('all calls fail when the client is closed', async () => {
    const socket = await server.session();
    const inFlight = client.watch(['a']);
    await socket.expect('watch');
    const waiting = [client.watch(['b']), client.unwatch(['a']), client.setStatus('away')];
    await client.close();
    for (const call of [inFlight, ...waiting]) await assert.rejects(call, { code: 'closed' });
    await assert.rejects(client.watch(['a']), { code: 'closed' });
    await assert.rejects(client.unwatch(['a']), { code: 'closed' });
    await assert.rejects(client.setStatus('away'), { code: 'closed' });
    assert.deepEqual(sent(socket), ['watch a']);
  });
});

describe('presence with a real server', { timeout: 10 * DEADLINE }, () => {
  let server: Server;
  const clients: Client[] = [];

  afterEach(async () => {
    await Promise.all(clients.splice(0).map(client => client.close()));
    await server.stop();
  });

  async function start(...flags: string[]): Promise<void> {
    server = await Server.start('--presence-grace-seconds', '0', ...flags);
  }
  function client(user: string, more: Partial<ConnectOptions> = {}): Client {
    const made = connect({ url: server.url, user, backoff: { base: 20, max: 200 }, ...more });
    clients.push(made);
    made.on('message', () => {});
    return made;
  }
  /** Users see each other once each has written to the other. */
  async function befriend(a: Client, b: Client, [nameA, nameB] = ['a', 'b']): Promise<void> {
    await a.send(nameB, 'hello');
    await b.send(nameA, 'hello');
  }
  /** The latest status of each user that a client is told, and all of them. */
  function observe(of: Client): { latest: Map<string, string>; all: string[] } {
    const seen = { latest: new Map<string, string>(), all: [] as string[] };
    of.on('presence', ({ user, status }) => {
      seen.latest.set(user, status);
      seen.all.push(`${user} ${status}`);
    });
    return seen;
  }
  /** A network that can be cut, after which no connection can be opened until it is restored. */
  function network(): { WebSocket: WebSocketClass; cut(): void; restore(): void } {
    const sockets: WebSocket[] = [];
    let isUp = true;
    class Socket extends WebSocket {
      constructor(url: string, protocols: string[]) {
        super(isUp ? url : 'ws://127.0.0.1:1', protocols);
        sockets.push(this);
      }
    }
    return {
      WebSocket: Socket as unknown as WebSocketClass,
      cut() {
        isUp = false;
        for (const socket of sockets.splice(0)) socket.terminate();
      },
      restore() {
        isUp = true;
      },
    };
  }
  /** The `watch` frames that a client sends. */
  function watchFrames(of: Client): string[][] {
    const frames: string[][] = [];
    of.on('wire', ({ direction, text }) => {
      const { type, users } = direction === 'out' ? JSON.parse(text) : {};
      if (type === 'watch') frames.push(users);
    });
    return frames;
  }

  it('two users see each other come, change their status, and leave', async () => {
    await start();
    const [a, b] = [client('a'), client('b')];
    const { latest } = observe(a);
    const [stranger] = await a.watch(['b']);
    assert.deepEqual([stranger?.user, stranger?.status, stranger?.last_seen], ['b', 'offline', undefined]);
    await befriend(a, b);
    await waitUntil(() => latest.get('b') === 'online');
    for (const status of ['away', 'busy', 'online', 'away'] as const) {
      await b.setStatus(status);
      await waitUntil(() => latest.get('b') === status);
    }
    await assert.rejects(b.setStatus('asleep' as ChosenStatus), { code: 'invalid_frame', path: '/status' });
    const left = new Promise<{ last_seen?: string }>(resolve => a.on('presence', resolve));
    await b.close();
    assert.ok(Date.parse((await left).last_seen ?? '') > 0);
    // The status is that of the user, on all devices.
    client('b', { device: 'other' });
    await waitUntil(() => latest.get('b') === 'away');
    const found = await a.watch(['a', 'b', 'nobody']);
    assert.deepEqual(
      found.map(({ user, status }) => `${user} ${status}`),
      ['a online', 'b away', 'nobody offline'],
    );
  });

  it('watched users are watched again after a reconnect, and changes meanwhile are reported', async () => {
    await start();
    const net = network();
    const [a, b, c] = [client('a', { WebSocket: net.WebSocket }), client('b'), client('c')];
    const { latest, all } = observe(a);
    await befriend(a, b);
    await befriend(a, c, ['a', 'c']);
    await a.watch(['b', 'c', 'd']);
    await waitUntil(() => latest.get('b') === 'online' && latest.get('c') === 'online');
    net.cut();
    await waitUntil(() => a.state.status !== 'open');
    await b.setStatus('busy');
    await c.close();
    const unwatching = a.unwatch(['d']);
    const setting = a.setStatus('away');
    all.length = 0;
    net.restore();
    await Promise.all([unwatching, setting]);
    await waitUntil(() => latest.get('b') === 'busy' && latest.get('c') === 'offline');
    // By the restored list, which lacks `d`.
    await b.setStatus('online');
    await waitUntil(() => latest.get('b') === 'online');
    assert.ok(!all.some(event => event.startsWith('d ')), all.join());
    // After a restart of the server, too.
    latest.clear();
    await server.restart();
    await waitUntil(() => latest.get('b') === 'online' && latest.get('c') === 'offline');
    const [own] = await a.watch(['a']);
    assert.equal(own?.status, 'away');
  });

  it('unwatch ends the notifications', async () => {
    await start();
    const net = network();
    const [a, b, c] = [client('a', { WebSocket: net.WebSocket }), client('b'), client('c')];
    const frames = watchFrames(a);
    const { latest, all } = observe(a);
    await befriend(a, b);
    await befriend(a, c, ['a', 'c']);
    await a.watch(['b', 'c']);
    await waitUntil(() => latest.get('b') === 'online' && latest.get('c') === 'online');
    await a.unwatch(['b']);
    all.length = 0;
    await b.setStatus('busy');
    // Later, so that its notification would come after that of the first.
    await c.setStatus('away');
    await waitUntil(() => latest.get('c') === 'away');
    assert.deepEqual(all, ['c away']);
    net.cut();
    await waitUntil(() => a.state.status !== 'open');
    net.restore();
    await waitUntil(() => all.length === 2);
    assert.deepEqual(all, ['c away', 'c away']);
    assert.deepEqual(frames, [['b', 'c'], ['c']]);
  });

  it('an invisible user is offline for others, and members have a status', async () => {
    await start();
    const [a, b] = [client('a'), client('b')];
    const { latest } = observe(a);
    await Promise.all([a.join('r'), b.join('r')]);
    const statuses = async () => {
      const found: unknown[] = [];
      for await (const { user, status } of a.members('r')) found.push(`${user} ${status}`);
      return found;
    };
    await a.watch(['b']);
    await waitUntil(() => latest.get('b') === 'online');
    assert.deepEqual(await statuses(), ['a online', 'b online']);
    await b.setStatus('invisible');
    await waitUntil(() => latest.get('b') === 'offline');
    assert.deepEqual(await statuses(), ['a online', 'b offline']);
    // Not stored with a session: a new one is invisible, too.
    await b.close();
    const again = client('b');
    await new Promise(resolve => again.on('synced', resolve));
    const [own] = await again.watch(['b']);
    assert.equal(own?.status, 'offline');
    assert.equal(latest.get('b'), 'offline');
    await again.setStatus('online');
    await waitUntil(() => latest.get('b') === 'online');
  });

  it('1,000 users are watched, and watched again, within the rates of the server', async () => {
    // Both devices of the user share a rate of queries, which is lower than the client assumes.
    await start('--messages-per-second', '20', '--burst', '3');
    const net = network();
    const [a, other, z] = [client('a', { WebSocket: net.WebSocket }), client('a', { device: 'other' }), client('z')];
    const frames = watchFrames(a);
    const [found] = await Promise.all([a.watch(names(0, 1000)), other.watch(names(0, 1000))]);
    assert.deepEqual(
      found.map(({ user }) => user),
      names(0, 1000),
    );
    assert.ok(frames.every(users => users.length === 100));
    await assert.rejects(a.watch(['z']), { code: 'forbidden', path: '/users', retryable: false });
    assert.equal((await a.watch(['u0', 'u999'])).length, 2);
    await a.unwatch(names(0, 1));
    await befriend(a, z, ['a', 'z']);
    const [last] = await a.watch(['z']);
    assert.equal(last?.status, 'online');
    await assert.rejects(a.watch(['u0']), { code: 'forbidden' });
    const { latest } = observe(a);
    frames.length = 0;
    net.cut();
    await waitUntil(() => a.state.status !== 'open');
    net.restore();
    await waitUntil(() => latest.size === 1000);
    // A frame that was rejected because of the rate was sent again.
    assert.deepEqual([...new Set(frames.flat())].sort(), [...names(1, 1000), 'z'].sort());
    // An id that the server refuses.
    await a.unwatch(['u1', 'u2']);
    await assert.rejects(a.watch(['u1', 'not a name']), { code: 'invalid_frame', path: '/users/1' });
    assert.equal((await a.watch(['u1', 'u2'])).length, 2);
    assert.equal(a.state.status, 'open');
  });
});
