import assert from 'node:assert/strict';
import { afterEach, beforeEach, describe, it } from 'node:test';
import type { PastMessage } from '../../src/index.js';
import { FakeServer, type FakeSocket, flushMicrotasks, waitUntil } from '../../test/support/fake.js';
import { Chat, RAW_DONE_MS } from '../src/chat.js';
import { Conversation, fromFrame, type Message, withReaction } from '../src/conversation.js';
import { FrameLog } from '../src/frames.js';

const at = (n: number) => new Date(Date.UTC(2026, 0, 1) + n * 1000).toISOString();
const id = (n: number) => `00000000-0000-0000-0000-${String(n).padStart(12, '0')}`;
const past = (n: number, more: Record<string, unknown> = {}): PastMessage =>
  ({
    type: 'message',
    id: id(n),
    from_user: 'you',
    target_user: 'me',
    message: `m${n}`,
    sent_at: at(n),
    ...more,
  }) as PastMessage;
const message = (n: number, more: Record<string, unknown> = {}): Message => fromFrame(past(n, more));
const range = (from: number, to: number) => Array.from({ length: to - from + 1 }, (_, i) => from + i);
const numbers = ({ messages }: Conversation) => messages.map(({ id }) => Number(id.slice(-12)));

describe('a conversation', () => {
  it('puts what came live behind the page of history, whatever came first', () => {
    for (const [live, page, expected] of [
      [[], range(1, 5), range(1, 5)],
      [[6, 7], range(1, 5), range(1, 7)],
      [[4, 5, 6], range(1, 5), range(1, 6)],
      [[4, 5], range(1, 5), range(1, 5)],
      // What is older than the page, and does not touch it, comes back by scrolling.
      [[1, 2], range(5, 9), range(5, 9)],
      [[1, 2], [], [1, 2]],
    ] as const) {
      const conversation = new Conversation('you');
      for (const n of live) conversation.add(message(n));
      conversation.takeNewest(
        page.map(n => message(n)),
        true,
      );
      assert.deepEqual(numbers(conversation), expected, `${live} and ${page}`);
      assert.equal(conversation.more, true);
    }
  });

  it('keeps what was scrolled to when the newest page is asked for again', () => {
    const conversation = new Conversation('you');
    conversation.takeNewest(
      range(11, 20).map(n => message(n)),
      true,
    );
    conversation.takeOlder(
      range(1, 12).map(n => message(n)),
      false,
    );
    conversation.add(message(21));
    conversation.takeNewest(
      range(12, 21).map(n => message(n, { message: 'again' })),
      true,
    );
    assert.deepEqual(numbers(conversation), range(1, 21));
    assert.deepEqual([conversation.more, conversation.find(id(15))?.content], [false, 'again']);
    // A server that gives the same page again and again has no older one.
    conversation.takeOlder([message(1), message(2)], true);
    assert.equal(conversation.more, false);
  });

  it('believes the account that is further on', () => {
    const conversation = new Conversation('you');
    conversation.add(message(1));
    conversation.change(id(1), known => ({ ...known, content: 'new', editedAt: at(9) }));
    conversation.takeNewest([message(1, { message: 'old', edited_at: at(5) })], false);
    assert.equal(conversation.find(id(1))?.content, 'new');
    conversation.takeNewest([message(1, { message: 'newest', edited_at: at(10) })], false);
    assert.equal(conversation.find(id(1))?.content, 'newest');
  });

  it('knows a message that comes again, and puts a late one of ours where it belongs', () => {
    const conversation = new Conversation('you');
    for (const n of [1, 2, 4]) assert.equal(conversation.add(message(n)), true);
    assert.equal(conversation.add(message(2)), false);
    conversation.insert(message(3));
    conversation.insert(message(3));
    assert.deepEqual(numbers(conversation), range(1, 4));
    conversation.insert(message(0));
    assert.deepEqual(numbers(conversation), range(0, 4));
  });

  it('leaves one of ours that is older than its messages to the page before them', () => {
    const conversation = new Conversation('you');
    conversation.takeNewest(
      range(40, 42).map(n => message(n)),
      true,
    );
    conversation.insert(message(1));
    assert.deepEqual(numbers(conversation), range(40, 42));
    conversation.takeOlder(
      range(1, 39).map(n => message(n)),
      false,
    );
    assert.deepEqual(numbers(conversation), range(1, 42));
  });

  it('is not told to be unread by a list that is older than its read mark', () => {
    const conversation = new Conversation('you');
    conversation.takeNewest(
      range(1, 5).map(n => message(n)),
      false,
    );
    conversation.myRead = id(4);
    const list = (unread: number, my_read?: string) =>
      conversation.list({ target_user: 'you', last: past(5), unread, ...(my_read && { my_read }) }, 'me');
    list(5);
    assert.deepEqual([conversation.unread, conversation.myRead], [1, id(4)]);
    list(3, id(2));
    assert.deepEqual([conversation.unread, conversation.myRead], [1, id(4)]);
    list(0, id(5));
    assert.deepEqual([conversation.unread, conversation.myRead], [0, id(5)]);
  });

  it('lets marks go forward only', () => {
    const conversation = new Conversation('you');
    conversation.mark('received', id(1));
    conversation.mark('received', id(2));
    assert.equal(conversation.theirReceived, id(2));
    conversation.takeNewest(
      range(3, 6).map(n => message(n)),
      true,
    );
    conversation.mark('received', id(5));
    conversation.mark('read', id(3));
    for (const n of [4, 2]) conversation.mark('received', id(n));
    conversation.list({ target_user: 'you', last: past(6), unread: 0, their_read: id(2), their_received: id(3) }, 'me');
    assert.deepEqual([conversation.theirRead, conversation.theirReceived], [id(3), id(5)]);
    conversation.mark('read', id(6));
    assert.deepEqual([conversation.theirRead, conversation.theirReceived], [id(6), id(5)]);
  });

  it('counts reactions by their users', () => {
    let one = withReaction(message(1), '👍', 'a', false);
    one = withReaction(one, '👍', 'a', false);
    one = withReaction(one, '👍', 'b', false);
    assert.deepEqual(one.reactions, [{ emoji: '👍', users: ['a', 'b'] }]);
    one = withReaction(withReaction(one, '👍', 'a', true), '👍', 'b', true);
    assert.deepEqual(withReaction(one, '🎉', 'a', true).reactions, []);
  });
});

describe('a chat', { timeout: 60_000 }, () => {
  let server: FakeServer;
  let chat: Chat;
  let socket: FakeSocket;
  beforeEach(async () => {
    server = new FakeServer();
    chat = new Chat({ url: 'http://host', identity: { user: 'me' }, WebSocket: server.WebSocket });
    socket = await server.session();
  });
  afterEach(() => chat.close());

  async function listed(items: readonly Record<string, unknown>[] = []): Promise<void> {
    const { ref } = await socket.expect('conversations');
    socket.frame({ type: 'conversations', items, ref });
    await flushMicrotasks();
  }

  it('counts what came while the list was under way once', async () => {
    socket.message(1);
    socket.message(2);
    // The server made the list when there was one.
    await listed([
      { target_user: 'you', last: { ...past(0), id: id(1), sent_at: '2026-01-01T00:00:00.000Z' }, unread: 1 },
    ]);
    assert.equal(chat.unread, 2);
    socket.message(3, 'm3', 'you', { sent_at: '2026-01-01T00:00:03.000Z' });
    await flushMicrotasks();
    assert.equal(chat.unread, 3);
    // One that the list has counted, and that comes after it.
    socket.frame({ type: 'receipt', kind: 'read', by_user: 'me', target_user: 'you', id: id(3), at: at(3) });
    await flushMicrotasks();
    assert.equal(chat.unread, 0);
  });

  it('shows what is under way at its end, and in the order of the log once it is there', async () => {
    await listed();
    chat.open('you');
    const { ref } = await socket.expect('history');
    socket.frame({ type: 'history', target_user: 'you', messages: [], more: false, ref });
    await flushMicrotasks();
    chat.send('you', 'mine');
    const shown = () =>
      chat.current && chat.shown(chat.current).map(({ message, delivery }) => `${message.content} ${delivery}`);
    assert.deepEqual(shown(), ['mine sending']);
    socket.message(1, 'theirs');
    await flushMicrotasks();
    assert.deepEqual(shown(), ['theirs theirs', 'mine sending']);
    const frame = await socket.expect('message');
    socket.ack(frame, 2);
    socket.message(3, 'more');
    await flushMicrotasks();
    assert.deepEqual(shown(), ['theirs theirs', 'mine stored', 'more theirs']);
    socket.frame({ type: 'receipt', kind: 'received', by_user: 'you', target_user: 'you', id: frame.id, at: at(3) });
    assert.deepEqual(shown()?.[1], 'mine received');
    socket.frame({ type: 'receipt', kind: 'read', by_user: 'you', target_user: 'you', id: frame.id, at: at(3) });
    assert.deepEqual(shown()?.[1], 'mine read');
    chat.edit('you', String(frame.id), 'changed');
    assert.deepEqual(shown()?.[1], 'changed read');
    socket.drop();
    chat.send('you', 'later');
    assert.deepEqual(shown()?.[3], 'later offline');
    chat.reconnect();
    socket = await server.session(3);
    await waitUntil(() => shown()?.[3] === 'later sending');
    // Refused: what it was is shown again, and why is told.
    socket.reject(await socket.expect('edit'), 'forbidden');
    await flushMicrotasks();
    assert.deepEqual(shown()?.[1], 'mine read');
    assert.match(chat.notice ?? '', /^The edit was refused/);
  });

  it('shows as received what was, also where they have read less', async () => {
    await listed();
    chat.open('you');
    const { ref } = await socket.expect('history');
    const messages = range(1, 3).map(n => past(n, { from_user: 'me', target_user: 'you' }));
    socket.frame({ type: 'history', target_user: 'you', messages, more: false, ref });
    for (const [kind, n] of [
      ['received', 3],
      ['read', 1],
    ] as const) {
      socket.frame({ type: 'receipt', kind, by_user: 'you', target_user: 'you', id: id(n), at: at(4) });
    }
    await flushMicrotasks();
    assert.deepEqual(chat.current && chat.shown(chat.current).map(({ delivery }) => delivery), [
      'read',
      'received',
      'received',
    ]);
  });

  it('lists on from where the list ends, and from its beginning where that place is gone', async () => {
    const item = (n: number) => ({ target_user: `${n}`, last: past(n, { from_user: `${n}` }), unread: 0 });
    const items = (from: number, to: number) => range(to, from).reverse().map(item);
    const names = () => chat.inOrder.map(({ peer }) => Number(peer));
    const answer = async (cursor: string | undefined, page: Record<string, unknown>) => {
      const asked = await socket.expect('conversations');
      assert.equal(asked.cursor, cursor);
      socket.frame({ type: 'conversations', ref: asked.ref, ...page });
    };
    // A page may be short of what was asked for: it has a limit in bytes, too.
    await answer(undefined, { items: items(300, 290), cursor: id(290) });
    await answer(id(290), { items: items(289, 200), cursor: id(200) });
    await waitUntil(() => chat.listed);
    assert.deepEqual([names(), chat.hasMore], [range(200, 300).reverse(), true]);
    void chat.list();
    void chat.list();
    await answer(id(200), { items: items(199, 150), cursor: id(150) });
    assert.equal(chat.listing, true);
    await waitUntil(() => !chat.listing);
    assert.deepEqual([names(), chat.hasMore], [range(150, 300).reverse(), true]);
    // That was asked for once only: the next question is for what follows.
    void chat.list();
    const asked = await socket.expect('conversations');
    assert.equal(asked.cursor, id(150));
    socket.reject(asked, 'unknown_message');
    // As far down as the list was.
    await answer(undefined, { items: items(300, 201), cursor: id(201) });
    await answer(id(201), { items: items(200, 101) });
    await waitUntil(() => !chat.hasMore);
    assert.deepEqual(names(), range(101, 300).reverse());
  });

  it('asks for older messages once where the server has none', async () => {
    await listed();
    chat.open('you');
    let asked = await socket.expect('history');
    const answer = (messages: readonly PastMessage[], more: boolean) => {
      socket.frame({ type: 'history', target_user: 'you', messages, more, ref: asked.ref });
      return flushMicrotasks();
    };
    await answer([past(5), past(6)], true);
    const { current } = chat;
    assert.ok(current);
    // As the page does, which looks whether there is room above whenever something has changed.
    chat.onChange(() => void chat.older(current));
    void chat.older(current);
    asked = await socket.expect('history');
    assert.equal(asked.before, id(5));
    const questions = () => socket.sent.filter(({ type }) => type === 'history').length;
    // Soon asked again by the package, not by the page.
    socket.reject(asked, 'rate_limited', { retryable: true, retry_after_ms: 50 });
    await flushMicrotasks();
    assert.deepEqual([questions(), current.loading !== undefined], [2, true]);
    asked = await socket.expect('history');
    await answer([past(3), past(4)], true);
    asked = await socket.expect('history');
    assert.equal(asked.before, id(3));
    socket.reject(asked, 'unknown_message');
    await flushMicrotasks();
    assert.deepEqual([questions(), current.more, current.loading, chat.notice], [4, false, undefined, undefined]);
  });

  it('keeps what changes while a page is on its way that was made before', async () => {
    await listed();
    chat.open('you');
    const { ref } = await socket.expect('history');
    const reacted = { type: 'reacted', from_user: 'you', target_user: 'me', id: id(1), emoji: 'x' };
    socket.frame({ ...reacted, seq: 1 });
    await flushMicrotasks();
    socket.frame({ type: 'history', target_user: 'you', messages: [past(1)], more: false, ref });
    await flushMicrotasks();
    const reactions = () => chat.current?.messages.map(message => message.reactions);
    assert.deepEqual(reactions(), [[{ emoji: 'x', users: ['you'] }]]);
    socket.frame({ ...reacted, removed: true, seq: 2 });
    await flushMicrotasks();
    assert.deepEqual(reactions(), [[]]);
  });

  it('asks what has become of frames that were written by hand, and not of its own', async context => {
    await listed();
    const { mock } = context.mock.method(globalThis, 'setTimeout');
    const asks = () => mock.calls.filter(({ arguments: [, after] }) => after === RAW_DONE_MS).length;
    chat.send('you', 'one');
    socket.ack(await socket.expect('message'), 1);
    await flushMicrotasks();
    assert.equal(asks(), 0);
    for (const [seq, mark] of [
      [2, {}],
      [3, { ref: 'mine' }],
    ] as const) {
      chat.sendRaw(JSON.stringify({ message: 'two', target_user: 'you', ...mark }));
      socket.frame({ type: 'ack', id: id(seq), seq, status: 'stored', sent_at: at(seq), ...mark });
      await flushMicrotasks();
      assert.equal(asks(), seq - 1);
    }
  });

  it('keeps the newest messages of conversations that are not open, and has the others come again', async () => {
    await listed();
    for (let n = 1; n <= 300; n += 1) socket.message(n);
    await waitUntil(() => chat.unread === 300);
    const kept = chat.conversations.get('you');
    assert.ok(kept);
    assert.deepEqual(numbers(kept), range(101, 300));
    chat.open('you');
    let { ref } = await socket.expect('history');
    const answer = (messages: readonly PastMessage[], more: boolean) => {
      socket.frame({ type: 'history', target_user: 'you', messages, more, ref });
      return flushMicrotasks();
    };
    await answer(
      range(251, 300).map(n => past(n)),
      true,
    );
    let fetched = 0;
    for (let i = 0; i < 3; i += 1) void chat.older(kept).then(() => (fetched += 1));
    ({ ref } = await socket.expect('history'));
    // Whoever asks for a page that is on its way waits for it.
    assert.equal(fetched, 0);
    await answer(
      range(1, 250).map(n => past(n)),
      false,
    );
    socket.message(301);
    await flushMicrotasks();
    assert.deepEqual([numbers(kept), kept.more, fetched], [range(1, 301), false, 3]);
    chat.leave();
    assert.deepEqual([numbers(kept), kept.more], [range(102, 301), true]);
    chat.open('you');
    void chat.older(kept);
    const asked = await socket.expect('history');
    assert.equal(asked.before, id(102));
  });

  it('shows as not sent what waited when the line was closed for good, where nobody has kept it', async () => {
    await listed();
    chat.open('you');
    const answer = async (messages: readonly PastMessage[]) => {
      const { ref } = await socket.expect('history');
      socket.frame({ type: 'history', target_user: 'you', messages, more: false, ref });
      await flushMicrotasks();
    };
    await answer([past(1)]);
    for (const text of ['one', 'two']) chat.send('you', text);
    chat.edit('you', id(1), 'other');
    const one = await socket.expect('message');
    socket.goodbye(4408, false);
    await flushMicrotasks();
    const shown = () =>
      chat.current && chat.shown(chat.current).map(({ message, delivery }) => `${message.content} ${delivery}`);
    assert.deepEqual(shown(), ['other theirs', 'one offline', 'two offline']);
    chat.reconnect();
    socket = await server.session();
    assert.deepEqual(shown(), ['m1 theirs', 'one failed', 'two failed']);
    assert.match(chat.notice ?? '', /^The edit was refused/);
    await listed();
    // The first of them had come there.
    await answer([past(1), past(2, { id: one.id, from_user: 'me', message: 'one' })]);
    assert.deepEqual(shown(), ['m1 theirs', 'one stored', 'two failed']);
    chat.retry(String(chat.current && chat.shown(chat.current).at(-1)?.message.id));
    socket.ack(await socket.expect('message'), 1);
    await flushMicrotasks();
    assert.deepEqual(shown(), ['m1 theirs', 'one stored', 'two stored']);
  });

  it('begins anew where the server has another store', async () => {
    await listed();
    socket.message(1);
    await flushMicrotasks();
    assert.equal(chat.inOrder.length, 1);
    socket.drop();
    chat.reconnect();
    socket = await server.accept();
    socket.welcome(0, { epoch: 'e2' });
    socket.frame({ type: 'truncated', reason: 'reset', oldest_seq: 1 });
    socket.frame({ type: 'synced', seq: 0 });
    await flushMicrotasks();
    assert.equal(chat.inOrder.length, 0);
    assert.match(chat.notice ?? '', /another store/);
  });
});

describe('the frames on show', () => {
  it('are the newest', () => {
    const log = new FrameLog();
    for (let i = 0; i < 500; i += 1) log.add('in', `{"type":"t${i}"}`);
    log.add('out', '{');
    log.add('out', '{"message":"x"}');
    assert.equal(log.all.length, 300);
    assert.deepEqual(
      log.all.slice(-3).map(({ type }) => type),
      ['t499', 'not JSON', 'message'],
    );
    log.paused = true;
    log.add('in', '{}');
    assert.equal(log.all.at(-1)?.number, 502);
  });

  it('are fewer where they are long', () => {
    const log = new FrameLog();
    const lengths = () => log.all.map(({ text }) => text.length);
    for (let i = 0; i < 9; i += 1) log.add('in', 'x'.repeat(250_000));
    assert.deepEqual(lengths(), [250_000, 250_000, 250_000, 250_000]);
    log.add('in', '{}');
    assert.deepEqual(lengths(), [250_000, 250_000, 250_000, 2]);
    log.add('in', 'x'.repeat(2_000_000));
    assert.deepEqual(lengths(), [2_000_000]);
    log.add('in', '{}');
    log.clear();
    for (let i = 0; i < 400; i += 1) log.add('in', '{}');
    assert.equal(log.all.length, 300);
  });
});
