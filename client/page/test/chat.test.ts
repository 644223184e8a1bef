import assert from 'node:assert/strict';
import { afterEach, beforeEach, describe, it } from 'node:test';
import type { PastMessage } from '../../src/index.js';
import { FakeServer, type FakeSocket, flushMicrotasks, waitUntil } from '../../test/support/fake.js';
import { Chat } from '../src/chat.js';
import { Conversation, fromFrame, type Message, withReaction } from '../src/conversation.js';
import { FrameLog } from '../src/frames.js';
import { REFRESH_DELAY_MS } from '../src/queries.js';

const time = (n: number) => new Date(Date.UTC(2026, 0, 1) + n * 1000).toISOString();
const id = (n: number) => `00000000-0000-0000-0000-${String(n).padStart(12, '0')}`;
const pastMessage = (n: number, more: Record<string, unknown> = {}): PastMessage =>
  ({
    type: 'message',
    id: id(n),
    from_user: 'you',
    target_user: 'me',
    message: `m${n}`,
    sent_at: time(n),
    ...more,
  }) as PastMessage;
const message = (n: number, more: Record<string, unknown> = {}): Message => fromFrame(pastMessage(n, more));
const range = (from: number, to: number) => Array.from({ length: to - from + 1 }, (_, i) => from + i);
const numbers = ({ messages }: Conversation) => messages.map(({ id }) => Number(id.slice(-12)));

describe('Conversation', () => {
  it('places live messages after the history page, in any order of arrival', () => {
    for (const [before, during, page, expected] of [
      [[], [], range(1, 5), range(1, 5)],
      [[], [6, 7], range(1, 5), range(1, 7)],
      [[4, 5], [6], range(1, 5), range(1, 6)],
      [[4], [5, 6], range(1, 5), range(1, 6)],
      [[4, 5], [], range(1, 5), range(1, 5)],
      // Older messages that do not overlap with the page are dropped; scrolling loads them again.
      [[1, 2], [], range(5, 9), range(5, 9)],
      [[1, 2], [10], range(5, 9), range(5, 10)],
      [[1], [2], [], [1, 2]],
    ] as const) {
      const conversation = new Conversation('you');
      // The later a message was sent, the earlier its time: the clock runs backwards.
      const message = (n: number) => fromFrame(pastMessage(n, { sent_at: time(-n) }));
      for (const n of before) conversation.add(message(n));
      conversation.pageAt = Conversation.arrivals;
      for (const n of during) conversation.add(message(n));
      conversation.mergeNewest(
        page.map(n => message(n)),
        true,
      );
      assert.deepEqual(numbers(conversation), expected, `${before}, ${during} and ${page}`);
      assert.equal(conversation.more, true);
    }
  });

  it('keeps older messages when the newest page is loaded again', () => {
    const conversation = new Conversation('you');
    conversation.mergeNewest(
      range(11, 20).map(n => message(n)),
      true,
    );
    conversation.mergeOlder(
      range(1, 12).map(n => message(n)),
      false,
    );
    conversation.add(message(21));
    conversation.mergeNewest(
      range(12, 21).map(n => message(n, { message: 'again' })),
      true,
    );
    assert.deepEqual(numbers(conversation), range(1, 21));
    assert.deepEqual([conversation.more, conversation.find(id(15))?.content], [false, 'again']);
    // A page without new messages means that there are no older ones.
    conversation.mergeOlder([message(1), message(2)], true);
    assert.equal(conversation.more, false);
  });

  it('keeps the version of a message that was changed last, whatever the time of the change', () => {
    const conversation = new Conversation('you');
    conversation.add(message(1));
    conversation.change(id(1), known => ({ ...known, content: 'first', editedAt: time(9) }));
    // The page was requested after the first edit, so it includes it and all before it.
    conversation.mergeNewest([message(1, { message: 'second', edited_at: time(5) })], false);
    assert.equal(conversation.find(id(1))?.content, 'second');
    conversation.loading = Promise.resolve();
    conversation.change(id(1), known => ({ ...known, content: 'third', editedAt: time(3) }));
    conversation.mergeNewest([message(1, { message: 'second', edited_at: time(5) })], false);
    assert.equal(conversation.find(id(1))?.content, 'third');
  });

  it('ignores duplicates', () => {
    const conversation = new Conversation('you');
    for (const n of [1, 2, 4]) assert.equal(conversation.add(message(n)), true);
    assert.equal(conversation.add(message(2)), false);
    assert.deepEqual(numbers(conversation), [1, 2, 4]);
  });

  it('puts messages in log order when a history page overtakes them', () => {
    const conversation = new Conversation('you');
    for (const n of range(1, 3)) conversation.add(message(n));
    conversation.pageAt = Conversation.arrivals;
    conversation.add(message(4));
    conversation.mergeNewest(
      range(8, 12).map(n => message(n)),
      true,
    );
    for (const n of range(5, 14)) conversation.add(message(n));
    assert.deepEqual(numbers(conversation), range(4, 14));
  });

  it('ignores the unread count of a list older than its read mark', () => {
    const conversation = new Conversation('you');
    conversation.mergeNewest(
      range(1, 5).map(n => message(n)),
      false,
    );
    conversation.myRead = id(4);
    const list = (unread: number, my_read?: string) =>
      conversation.mergeListItem(
        { target_user: 'you', last: pastMessage(5), unread, ...(my_read && { my_read }) },
        'me',
        0,
        Conversation.arrivals,
        Conversation.arrivals,
      );
    list(5);
    assert.deepEqual([conversation.unread, conversation.myRead], [1, id(4)]);
    list(3, id(2));
    assert.deepEqual([conversation.unread, conversation.myRead], [1, id(4)]);
    list(0, id(5));
    assert.deepEqual([conversation.unread, conversation.myRead], [0, id(5)]);
  });

  it('moves marks forward only', () => {
    const conversation = new Conversation('you');
    conversation.mark('received', id(1));
    conversation.mark('received', id(2));
    assert.equal(conversation.theirReceived, id(2));
    conversation.mergeNewest(
      range(3, 6).map(n => message(n)),
      true,
    );
    conversation.mark('received', id(5));
    conversation.mark('read', id(3));
    for (const n of [4, 2]) conversation.mark('received', id(n));
    conversation.mergeListItem(
      { target_user: 'you', last: pastMessage(6), unread: 0, their_read: id(2), their_received: id(3) },
      'me',
      0,
      Conversation.arrivals,
      Conversation.arrivals,
    );
    assert.deepEqual([conversation.theirRead, conversation.theirReceived], [id(3), id(5)]);
    conversation.mark('read', id(6));
    assert.deepEqual([conversation.theirRead, conversation.theirReceived], [id(6), id(5)]);
  });

  it('counts reactions by their users', () => {
    let reacted = withReaction(message(1), '👍', 'a', false);
    reacted = withReaction(reacted, '👍', 'a', false);
    reacted = withReaction(reacted, '👍', 'b', false);
    assert.deepEqual(reacted.reactions, [{ emoji: '👍', users: ['a', 'b'] }]);
    reacted = withReaction(withReaction(reacted, '👍', 'a', true), '👍', 'b', true);
    assert.deepEqual(withReaction(reacted, '🎉', 'a', true).reactions, []);
  });
});

describe('Chat', { timeout: 60_000 }, () => {
  let server: FakeServer;
  let chat: Chat;
  let socket: FakeSocket;
  beforeEach(async () => {
    server = new FakeServer();
    chat = new Chat({ url: 'http://host', identity: { user: 'me' }, WebSocket: server.WebSocket });
    socket = await server.session();
  });
  afterEach(() => chat.close());

  /** Answers the request for the list of conversations. */
  async function answerList(items: readonly Record<string, unknown>[] = []): Promise<void> {
    const { ref } = await socket.expect('conversations');
    socket.frame({ type: 'conversations', items, ref });
    await flushMicrotasks();
  }

  it('counts messages once that arrive while the list is loading', async () => {
    socket.message(1);
    socket.message(2);
    // The server made the list after the first message.
    await answerList([
      { target_user: 'you', last: { ...pastMessage(0), id: id(1), sent_at: '2026-01-01T00:00:00.000Z' }, unread: 1 },
    ]);
    assert.equal(chat.conversations.unread, 2);
    socket.message(3, 'm3', 'you', { sent_at: '2026-01-01T00:00:03.000Z' });
    await flushMicrotasks();
    assert.equal(chat.conversations.unread, 3);
    // A message that arrives after the list, and the read mark for it.
    socket.frame({ type: 'receipt', kind: 'read', by_user: 'me', target_user: 'you', id: id(3), at: time(3) });
    await flushMicrotasks();
    assert.equal(chat.conversations.unread, 0);
  });

  it('orders and counts by the log, however the times of messages run', async () => {
    const year = 365 * 86_400;
    /** Sends the log entry `n` from a user, with a time. */
    const arrive = async (n: number, from: string, at: number) => {
      socket.message(n, `m${n}`, from, { sent_at: time(at) });
      await flushMicrotasks();
    };
    const last = (n: number, from_user: string, at: number, unread: number) => ({
      target_user: from_user,
      last: pastMessage(n, { from_user, sent_at: time(at) }),
      unread,
    });
    const order = () => chat.sortedConversations.map(({ peer }) => peer).join(' ');
    const unread = () => chat.conversations.get('you')?.unread;
    await arrive(1, 'early', year);
    // The list is in the order of the log: `you` wrote last, with the oldest time.
    await answerList([last(4, 'you', -year, 2), last(3, 'other', 0, 0), last(1, 'early', year, 1)]);
    assert.equal(order(), 'you other early');
    assert.equal(unread(), 2);
    // The messages that the list names arrive after the list, behind earlier ones.
    await arrive(2, 'you', -5);
    await arrive(3, 'other', 0);
    await arrive(4, 'you', -year);
    assert.equal(unread(), 2);
    assert.equal(order(), 'you other early');
    await arrive(5, 'you', -2 * year);
    await arrive(6, 'you', 2 * year);
    await arrive(7, 'you', 5);
    assert.equal(unread(), 5);
    assert.equal(chat.conversations.get('you')?.newest?.id, id(7));
    await arrive(8, 'other', -3 * year);
    assert.equal(order(), 'other you early');
    chat.send('early', 'x');
    assert.equal(order(), 'early other you');
    socket.ack(await socket.expect('message'), 9, { sent_at: time(-4 * year) });
    await flushMicrotasks();
    assert.equal(order(), 'early other you');
    await arrive(10, 'other', -5 * year);
    assert.equal(order(), 'other early you');
    // Messages of the open conversation keep the order of the log.
    chat.open('you');
    const { ref } = await socket.expect('history');
    await arrive(11, 'you', -9 * year);
    const page = [2, 4, 5, 6, 7].map(n => pastMessage(n, { sent_at: time(n % 3 === 0 ? year : -n) }));
    socket.frame({ type: 'history', target_user: 'you', messages: page, more: false, ref });
    await arrive(12, 'you', 0);
    assert.deepEqual(chat.current && numbers(chat.current), [2, 4, 5, 6, 7, 11, 12]);
    assert.equal(chat.current?.firstUnread, id(2));
  });

  it('does not count messages that were deleted before the user has read them', async context => {
    socket.message(1);
    socket.message(2);
    await answerList([{ target_user: 'you', last: pastMessage(2), unread: 4 }]);
    const unread = () => chat.conversations.unread;
    const deletion = async (n: number, seq: number, from_user = 'you') => {
      socket.frame({ type: 'deleted', from_user, target_user: 'me', id: id(n), deleted_at: time(seq), seq });
      await flushMicrotasks();
    };
    assert.equal(unread(), 4);
    await deletion(2, 3);
    assert.equal(unread(), 3);
    // It has been deleted already.
    await deletion(2, 4);
    assert.equal(unread(), 3);
    socket.message(5);
    await flushMicrotasks();
    assert.equal(unread(), 4);
    await deletion(5, 6);
    assert.equal(unread(), 3);
    socket.frame({ type: 'receipt', kind: 'read', by_user: 'me', target_user: 'you', id: id(1), at: time(7) });
    await flushMicrotasks();
    // Only the deleted ones are after the read mark.
    assert.equal(unread(), 0);
    socket.message(7);
    await flushMicrotasks();
    await deletion(1, 8);
    assert.equal(unread(), 1);
    // A message that is not loaded: only the server knows whether it was counted.
    const { mock } = context.mock.method(globalThis, 'setTimeout');
    await deletion(99, 9);
    assert.equal(unread(), 1);
    assert.equal(mock.calls.filter(({ arguments: [, delay] }) => delay === REFRESH_DELAY_MS).length, 1);
  });

  it('loads a conversation again when a message of the user turns out to be stored earlier', async () => {
    await answerList();
    chat.open('you');
    const answer = async (numbers: readonly number[]) => {
      const { ref } = await socket.expect('history');
      const messages = numbers.map(n => pastMessage(n));
      socket.frame({ type: 'history', target_user: 'you', messages, more: false, ref });
      await flushMicrotasks();
    };
    await answer([1, 3]);
    chat.send('you', 'm2', undefined, id(2));
    socket.ack(await socket.expect('message'), 2, { duplicate: true });
    await flushMicrotasks();
    await answer([1, 2, 3]);
    assert.deepEqual(chat.current && numbers(chat.current), [1, 2, 3]);
  });

  it('reports typing at intervals, also after the clock was set back', async context => {
    await answerList();
    const now = performance.now.bind(performance);
    let passed = 0;
    context.mock.method(performance, 'now', () => now() + passed);
    context.mock.method(Date, 'now', () => 1_000_000 - passed * 1000);
    chat.open('you');
    assert.ok(chat.current);
    const typing = () => socket.sent.filter(({ type }) => type === 'typing').length;
    chat.onInput(chat.current, 'a');
    chat.onInput(chat.current, 'ab');
    assert.equal(typing(), 1);
    passed += 3_100;
    chat.onInput(chat.current, 'abc');
    assert.equal(typing(), 2);
  });

  it('shows nothing of rooms in direct conversations', async () => {
    await answerList();
    chat.open('you');
    const typing = (target: object) => socket.frame({ type: 'typing', from_user: 'you', active: true, ...target });
    typing({ target_room: 'r' });
    assert.equal(chat.current?.typing.size, 0);
    socket.message(1, 'in a room', 'you', { target_user: undefined, target_room: 'r' });
    socket.frame({ type: 'room', room: 'r', event: 'left', user: 'you', seq: 2, members: 1, at: time(2) });
    socket.frame({ type: 'receipt', kind: 'read', by_user: 'you', target_room: 'r', id: id(1), at: time(2) });
    await flushMicrotasks();
    assert.equal(chat.current?.messages.length, 0);
    typing({ target_user: 'me' });
    assert.equal(chat.current?.typing.size, 1);
  });

  it('shows unsent messages at the end, and stored ones in log order', async () => {
    await answerList();
    chat.open('you');
    const { ref } = await socket.expect('history');
    socket.frame({ type: 'history', target_user: 'you', messages: [], more: false, ref });
    await flushMicrotasks();
    chat.send('you', 'mine');
    const displayed = () =>
      chat.current && chat.displayed(chat.current).map(({ message, delivery }) => `${message.content} ${delivery}`);
    assert.deepEqual(displayed(), ['mine sending']);
    socket.message(1, 'theirs');
    await flushMicrotasks();
    assert.deepEqual(displayed(), ['theirs theirs', 'mine sending']);
    const frame = await socket.expect('message');
    socket.ack(frame, 2);
    socket.message(3, 'more');
    await flushMicrotasks();
    assert.deepEqual(displayed(), ['theirs theirs', 'mine stored', 'more theirs']);
    socket.frame({ type: 'receipt', kind: 'received', by_user: 'you', target_user: 'you', id: frame.id, at: time(3) });
    assert.deepEqual(displayed()?.[1], 'mine received');
    socket.frame({ type: 'receipt', kind: 'read', by_user: 'you', target_user: 'you', id: frame.id, at: time(3) });
    assert.deepEqual(displayed()?.[1], 'mine read');
    chat.edit('you', String(frame.id), 'changed');
    assert.deepEqual(displayed()?.[1], 'changed read');
    socket.drop();
    chat.send('you', 'later');
    assert.deepEqual(displayed()?.[3], 'later offline');
    chat.reconnect();
    socket = await server.session(3);
    await waitUntil(() => displayed()?.[3] === 'later sending');
    // The edit is rejected: the old content is shown again, with a notice.
    socket.reject(await socket.expect('edit'), 'forbidden');
    await flushMicrotasks();
    assert.deepEqual(displayed()?.[1], 'mine read');
    assert.match(chat.notice ?? '', /^The edit was rejected/);
  });

  it('shows messages as received beyond the read mark', async () => {
    await answerList();
    chat.open('you');
    const { ref } = await socket.expect('history');
    const messages = range(1, 3).map(n => pastMessage(n, { from_user: 'me', target_user: 'you' }));
    socket.frame({ type: 'history', target_user: 'you', messages, more: false, ref });
    for (const [kind, n] of [
      ['received', 3],
      ['read', 1],
    ] as const) {
      socket.frame({ type: 'receipt', kind, by_user: 'you', target_user: 'you', id: id(n), at: time(4) });
    }
    await flushMicrotasks();
    assert.deepEqual(chat.current && chat.displayed(chat.current).map(({ delivery }) => delivery), [
      'read',
      'received',
      'received',
    ]);
  });

  it('continues the list at its end, and from the start if the cursor is invalid', async () => {
    const item = (n: number) => ({ target_user: `${n}`, last: pastMessage(n, { from_user: `${n}` }), unread: 0 });
    const items = (from: number, to: number) => range(to, from).reverse().map(item);
    const names = () => chat.sortedConversations.map(({ peer }) => Number(peer));
    const answer = async (cursor: string | undefined, page: Record<string, unknown>) => {
      const request = await socket.expect('conversations');
      assert.equal(request.cursor, cursor);
      socket.frame({ type: 'conversations', ref: request.ref, ...page });
    };
    // A page may be shorter than requested, because it has a byte limit too.
    await answer(undefined, { items: items(300, 290), cursor: id(290) });
    await answer(id(290), { items: items(289, 200), cursor: id(200) });
    await waitUntil(() => chat.list.loaded);
    assert.deepEqual([names(), chat.list.hasMore], [range(200, 300).reverse(), true]);
    void chat.loadMoreConversations();
    void chat.loadMoreConversations();
    await answer(id(200), { items: items(199, 150), cursor: id(150) });
    assert.equal(chat.list.loading, true);
    await waitUntil(() => !chat.list.loading);
    assert.deepEqual([names(), chat.list.hasMore], [range(150, 300).reverse(), true]);
    // Two calls made one request, so the next request continues after its page.
    void chat.loadMoreConversations();
    const request = await socket.expect('conversations');
    assert.equal(request.cursor, id(150));
    socket.reject(request, 'unknown_message');
    // The list is loaded again to its previous length.
    await answer(undefined, { items: items(300, 201), cursor: id(201) });
    await answer(id(201), { items: items(200, 101) });
    await waitUntil(() => !chat.list.hasMore);
    assert.deepEqual(names(), range(101, 300).reverse());
  });

  it('requests older messages once if the server has none', async () => {
    await answerList();
    chat.open('you');
    let request = await socket.expect('history');
    const answer = (messages: readonly PastMessage[], more: boolean) => {
      socket.frame({ type: 'history', target_user: 'you', messages, more, ref: request.ref });
      return flushMicrotasks();
    };
    await answer([pastMessage(5), pastMessage(6)], true);
    const { current } = chat;
    assert.ok(current);
    // The page does the same after each change, to fill the space above the messages.
    chat.onChange(() => void chat.loadOlder(current));
    void chat.loadOlder(current);
    request = await socket.expect('history');
    assert.equal(request.before, id(5));
    const requests = () => socket.sent.filter(({ type }) => type === 'history').length;
    // The client package retries the request, not the page.
    socket.reject(request, 'rate_limited', { retryable: true, retry_after_ms: 50 });
    await flushMicrotasks();
    assert.deepEqual([requests(), current.loading !== undefined], [2, true]);
    request = await socket.expect('history');
    await answer([pastMessage(3), pastMessage(4)], true);
    request = await socket.expect('history');
    assert.equal(request.before, id(3));
    socket.reject(request, 'unknown_message');
    await flushMicrotasks();
    assert.deepEqual([requests(), current.more, current.loading, chat.notice], [4, false, undefined, undefined]);
  });

  it('applies changes that arrive while an older history page is loading', async () => {
    await answerList();
    chat.open('you');
    const { ref } = await socket.expect('history');
    const reacted = { type: 'reacted', from_user: 'you', target_user: 'me', id: id(1), emoji: 'x' };
    socket.frame({ ...reacted, seq: 1 });
    await flushMicrotasks();
    socket.frame({ type: 'history', target_user: 'you', messages: [pastMessage(1)], more: false, ref });
    await flushMicrotasks();
    const reactions = () => chat.current?.messages.map(message => message.reactions);
    assert.deepEqual(reactions(), [[{ emoji: 'x', users: ['you'] }]]);
    socket.frame({ ...reacted, removed: true, seq: 2 });
    await flushMicrotasks();
    assert.deepEqual(reactions(), [[]]);
  });

  it('reloads after the ack of a raw frame, not after its own', async context => {
    await answerList();
    const { mock } = context.mock.method(globalThis, 'setTimeout');
    const reloads = () => mock.calls.filter(({ arguments: [, delay] }) => delay === REFRESH_DELAY_MS).length;
    chat.send('you', 'one');
    socket.ack(await socket.expect('message'), 1);
    await flushMicrotasks();
    assert.equal(reloads(), 0);
    for (const [seq, ref] of [
      [2, {}],
      [3, { ref: 'mine' }],
    ] as const) {
      chat.sendRaw(JSON.stringify({ message: 'two', target_user: 'you', ...ref }));
      socket.frame({ type: 'ack', id: id(seq), seq, status: 'stored', sent_at: time(seq), ...ref });
      await flushMicrotasks();
      assert.equal(reloads(), seq - 1);
    }
  });

  it('keeps the newest messages of closed conversations and loads the others again', async () => {
    await answerList();
    for (let n = 1; n <= 300; n += 1) socket.message(n);
    await waitUntil(() => chat.conversations.unread === 300);
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
      range(251, 300).map(n => pastMessage(n)),
      true,
    );
    let fetched = 0;
    for (let i = 0; i < 3; i += 1) void chat.loadOlder(kept).then(() => (fetched += 1));
    ({ ref } = await socket.expect('history'));
    // All three calls wait for the same page.
    assert.equal(fetched, 0);
    await answer(
      range(1, 250).map(n => pastMessage(n)),
      false,
    );
    socket.message(301);
    await flushMicrotasks();
    assert.deepEqual([numbers(kept), kept.more, fetched], [range(1, 301), false, 3]);
    chat.closeCurrent();
    assert.deepEqual([numbers(kept), kept.more], [range(102, 301), true]);
    chat.open('you');
    void chat.loadOlder(kept);
    const request = await socket.expect('history');
    assert.equal(request.before, id(102));
  });

  it('shows unsent messages as failed after the connection was closed, without a storage', async () => {
    await answerList();
    chat.open('you');
    const answer = async (messages: readonly PastMessage[]) => {
      const { ref } = await socket.expect('history');
      socket.frame({ type: 'history', target_user: 'you', messages, more: false, ref });
      await flushMicrotasks();
    };
    await answer([pastMessage(1)]);
    for (const text of ['one', 'two']) chat.send('you', text);
    chat.edit('you', id(1), 'other');
    const one = await socket.expect('message');
    socket.goodbye(4408, false);
    await flushMicrotasks();
    const displayed = () =>
      chat.current && chat.displayed(chat.current).map(({ message, delivery }) => `${message.content} ${delivery}`);
    assert.deepEqual(displayed(), ['other theirs', 'one offline', 'two offline']);
    chat.reconnect();
    socket = await server.session();
    assert.deepEqual(displayed(), ['m1 theirs', 'one failed', 'two failed']);
    assert.match(chat.notice ?? '', /^The edit was rejected/);
    await answerList();
    // The first message had been stored.
    await answer([pastMessage(1), pastMessage(2, { id: one.id, from_user: 'me', message: 'one' })]);
    assert.deepEqual(displayed(), ['m1 theirs', 'one stored', 'two failed']);
    chat.retry(String(chat.current && chat.displayed(chat.current).at(-1)?.message.id));
    socket.ack(await socket.expect('message'), 1);
    await flushMicrotasks();
    assert.deepEqual(displayed(), ['m1 theirs', 'one stored', 'two stored']);
  });

  /** The messages of the open conversation, with their delivery state. */
  const displayed = () =>
    chat.current && chat.displayed(chat.current).map(({ message, delivery }) => `${message.content} ${delivery}`);
  const answerHistory = async (messages: readonly PastMessage[], more = false) => {
    const { ref } = await socket.expect('history');
    socket.frame({ type: 'history', target_user: 'you', messages, more, ref });
    await flushMicrotasks();
  };

  it('keeps what is written or sent again while the connection is closed', async () => {
    await answerList();
    chat.open('you');
    await answerHistory([pastMessage(1)]);
    socket.goodbye(4408, false);
    await flushMicrotasks();
    // A dialog may have been open.
    chat.send('you', 'late');
    assert.deepEqual(displayed(), ['m1 theirs', 'late failed']);
    const late = chat.displayed(chat.current as Conversation).at(-1)?.message.id ?? '';
    chat.retry(late);
    assert.deepEqual(displayed(), ['m1 theirs', 'late failed']);
    assert.equal(chat.notice, undefined);
    chat.markSeen(chat.current as Conversation);
    assert.equal(chat.notice, undefined);
    chat.edit('you', id(1), 'other');
    assert.match(chat.notice ?? '', /connection is closed/);
    chat.reconnect();
    socket = await server.session();
    await answerList();
    await answerHistory([pastMessage(1)]);
    chat.retry(late);
    assert.equal((await socket.expect('message')).id, late);
  });

  it('shows until when a limit of the server delays messages', async context => {
    await answerList();
    chat.open('you');
    await answerHistory([pastMessage(1)]);
    const now = performance.now();
    context.mock.method(performance, 'now', () => now);
    const untils = () => chat.current && chat.displayed(chat.current).map(({ until }) => until);
    chat.send('you', 'a');
    chat.send('you', 'b');
    const delay = { retryable: true, retry_after_ms: 3_600_000 };
    const a = await socket.expect('message');
    socket.reject(a, 'rate_limited', delay);
    assert.deepEqual(displayed(), ['m1 theirs', 'a sending', 'b sending']);
    assert.deepEqual(untils(), [undefined, now + 3_600_000, now + 3_600_000]);
    assert.equal(chat.notice, undefined);
    chat.edit('you', id(1), 'other');
    socket.reject(await socket.expect('edit'), 'rate_limited', delay);
    assert.match(chat.notice ?? '', /^The edit is delayed/);
    // The next connection sends it at once.
    socket.drop();
    assert.deepEqual(untils(), [undefined, undefined, undefined]);
  });

  it('places a message that was rejected before its conversation was loaded after what was known then', async () => {
    socket.goodbye(4408, false);
    await flushMicrotasks();
    chat.send('you', 'first');
    chat.send('you', 'second');
    chat.reconnect();
    socket = await server.session();
    await answerList([{ target_user: 'you', last: pastMessage(60), unread: 0 }]);
    chat.open('you');
    const failed = ['first failed', 'second failed'];
    assert.deepEqual(displayed(), failed);
    await answerHistory(
      range(41, 60).map(n => pastMessage(n)),
      true,
    );
    assert.deepEqual(displayed()?.slice(19), ['m60 theirs', ...failed]);
    socket.message(1, 'm61', 'you', { id: id(61) });
    await flushMicrotasks();
    assert.deepEqual(displayed()?.slice(19), ['m60 theirs', ...failed, 'm61 theirs']);
    for (const { message } of chat.displayed(chat.current as Conversation).slice(20, 22)) chat.discard(message.id);
  });

  it('works without the storage if that is full or cannot be opened', async () => {
    for (const opens of [true, false]) {
      await chat.close();
      const storage = {
        async open() {
          if (!opens) throw new Error('12 tabs are open already');
          return {
            save() {
              throw new Error('full');
            },
            close() {},
          };
        },
      };
      chat = new Chat({ url: 'http://host', identity: { user: 'me' }, WebSocket: server.WebSocket, storage });
      chat.open('you');
      socket = await server.session();
      chat.send('you', 'a');
      socket.ack(await socket.expect('conversations').then(() => socket.expect('message')), 1);
      await flushMicrotasks();
      assert.deepEqual(displayed(), ['a stored']);
      assert.match(chat.notice ?? '', /stores no more data\. Unsent messages are lost when you close this page\.$/);
      chat.dismissNotice();
      chat.send('you', 'b');
      assert.deepEqual(chat.signOutWarnings, ['Unsent messages are lost.']);
      await flushMicrotasks();
      assert.equal(chat.notice, undefined);
    }
  });

  it('clears everything when the data of the server was replaced', async () => {
    await answerList();
    socket.message(1);
    await flushMicrotasks();
    assert.equal(chat.sortedConversations.length, 1);
    socket.drop();
    chat.reconnect();
    socket = await server.accept();
    socket.welcome(0, { epoch: 'e2' });
    socket.frame({ type: 'truncated', reason: 'reset', oldest_seq: 1 });
    socket.frame({ type: 'synced', seq: 0 });
    await flushMicrotasks();
    assert.equal(chat.sortedConversations.length, 0);
    assert.match(chat.notice ?? '', /was replaced/);
  });
});

describe('FrameLog', () => {
  it('keeps the newest frames', () => {
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

  it('keeps fewer frames if they are long', () => {
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
