import assert from 'node:assert/strict';
import { afterEach, beforeEach, describe, it, mock } from 'node:test';
import { type Client, type ConnectOptions, connect, DmwireError, type InFrame } from '../src/index.js';
import { FakeServer, type FakeSocket, settle } from './support/fake.js';

describe('what is sent', { timeout: 20_000 }, () => {
  let server: FakeServer;
  let client: Client;

  beforeEach(() => {
    mock.timers.enable({ apis: ['setTimeout', 'Date'] });
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
  async function again(): Promise<FakeSocket> {
    await settle();
    mock.timers.tick(30_000);
    return server.session();
  }
  async function after(milliseconds: number): Promise<void> {
    await settle();
    mock.timers.tick(milliseconds);
    await settle();
  }
  function messages(socket: FakeSocket): unknown[] {
    return socket.sent.filter(frame => frame.type === 'message').map(frame => frame.message);
  }

  it('resolves with the ack, for a user, a room, with content and options', async () => {
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

  it('fails with what the server says, and is not tried again', async () => {
    start();
    const failed: unknown[] = [];
    client.on('failed', ({ frame, error }) => failed.push([(frame as InFrame).message, error.code]));
    const socket = await server.session();
    const sending = client.send('you', 'x');
    socket.refuse(await socket.expect('message'), 'invalid_frame', { path: '/message' });
    await assert.rejects(sending, (error: unknown) => {
      assert.ok(error instanceof DmwireError);
      assert.deepEqual([error.code, error.path, error.retryable], ['invalid_frame', '/message', false]);
      return true;
    });
    assert.deepEqual(failed, [['x', 'invalid_frame']]);
    assert.deepEqual(client.pending, []);
    socket.drop();
    assert.deepEqual(messages(await again()), []);
  });

  it('has the answer that is its own, though the same id goes to two', async () => {
    start();
    const socket = await server.session();
    const id = '00000000-0000-0000-0000-000000000001';
    const [stored, refused] = [client.send('you', 'x', { id }), client.send('them', 'x', { id })];
    const [first, second] = [await socket.expect('message'), await socket.expect('message')];
    assert.notEqual(first.ref, second.ref);
    // What is refused need not wait for what is stored.
    socket.refuse(second, 'blocked');
    socket.ack(first, 1);
    await assert.rejects(refused, { code: 'blocked' });
    assert.equal((await stored).seq, 1);
  });

  it('is what it was when it was given', async () => {
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

  it('fails alone when no JSON can say it', async () => {
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

  it('waits while there is no line, and then goes out once, in order', async () => {
    start();
    const acks = ['a', 'b', 'c'].map(text => client.send('you', text));
    assert.equal(client.pending.length, 3);
    const socket = await server.accept();
    assert.equal(socket.sent.length, 0);
    socket.welcome(0);
    await settle();
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

  it('goes out again with the same id when the ack was lost', async () => {
    start();
    const first = await server.session();
    const sending = client.send('you', 'x');
    const frame = await first.expect('message');
    first.drop();
    const second = await again();
    const same = await second.expect('message');
    assert.deepEqual(same, frame);
    second.ack(same, 1, { duplicate: true });
    assert.equal((await sending).seq, 1);
  });

  it('need not go out again when the replay shows it', async () => {
    start();
    const sent: unknown[] = [];
    const came: unknown[] = [];
    client.on('sent', ({ ack }) => void sent.push(ack.seq));
    client.on('message', message => void came.push(message.message));
    const first = await server.session();
    const sending = client.send('you', 'x');
    const { id } = await first.expect('message');
    first.drop();
    await settle();
    mock.timers.tick(30_000);
    const second = await server.accept();
    second.welcome(1);
    second.message(1, 'x', 'me', { id, target_user: 'you' });
    second.frame({ type: 'synced', seq: 1 });
    assert.equal((await sending).seq, 1);
    await settle();
    assert.deepEqual(messages(second), []);
    assert.deepEqual(sent, [1]);
    // It is answered, so it is no news.
    assert.deepEqual(came, []);
  });

  it('is told once by sent when it was answered and the replay shows it too', async () => {
    start();
    const events: unknown[] = [];
    client.on('sent', ({ ack }) => void events.push(`sent ${ack.seq}`));
    client.on('message', message => void events.push(message.message));
    const socket = await server.session();
    socket.message(1);
    await settle();
    const sending = client.send('you', 'x');
    await after(100);
    const frame = socket.sent.find(({ type }) => type === 'message') as InFrame;
    socket.drop();
    const next = await again();
    // The answer overtakes the entry.
    next.ack(frame, 2, { duplicate: true });
    await sending;
    next.message(2, 'x', 'me', { id: frame.id, target_user: 'you' });
    next.message(3);
    await settle();
    assert.deepEqual(
      events.filter(event => event === 'x'),
      [],
    );
    assert.equal(events.at(-1), 'm3');
  });

  it('stays known until its entry is handled, so that a replay of it is no news', async () => {
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
    // Entries 1 and 2 stand before it, and the line breaks behind its ack, which has come too early.
    socket.message(1);
    socket.ack(frame, 3, { duplicate: true });
    await sending;
    release();
    socket.drop();
    const next = await again();
    next.message(2);
    next.message(3, 'x', 'me', { id: frame.id, target_user: 'you' });
    for (let i = 0; i < 3; i += 1, await settle()) release();
    assert.deepEqual(events, ['m1', 'sent 3', 'm2']);
  });

  it('keeps the order of a conversation when the server is busy', async () => {
    start();
    const socket = await server.session();
    const acks = ['a', 'b'].map(text => client.send('you', text));
    socket.refuse(await socket.expect('message'), 'rate_limited', { retryable: true, retry_after_ms: 250 });
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

  it('tries again with waits of its own when the server names none', async () => {
    start();
    const socket = await server.session();
    const sending = client.send('you', 'a');
    for (const wait of [250, 500, 1000]) {
      socket.refuse(await socket.expect('message'), 'internal', { retryable: true });
      await after(wait - 1);
      const before = messages(socket).length;
      await after(1);
      assert.equal(messages(socket).length, before + 1);
    }
    socket.ack(await socket.expect('message'), 1);
    await sending;
  });

  it('does not hold up other conversations', async () => {
    start();
    const socket = await server.session();
    void client.send('you', 'a').catch(() => {});
    void client.send('you', 'b').catch(() => {});
    void client.send('them', 'c').catch(() => {});
    await settle();
    assert.deepEqual(messages(socket), ['a', 'c']);
  });

  it('keeps to the pace that the server names', async () => {
    start();
    const socket = await server.accept();
    socket.onFrame = frame => {
      if (frame.type === 'message') socket.ack(frame, messages(socket).length);
    };
    socket.welcome(0, { limits: { max_frame_bytes: 65536, messages_per_second: 10 } });
    socket.frame({ type: 'synced', seq: 0 });
    for (let i = 0; i < 100; i += 1) void client.send('you', String(i));
    await settle();
    assert.equal(messages(socket).length, 9);
    for (let i = 0; i < 480; i += 1) await after(25);
    assert.deepEqual(
      messages(socket),
      Array.from({ length: 100 }, (_, i) => String(i)),
    );
  });

  it('fails when it is larger than the server takes, and lets the next one through', async () => {
    start();
    const large = client.send('you', 'é'.repeat(40_000));
    const small = client.send('you', 'x');
    const socket = await server.session();
    await assert.rejects(large, { code: 'too_large', retryable: false });
    socket.ack(await socket.expect('message'), 1);
    assert.equal((await small).seq, 1);
  });

  it('is lost with the line when it is ephemeral, and said to be so', async () => {
    start();
    await assert.rejects(client.send('you', 'x', { ephemeral: true }), { code: 'disconnected', retryable: true });
    const socket = await server.session();
    const heard = client.send('you', 'y', { ephemeral: true });
    const frame = await socket.expect('message');
    socket.ack(frame, 0, { seq: undefined, status: 'relayed' });
    assert.equal((await heard).status, 'relayed');
    const lost = client.send('you', 'z', { ephemeral: true });
    await socket.expect('message');
    socket.drop();
    await assert.rejects(lost, { code: 'disconnected' });
    assert.deepEqual(messages(await again()), []);
  });

  it('edits, deletes and reacts in the order of the conversation', async () => {
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

  describe('and changes a message', () => {
    const id = '00000000-0000-0000-0000-000000000001';
    const mine = { id, from_user: 'me', target_user: 'you' };
    const edited = (seq: number, message: string) => ({ type: 'edited', seq, message, edited_at: 'then', ...mine });
    /** A change whose ack is lost with the line, and what the next line brings. */
    async function replayed(change: () => Promise<unknown>, entries: Record<string, unknown>[]) {
      const socket = await server.session(10);
      let settled = false;
      change().then(
        () => (settled = true),
        () => {},
      );
      await settle();
      assert.equal(socket.sent.length, 1);
      socket.drop();
      await settle();
      mock.timers.tick(30_000);
      const next = await server.accept();
      next.welcome(10 + entries.length);
      for (const entry of entries) next.frame(entry);
      next.frame({ type: 'synced', seq: 10 + entries.length });
      await settle();
      return { settled, again: next.sent.filter(({ type }) => type !== 'received') };
    }

    const changes: [string, () => Promise<unknown>, Record<string, unknown>][] = [
      ['an edit', () => client.edit('you', id, 'new'), edited(11, 'new')],
      ['a deletion', () => client.delete('you', id), { type: 'deleted', seq: 11, deleted_at: 'then', ...mine }],
      ['a reaction', () => client.react('you', id, '+'), { type: 'reacted', seq: 11, emoji: '+', ...mine }],
      [
        'the end of a reaction',
        () => client.react('you', id, '+', { remove: true }),
        { type: 'reacted', seq: 11, emoji: '+', removed: true, ...mine },
      ],
    ];
    for (const [what, change, entry] of changes) {
      it(`need not send ${what} again when the replay shows it`, async () => {
        start();
        const told: unknown[] = [];
        client.on('sent', ({ ack }) => void told.push(ack.seq));
        client.on(entry.type as 'edited', () => void told.push('news'));
        assert.deepEqual(await replayed(change, [entry]), { settled: true, again: [] });
        assert.deepEqual(told, [11]);
      });

      it(`sends ${what} again when the replay shows another`, async () => {
        start();
        for (const other of [
          { ...entry, from_user: 'you', target_user: 'me' },
          { ...entry, id: 'other' },
          { ...entry, target_user: 'them' },
          { ...edited(11, 'not new'), type: entry.type, emoji: '-' },
        ].slice(0, entry.type === 'deleted' ? 3 : 4)) {
          const { settled, again } = await replayed(change, [other]);
          assert.deepEqual([settled, again.length], [false, 1], JSON.stringify(other));
          await client.close().catch(() => {});
          start();
        }
      });
    }

    it('does not undo what another device has made of it since', async () => {
      start();
      const told: unknown[] = [];
      client.on('sent', ({ frame }) => void told.push((frame as InFrame).message));
      client.on('edited', ({ message }) => void told.push(message));
      // The replay shows the present, at the place of each edit.
      const entries = [edited(11, 'newest'), edited(12, 'newest')];
      assert.deepEqual(await replayed(() => client.edit('you', id, 'new'), entries), { settled: true, again: [] });
      assert.deepEqual(told, ['newest', 'new', 'newest']);
    });

    it('is not taken for what another device makes while the server is busy', async () => {
      start();
      const socket = await server.session(10);
      void client.edit('you', id, 'new').catch(() => {});
      socket.refuse(await socket.expect('edit'), 'rate_limited', { retryable: true, retry_after_ms: 250 });
      for (const [i, text] of ['new', 'newer', 'newest'].entries()) socket.frame(edited(11 + i, text));
      socket.drop();
      await settle();
      mock.timers.tick(30_000);
      const next = await server.accept();
      next.welcome(16);
      for (let seq = 14; seq <= 16; seq += 1) next.frame(edited(seq, 'newest'));
      next.frame({ type: 'synced', seq: 16 });
      await settle();
      assert.equal((await next.expect('edit')).message, 'new');
    });

    it('is not taken for an older one that said the same', async () => {
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
        await settle();
        assert.equal(socket.sent.filter(({ type }) => type === 'edit').length, seq === 5 ? 1 : 0);
        await client.close();
      }
    });
  });

  it('says of each mark that it was read up to there, in order, and again if that may have been lost', async () => {
    start();
    // Which of them is the furthest, nothing tells here.
    const ids = [9, 3, 3].map(n => `00000000-0000-0000-0000-00000000000${n}`);
    const told: unknown[] = [];
    for (const id of ids) void client.markRead('you', id).then(() => told.push(id));
    const socket = await server.session();
    assert.equal((await socket.expect('read')).id, ids[0]);
    await socket.expect('ping');
    socket.drop();
    const next = await again();
    for (const [i, id] of ids.slice(0, 2).entries()) {
      assert.equal((await next.expect('read')).id, id);
      assert.deepEqual(told, ids.slice(0, i));
      next.frame({ type: 'pong', server_time: '', ref: (await next.expect('ping')).ref });
      await settle();
    }
    assert.deepEqual(told, ids);
    next.drop();
    assert.deepEqual((await again()).sent, []);
  });

  it('asks again for what a broken line has not answered', async () => {
    start();
    const asking = client.request({ type: 'history', target_user: 'you' });
    const socket = await server.accept();
    socket.welcome(9);
    const question = await socket.expect('history');
    socket.drop();
    const next = await again();
    assert.deepEqual(await next.expect('history'), question);
    next.frame({ type: 'history', target_user: 'you', messages: [], more: false, ref: question.ref });
    assert.equal((await asking).more, false);
  });

  it('reads histories page by page, backward and forward', async () => {
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

  it('reads conversations page by page, and fails as the server says', async () => {
    start();
    const socket = await server.session();
    socket.onFrame = frame => {
      const { cursor, ref } = frame;
      if (cursor === 'c2') socket.refuse(frame, 'unknown_message', { path: '/cursor' });
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

  it('blocks by what the server may come to know', async () => {
    start();
    const socket = await server.session();
    const blocking = client.block('you');
    const frame = await socket.expect('block');
    assert.equal(frame.user, 'you');
    socket.frame({ type: 'ok', ref: frame.ref });
    await blocking;
    const unblocking = client.unblock('you');
    socket.refuse(await socket.expect('unblock'), 'unknown_type');
    await assert.rejects(unblocking, { code: 'unknown_type' });
  });

  it('fails at the close, and does nothing afterwards', async () => {
    start();
    const sending = client.send('you', 'x');
    const asking = client.request({ type: 'conversations' });
    await client.close();
    await assert.rejects(sending, { code: 'closed' });
    await assert.rejects(asking, { code: 'closed' });
    await assert.rejects(client.markRead('you', 'x'), { code: 'closed' });
    await assert.rejects(client.request({ type: 'ping' }), { code: 'closed' });
    assert.equal(client.state.status, 'closed');
  });

  it('leaves errors that answer nothing of ours to handlers', async () => {
    start();
    const errors: unknown[] = [];
    client.on('error', ({ code }) => errors.push(code));
    const socket = await server.session();
    socket.frame({ type: 'error', code: 'rate_limited', detail: '', retryable: true });
    assert.deepEqual(errors, ['rate_limited']);
  });
});
