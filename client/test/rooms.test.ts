import assert from 'node:assert/strict';
import { afterEach, beforeEach, describe, it, mock } from 'node:test';
import { type Client, type ConnectOptions, connect, type InFrame, type Saved } from '../src/index.js';
import { FakeServer, type FakeSocket, flushMicrotasks, mockClock } from './support/fake.js';

const AT = '2026-01-01T00:00:00.000Z';
const ID = '00000000-0000-0000-0000-000000000001';

describe('rooms', { timeout: 60_000 }, () => {
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
  async function accept(): Promise<FakeSocket> {
    await flushMicrotasks();
    mock.timers.tick(30_000);
    return server.accept();
  }
  async function after(milliseconds: number): Promise<void> {
    await flushMicrotasks();
    mock.timers.tick(milliseconds);
    await flushMicrotasks();
  }
  function entry(seq: number, event: string, more: Record<string, unknown> = {}): Record<string, unknown> {
    return { type: 'room', room: 'r', event, user: 'me', seq, members: 1, at: AT, ...more };
  }
  /** The frames that the client has sent, without acknowledgements. */
  function sent(socket: FakeSocket): string[] {
    const frames = socket.sent.filter(({ type }) => type !== 'received');
    return frames.map(({ type, room, target_room, message }) =>
      `${type} ${room ?? target_room} ${message ?? ''}`.trim(),
    );
  }
  /** Answers the frames that were sent on a connection, and all later ones. */
  function answering(socket: FakeSocket, seq = 0): void {
    const answer = (frame: InFrame) => {
      if (frame.type === 'received') return;
      seq += 1;
      socket.ack(frame, seq);
    };
    const earlier = [...socket.sent];
    socket.onFrame = answer;
    for (const frame of earlier) answer(frame);
  }

  it('are joined and left, each with an ack that is an entry of the log', async () => {
    start();
    const events: unknown[] = [];
    client.on('sent', ({ frame, ack }) => void events.push([frame.type, ack.room, ack.seq]));
    client.on('room', ({ event, user, members }) => void events.push([event, user, members]));
    const socket = await server.session();
    const joining = client.join('r');
    const join = await socket.expect('join');
    assert.deepEqual(join, { type: 'join', room: 'r', ref: join.ref });
    socket.ack(join, 1);
    assert.deepEqual(await joining, { type: 'ack', room: 'r', seq: 1, status: 'stored', sent_at: AT, ref: join.ref });
    socket.frame(entry(2, 'joined', { user: 'you', members: 2 }));
    socket.frame(entry(3, 'left', { user: 'you' }));
    const leaving = client.leave('r');
    socket.ack(await socket.expect('leave'), 4);
    assert.equal((await leaving).seq, 4);
    // Done on another device.
    socket.frame(entry(5, 'joined'));
    await after(100);
    assert.deepEqual(events, [
      ['join', 'r', 1],
      ['joined', 'you', 2],
      ['left', 'you', 1],
      ['leave', 'r', 4],
      ['joined', 'me', 1],
    ]);
    // The position names the time of the entry, which has no id.
    socket.drop();
    const { searchParams } = (await accept()).url;
    assert.deepEqual(
      ['since', 'since_id', 'since_at'].map(name => searchParams.get(name)),
      ['5', null, AT],
    );
  });

  it('resolve with the first ack if nothing changes', async () => {
    start();
    const events: unknown[] = [];
    client.on('sent', ({ frame, ack }) => void events.push([frame.type, ack.duplicate, ack.seq]));
    const socket = await server.session(9);
    const changes = [client.join('r'), client.leave('other')];
    socket.ack(await socket.expect('join'), 3, { duplicate: true });
    socket.ack(await socket.expect('leave'), 0, { seq: undefined, duplicate: true });
    assert.deepEqual(
      (await Promise.all(changes)).map(({ seq }) => seq),
      [3, undefined],
    );
    await flushMicrotasks();
    assert.deepEqual(events, [
      ['join', true, 3],
      ['leave', true, undefined],
    ]);
    assert.deepEqual(client.pending, []);
  });

  it('fail with the error of the server', async () => {
    start();
    const failed: unknown[] = [];
    client.on('failed', ({ frame, error }) => failed.push([frame.type, error.code, error.path]));
    const socket = await server.session();
    const joining = client.join('r');
    const sending = client.send({ room: 'r' }, 'x');
    socket.reject(await socket.expect('join'), 'room_full', { path: '/room' });
    await assert.rejects(joining, { code: 'room_full', path: '/room', retryable: false });
    // It was sent after the join had failed.
    socket.reject(await socket.expect('message'), 'not_member', { path: '/target_room' });
    await assert.rejects(sending, { code: 'not_member', path: '/target_room', retryable: false });
    assert.deepEqual(failed, [
      ['join', 'room_full', '/room'],
      ['message', 'not_member', '/target_room'],
    ]);
    assert.deepEqual(client.pending, []);
  });

  it('are targets of all frames', async () => {
    start();
    const socket = await server.session();
    const room = { room: 'r' };
    const all = [
      client.send(room, 'a', { id: ID }),
      client.edit(room, ID, 'b'),
      client.react(room, ID, '+'),
      client.delete(room, ID),
    ];
    for (const [i, type] of ['message', 'edit', 'react', 'delete'].entries()) {
      const frame = await socket.expect(type);
      assert.deepEqual([frame.target_room, frame.target_user, frame.id], ['r', undefined, ID]);
      socket.ack(frame, i + 1);
    }
    await Promise.all(all);
    client.typing(room);
    assert.equal((await socket.expect('typing')).target_room, 'r');
    void client.markRead(room, ID).catch(() => {});
    assert.equal((await socket.expect('read')).target_room, 'r');
    await socket.expect('ping');
    void client
      .history(room)
      .next()
      .catch(() => {});
    assert.equal((await socket.expect('history')).target_room, 'r');
  });

  it('have members, in pages', async () => {
    start();
    const socket = await server.session();
    socket.onFrame = ({ type, room, limit, cursor, ref }) => {
      assert.deepEqual([type, room, limit], ['members', 'r', 2]);
      const users = (cursor ? ['c'] : ['a', 'b']).map(user => ({ user, joined_at: AT }));
      socket.frame({ type: 'members', room, users, total: 3, ...(!cursor && { cursor: 'c1' }), ref });
    };
    const users = [];
    for await (const { user } of client.members('r', { pageSize: 2 })) users.push(user);
    assert.deepEqual(users, ['a', 'b', 'c']);
    socket.onFrame = frame => socket.reject(frame, 'not_member', { path: '/room' });
    await assert.rejects(client.members('r').next(), { code: 'not_member', path: '/room' });
  });

  it('are listed with the conversations, without messages too', async () => {
    start();
    const socket = await server.session();
    const items = [
      { target_room: 'r', members: 2, unread: 0 },
      { target_user: 'you', last: { id: ID, message: 'x' }, unread: 1 },
    ];
    socket.onFrame = ({ ref }) => socket.frame({ type: 'conversations', items, ref });
    const seen = [];
    for await (const { target_room, members, last } of client.conversations())
      seen.push([target_room, members, last?.id]);
    assert.deepEqual(seen, [
      ['r', 2, undefined],
      [undefined, undefined, ID],
    ]);
  });

  describe('keep the order of their frames', () => {
    it('while offline, until the join is answered', async () => {
      start();
      const all = [
        client.join('r'),
        client.send({ room: 'r' }, 'a'),
        client.markRead({ room: 'r' }, ID),
        client.history({ room: 'r' }).next(),
        client.members('r').next(),
        client.leave('r'),
        client.join('r'),
        client.send({ room: 'r' }, 'b'),
      ];
      const others = [client.send({ room: 'other' }, 'c'), client.send('r', 'd'), client.conversations().next()];
      for (const promise of [...all, ...others]) promise.catch(() => {});
      const socket = await server.session();
      await flushMicrotasks();
      assert.deepEqual(sent(socket).sort(), [
        'conversations undefined',
        'join r',
        'message other c',
        'message undefined d',
      ]);
      // Neither is it answered with an error, nor does anybody outside the room see it.
      client.typing({ room: 'r' });
      await assert.doesNotReject(flushMicrotasks());
      assert.equal(
        socket.sent.some(({ type }) => type === 'typing'),
        false,
      );
      const find = (type: string, message?: string, n = 0) =>
        socket.sent.filter(frame => frame.type === type && frame.message === message)[n] as InFrame;
      socket.ack(find('join'), 1);
      await flushMicrotasks();
      const requests = ['read r', 'ping undefined', 'history r', 'members r'];
      // The requests were made before the leave, which waits only for the messages and changes.
      assert.deepEqual(sent(socket).slice(4), ['message r a', ...requests]);
      socket.ack(find('message', 'a'), 2);
      await flushMicrotasks();
      socket.ack(find('leave'), 3);
      await flushMicrotasks();
      socket.ack(find('join', undefined, 1), 4);
      await flushMicrotasks();
      assert.deepEqual(sent(socket).slice(9), ['leave r', 'join r', 'message r b']);
    });

    it('while the server delays the join', async () => {
      start();
      const socket = await server.session(0, { heartbeat_seconds: 100_000 });
      const all = [client.join('r'), client.send({ room: 'r' }, 'a'), client.edit({ room: 'r' }, ID, 'b')];
      const delay = { retryable: true, retry_after_ms: 3_600_000 };
      socket.reject(await socket.expect('join'), 'rate_limited', delay);
      const other = client.send({ room: 'other' }, 'c');
      const flash = client.send({ room: 'r' }, 'flash', { ephemeral: true });
      await after(3_599_999);
      assert.deepEqual(sent(socket), ['join r', 'message other c']);
      answering(socket);
      await after(1);
      await Promise.all([...all, other, flash]);
      assert.deepEqual(sent(socket).slice(2).sort(), ['edit r b', 'join r', 'message r a', 'message r flash']);
      assert.equal(sent(socket)[2], 'join r');
    });

    it('if the user leaves while the server delays a message or a change', async () => {
      for (const change of [() => client.send({ room: 'r' }, 'a'), () => client.react({ room: 'r' }, ID, '+')]) {
        start();
        const socket = await server.session(0, { heartbeat_seconds: 100_000 });
        const changing = change();
        await flushMicrotasks();
        const delay = { retryable: true, retry_after_ms: 3_600_000 };
        socket.reject(socket.sent[0] as InFrame, 'rate_limited', delay);
        const leaving = client.leave('r');
        await flushMicrotasks();
        assert.equal(socket.sent.length, 1);
        socket.onFrame = frame => socket.ack(frame, frame.room ? 2 : 1);
        await after(3_600_000);
        assert.equal((await changing).seq, 1);
        assert.equal((await leaving).seq, 2);
        await client.close();
      }
    });
  });

  describe('after a lost connection', () => {
    /** Sends a frame whose ack is lost, and replays `entries` on the next connection. */
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
      const next = await accept();
      next.welcome(10 + entries.length);
      for (const shown of entries) next.frame(shown);
      next.frame({ type: 'synced', seq: 10 + entries.length });
      await flushMicrotasks();
      return { settled, resent: sent(next), next };
    }

    it('an unanswered join is sent again, before a message', async () => {
      start();
      const first = await server.session();
      const joining = client.join('r');
      const sending = client.send({ room: 'r' }, 'a');
      const join = await first.expect('join');
      first.drop();
      const next = await accept();
      next.welcome(0);
      next.frame({ type: 'synced', seq: 0 });
      await flushMicrotasks();
      assert.deepEqual(next.sent, [join]);
      next.ack(join, 3, { duplicate: true });
      assert.equal((await joining).duplicate, true);
      next.ack(await next.expect('join').then(() => next.expect('message')), 1);
      assert.equal((await sending).seq, 1);
    });

    for (const [change, event] of [
      ['join', 'joined'],
      ['leave', 'left'],
    ] as const) {
      it(`a ${change} is not sent again when the replay shows it`, async () => {
        start();
        const events: unknown[] = [];
        client.on(
          'sent',
          ({ frame, ack }) => void events.push([frame.type, ack.room, ack.seq, ack.sent_at, 'id' in ack]),
        );
        client.on('room', () => void events.push('entry'));
        const { settled, resent } = await replayed(() => client[change]('r'), [entry(11, event)]);
        assert.deepEqual([settled, resent], [true, []]);
        assert.deepEqual(events, [[change, 'r', 11, AT, false]]);
      });

      it(`a ${change} is sent again when the replay shows something else`, async () => {
        for (const other of [
          { user: 'you' },
          { room: 'other' },
          { event: event === 'left' ? 'joined' : 'left' },
          { reason: 'room_deleted' },
          // Not a frame for the room, though a user may have the same name.
          { type: 'message', from_user: 'me', target_user: 'r', message: 'x', sent_at: AT, id: ID, room: undefined },
        ]) {
          start();
          const { settled, resent } = await replayed(() => client[change]('r'), [{ ...entry(11, event), ...other }]);
          assert.deepEqual([settled, resent], [false, [`${change} r`]], JSON.stringify(other));
          await client.close();
        }
      });
    }

    it('a join does not undo that the user has left on another device', async () => {
      start();
      const events: unknown[] = [];
      client.on('room', ({ event }) => void events.push(event));
      const { settled, resent } = await replayed(() => client.join('r'), [entry(11, 'joined'), entry(12, 'left')]);
      assert.deepEqual([settled, resent, events], [true, [], ['left']]);
    });

    it('an ack and an entry of the same join are reported once', async () => {
      start();
      const events: unknown[] = [];
      client.on('sent', ({ ack }) => void events.push(ack.seq));
      client.on('room', ({ seq }) => void events.push(`entry ${seq}`));
      const { settled, next } = await replayed(() => client.join('r'), []);
      assert.equal(settled, false);
      // Added by another connection of the former session, after the start of the replay.
      next.ack(await next.expect('join'), 11, { duplicate: true });
      next.frame(entry(11, 'joined'));
      next.frame(entry(12, 'joined', { user: 'you' }));
      await flushMicrotasks();
      assert.deepEqual(events, [11, 'entry 12']);
    });
  });

  describe('in a storage', () => {
    const join = { type: 'join', room: 'r' };
    const leave = { type: 'leave', room: 'r' };
    function storage(outbox: Saved['outbox']) {
      const saved: Saved = { v: 1, user: 'me', epoch: 'e1', seq: 10, outbox };
      const saves: Saved[] = [];
      return { saves, open: async () => ({ saved, save: (next: Saved) => void saves.push(next), close() {} }) };
    }
    async function replay(entries: Record<string, unknown>[]): Promise<FakeSocket> {
      const socket = await server.accept();
      socket.welcome(10 + entries.length);
      for (const shown of entries) socket.frame(shown);
      socket.frame({ type: 'synced', seq: 10 + entries.length });
      await flushMicrotasks();
      return socket;
    }

    it('are stored before they are sent, and sent by the next run', async () => {
      const first = storage([]);
      start({ storage: first });
      client.join('r').catch(() => {});
      client.send({ room: 'r' }, 'a', { id: ID }).catch(() => {});
      await client.close();
      const { outbox } = first.saves.at(-1) as Saved;
      assert.deepEqual(
        outbox.map(({ frame }) => frame.type),
        ['join', 'message'],
      );
      start({ storage: storage(outbox) });
      const events: unknown[] = [];
      client.on('sent', ({ frame }) => void events.push(frame.type));
      const socket = await replay([]);
      assert.deepEqual(sent(socket), ['join r']);
      answering(socket, 10);
      await flushMicrotasks();
      assert.deepEqual(events, ['join', 'message']);
      assert.deepEqual(client.pending, []);
    });

    it('are not sent again if the entry of a later one shows that they were', async () => {
      start({
        storage: storage([
          { frame: join, after: 10 },
          { frame: leave, after: 10 },
        ]),
      });
      const events: unknown[] = [];
      client.on('sent', ({ frame, ack }) => void events.push([frame.type, ack.seq]));
      client.on('room', ({ event }) => void events.push(event));
      const socket = await replay([entry(11, 'left'), entry(12, 'joined')]);
      assert.deepEqual(sent(socket), []);
      // The user has joined again on another device.
      assert.deepEqual(events, [['join', undefined], ['leave', 11], 'joined']);
      assert.deepEqual(client.pending, []);
    });

    it('are reported if their answer names an entry that is shown again', async () => {
      const ack = { type: 'ack', room: 'r', seq: 5, status: 'stored', sent_at: AT, duplicate: true };
      start({ storage: storage([{ frame: join, settled: true, seq: 5, ack }]) });
      const events: unknown[] = [];
      client.on('sent', ({ frame, ack }) => void events.push([frame.type, ack.seq]));
      client.on('room', ({ seq }) => void events.push(seq));
      await replay([entry(5, 'joined'), entry(12, 'joined', { seq: 11, user: 'you' })]);
      assert.deepEqual(events, [11, ['join', 5]]);
    });

    it('are sent again if an older entry shows the same', async () => {
      start({ storage: storage([{ frame: join, after: 11 }]) });
      const socket = await replay([entry(11, 'joined')]);
      assert.deepEqual(sent(socket), ['join r']);
    });
  });

  describe('named in the options', () => {
    const rooms = (socket: FakeSocket) => socket.url.searchParams.getAll('room');

    it('are joined by each connection, until they are left or joined otherwise', async () => {
      start({ rooms: ['a', 'b', 'a+~:@ä', 'a'], membership: 'session' });
      const socket = await server.session();
      assert.deepEqual(rooms(socket), ['a', 'b', 'a+~:@ä']);
      assert.equal(socket.url.searchParams.get('membership'), 'session');
      void client.leave('a').catch(() => {});
      await socket.expect('leave');
      socket.drop();
      const next = await accept();
      assert.deepEqual(rooms(next), ['b', 'a+~:@ä']);
      void client.join('b').catch(() => {});
      next.drop();
      assert.deepEqual(rooms(await accept()), ['a+~:@ä']);
    });

    it('are joined until the user leaves, by default', async () => {
      start({ rooms: ['a'], membership: 'lasting' });
      assert.equal((await server.accept()).url.searchParams.has('membership'), false);
      await client.close();
      start();
      const { searchParams } = (await server.accept()).url;
      assert.deepEqual([searchParams.has('room'), searchParams.has('membership')], [false, false]);
    });

    it('fail one by one, and are asked for again by the next connection', async () => {
      start({ rooms: ['a', 'b', 'c'] });
      const failed: unknown[] = [];
      const errors: unknown[] = [];
      client.on('failed', ({ frame, error }) => failed.push([frame, error.code, error.path, error.retryable]));
      client.on('error', ({ code, path }) => errors.push([code, path]));
      const refuse = (socket: FakeSocket, path: string, code: string) => {
        socket.frame({ type: 'error', code, detail: code, path, retryable: code === 'overloaded' });
      };
      const socket = await server.accept();
      socket.welcome(1);
      refuse(socket, '/room/1', 'room_full');
      refuse(socket, '/room/2', 'overloaded');
      // Of raw frames.
      for (const path of ['/room', '/room/3', '/room/x', '/target_room/0']) refuse(socket, path, 'forbidden');
      socket.frame({ ...entry(1, 'joined'), room: 'a' });
      socket.frame({ type: 'synced', seq: 1 });
      await flushMicrotasks();
      assert.deepEqual(failed, [
        [{ type: 'join', room: 'b' }, 'room_full', '/room/1', false],
        [{ type: 'join', room: 'c' }, 'overloaded', '/room/2', true],
      ]);
      assert.equal(errors.length, 6);
      assert.equal(client.state.status, 'open');
      // The numbers are those of the URL of the connection.
      client.leave('a').catch(() => {});
      refuse(socket, '/room/0', 'forbidden');
      assert.deepEqual((failed[2] as [unknown])[0], { type: 'join', room: 'a' });
      socket.drop();
      const next = await accept();
      assert.deepEqual(rooms(next), ['b', 'c']);
      next.welcome(1);
      refuse(next, '/room/0', 'forbidden');
      assert.deepEqual((failed[3] as [unknown])[0], { type: 'join', room: 'b' });
    });
  });
});
