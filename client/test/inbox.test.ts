import assert from 'node:assert/strict';
import { afterEach, beforeEach, describe, it, mock } from 'node:test';
import {
  type Client,
  type ConnectOptions,
  connect,
  type HandlerErrorPolicy,
  type Saved,
  type ServerMessage,
  type Storage,
} from '../src/index.js';
import { FakeServer, type FakeSocket, flushMicrotasks, mockClock, waitUntil } from './support/fake.js';

describe('incoming entries', { timeout: 120_000 }, () => {
  let server: FakeServer;
  let client: Client;
  let seen: unknown[];

  beforeEach(() => {
    server = new FakeServer();
    seen = [];
  });
  afterEach(() => client.close());

  function start(options: Partial<ConnectOptions> = {}): Client {
    const backoff = { base: 1, max: 2 };
    client = connect({ url: 'ws://host', user: 'me', WebSocket: server.WebSocket, backoff, ...options });
    return client;
  }
  function listen(options: Partial<ConnectOptions> = {}): Client {
    start(options).on('message', message => void seen.push(message.message));
    return client;
  }
  /** Returns the position that a connection requests: `since` and `epoch`. */
  function requested(socket: FakeSocket): [string | null, string | null] {
    return [socket.url.searchParams.get('since'), socket.url.searchParams.get('epoch')];
  }
  /** Returns the acknowledged positions. */
  function acknowledged(socket: FakeSocket): unknown[] {
    return socket.sent.filter(frame => frame.type === 'received').map(frame => frame.seq);
  }

  it('are acknowledged when handled, and the next connection continues after them', async () => {
    listen();
    const socket = await server.session();
    socket.message(1);
    socket.message(2);
    await flushMicrotasks();
    assert.deepEqual(seen, ['m1', 'm2']);
    await waitUntil(() => acknowledged(socket).at(-1) === 2);
    socket.drop();
    assert.deepEqual(requested(await server.accept()), ['2', 'e1']);
  });

  it('start at the first entry', async () => {
    listen();
    const socket = await server.session(41);
    socket.message(42);
    await flushMicrotasks();
    socket.drop();
    assert.deepEqual(requested(await server.accept()), ['42', 'e1']);
  });

  it('start at the end of the log if the replay is empty', async () => {
    listen();
    const socket = await server.accept();
    assert.deepEqual(requested(socket), [null, null]);
    socket.welcome(41);
    socket.drop();
    // The replay was not complete, so the position is still unknown.
    const next = await server.session(41);
    assert.deepEqual(requested(next), [null, null]);
    next.drop();
    // From now on another program of the same device may acknowledge entries that this one has not seen.
    const last = await server.accept();
    assert.deepEqual(requested(last), ['41', 'e1']);
    last.welcome(42);
    last.message(42);
    await flushMicrotasks();
    assert.deepEqual(seen, ['m42']);
  });

  it('have no start while the queue has no room for the first entry', async () => {
    start();
    const socket = await server.accept();
    socket.welcome(1);
    const text = 'x'.repeat(2 ** 20);
    for (let i = 0; i <= 32; i += 1) {
      const ephemeral = { seq: undefined, ephemeral: true };
      if (i === 0) client.on('message', () => new Promise(() => {}));
      socket.message(0, text, 'you', ephemeral);
    }
    socket.message(1);
    socket.frame({ type: 'synced', seq: 1 });
    socket.drop();
    assert.deepEqual(requested(await server.accept()), [null, null]);
  });

  it('start at the since option with the epoch of the first session', async () => {
    listen({ since: 0 });
    const first = await server.accept();
    assert.deepEqual(requested(first), ['0', null]);
    first.welcome(5);
    first.drop();
    assert.deepEqual(requested(await server.accept()), ['0', 'e1']);
  });

  it('are delivered once, however often they arrive', async () => {
    listen();
    const socket = await server.session();
    for (const seq of [1, 2, 1, 2, 2, 3, 1]) socket.message(seq);
    await flushMicrotasks();
    assert.deepEqual(seen, ['m1', 'm2', 'm3']);
  });

  it('cause a reconnect when one is missing', async () => {
    listen();
    const socket = await server.session();
    socket.message(1);
    socket.message(3);
    const next = await server.accept();
    assert.deepEqual(requested(next), ['1', 'e1']);
    next.welcome(3);
    next.message(2);
    next.message(3);
    await flushMicrotasks();
    assert.deepEqual(seen, ['m1', 'm2', 'm3']);
  });

  it('do not advance with welcome, synced or duplicate acks', async () => {
    listen();
    const socket = await server.session();
    socket.message(1);
    await flushMicrotasks();
    const sending = client.send('you', 'x');
    socket.ack(await socket.expect('received').then(() => socket.expect('message')), 9, { duplicate: true });
    assert.equal((await sending).seq, 9);
    assert.equal(client.state.status, 'open');
    socket.drop();
    const next = await server.session(30);
    assert.deepEqual(requested(next), ['1', 'e1']);
    next.drop();
    assert.deepEqual(requested(await server.accept()), ['1', 'e1']);
  });

  it('advance with the acks of own messages', async () => {
    listen();
    const socket = await server.session();
    const sending = client.send('you', 'x');
    const frame = await socket.expect('message');
    socket.message(1);
    socket.ack(frame, 2);
    await sending;
    socket.message(3);
    await flushMicrotasks();
    assert.deepEqual(seen, ['m1', 'm3']);
    socket.drop();
    assert.deepEqual(requested(await server.accept()), ['3', 'e1']);
  });

  it('advance with a message to oneself, not with its ack', async () => {
    listen();
    const socket = await server.session();
    const sending = client.send('me', 'note');
    const frame = await socket.expect('message');
    socket.ack(frame, 1);
    assert.equal((await sending).seq, 1);
    socket.drop();
    const next = await server.session();
    assert.deepEqual(requested(next), ['0', 'e1']);
    next.message(1, 'note', 'me', { id: frame.id });
    await flushMicrotasks();
    assert.deepEqual(seen, ['note']);
  });

  it('skip ahead on truncated after earlier entries are handled', async () => {
    let release = () => {};
    start().on('message', async message => {
      await new Promise<void>(resolve => (release = resolve));
      seen.push(message.message);
    });
    client.on('truncated', ({ reason }) => void seen.push(reason));
    const socket = await server.session();
    socket.message(1);
    socket.frame({ type: 'truncated', reason: 'retention', oldest_seq: 107 });
    socket.message(107);
    await flushMicrotasks();
    assert.deepEqual(seen, []);
    assert.deepEqual(acknowledged(socket), []);
    release();
    await flushMicrotasks();
    assert.deepEqual(seen, ['m1', 'retention']);
    release();
    await flushMicrotasks();
    assert.deepEqual(seen, ['m1', 'retention', 'm107']);
    await waitUntil(() => acknowledged(socket).at(-1) === 107);
    socket.drop();
    assert.deepEqual(requested(await server.accept()), ['107', 'e1']);
  });

  it('keep seq and epoch consistent when the store was replaced', async () => {
    listen();
    const socket = await server.session();
    socket.message(1);
    await flushMicrotasks();
    socket.drop();
    // This connection is lost before `truncated` invalidates the position.
    const broken = await server.accept();
    broken.welcome(9, { epoch: 'e2' });
    await flushMicrotasks();
    assert.deepEqual(acknowledged(broken), []);
    broken.drop();
    const complete = await server.accept();
    assert.deepEqual(requested(complete), ['1', 'e1']);
    complete.welcome(9, { epoch: 'e2' });
    complete.frame({ type: 'truncated', reason: 'reset', oldest_seq: 1 });
    complete.message(1, 'from the new store');
    await flushMicrotasks();
    assert.deepEqual(seen, ['m1', 'from the new store']);
    await waitUntil(() => acknowledged(complete).at(-1) === 1);
    assert.ok(!acknowledged(complete).includes(9));
    complete.drop();
    assert.deepEqual(requested(await server.accept()), ['1', 'e2']);
  });

  it('are named with id and time when the next connection continues after them', async () => {
    listen({ since: 0 });
    /** Returns what a connection tells of the entry at its position. */
    const told = (socket: FakeSocket) => ['since', 'since_id', 'since_at'].map(key => socket.url.searchParams.get(key));
    let socket = await server.accept();
    assert.deepEqual(told(socket), ['0', null, null]);
    const next = async () => {
      await flushMicrotasks();
      socket.drop();
      socket = await server.accept();
      return told(socket);
    };
    const open = () => {
      socket.welcome();
      socket.frame({ type: 'synced', seq: 0 });
    };
    open();
    const entry = { from_user: 'you', target_user: 'me' };
    socket.frame({ ...entry, type: 'message', seq: 1, id: 'i1', message: 'x', sent_at: 't1', edited_at: 't2' });
    assert.deepEqual(await next(), ['1', 'i1', 't1']);
    open();
    socket.frame({ ...entry, type: 'edited', seq: 2, id: 'i1', message: 'y', edited_at: 't2' });
    assert.deepEqual(await next(), ['2', 'i1', 't2']);
    open();
    socket.frame({ ...entry, type: 'deleted', seq: 3, id: 'i1', deleted_at: 't3' });
    // Neither moves the position.
    socket.frame({ type: 'ack', seq: 4, id: 'i0', status: 'stored', sent_at: 't0', duplicate: true });
    socket.frame({ ...entry, type: 'message', seq: 2, id: 'i2', message: 'again', sent_at: 't0' });
    assert.deepEqual(await next(), ['3', 'i1', 't3']);
    open();
    socket.frame({ ...entry, type: 'reacted', seq: 4, id: 'i2', emoji: '+' });
    assert.deepEqual(await next(), ['4', 'i2', null]);
    open();
    void client.send('you', 'mine', { id: 'i5' });
    socket.ack(await socket.expect('message'), 5, { sent_at: 't5' });
    assert.deepEqual(await next(), ['5', 'i5', 't5']);
    open();
    socket.frame({ type: 'skipped', seq: 6 });
    assert.deepEqual(await next(), ['6', null, null]);
    open();
    socket.frame({ type: 'truncated', reason: 'retention', oldest_seq: 9 });
    assert.deepEqual(await next(), ['8', null, null]);
    open();
    const own = { from_user: 'me', target_user: 'you' };
    void client.react('you', 'i2', '-');
    await socket.expect('react');
    socket.drop();
    socket = await server.accept();
    socket.welcome(9);
    socket.frame({ ...own, type: 'reacted', seq: 9, id: 'i2', emoji: '-' });
    assert.deepEqual(await next(), ['9', 'i2', null]);
  });

  it('of a log that was rolled back are neither acknowledged nor missed', async () => {
    listen();
    const socket = await server.session();
    for (const seq of [1, 2, 3]) socket.message(seq);
    await flushMicrotasks();
    socket.drop();
    // The connection is lost before `truncated`.
    const broken = await server.accept();
    broken.welcome(4);
    await new Promise(resolve => setTimeout(resolve, 60));
    assert.deepEqual(acknowledged(broken), []);
    broken.drop();
    const next = await server.accept();
    assert.equal(next.url.searchParams.get('since'), '3');
    next.welcome(4);
    next.frame({ type: 'truncated', reason: 'reset', oldest_seq: 1 });
    next.message(1);
    for (const seq of [2, 3, 4]) next.message(seq, `new${seq}`);
    next.frame({ type: 'synced', seq: 4 });
    await waitUntil(() => acknowledged(next).at(-1) === 4);
    assert.deepEqual(seen, ['m1', 'm2', 'm3', 'm1', 'new2', 'new3', 'new4']);
    assert.ok(!acknowledged(next).includes(3) || acknowledged(next).indexOf(3) > 0, 'the old position');
    next.drop();
    const last = await server.accept();
    assert.deepEqual(requested(last), ['4', 'e1']);
    // The position is acknowledged again as soon as the server continues after it.
    last.welcome(4);
    last.frame({ type: 'synced', seq: 4 });
    assert.deepEqual(acknowledged(last), [4]);
  });

  it('are not acknowledged to a new store if they are from the old one', async () => {
    const waiting: (() => void)[] = [];
    start().on('message', () => new Promise<void>(resolve => waiting.push(resolve)));
    const socket = await server.session();
    socket.message(1);
    socket.message(2);
    socket.drop();
    const next = await server.accept();
    next.welcome(9, { epoch: 'e2' });
    next.frame({ type: 'truncated', reason: 'reset', oldest_seq: 5 });
    waiting.shift()?.();
    await flushMicrotasks();
    waiting.shift()?.();
    await flushMicrotasks();
    // Only the skip is acknowledged, never a position of the old store.
    await waitUntil(() => acknowledged(next).length > 0);
    assert.deepEqual(acknowledged(next), [4]);
  });

  it('are delivered one at a time', async () => {
    const waiting: (() => void)[] = [];
    start().on('message', message => {
      seen.push(message.message);
      return new Promise<void>(resolve => waiting.push(resolve));
    });
    const socket = await server.session();
    for (const seq of [1, 2, 3]) socket.message(seq);
    await flushMicrotasks();
    assert.deepEqual(seen, ['m1']);
    assert.deepEqual(acknowledged(socket), []);
    waiting.shift()?.();
    await flushMicrotasks();
    assert.deepEqual(seen, ['m1', 'm2']);
    // Entries that have arrived are not requested again, handled or not.
    socket.drop();
    assert.deepEqual(requested(await server.accept()), ['3', 'e1']);
  });

  it('can be answered from their handler', async () => {
    start().on('message', async message => {
      seen.push((await client.send(message.from_user, 'echo')).seq);
    });
    const socket = await server.session();
    socket.message(1);
    socket.ack(await socket.expect('message'), 2);
    await flushMicrotasks();
    assert.deepEqual(seen, [2]);
    await waitUntil(() => acknowledged(socket).at(-1) === 2);
  });

  it('wait for a handler', async () => {
    start();
    const socket = await server.session();
    socket.message(1);
    await flushMicrotasks();
    assert.deepEqual(acknowledged(socket), []);
    client.on('message', message => void seen.push(message.message));
    await flushMicrotasks();
    assert.deepEqual(seen, ['m1']);
    assert.deepEqual(acknowledged(socket), [1]);
  });

  it('are acknowledged in batches', async () => {
    listen();
    const socket = await server.session();
    for (let seq = 1; seq <= 500; seq += 1) socket.message(seq);
    await waitUntil(() => acknowledged(socket).at(-1) === 500);
    assert.equal(seen.length, 500);
    assert.ok(acknowledged(socket).length < 20, `${acknowledged(socket).length} frames`);
  });

  it('are dropped when the queue is full and requested again later', async () => {
    // The queue has room for 32 of them.
    const text = 'x'.repeat(2 ** 20);
    const replay = (socket: FakeSocket) => {
      const since = Number(socket.url.searchParams.get('since'));
      socket.welcome(40);
      for (let seq = since + 1; seq <= 40; seq += 1) socket.message(seq, text);
      socket.frame({ type: 'synced', seq: 40 });
      return since;
    };
    start({ since: 0 });
    assert.equal(replay(await server.accept()), 0);
    await flushMicrotasks();
    client.on('message', message => void seen.push(message.seq));
    assert.equal(replay(await server.accept()), 32);
    await waitUntil(() => seen.length === 40);
    assert.deepEqual(
      seen,
      Array.from({ length: 40 }, (_, i) => i + 1),
    );
  });

  for (const target of ['you', 'me']) {
    const answer = target === 'me' ? 'a message to oneself' : 'a frame that was stored earlier';
    it(`include the ack of ${answer} by a reconnect when the queue was full`, async () => {
      const sent: unknown[] = [];
      let release = () => {};
      const released = new Promise<void>(resolve => (release = resolve));
      start().on('message', () => released);
      client.on('sent', ({ frame }) => void sent.push((frame as { message?: unknown }).message));
      const socket = await server.session();
      const text = 'x'.repeat(2 ** 20);
      // The first one is being handled. The others fill the queue, and nothing else is missing.
      for (let seq = 1; seq <= 33; seq += 1) socket.message(seq, text);
      const sending = client.send(target, 'own');
      socket.ack(await socket.expect('message'), 33, { duplicate: target === 'you' });
      await sending;
      release();
      await waitUntil(() => server.sockets.length === 2, 'a second connection');
      const next = await server.accept();
      assert.deepEqual(sent, []);
      assert.deepEqual(requested(next), ['33', 'e1']);
      next.welcome(33);
      next.frame({ type: 'synced', seq: 33 });
      await waitUntil(() => sent.length > 0);
      await flushMicrotasks();
      assert.deepEqual(sent, ['own']);
      assert.equal(server.sockets.length, 2);
    });
  }

  it('wait in the queue behind a slow handler, without a reconnect', async () => {
    let handled = 0;
    start({ since: 0 }).on('message', async ({ seq }) => {
      assert.equal(seq, handled + 1);
      if (seq === 1) await new Promise(resolve => setImmediate(resolve));
      handled += 1;
    });
    const socket = await server.accept();
    socket.welcome(8_000);
    for (let seq = 1; seq <= 8_000; seq += 1) socket.message(seq);
    socket.frame({ type: 'synced', seq: 8_000 });
    // Replies do not wait for the queue.
    const sending = client.send('you', 'x', { ephemeral: true });
    socket.ack(await socket.expect('message'), 0, { seq: undefined, status: 'sent' });
    assert.equal((await sending).status, 'sent');
    assert.ok(handled < 8_000);
    await waitUntil(() => acknowledged(socket).at(-1) === 8_000);
    assert.equal(server.sockets.length, 1);
  });

  for (const channels of [true, false]) {
    it(`do not keep other tasks waiting while handlers compute, ${channels ? 'with' : 'without'} MessageChannel`, async t => {
      const { MessageChannel } = globalThis;
      t.after(() => Object.assign(globalThis, { MessageChannel }));
      if (!channels) Object.assign(globalThis, { MessageChannel: undefined });
      let handled = 0;
      start({ since: 0 }).on('message', () => {
        for (const end = performance.now() + 10; performance.now() < end; );
        handled += 1;
      });
      const socket = await server.accept();
      socket.welcome(40);
      for (let seq = 1; seq <= 40; seq += 1) socket.message(seq);
      await new Promise(resolve => setTimeout(resolve, 0));
      assert.ok(handled < 20, `${handled} of 40 entries before the timer`);
      await waitUntil(() => handled === 40);
    });
  }

  it('of which one fails are skipped if the program says so', async () => {
    const states: Saved[] = [];
    const storage: Storage = { open: async () => ({ save: saved => void states.push(saved), close() {} }) };
    start({ storage, onHandlerError: 'skip' }).on('fault', ({ event }) => {
      seen.push(`fault ${(event as ServerMessage).message}`);
    });
    client.on('message', ({ message }) => {
      if (message === 'm2') throw new Error('no');
      seen.push(message);
    });
    const socket = await server.session();
    for (const seq of [1, 2, 3]) socket.message(seq);
    await waitUntil(() => acknowledged(socket).at(-1) === 3);
    assert.deepEqual(seen, ['m1', 'fault m2', 'm3']);
    await waitUntil(() => states.at(-1)?.seq === 3);
  });

  describe('whose handler fails and is called again', () => {
    beforeEach(() => {
      mockClock();
      mock.method(Math, 'random', () => 1);
    });
    afterEach(() => {
      mock.timers.reset();
      mock.restoreAll();
    });
    const after = async (milliseconds: number) => {
      mock.timers.tick(milliseconds);
      await flushMicrotasks();
    };
    /** Starts a client with a handler that fails the first `failures` times on `m1`. */
    async function startFailing(failures: number, onHandlerError: HandlerErrorPolicy): Promise<FakeSocket> {
      start({ onHandlerError }).on('fault', () => void seen.push('fault'));
      client.on('message', ({ message }) => void seen.push(`other ${message}`));
      let calls = 0;
      client.on('message', ({ message }) => {
        if (message === 'm1' && calls++ < failures) {
          seen.push('failed');
          throw new Error('no');
        }
        seen.push(message);
      });
      const socket = await server.session();
      for (const seq of [1, 2]) socket.message(seq);
      await flushMicrotasks();
      return socket;
    }

    it('are delivered after a delay, in order', async () => {
      const socket = await startFailing(2, { retry: 2 });
      assert.deepEqual(seen, ['other m1', 'failed']);
      await after(499);
      assert.equal(seen.length, 2);
      await after(1);
      assert.deepEqual(seen.slice(2), ['failed']);
      assert.deepEqual(acknowledged(socket), []);
      await after(1000);
      // Only the call that failed is repeated.
      assert.deepEqual(seen.slice(3), ['m1', 'other m2', 'm2']);
      await after(50);
      assert.equal(acknowledged(socket).at(-1), 2);
    });

    for (const skip of [false, true]) {
      it(`are ${skip ? 'skipped' : 'kept'} after the last call`, async () => {
        const socket = await startFailing(Number.POSITIVE_INFINITY, { retry: 3, skip });
        for (const delay of [500, 1000, 2000]) await after(delay);
        assert.deepEqual(seen, ['other m1', 'failed', 'failed', 'failed', 'failed', 'fault', 'other m2', 'm2']);
        await after(50);
        assert.deepEqual(acknowledged(socket).at(-1), skip ? 2 : undefined);
      });
    }

    it('are not handled if the client is closed before that', async () => {
      const socket = await startFailing(Number.POSITIVE_INFINITY, { retry: 9, skip: true });
      await client.close();
      await after(1_000_000);
      assert.deepEqual(seen, ['other m1', 'failed']);
      assert.deepEqual(acknowledged(socket), []);
    });
  });

  it('are not acknowledged from a failed one on, but later ones are delivered', async () => {
    const failures: unknown[] = [];
    const states: Saved[] = [];
    const storage: Storage = { open: async () => ({ save: saved => void states.push(saved), close() {} }) };
    start({ storage }).on('fault', ({ error }) => void failures.push(error));
    client.on('message', message => {
      if (message.seq === 2) throw new Error('no');
      seen.push(message.message);
    });
    const socket = await server.session();
    for (const seq of [1, 2, 3]) socket.message(seq);
    await flushMicrotasks();
    assert.deepEqual(seen, ['m1', 'm3']);
    await waitUntil(() => acknowledged(socket).at(-1) === 1);
    assert.equal(failures.length, 1);
    assert.deepEqual([states.at(-1)?.seq, states.at(-1)?.id], [1, '00000000-0000-0000-0000-000000000001']);
  });

  it('do not grow the saved state when every handler fails', async () => {
    const states: Saved[] = [];
    const storage: Storage = { open: async () => ({ save: saved => void states.push(saved), close() {} }) };
    start({ storage, since: 0 }).on('fault', () => void seen.push('fault'));
    client.on('message', () => {
      throw new Error('no');
    });
    const limits = { max_frame_bytes: 65536, messages_per_second: 1e9 };
    const socket = await server.session(0, { limits });
    socket.message(1);
    for (let seq = 2; seq < 1000; seq += 2) {
      const sending = client.send('you', `x${seq}`);
      socket.ack(await socket.expect('message'), seq);
      socket.message(seq + 1);
      await sending;
    }
    await waitUntil(() => seen.length === 500);
    assert.deepEqual(acknowledged(socket), []);
    const last = states.at(-1) as Saved;
    assert.equal(last.seq, 0);
    assert.equal(last.outbox.length, 250);
    assert.equal(last.outbox.at(-1)?.frame.message, 'x998');
  });

  it('keep the acks in the saved state whose event the program has not handled', async () => {
    const states: Saved[] = [];
    const storage: Storage = {
      open: async () => ({ saved: states.at(-1), save: saved => void states.push(saved), close() {} }),
    };
    // A handler that never returns: all events wait behind it.
    start({ storage, since: 0 }).on('message', () => new Promise(() => {}));
    const limits = { max_frame_bytes: 65536, messages_per_second: 1e9 };
    const socket = await server.session(0, { limits });
    socket.message(1);
    for (let n = 0; n < 600; n += 1) {
      const sending = client.send('you', `x${n}`);
      // The server has stored the first 300 of them for an earlier run.
      const frame = await socket.expect('message');
      if (n < 300) socket.ack(frame, 1, { duplicate: true });
      else socket.ack(frame, n - 298);
      await sending;
    }
    await client.close();
    const saved = states.at(-1) as Saved;
    const acks = saved.outbox.filter(({ ack }) => ack);
    assert.deepEqual([acks.length, saved.outbox.length - acks.length], [300, 250]);
    // The next run reports them.
    start({ storage }).on('sent', ({ frame }) => void seen.push((frame as { message?: unknown }).message));
    await server.session(1);
    await waitUntil(() => seen.length === 300);
    assert.deepEqual(
      seen,
      Array.from({ length: 300 }, (_, n) => `x${n}`),
    );
  });

  it('include ephemeral messages in order, which do not advance the position', async () => {
    listen();
    const socket = await server.session();
    socket.message(1);
    socket.message(0, 'flash', 'you', { seq: undefined, ephemeral: true });
    socket.message(2);
    await flushMicrotasks();
    assert.deepEqual(seen, ['m1', 'flash', 'm2']);
    await waitUntil(() => acknowledged(socket).at(-1) === 2);
  });

  it('include edits, deletions and reactions in order', async () => {
    listen();
    client.on('edited', ({ message }) => void seen.push(`edited ${message}`));
    client.on('reacted', ({ emoji }) => void seen.push(emoji));
    const socket = await server.session();
    socket.message(1);
    const rest = { from_user: 'you', target_user: 'me', id: 'x' };
    socket.frame({ type: 'edited', seq: 2, message: 'm1!', edited_at: '', ...rest });
    socket.frame({ type: 'deleted', seq: 3, deleted_at: '', ...rest });
    socket.frame({ type: 'reacted', seq: 4, emoji: '+', ...rest });
    await flushMicrotasks();
    assert.deepEqual(seen, ['m1', 'edited m1!', '+']);
    await waitUntil(() => acknowledged(socket).at(-1) === 4);
  });

  it('are not delivered after close(), even to handlers added later', async () => {
    start({ since: 0 });
    const socket = await server.session(1500);
    for (let seq = 1; seq <= 1500; seq += 1) socket.message(seq);
    await client.close();
    client.on('message', () => void seen.push('late'));
    await flushMicrotasks();
    assert.deepEqual(seen, []);
    assert.equal(client.state.status, 'closed');
    assert.equal(server.sockets.length, 1);
  });

  describe('with an iterator', () => {
    it('count as handled when the next one is requested', async () => {
      start();
      const messages = client.messages();
      const first = messages.next();
      const socket = await server.session();
      socket.message(1);
      socket.message(2);
      assert.equal(((await first).value as ServerMessage).message, 'm1');
      await flushMicrotasks();
      assert.deepEqual(acknowledged(socket), []);
      assert.equal(((await messages.next()).value as ServerMessage).message, 'm2');
      await waitUntil(() => acknowledged(socket).at(-1) === 1);
    });

    it('exclude messages from other devices of the user, unless { own: true }', async () => {
      start();
      const others = client.messages();
      const first = others.next();
      const socket = await server.session();
      socket.message(1, 'mine', 'me', { target_user: 'you' });
      socket.message(2);
      assert.equal(((await first).value as ServerMessage).message, 'm2');
      await others.return();
      const all = client.messages({ own: true });
      const next = all.next();
      socket.message(3, 'mine', 'me', { target_user: 'you' });
      assert.equal(((await next).value as ServerMessage).message, 'mine');
    });

    it('count the last message of an ended loop as handled when a later loop continues', async () => {
      const socket = start() && (await server.session());
      for (const seq of [1, 2, 3]) socket.message(seq);
      for (const text of ['m1', 'm2']) {
        for await (const message of client.messages()) {
          assert.equal(message.message, text);
          break;
        }
      }
      await waitUntil(() => acknowledged(socket).length > 0);
      assert.deepEqual(acknowledged(socket), [1]);
      const last = client.messages();
      await last.next();
      await waitUntil(() => acknowledged(socket).at(-1) === 2);
    });
  });
});
