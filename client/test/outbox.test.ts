import assert from 'node:assert/strict';
import { afterEach, beforeEach, describe, it, mock } from 'node:test';
import { type Client, type ConnectOptions, connect, DmwireError, type InFrame } from '../src/index.js';
import { FakeServer, type FakeSocket, flushMicrotasks, mockClock } from './support/fake.js';

describe('outgoing frames', { timeout: 60_000 }, () => {
  let server: FakeServer;
  let client: Client;

  beforeEach(() => {
    mockClock();
    mock.method(Math, 'random', () => 0.5);
    server = new FakeServer();
  });
  afterEach(async () => {
    await client.close();
    mock.timers.reset();
    mock.restoreAll();
  });

  function start(options: Partial<ConnectOptions> = {}): Client {
    client = connect({ url: 'ws://host', user: 'me', WebSocket: server.WebSocket, ...options });
    return client;
  }
  /** Waits for the client to reconnect. */
  async function reconnected(): Promise<FakeSocket> {
    await flushMicrotasks();
    mock.timers.tick(30_000);
    return server.session();
  }
  /** Advances the clock. */
  async function after(milliseconds: number): Promise<void> {
    await flushMicrotasks();
    mock.timers.tick(milliseconds);
    await flushMicrotasks();
  }
  function messages(socket: FakeSocket): unknown[] {
    return socket.sent.filter(frame => frame.type === 'message').map(frame => frame.message);
  }

  it('resolve with the ack, with a room, content and options', async () => {
    start();
    const socket = await server.session();
    const id = '019A2F4E-7B1C-7D3E-9A55-0C1D2E3F4A5B';
    const sending = client.send({ room: 'r' }, { type: 'markdown', text: '*x*' }, { id, replyTo: id });
    const frame = await socket.expect('message');
    assert.deepEqual(frame, {
      type: 'message',
      target_room: 'r',
      message: { type: 'markdown', text: '*x*' },
      id: id.toLowerCase(),
      reply_to: id,
      ref: frame.ref,
    });
    assert.match(String(frame.ref), /^.{1,64}$/);
    socket.ack(frame, 7);
    const ack = await sending;
    assert.equal(ack.seq, 7);
    assert.equal(ack.status, 'stored');
  });

  it('fail with the error of the server and are not retried', async () => {
    start();
    const failed: unknown[] = [];
    client.on('failed', ({ frame, error }) => failed.push([(frame as InFrame).message, error.code]));
    const socket = await server.session();
    const sending = client.send('you', 'x');
    socket.reject(await socket.expect('message'), 'invalid_frame', { path: '/message' });
    await assert.rejects(sending, (error: unknown) => {
      assert.ok(error instanceof DmwireError);
      assert.deepEqual([error.code, error.path, error.retryable], ['invalid_frame', '/message', false]);
      return true;
    });
    assert.deepEqual(failed, [['x', 'invalid_frame']]);
    assert.deepEqual(client.pending, []);
    socket.drop();
    assert.deepEqual(messages(await reconnected()), []);
  });

  it('get their own answers when two conversations use the same id', async () => {
    start();
    const socket = await server.session();
    const id = '00000000-0000-0000-0000-000000000001';
    const [stored, rejected] = [client.send('you', 'x', { id }), client.send('them', 'x', { id })];
    const [first, second] = [await socket.expect('message'), await socket.expect('message')];
    assert.notEqual(first.ref, second.ref);
    // The answer to the second frame arrives first.
    socket.reject(second, 'blocked');
    socket.ack(first, 1);
    await assert.rejects(rejected, { code: 'blocked' });
    assert.equal((await stored).seq, 1);
  });

  it('are copied when they are sent', async () => {
    start();
    const content = { type: 'data' as const, name: 'n', data: { value: 1 } };
    for (const value of [2, 3, 4]) {
      void client.send('you', content).catch(() => {});
      content.data.value = value;
    }
    const socket = await server.session();
    for (const value of [1, 2, 3]) {
      const frame = await socket.expect('message');
      assert.deepEqual(frame.message, { ...content, data: { value } });
      socket.ack(frame, value);
    }
  });

  it('fail without affecting others if they cannot be written as JSON', async () => {
    start();
    const circle: Record<string, unknown> = {};
    circle.circle = circle;
    for (const data of [1n, circle]) {
      const sending = client.send('you', { type: 'data', name: 'n', data } as never);
      await assert.rejects(sending, { code: 'invalid_request' });
      await assert.rejects(client.request({ type: 'x', data } as never), { code: 'invalid_request' });
    }
    assert.deepEqual(client.pending, []);
    void client.send('you', 'fine').catch(() => {});
    const socket = await server.session();
    assert.equal((await socket.expect('message')).message, 'fine');
  });

  it('wait while offline and are then sent once, in order', async () => {
    start();
    const acks = ['a', 'b', 'c'].map(text => client.send('you', text));
    assert.equal(client.pending.length, 3);
    const socket = await server.accept();
    assert.equal(socket.sent.length, 0);
    socket.welcome(0);
    await flushMicrotasks();
    assert.equal(socket.sent.length, 0);
    socket.frame({ type: 'synced', seq: 0 });
    for (const [i, text] of ['a', 'b', 'c'].entries()) {
      const frame = await socket.expect('message');
      assert.equal(frame.message, text);
      socket.ack(frame, i + 1);
      assert.equal((await acks[i])?.seq, i + 1);
    }
    await after(1000);
    assert.deepEqual(messages(socket), ['a', 'b', 'c']);
  });

  it('are sent again with the same id when the ack was lost', async () => {
    start();
    const first = await server.session();
    const sending = client.send('you', 'x');
    const frame = await first.expect('message');
    first.drop();
    const second = await reconnected();
    const same = await second.expect('message');
    assert.deepEqual(same, frame);
    second.ack(same, 1, { duplicate: true });
    assert.equal((await sending).seq, 1);
  });

  it('are not sent again when the replay shows them', async () => {
    start();
    const sent: unknown[] = [];
    const received: unknown[] = [];
    client.on('sent', ({ ack }) => void sent.push(ack.seq));
    client.on('message', message => void received.push(message.message));
    const first = await server.session();
    const sending = client.send('you', 'x');
    const { id } = await first.expect('message');
    first.drop();
    await flushMicrotasks();
    mock.timers.tick(30_000);
    const second = await server.accept();
    second.welcome(1);
    second.message(1, 'x', 'me', { id, target_user: 'you' });
    second.frame({ type: 'synced', seq: 1 });
    assert.equal((await sending).seq, 1);
    await flushMicrotasks();
    assert.deepEqual(messages(second), []);
    assert.deepEqual(sent, [1]);
    // The entry serves as the ack, so it is not delivered as a message.
    assert.deepEqual(received, []);
  });

  it('are reported as sent once when the ack and the replay both show them', async () => {
    start();
    const events: unknown[] = [];
    client.on('sent', ({ ack }) => void events.push(`sent ${ack.seq}`));
    client.on('message', message => void events.push(message.message));
    const socket = await server.session();
    socket.message(1);
    await flushMicrotasks();
    const sending = client.send('you', 'x');
    await after(100);
    const frame = socket.sent.find(({ type }) => type === 'message') as InFrame;
    socket.drop();
    const next = await reconnected();
    // The ack arrives before the entry.
    next.ack(frame, 2, { duplicate: true });
    await sending;
    next.message(2, 'x', 'me', { id: frame.id, target_user: 'you' });
    next.message(3);
    await flushMicrotasks();
    assert.deepEqual(
      events.filter(event => event === 'x'),
      [],
    );
    assert.equal(events.at(-1), 'm3');
  });

  it('are recognised in a replay until their entry is handled', async () => {
    start();
    const events: unknown[] = [];
    let release = () => {};
    client.on('sent', ({ ack }) => void events.push(`sent ${ack.seq}`));
    client.on('message', async message => {
      events.push(message.message);
      await new Promise<void>(resolve => (release = resolve));
    });
    const socket = await server.session();
    const sending = client.send('you', 'x');
    const frame = await socket.expect('message');
    // Entries 1 and 2 come before it. Its ack arrives early, and the connection is lost after it.
    socket.message(1);
    socket.ack(frame, 3, { duplicate: true });
    await sending;
    release();
    socket.drop();
    const next = await reconnected();
    next.message(2);
    next.message(3, 'x', 'me', { id: frame.id, target_user: 'you' });
    for (let i = 0; i < 3; i += 1, await flushMicrotasks()) release();
    assert.deepEqual(events, ['m1', 'sent 3', 'm2']);
  });

  it('keep the order of a conversation when the server is busy', async () => {
    start();
    const socket = await server.session();
    const acks = ['a', 'b'].map(text => client.send('you', text));
    socket.reject(await socket.expect('message'), 'rate_limited', { retryable: true, retry_after_ms: 250 });
    await after(249);
    assert.deepEqual(messages(socket), ['a']);
    await after(1);
    assert.deepEqual(messages(socket), ['a', 'a']);
    const frame = await socket.expect('message');
    socket.ack(frame, 1);
    socket.ack(await socket.expect('message'), 2);
    await Promise.all(acks);
    assert.deepEqual(messages(socket), ['a', 'a', 'b']);
  });

  describe('that are rejected for a long time', () => {
    const HOURS = 5 * 3_600_000;
    const id = (n: number) => `00000000-0000-0000-0000-00000000000${n}`;
    /** Everything that the client has sent, without acknowledgements. */
    const sent = ({ sent }: FakeSocket) =>
      sent.filter(({ type }) => type !== 'received').map(({ type, message, id }) => `${type} ${message ?? id ?? ''}`);
    const later = (code = 'rate_limited') => [code, { retryable: true, retry_after_ms: HOURS }] as const;

    /** A session that no frame needs to keep alive. */
    const session = () => server.session(0, { heartbeat_seconds: 100_000 });

    it('hold back no other frames', async () => {
      start();
      const socket = await session();
      const first = client.send('you', 'large', { id: id(1) });
      socket.reject(await socket.expect('message'), ...later());
      void client.send('them', 'b').catch(() => {});
      void client.markRead('you', id(5)).catch(() => {});
      void client
        .conversations()
        .next()
        .catch(() => {});
      const flash = client.send('them', 'flash', { ephemeral: true });
      client.typing('you');
      await flushMicrotasks();
      const others = ['message b', `read ${id(5)}`, 'ping ', 'conversations ', 'message flash', 'typing '];
      assert.deepEqual(sent(socket).slice(1).sort(), others.sort());
      socket.ack(socket.sent.at(-2) as InFrame, 0, { seq: undefined, status: 'sent' });
      await flash;
      const before = sent(socket).length;
      await after(HOURS - 1);
      assert.equal(sent(socket).length, before);
      await after(1);
      assert.deepEqual(sent(socket).slice(before), ['message large']);
      socket.ack(socket.sent.at(-1) as InFrame, 1);
      assert.equal((await first).seq, 1);
    });

    it('hold back later messages of the conversation and changes of their message, but no other changes', async () => {
      start();
      const socket = await session();
      const all = [
        client.send('you', '1', { id: id(1) }),
        client.send('you', '2', { id: id(2) }),
        client.edit('you', id(2), 'changed'),
        client.edit('you', id(8), 'other'),
        client.delete('you', id(9)),
      ];
      socket.reject(await socket.expect('message'), ...later());
      socket.ack(await socket.expect('edit'), 1);
      socket.ack(await socket.expect('delete'), 2);
      await flushMicrotasks();
      assert.deepEqual(sent(socket), ['message 1', 'edit other', `delete ${id(9)}`]);
      await after(HOURS);
      for (let seq = 3; seq <= 5; seq += 1) {
        socket.ack(socket.sent.filter(({ type }) => type !== 'received').at(-1) as InFrame, seq);
        await after(100);
      }
      assert.deepEqual(sent(socket).slice(3), ['message 1', 'message 2', 'edit changed']);
      await Promise.all(all);
    });

    it('hold back no messages if they are changes', async () => {
      start();
      const socket = await session();
      const reacting = client.react('you', id(7), '+');
      socket.reject(await socket.expect('react'), ...later());
      void client.send('you', 'a').catch(() => {});
      void client.react('you', id(7), '-').catch(() => {});
      void client.react('you', id(8), '+').catch(() => {});
      for (const [i, type] of ['message', 'react'].entries()) socket.ack(await socket.expect(type), i + 1);
      await flushMicrotasks();
      assert.deepEqual(sent(socket), [`react ${id(7)}`, 'message a', `react ${id(8)}`]);
      await after(HOURS);
      socket.ack(socket.sent.at(-1) as InFrame, 3);
      await reacting;
      assert.equal((await socket.expect('react')).emoji, '+');
      assert.equal((await socket.expect('react')).emoji, '-');
    });

    describe('and whose message is deleted', () => {
      const answers: unknown[] = [];
      const events: unknown[] = [];

      /** Starts a client with a delayed edit, a reaction behind it, and a deletion that is in flight. */
      async function startDeleting() {
        answers.length = events.length = 0;
        start().on('sent', ({ frame, ack }) => void events.push([frame.type, ack.seq, ack.duplicate]));
        const socket = await session();
        const changes = [
          client.edit('you', id(7), 'x'),
          client.react('you', id(7), '+'),
          client.delete('you', id(7)),
          client.edit('you', id(7), 'late'),
        ];
        for (const [i, change] of changes.entries()) {
          change.then(
            ({ seq, duplicate }) => answers.push([i, seq, duplicate]),
            ({ code }) => answers.push([i, code]),
          );
        }
        socket.reject(await socket.expect('edit'), ...later());
        return { socket, deletion: await socket.expect('delete') };
      }
      const all = ['edit x', `react ${id(7)}`, `delete ${id(7)}`];
      const replaced = [
        [0, undefined, true],
        [1, undefined, true],
      ];

      it('are not sent any more once the deletion is stored', async () => {
        const { socket, deletion } = await startDeleting();
        socket.ack(deletion, 1);
        const late = await socket.expect('edit');
        assert.equal(late.message, 'late');
        socket.reject(late, 'unknown_message');
        await flushMicrotasks();
        assert.deepEqual(answers, [...replaced, [2, 1, undefined], [3, 'unknown_message']]);
        assert.deepEqual(events, [
          ['edit', undefined, true],
          ['react', undefined, true],
          ['delete', 1, undefined],
        ]);
        assert.deepEqual(client.pending, []);
        await after(HOURS);
        assert.deepEqual(sent(socket), ['edit x', `delete ${id(7)}`, 'edit late']);
      });

      it('are reported if another device has deleted it', async () => {
        const { socket, deletion } = await startDeleting();
        socket.ack(deletion, 1, { duplicate: true });
        await flushMicrotasks();
        assert.deepEqual(events, [
          ['edit', undefined, true],
          ['react', undefined, true],
          ['delete', 1, true],
        ]);
        assert.deepEqual(answers, [...replaced, [2, 1, true]]);
      });

      it('wait while the deletion is in flight, and are sent if it is rejected', async () => {
        const { socket, deletion } = await startDeleting();
        await after(HOURS);
        assert.deepEqual(sent(socket), ['edit x', `delete ${id(7)}`]);
        socket.reject(deletion, 'forbidden');
        for (const [i, type] of ['edit', 'react', 'edit'].entries()) socket.ack(await socket.expect(type), i + 1);
        await flushMicrotasks();
        assert.deepEqual(answers, [
          [2, 'forbidden'],
          [0, 1, undefined],
          [1, 2, undefined],
          [3, 3, undefined],
        ]);
      });

      for (const isStored of [true, false]) {
        it(`are ${isStored ? 'not sent' : 'sent'} when the replay shows ${isStored ? 'the' : 'no'} deletion`, async () => {
          const { socket } = await startDeleting();
          socket.drop();
          await flushMicrotasks();
          mock.timers.tick(30_000);
          const next = await server.accept();
          const deleted = { type: 'deleted', id: id(7), from_user: 'me', target_user: 'you', deleted_at: 'then' };
          const seq = isStored ? 1 : 0;
          next.welcome(seq);
          if (isStored) next.frame({ ...deleted, seq });
          next.frame({ type: 'synced', seq });
          if (isStored) {
            await flushMicrotasks();
            assert.deepEqual(answers, [...replaced, [2, 1, undefined]]);
            assert.deepEqual(events, [
              ['edit', undefined, true],
              ['react', undefined, true],
              ['delete', 1, undefined],
            ]);
            assert.deepEqual(sent(next), ['edit late']);
          } else {
            for (const [i, type] of ['edit', 'react', 'delete'].entries()) next.ack(await next.expect(type), i + 1);
            await next.expect('edit');
            assert.deepEqual(sent(next), [...all, 'edit late']);
          }
        });
      }

      it('are sent before the deletion if the message itself waits', async () => {
        start();
        const socket = await session();
        const changes = [
          client.send('you', 'a', { id: id(1) }),
          client.send('you', 'b', { id: id(2) }),
          client.edit('you', id(2), 'c'),
          client.delete('you', id(2)),
          client.delete('you', id(1)),
        ];
        socket.reject(await socket.expect('message'), ...later());
        await after(HOURS);
        const rest = ['message', 'message', 'edit', 'delete', 'delete'];
        for (const [i, type] of rest.entries()) socket.ack(await socket.expect(type), i + 1);
        const acks = await Promise.all(changes);
        assert.deepEqual(
          acks.map(({ seq }) => seq),
          [1, 2, 3, 4, 5],
        );
      });

      it('settle only those of the same message and conversation', async () => {
        start();
        const socket = await session();
        socket.onFrame = frame => {
          if (frame.type === 'edit') queueMicrotask(() => socket.reject(frame, ...later()));
          if (frame.type === 'delete') socket.ack(frame, 1);
        };
        const edits = [
          client.edit('you', id(7), 'x'),
          client.edit('you', id(8), 'y'),
          client.edit('them', id(7), 'z'),
          client.edit({ room: 'you' }, id(7), 'r'),
        ];
        for (const edit of edits) edit.catch(() => {});
        await flushMicrotasks();
        await client.delete('you', id(7));
        assert.equal((await edits[0])?.duplicate, true);
        assert.deepEqual(
          client.pending.map(frame => 'message' in frame && frame.message),
          ['y', 'z', 'r'],
        );
      });
    });

    it('are reported, and sent again by the next connection', async () => {
      const events: unknown[] = [];
      start().on('delayed', ({ frame, retryInMs, error }) => {
        events.push([(frame as InFrame).message, retryInMs, error.code, error.retryable]);
      });
      const socket = await session();
      void client.send('you', 'a').catch(() => {});
      socket.reject(await socket.expect('message'), 'rate_limited', { retryable: true, retry_after_ms: 2000 });
      assert.deepEqual(events, []);
      await after(2000);
      socket.reject(await socket.expect('message'), ...later('overloaded'));
      assert.deepEqual(events, [['a', HOURS, 'overloaded', true]]);
      assert.deepEqual(
        client.pending.map(frame => 'message' in frame && frame.message),
        ['a'],
      );
      socket.drop();
      assert.equal((await (await reconnected()).expect('message')).message, 'a');
    });

    it('are sent after any time, and fail if they are ephemeral', async () => {
      start();
      const socket = await server.session(0, { heartbeat_seconds: 1_000_000 });
      const flash = client.send('you', 'flash', { ephemeral: true });
      socket.reject(await socket.expect('message'), ...later());
      await assert.rejects(flash, { code: 'rate_limited', retryable: true });
      const delays: unknown[] = [];
      const { setTimeout } = globalThis;
      mock.method(globalThis, 'setTimeout', (run: () => void, delay: number) => {
        delays.push(delay);
        return setTimeout(run, delay);
      });
      void client.send('you', 'a').catch(() => {});
      const retry_after_ms = 2 ** 31 + 1000;
      socket.reject(await socket.expect('message'), 'rate_limited', { retryable: true, retry_after_ms });
      // A longer timer would expire at once.
      assert.equal(delays.at(-1), 2 ** 31 - 1);
      await after(2 ** 30);
      socket.frame({ type: 'heartbeat', timestamp: '' });
      await after(2 ** 30 - 1);
      assert.equal(messages(socket).length, 2);
      assert.equal(delays.at(-1), 1001);
    });
  });

  it('are retried with backoff when the error has no retry_after_ms', async () => {
    start();
    const socket = await server.session();
    const sending = client.send('you', 'a');
    for (const wait of [250, 500, 1000]) {
      socket.reject(await socket.expect('message'), 'internal', { retryable: true });
      await after(wait - 1);
      const before = messages(socket).length;
      await after(1);
      assert.equal(messages(socket).length, before + 1);
    }
    socket.ack(await socket.expect('message'), 1);
    await sending;
  });

  it('do not block other conversations', async () => {
    start();
    const socket = await server.session();
    void client.send('you', 'a').catch(() => {});
    void client.send('you', 'b').catch(() => {});
    void client.send('them', 'c').catch(() => {});
    await flushMicrotasks();
    assert.deepEqual(messages(socket), ['a', 'c']);
  });

  it('stay below the rate limit of the server', async () => {
    start();
    const socket = await server.accept();
    socket.onFrame = frame => {
      if (frame.type === 'message') socket.ack(frame, messages(socket).length);
    };
    socket.welcome(0, { limits: { max_frame_bytes: 65536, messages_per_second: 10 } });
    socket.frame({ type: 'synced', seq: 0 });
    for (let i = 0; i < 100; i += 1) void client.send('you', String(i));
    await flushMicrotasks();
    assert.equal(messages(socket).length, 9);
    for (let i = 0; i < 480; i += 1) await after(25);
    assert.deepEqual(
      messages(socket),
      Array.from({ length: 100 }, (_, i) => String(i)),
    );
  });

  it('fail when they are too large, without blocking the next one', async () => {
    start();
    const large = client.send('you', 'é'.repeat(40_000));
    const small = client.send('you', 'x');
    const socket = await server.session();
    await assert.rejects(large, { code: 'too_large', retryable: false });
    socket.ack(await socket.expect('message'), 1);
    assert.equal((await small).seq, 1);
  });

  it('fail with the connection if they are ephemeral', async () => {
    start();
    await assert.rejects(client.send('you', 'x', { ephemeral: true }), { code: 'disconnected', retryable: true });
    const socket = await server.session();
    const relayed = client.send('you', 'y', { ephemeral: true });
    const frame = await socket.expect('message');
    socket.ack(frame, 0, { seq: undefined, status: 'relayed' });
    assert.equal((await relayed).status, 'relayed');
    const lost = client.send('you', 'z', { ephemeral: true });
    await socket.expect('message');
    socket.drop();
    await assert.rejects(lost, { code: 'disconnected' });
    assert.deepEqual(messages(await reconnected()), []);
  });

  it('include edits, deletions and reactions in the order of the conversation', async () => {
    start();
    const id = '00000000-0000-0000-0000-000000000001';
    const all = Promise.all([
      client.send('you', 'a', { id }),
      client.edit('you', id, 'b'),
      client.react('you', id, '+'),
      client.react('you', id, '+', { remove: true }),
      client.delete('you', id),
    ]);
    const socket = await server.session();
    const seen: unknown[] = [];
    for (const [i, type] of ['message', 'edit', 'react', 'react', 'delete'].entries()) {
      const frame = await socket.expect(type);
      seen.push([frame.target_user, frame.id, frame.message ?? frame.emoji, frame.remove]);
      socket.ack(frame, i + 1);
    }
    assert.deepEqual(seen, [
      ['you', id, 'a', undefined],
      ['you', id, 'b', undefined],
      ['you', id, '+', undefined],
      ['you', id, '+', true],
      ['you', id, undefined, undefined],
    ]);
    assert.deepEqual(
      (await all).map(ack => ack.seq),
      [1, 2, 3, 4, 5],
    );
  });

  describe('that change a message', () => {
    const id = '00000000-0000-0000-0000-000000000001';
    const mine = { id, from_user: 'me', target_user: 'you' };
    const edited = (seq: number, message: string) => ({ type: 'edited', seq, message, edited_at: 'then', ...mine });
    const skipped = (seq: number) => ({ type: 'skipped', seq });
    /** Sends a change whose ack is lost, and replays `entries` on the next connection. */
    async function replayed(change: () => Promise<unknown>, entries: Record<string, unknown>[]) {
      const socket = await server.session(10);
      let settled = false;
      change().then(
        () => (settled = true),
        () => {},
      );
      await flushMicrotasks();
      assert.equal(socket.sent.length, 1);
      socket.drop();
      await flushMicrotasks();
      mock.timers.tick(30_000);
      const next = await server.accept();
      next.welcome(10 + entries.length);
      for (const entry of entries) next.frame(entry);
      next.frame({ type: 'synced', seq: 10 + entries.length });
      await flushMicrotasks();
      return { settled, resent: next.sent.filter(({ type }) => type !== 'received') };
    }

    const changes: [string, () => Promise<unknown>, Record<string, unknown>][] = [
      ['an edit', () => client.edit('you', id, 'new'), edited(11, 'new')],
      ['a deletion', () => client.delete('you', id), { type: 'deleted', seq: 11, deleted_at: 'then', ...mine }],
      ['a reaction', () => client.react('you', id, '+'), { type: 'reacted', seq: 11, emoji: '+', ...mine }],
      [
        'the removal of a reaction',
        () => client.react('you', id, '+', { remove: true }),
        { type: 'reacted', seq: 11, emoji: '+', removed: true, ...mine },
      ],
    ];
    for (const [what, change, entry] of changes) {
      it(`do not send ${what} again when the replay shows it`, async () => {
        start();
        const events: unknown[] = [];
        client.on('sent', ({ ack }) => void events.push(ack.seq));
        client.on(entry.type as 'edited', () => void events.push('entry'));
        assert.deepEqual(await replayed(change, [entry]), { settled: true, resent: [] });
        assert.deepEqual(events, [11]);
      });

      it(`send ${what} again when the replay shows a different one`, async () => {
        start();
        for (const other of [
          { ...entry, from_user: 'you', target_user: 'me' },
          { ...entry, id: 'other' },
          { ...entry, target_user: 'them' },
          { ...edited(11, 'not new'), type: entry.type, emoji: '-' },
        ].slice(0, entry.type === 'deleted' ? 3 : 4)) {
          const { settled, resent } = await replayed(change, [other]);
          assert.deepEqual([settled, resent.length], [false, 1], JSON.stringify(other));
          await client.close().catch(() => {});
          start();
        }
      });
    }

    it('do not undo a newer edit of another device', async () => {
      start();
      const events: unknown[] = [];
      client.on('sent', ({ frame }) => void events.push((frame as InFrame).message));
      client.on('edited', ({ message }) => void events.push(message));
      // The entry of a superseded edit does not show what it was.
      const entries = [skipped(11), edited(12, 'newest')];
      assert.deepEqual(await replayed(() => client.edit('you', id, 'new'), entries), { settled: true, resent: [] });
      assert.deepEqual(events, ['new', 'newest']);
    });

    it('do not undo a newer change of a reaction', async () => {
      start();
      const reacted = { type: 'reacted', seq: 12, emoji: '+', removed: true, ...mine };
      const entries = [skipped(11), reacted];
      assert.deepEqual(await replayed(() => client.react('you', id, '+'), entries), { settled: true, resent: [] });
    });

    it('are sent again when no entry of a newer change is there', async () => {
      start();
      for (const entries of [
        [skipped(11)],
        [edited(11, 'older'), skipped(12)],
        [skipped(11), { ...edited(12, 'x'), id: 'other' }],
        [skipped(11), { type: 'reacted', seq: 12, emoji: '+', ...mine }],
      ]) {
        const { settled, resent } = await replayed(() => client.edit('you', id, 'new'), entries);
        assert.deepEqual([settled, resent.length], [false, 1], JSON.stringify(entries));
        await client.close().catch(() => {});
        start();
      }
    });

    it('are recognized in the replay after superseded entries of others', async () => {
      start();
      const events: unknown[] = [];
      client.on('sent', ({ ack }) => void events.push(ack.seq));
      const entries = [skipped(11), edited(12, 'new')];
      assert.deepEqual(await replayed(() => client.edit('you', id, 'new'), entries), { settled: true, resent: [] });
      assert.deepEqual(events, [12]);
    });

    it('are not confused with edits of another device while the server is busy', async () => {
      start();
      const socket = await server.session(10);
      void client.edit('you', id, 'new').catch(() => {});
      socket.reject(await socket.expect('edit'), 'rate_limited', { retryable: true, retry_after_ms: 250 });
      for (const [i, text] of ['new', 'newer', 'newest'].entries()) socket.frame(edited(11 + i, text));
      socket.drop();
      await flushMicrotasks();
      mock.timers.tick(30_000);
      const next = await server.accept();
      next.welcome(16);
      for (let seq = 14; seq <= 15; seq += 1) next.frame({ type: 'skipped', seq });
      next.frame(edited(16, 'newest'));
      next.frame({ type: 'synced', seq: 16 });
      await flushMicrotasks();
      assert.equal((await next.expect('edit')).message, 'new');
    });

    it('are not confused with an older edit with the same content', async () => {
      const frame = { type: 'edit', target_user: 'you', id, message: 'new' };
      const open = async () => ({
        saved: { v: 1, user: 'me', epoch: 'e1', seq: 3, outbox: [{ frame, after: 5 }] } as const,
        save() {},
        close() {},
      });
      for (const seq of [5, 6]) {
        start({ storage: { open } });
        client.on('edited', () => {});
        const socket = await server.accept();
        socket.welcome(6);
        socket.message(4);
        client.on('message', () => {});
        for (let at = 5; at < seq; at += 1) socket.message(at);
        socket.frame(edited(seq, 'new'));
        socket.frame({ type: 'synced', seq: 6 });
        await flushMicrotasks();
        assert.equal(socket.sent.filter(({ type }) => type === 'edit').length, seq === 5 ? 1 : 0);
        await client.close();
      }
    });
  });

  it('include every read mark, in order, and again if it may have been lost', async () => {
    start();
    // The client cannot know which mark is the furthest.
    const ids = [9, 3, 3].map(n => `00000000-0000-0000-0000-00000000000${n}`);
    const confirmed: unknown[] = [];
    for (const id of ids) void client.markRead('you', id).then(() => confirmed.push(id));
    const socket = await server.session();
    assert.equal((await socket.expect('read')).id, ids[0]);
    await socket.expect('ping');
    socket.drop();
    const next = await reconnected();
    for (const [i, id] of ids.slice(0, 2).entries()) {
      assert.equal((await next.expect('read')).id, id);
      assert.deepEqual(confirmed, ids.slice(0, i));
      next.frame({ type: 'pong', server_time: '', ref: (await next.expect('ping')).ref });
      await flushMicrotasks();
    }
    assert.deepEqual(confirmed, ids);
    next.drop();
    assert.deepEqual((await reconnected()).sent, []);
  });

  it('repeat requests that were unanswered when the connection was lost', async () => {
    start();
    const requesting = client.request({ type: 'history', target_user: 'you' });
    const socket = await server.accept();
    socket.welcome(9);
    const request = await socket.expect('history');
    socket.drop();
    const next = await reconnected();
    assert.deepEqual(await next.expect('history'), request);
    next.frame({ type: 'history', target_user: 'you', messages: [], more: false, ref: request.ref });
    assert.equal((await requesting).more, false);
  });

  it('load history page by page, backwards and forwards', async () => {
    start();
    const socket = await server.session();
    const pages = async (forward: boolean) => {
      const texts: unknown[] = [];
      for await (const { message } of client.history('you', forward ? { after: 'm0', pageSize: 2 } : { pageSize: 2 })) {
        texts.push(message);
      }
      return texts;
    };
    socket.onFrame = ({ ref, before, after }) => {
      const all = ['m1', 'm2', 'm3', 'm4', 'm5'].map(id => ({ id, message: id }));
      const at = (id: unknown) => all.findIndex(message => message.id === id);
      const end = before === undefined ? 5 : at(before);
      const from = after === undefined ? Math.max(0, end - 2) : at(after) + 1;
      const page = all.slice(from, Math.min(end, from + 2));
      socket.frame({ type: 'history', messages: page, more: after === undefined ? from > 0 : from + 2 < 5, ref });
    };
    assert.deepEqual(await pages(false), ['m5', 'm4', 'm3', 'm2', 'm1']);
    assert.deepEqual(await pages(true), ['m1', 'm2', 'm3', 'm4', 'm5']);
  });

  it('load conversations page by page, and fail with the error of the server', async () => {
    start();
    const socket = await server.session();
    socket.onFrame = frame => {
      const { cursor, ref } = frame;
      if (cursor === 'c2') socket.reject(frame, 'unknown_message', { path: '/cursor' });
      else socket.frame({ type: 'conversations', items: [{ unread: cursor ?? 0 }], cursor: cursor ? 'c2' : 'c1', ref });
    };
    const seen: unknown[] = [];
    await assert.rejects(
      async () => {
        for await (const { unread } of client.conversations()) seen.push(unread);
      },
      { code: 'unknown_message', path: '/cursor' },
    );
    assert.deepEqual(seen, [0, 'c1']);
  });

  it('include block and unblock requests', async () => {
    start();
    const socket = await server.session();
    const blocking = client.block('you');
    const frame = await socket.expect('block');
    assert.equal(frame.user, 'you');
    socket.frame({ type: 'ok', ref: frame.ref });
    await blocking;
    const unblocking = client.unblock('you');
    socket.reject(await socket.expect('unblock'), 'unknown_type');
    await assert.rejects(unblocking, { code: 'unknown_type' });
  });

  it('fail at close() and afterwards', async () => {
    start();
    const sending = client.send('you', 'x');
    const requesting = client.request({ type: 'conversations' });
    await client.close();
    await assert.rejects(sending, { code: 'closed' });
    await assert.rejects(requesting, { code: 'closed' });
    await assert.rejects(client.markRead('you', 'x'), { code: 'closed' });
    await assert.rejects(client.request({ type: 'ping' }), { code: 'closed' });
    assert.equal(client.state.status, 'closed');
  });

  it('do not consume errors without a ref, which are emitted as events', async () => {
    start();
    const errors: unknown[] = [];
    client.on('error', ({ code }) => errors.push(code));
    const socket = await server.session();
    socket.frame({ type: 'error', code: 'rate_limited', detail: '', retryable: true });
    assert.deepEqual(errors, ['rate_limited']);
  });
});
