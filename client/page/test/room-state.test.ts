import assert from 'node:assert/strict';
import { afterEach, beforeEach, describe, it } from 'node:test';
import type { InFrame } from '../../src/index.js';
import { FakeServer, type FakeSocket, flushMicrotasks, waitUntil } from '../../test/support/fake.js';
import { Chat, type ChatOptions } from '../src/chat.js';
import { readersText } from '../src/display.js';

const AT = '2026-01-01T00:00:00.000Z';
const id = (n: number) => `00000000-0000-0000-0000-${String(n).padStart(12, '0')}`;

describe('the rooms of a chat', { timeout: 60_000 }, () => {
  let server: FakeServer;
  let chat: Chat;
  let socket: FakeSocket;
  /** Members of every room, as the server reports them. */
  let members: Record<string, unknown>[];
  /** Messages of every room. */
  let history: Record<string, unknown>[];
  /** Items of the list of conversations. */
  let list: Record<string, unknown>[];
  /** Code of the error for frames about rooms. */
  let refusal: string | undefined;
  let seq: number;
  beforeEach(() => {
    server = new FakeServer();
    [members, history, list, refusal, seq] = [[], [], [], undefined, 0];
  });
  afterEach(() => chat.close());

  async function start(options: Partial<ChatOptions> = {}): Promise<void> {
    chat = new Chat({ url: 'http://host', identity: { user: 'me' }, WebSocket: server.WebSocket, ...options });
    await session();
  }
  async function session(): Promise<void> {
    socket = await server.accept();
    socket.onFrame = frame => queueMicrotask(() => answer(socket, frame));
    socket.welcome(seq);
    socket.frame({ type: 'synced', seq });
    await waitUntil(() => chat.list.loaded);
  }
  function answer(socket: FakeSocket, frame: InFrame): void {
    const { type, ref, room, target_room } = frame;
    const isQuery = type === 'history' || type === 'members';
    if (refusal !== undefined && (isQuery || type === 'join' || type === 'message'))
      return socket.reject(frame, refusal);
    if (type === 'conversations') socket.frame({ type, items: list, ref });
    else if (type === 'history') socket.frame({ type, target_room, messages: history, more: false, ref });
    else if (type === 'members') socket.frame({ type, room, users: members, total: members.length, ref });
    else if (type === 'ping') socket.frame({ type: 'pong', server_time: AT, ref });
    else if (['join', 'leave', 'message'].includes(type)) {
      seq += 1;
      socket.ack(frame, seq);
    }
  }
  function past(n: number, from_user: string): Record<string, unknown> {
    return { type: 'message', id: id(n), from_user, target_room: 'r', message: `m${n}`, sent_at: AT };
  }
  async function event(user: string, event: string, count: number, at = seq + 1): Promise<void> {
    seq = Math.max(seq, at);
    socket.frame({ type: 'room', room: 'r', event, user, seq: at, members: count, at: AT });
    await flushMicrotasks();
  }
  async function message(n: number, from: string): Promise<void> {
    seq = Math.max(seq + 1, n);
    socket.message(n, `m${n}`, from, { target_user: undefined, target_room: 'r' });
    await flushMicrotasks();
  }
  /** The thread as displayed: messages and notices. */
  function thread(): string[] {
    const conversation = chat.current;
    if (!conversation) return [];
    const notices = (id: string) =>
      (conversation.notices.get(id) ?? []).map(({ user, event, seq }) => `${user} ${event} ${seq}`);
    const rows = conversation.messages.flatMap(({ id, content }) => [String(content), ...notices(id)]);
    return [...notices(''), ...rows];
  }

  it('joins, and loads messages and members once the server has answered', async () => {
    await start();
    history = [past(1, 'ann')];
    members = [
      { user: 'ann', joined_at: AT },
      { user: 'me', joined_at: AT },
    ];
    list = [{ target_room: 'r', members: 2, last: past(1, 'ann'), unread: 0 }];
    const before = socket.sent.length;
    chat.rooms.join('r');
    chat.open('#r');
    assert.equal(chat.pendingMembership('r'), 'join');
    await waitUntil(() => chat.current?.loaded === true && chat.current.room?.members?.length === 2);
    assert.equal(chat.pendingMembership('r'), undefined);
    assert.deepEqual([chat.current?.room?.isMember, chat.current?.room?.size], [true, 2]);
    const types = socket.sent.slice(before).map(({ type }) => type);
    assert.deepEqual(
      types.filter(type => type !== 'received'),
      ['join', 'conversations', 'history', 'members', 'read', 'ping'].filter(type => types.includes(type)),
    );
    assert.equal(types.filter(type => type === 'history').length, 1);
    assert.deepEqual(thread(), ['m1', 'me joined 1']);
    assert.deepEqual(
      chat.sortedConversations.map(({ peer }) => peer),
      ['#r'],
    );
  });

  it('keeps notices at their places, once each', async () => {
    list = [{ target_room: 'r', members: 2, unread: 0 }];
    await start();
    chat.open('#r');
    await waitUntil(() => chat.current?.loaded === true);
    await event('ann', 'joined', 2, 1);
    await message(2, 'ann');
    await event('ann', 'left', 1, 3);
    await message(4, 'ben');
    const expected = ['ann joined 1', 'm2', 'ann left 3', 'm4'];
    assert.deepEqual(thread(), expected);
    // They arrive again, for example in a replay to a client without a position.
    await event('ann', 'joined', 2, 1);
    await message(2, 'ann');
    await event('ann', 'left', 1, 3);
    await message(4, 'ben');
    assert.deepEqual(thread(), expected);
    assert.equal(chat.current?.room?.size, 1);
    // Messages of the history come before notices that have arrived since.
    history = [past(1, 'ann'), past(2, 'ann'), past(4, 'ben')];
    chat.closeCurrent();
    socket.drop();
    chat.reconnect();
    await session();
    chat.open('#r');
    await waitUntil(() => chat.current?.loaded === true);
    assert.deepEqual(thread(), expected);
  });

  it('shows notices before the first message only if all older messages are loaded', async () => {
    list = [{ target_room: 'r', members: 2, unread: 0 }];
    await start();
    await event('ann', 'joined', 2, 1);
    for (let n = 2; n < 260; n += 1) socket.message(n, `m${n}`, 'ann', { target_user: undefined, target_room: 'r' });
    await flushMicrotasks();
    await event('ann', 'left', 1, 260);
    history = Array.from({ length: 59 }, (_, i) => past(i + 201, 'ann'));
    chat.open('#r');
    await waitUntil(() => chat.current?.loaded === true);
    assert.deepEqual([thread()[0], thread().at(-1)], ['m201', 'ann left 260']);
  });

  it('keeps the loaded members, and loads them again a while after they have changed during a load', async () => {
    const names = Array.from({ length: 250 }, (_, n) => `user${String(n).padStart(3, '0')}`);
    list = [{ target_room: 'r', members: 250, unread: 0 }];
    await start();
    const requests: unknown[] = [];
    socket.onFrame = frame => {
      if (frame.type !== 'members') return queueMicrotask(() => answer(socket, frame));
      requests.push(frame.cursor);
      const count = requests.length;
      queueMicrotask(async () => {
        // Users join within the round trips of the second and of the third request.
        if (count === 2 || count === 3) await event(`visitor${count}`, 'joined', 250 + count);
        const first = Number(frame.cursor ?? 0);
        const users = names.slice(first, first + 100).map(user => ({ user, joined_at: AT }));
        const cursor = first + 100 < names.length ? { cursor: String(first + 100) } : {};
        socket.frame({ type: 'members', room: 'r', users, total: 250 + count, ref: frame.ref, ...cursor });
      });
    };
    chat.open('#r');
    await waitUntil(() => chat.current?.room?.members !== undefined && !chat.current.room.loading);
    assert.deepEqual(requests, [undefined]);
    const { current } = chat;
    assert(current?.room);
    await chat.rooms.loadMoreMembers(current);
    assert.deepEqual(requests, [undefined, '100']);
    // Both pages are loaded again.
    await waitUntil(() => requests.length === 4 && current.room?.loading === false);
    assert.deepEqual(requests, [undefined, '100', undefined, '100']);
    const loaded = current.room.members?.map(({ user }) => user).filter(user => user.startsWith('user'));
    assert.deepEqual(loaded, names.slice(0, 200));
  });

  it('knows who is a member, in the order of the server', async () => {
    members = ['B', 'a', 'c'].map(user => ({ user, joined_at: AT }));
    list = [{ target_room: 'r', members: 3, unread: 0 }];
    await start();
    chat.open('#r');
    await waitUntil(() => chat.current?.room?.members !== undefined);
    const names = () => chat.current?.room?.members?.map(({ user }) => user).join(' ');
    await event('b', 'joined', 4);
    assert.equal(names(), 'B a b c');
    await event('a', 'left', 3);
    await event('A', 'joined', 4);
    await event('z', 'joined', 5);
    assert.equal(names(), 'A B b c z');
    assert.equal(chat.current?.room?.size, 5);
  });

  it('counts the readers of a message without its author', async () => {
    members = ['ann', 'ben', 'me'].map(user => ({ user, joined_at: AT, read: id(1) }));
    history = [past(1, 'me'), past(2, 'me')];
    list = [{ target_room: 'r', members: 3, last: past(2, 'me'), unread: 0 }];
    await start();
    chat.open('#r');
    await waitUntil(() => chat.current?.room?.members !== undefined);
    const readers = () => chat.current && chat.displayed(chat.current).map(({ readers }) => readers?.join(' '));
    assert.deepEqual(readers(), ['ann ben', '']);
    const receipt = (by_user: string, n: number) =>
      socket.frame({ type: 'receipt', kind: 'read', by_user, target_room: 'r', id: id(n), at: AT });
    receipt('ben', 2);
    receipt('ben', 1);
    assert.deepEqual(readers(), ['ann ben', 'ben']);
    await event('ben', 'left', 2);
    assert.deepEqual(readers(), ['ann', '']);
    assert.equal(readersText([], 3), '');
    assert.equal(readersText(['ann'], 2), 'Read by ann');
    assert.equal(readersText(['ann', 'ben'], 3), 'Read by all');
    assert.equal(readersText(['ann', 'ben'], 4), 'Read by ann, ben');
    assert.equal(readersText(['a', 'b', 'c', 'd'], 9), 'Read by 4 members');
  });

  it('shows who is typing, until they write or leave', async () => {
    list = [{ target_room: 'r', members: 4, unread: 0 }];
    await start();
    chat.open('#r');
    await waitUntil(() => chat.current?.loaded === true);
    const typing = (from_user: string, active = true) =>
      socket.frame({ type: 'typing', from_user, target_room: 'r', active });
    const users = () => [...(chat.current?.typing.keys() ?? [])].join(' ');
    for (const user of ['a', 'b', 'c']) typing(user);
    assert.equal(users(), 'a b c');
    typing('a', false);
    await message(1, 'b');
    assert.equal(users(), 'c');
    await event('c', 'left', 3);
    assert.equal(users(), '');
    // In the room alone.
    typing('a');
    assert.equal(chat.conversations.get('a'), undefined);
  });

  it('counts unread messages of rooms, and none of a room that the user has left', async () => {
    list = [{ target_room: 'r', members: 2, last: past(1, 'ann'), unread: 3 }];
    seq = 1;
    await start();
    assert.equal(chat.conversations.unread, 3);
    await message(2, 'ann');
    assert.equal(chat.conversations.unread, 4);
    socket.frame({ type: 'receipt', kind: 'read', by_user: 'me', target_room: 'r', id: id(2), at: AT });
    await flushMicrotasks();
    assert.equal(chat.conversations.unread, 0);
    await message(3, 'ann');
    await event('me', 'left', 1);
    assert.equal(chat.conversations.unread, 0);
    assert.deepEqual(chat.sortedConversations, []);
  });

  it('forgets the messages of a room that was deleted', async () => {
    list = [{ target_room: 'r', members: 2, last: past(1, 'ann'), unread: 1 }];
    history = [past(1, 'ann')];
    seq = 1;
    await start();
    chat.open('#r');
    await waitUntil(() => chat.current?.loaded === true);
    await message(2, 'ann');
    assert.deepEqual(thread(), ['m1', 'm2']);
    list = [];
    seq += 1;
    const deleted = { event: 'left', user: 'me', members: 0, reason: 'room_deleted' };
    socket.frame({ type: 'room', room: 'r', seq, at: AT, ...deleted });
    await flushMicrotasks();
    assert.deepEqual(thread(), []);
    assert.equal(chat.current?.room?.problem, 'This room was deleted.');
    // The next room of the name is another one.
    history = [];
    list = [{ target_room: 'r', members: 1, unread: 0 }];
    await event('me', 'joined', 1);
    await waitUntil(() => chat.current?.loaded === true);
    assert.deepEqual(thread(), ['me joined 4']);
    assert.equal(chat.current?.room?.problem, undefined);
  });

  it('does not show the messages of a room that was deleted while they were loaded', async () => {
    list = [{ target_room: 'r', members: 1, last: past(1, 'ann'), unread: 0 }];
    await start();
    let asked: InFrame | undefined;
    socket.onFrame = frame => {
      if (frame.type === 'history') asked = frame;
      else queueMicrotask(() => answer(socket, frame));
    };
    chat.open('#r');
    await waitUntil(() => asked !== undefined);
    seq += 1;
    const deleted = { event: 'left', user: 'me', members: 0, reason: 'room_deleted' };
    socket.frame({ type: 'room', room: 'r', seq, at: AT, ...deleted });
    history = [past(1, 'ann')];
    if (asked) answer(socket, asked);
    await flushMicrotasks();
    assert.deepEqual(thread(), []);
  });

  it('learns from the list that a membership has ended', async () => {
    list = [{ target_room: 'r', members: 2, unread: 0 }];
    await start();
    assert.equal(chat.sortedConversations.length, 1);
    list = [];
    socket.drop();
    chat.reconnect();
    await session();
    await waitUntil(() => chat.sortedConversations.length === 0);
    assert.equal(chat.conversations.get('#r')?.room?.isMember, false);
  });

  it('explains why the user cannot join, read or write', async () => {
    await start();
    for (const [code, text] of [
      ['room_full', 'This room is full.'],
      ['unknown_room', 'This server has no rooms.'],
      ['forbidden', 'Forbidden'],
    ] as const) {
      refusal = code;
      const room = code.replace('_', '-');
      chat.rooms.join(room);
      chat.open(`#${room}`);
      await waitUntil(() => chat.current?.room?.problem !== undefined);
      assert.deepEqual([chat.current?.room?.isMember, chat.current?.room?.problem], [false, text]);
    }
    refusal = 'not_member';
    chat.open('#other');
    await waitUntil(() => chat.current?.room?.isMember === false);
    assert.equal(chat.current?.room?.problem, undefined);
    chat.send('#other', 'hello');
    await waitUntil(() => chat.unsent.failed.length === 1);
    assert.equal(chat.current && chat.displayed(chat.current)[0]?.error, 'You are not a member of this room.');
    // No notice besides.
    assert.equal(chat.notice, undefined);
    refusal = undefined;
    const [failed] = chat.unsent.failed;
    chat.rooms.join('other');
    chat.retry(String(failed?.frame.id));
    await waitUntil(() => socket.sent.some(({ type, target_room }) => type === 'message' && target_room === 'other'));
    await waitUntil(() => chat.current?.room?.isMember === true && chat.unsent.failed.length === 0);
  });

  it('asks for the room of the session on each connection, until the user leaves it', async () => {
    const rooms = () => [socket.url.searchParams.getAll('room').join(), socket.url.searchParams.get('membership')];
    await start({ sessionRoom: 'r' });
    assert.deepEqual(rooms(), ['r', 'session']);
    await event('me', 'joined', 1);
    // The server has closed the session in favour of others, and the user asks for a new one.
    socket.goodbye(4408, false);
    await waitUntil(() => chat.connection.status === 'closed');
    chat.reconnect();
    await session();
    assert.deepEqual(rooms(), ['r', 'session']);
    assert.equal(chat.conversations.get('#r')?.room?.isMember, true);
    chat.rooms.leave('r');
    await waitUntil(() => chat.conversations.get('#r')?.room?.isMember === false);
    socket.drop();
    chat.reconnect();
    await session();
    assert.equal(rooms()[0], '');
  });
});
