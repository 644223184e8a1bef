import assert from 'node:assert/strict';
import { spawn } from 'node:child_process';
import { once } from 'node:events';
import { mkdtemp, readFile, rm } from 'node:fs/promises';
import { tmpdir } from 'node:os';
import { join } from 'node:path';
import { afterEach, beforeEach, describe, it } from 'node:test';
import { type Client, connect, newId, type ServerMessage } from '../src/index.js';
import { fileStorage } from '../src/node.js';
import { waitUntil } from './support/fake.js';
import { DEADLINE, Server } from './support/server.js';

describe('with a real server', { timeout: 10 * DEADLINE }, () => {
  let server: Server;
  let folder: string;
  const clients: Client[] = [];

  beforeEach(async () => {
    folder = await mkdtemp(join(tmpdir(), 'dmwire-client-'));
  });
  afterEach(async () => {
    await Promise.all(clients.splice(0).map(client => client.close()));
    await server.stop();
    await rm(folder, { recursive: true, force: true });
  });

  function client(user: string, more: Partial<Parameters<typeof connect>[0]> = {}): Client {
    const made = connect({ url: server.url, user, backoff: { base: 20, max: 200 }, ...more });
    clients.push(made);
    return made;
  }
  async function take(messages: AsyncIterator<ServerMessage>, count: number): Promise<unknown[]> {
    const texts: unknown[] = [];
    while (texts.length < count) texts.push((await messages.next()).value?.message);
    return texts;
  }

  it('two users exchange messages', async () => {
    server = await Server.start();
    const [a, b] = [client('a'), client('b')];
    const received = new Promise<ServerMessage>(resolve => b.on('message', resolve));
    const ack = await a.send('b', { type: 'image', url: 'https://example.org/cat.png', alt: 'A cat' });
    assert.equal(ack.status, 'stored');
    const { id, message } = await received;
    assert.deepEqual(message, { type: 'image', url: 'https://example.org/cat.png', alt: 'A cat' });
    assert.equal(id, ack.id);
    // Half of a surrogate pair, as a program that cuts a text may leave it.
    await assert.rejects(a.send('b', '👍'.slice(0, 1)), { code: 'invalid_json', path: '/message' });
    await assert.rejects(a.send('b', ''), { code: 'invalid_frame', path: '/message' });
    await assert.rejects(a.send({ room: 'r' }, 'x'), { code: 'not_member' });
    await assert.rejects(a.edit('b', newId(), 'x'), { code: 'unknown_message' });

    const changed = new Promise(resolve => b.on('edited', resolve));
    await a.edit('b', ack.id, 'A dog');
    assert.equal(((await changed) as { message: string }).message, 'A dog');
    const read = new Promise(resolve => a.on('receipt', receipt => receipt.kind === 'read' && resolve(receipt.id)));
    await b.markRead('a', ack.id);
    assert.equal(await read, ack.id);
    await b.react('a', ack.id, '👍');
    for await (const { last, unread } of b.conversations()) {
      assert.deepEqual([last?.message, last?.reactions?.[0]?.users, unread], ['A dog', ['b'], 0]);
    }
    // Only contacts are told.
    await b.send('a', 'thanks');
    const typing = new Promise(resolve => b.on('typing', resolve));
    a.typing('b');
    await typing;
    await a.delete('b', ack.id);
    const history = [];
    for await (const message of b.history('a')) history.push(message);
    assert.equal(history.length, 2);
    assert.deepEqual(
      history.map(message => message.deleted_at !== undefined),
      [false, true],
    );
  });

  it('users join a room, write to it and leave it', async () => {
    server = await Server.start();
    const [a, b, c] = [client('a'), client('b'), client('c', { rooms: ['r'] })];
    const room = { room: 'r' };
    await new Promise(resolve => c.on('synced', resolve));
    await assert.rejects(a.members('other').next(), { code: 'not_member', path: '/room' });
    const events: string[] = [];
    a.on('room', ({ event, user, members }) => void events.push(`${user} ${event} ${members}`));
    a.on(
      'message',
      ({ from_user, target_room, message }) => void events.push(`${from_user}@${target_room} ${message}`),
    );
    const changes: unknown[] = [];
    for (const type of ['edited', 'reacted', 'deleted', 'receipt', 'typing'] as const) {
      b.on(type, frame => void changes.push([type, frame.target_room]));
    }
    // Without waiting: the message and the queries are sent after the join.
    const joined = a.join('r');
    const [ack, listed] = await Promise.all([a.send(room, 'one'), a.members('r').next()]);
    assert.deepEqual([(await joined).room, listed.value?.user], ['r', 'a']);
    assert.deepEqual([(await a.join('r')).duplicate, (await b.join('r')).duplicate], [true, undefined]);
    await b.send(room, 'two');
    await a.edit(room, ack.id, 'three');
    await a.react(room, ack.id, '👍');
    a.typing(room);
    await c.markRead(room, ack.id);
    await a.delete(room, ack.id);
    await waitUntil(() => changes.length === 5);
    const types = ['deleted', 'edited', 'reacted', 'receipt', 'typing'];
    assert.deepEqual(
      changes.sort(),
      types.map(type => [type, 'r']),
    );
    const members = [];
    for await (const { user } of b.members('r', { pageSize: 2 })) members.push(user);
    assert.deepEqual(members, ['a', 'b', 'c']);
    for await (const { target_room, members, last } of a.conversations()) {
      assert.deepEqual([target_room, members, last?.message], ['r', 3, 'two']);
    }
    await b.leave('r');
    assert.equal((await b.leave('r')).duplicate, true);
    await assert.rejects(b.history(room).next(), { code: 'not_member' });
    await assert.rejects(b.react(room, ack.id, '👍'), { code: 'not_member' });
    await waitUntil(() => events.length === 3);
    assert.deepEqual(events, ['b joined 3', 'b@r two', 'b left 2']);
  });

  it('a join waits offline, and a membership of a session ends with it', async () => {
    server = await Server.start('--presence-grace-seconds', '0', '--room-limit', '2');
    const host = client('host', { since: 0 });
    const events: string[] = [];
    host.on('room', ({ event, user }) => void events.push(`${user} ${event}`));
    await host.join('r');
    const guest = client('guest', { rooms: ['r'], membership: 'session' });
    await waitUntil(() => events.length === 1);
    const late = client('late', { rooms: ['r'] });
    const failed = await new Promise(resolve => late.on('failed', resolve));
    const { frame, error } = failed as { frame: unknown; error: { code: string; path: string } };
    assert.deepEqual([frame, error.code, error.path], [{ type: 'join', room: 'r' }, 'room_full', '/room/0']);
    await guest.close();
    await waitUntil(() => events.length === 2);
    await server.kill();
    await waitUntil(() => late.state.status !== 'open');
    const all = [late.join('r'), late.send({ room: 'r' }, 'late'), late.leave('r'), late.join('r')];
    assert.equal(late.pending.length, 4);
    const message = new Promise(resolve => host.on('message', resolve));
    await server.restart();
    await Promise.all(all);
    assert.equal(((await message) as ServerMessage).message, 'late');
    await waitUntil(() => events.length === 5);
    assert.deepEqual(events, ['guest joined', 'guest left', 'late joined', 'late left', 'late joined']);
    assert.deepEqual(late.pending, []);
  });

  it('a user writes to themselves', async () => {
    server = await Server.start();
    const me = client('me');
    const notes = me.messages({ own: true });
    const first = notes.next();
    const texts = ['one', 'two', 'three'];
    const acks = await Promise.all(texts.map(text => me.send('me', text)));
    assert.deepEqual(
      acks.map(ack => ack.seq),
      [1, 2, 3],
    );
    assert.deepEqual([(await first).value?.message, ...(await take(notes, 2))], texts);
  });

  it('only unacknowledged messages are delivered again', async () => {
    server = await Server.start();
    const a = client('a');
    const storage = () => fileStorage(join(folder, 'b.json'));
    const first = client('b', { storage: storage(), since: 0 });
    const messages = first.messages();
    const firstThree = take(messages, 3);
    for (const text of ['1', '2', '3', '4']) await a.send('b', text);
    assert.deepEqual(await firstThree, ['1', '2', '3']);
    // The third was yielded, but the next one was not requested.
    await first.close();
    assert.deepEqual(await take(client('b', { storage: storage() }).messages(), 2), ['3', '4']);
  });

  it('a log that was rolled back and has grown again is delivered anew', async () => {
    server = await Server.start();
    const [a, saved] = [client('a'), join(folder, 'b.json')];
    const seen: unknown[] = [];
    const reasons: string[] = [];
    const listen = () => {
      const b = client('b', { storage: fileStorage(saved), since: 0 });
      b.on('message', ({ message }) => void seen.push(message));
      b.on('truncated', ({ reason }) => void reasons.push(reason));
      return b;
    };
    await a.send('b', 'kept');
    const online = listen();
    await waitUntil(() => seen.length === 1);
    const snapshot = await server.snapshot();
    await a.send('b', 'lost 1');
    await a.send('b', 'lost 2');
    await waitUntil(() => seen.length === 3);
    await online.close();
    await a.close();
    await server.rollBack(snapshot);
    // The user writes from another device, so that the log overtakes the position of the first one.
    const again = client('a', { device: 'other' });
    for (const text of ['new 1', 'new 2', 'new 3']) await again.send('b', text);
    listen();
    await waitUntil(() => seen.length === 7);
    assert.deepEqual(seen, ['kept', 'lost 1', 'lost 2', 'kept', 'new 1', 'new 2', 'new 3']);
    assert.deepEqual(reasons, ['reset']);
  });

  it('all devices of a user see the same messages', async () => {
    server = await Server.start();
    const [one, two, other] = [client('a', { device: 'one' }), client('a', { device: 'two' }), client('b')];
    const seen = two.messages({ own: true });
    const next = take(seen, 2);
    await one.send('b', 'mine');
    await other.send('a', 'yours');
    assert.deepEqual(await next, ['mine', 'yours']);
  });

  it('stays below the rate limit of the server', async () => {
    server = await Server.start('--messages-per-second', '200', '--burst', '200');
    const errors: string[] = [];
    const [a, b] = [client('a'), client('b')];
    a.on('wire', ({ text }) => text.includes('rate_limited') && errors.push(text));
    const texts = Array.from({ length: 600 }, (_, i) => String(i));
    const got = take(b.messages(), texts.length);
    await Promise.all(texts.map(text => a.send('b', text)));
    assert.deepEqual(await got, texts);
    assert.deepEqual(errors, []);
  });

  it('keeps the order when the server answers rate_limited', async () => {
    // The burst is smaller than the client assumes.
    server = await Server.start('--messages-per-second', '100', '--burst', '3');
    const [a, b] = [client('a'), client('b')];
    const texts = Array.from({ length: 60 }, (_, i) => String(i));
    const got = take(b.messages(), texts.length);
    await Promise.all(texts.map(text => a.send('b', text)));
    assert.deepEqual(await got, texts);
  });

  it('a deletion is stored while a limit delays an edit of its message', async () => {
    server = await Server.start('--user-bytes-per-day', '100');
    const a = client('a');
    const events: unknown[] = [];
    a.on('sent', ({ frame, ack }) => void events.push([frame.type, ack.seq]));
    const delayed = new Promise<string | undefined>(resolve => a.on('delayed', ({ frame }) => resolve(frame.type)));
    const { id } = await a.send('b', 'x');
    const edit = a.edit('b', id, 'a longer text');
    assert.equal(await delayed, 'edit');
    const { seq } = await a.delete('b', id);
    const { duplicate, seq: none } = await edit;
    assert.deepEqual([seq, duplicate, none], [2, true, undefined]);
    await waitUntil(() => events.length === 3);
    assert.deepEqual(events, [
      ['message', 1],
      ['edit', undefined],
      ['delete', 2],
    ]);
    assert.deepEqual(a.pending, []);
    for await (const message of a.history('b')) assert.ok('deleted_at' in message);
  });

  it('a program without traffic is one device, and continues at its position', async () => {
    server = await Server.start();
    const peer = client('peer');
    await peer.send('idle', 'one');
    const storage = fileStorage(join(folder, 'idle.json'));
    const sessions: unknown[] = [];
    const devices = new Set<string>();
    for (let i = 0; i < 3; i += 1) {
      const idle = client('idle', { storage });
      await new Promise(resolve => idle.on('synced', resolve));
      assert.ok(idle.state.status === 'open');
      sessions.push(idle.state.session.resumed);
      devices.add(idle.state.session.device);
      idle.dispose();
    }
    assert.deepEqual(sessions, ['new', 'cursor', 'cursor']);
    assert.equal(devices.size, 1);
    await peer.send('idle', 'two');
    assert.deepEqual(await take(client('idle', { storage }).messages(), 2), ['one', 'two']);
  });

  it('a slow handler neither loses the connection nor delays other frames', async () => {
    const rates = ['messages-per-second', 'burst', 'user-messages-per-second', 'user-burst'];
    server = await Server.start(...rates.flatMap(rate => [`--${rate}`, '1000000']));
    const peers = Array.from({ length: 15 }, (_, i) => client(`peer${i}`));
    await Promise.all(peers.flatMap(peer => Array.from({ length: 100 }, (_, i) => peer.send('slow', String(i)))));
    const slow = client('slow', { since: 0 });
    const states: string[] = [];
    slow.on('state', ({ status }) => states.push(status));
    const handled = new Set<string>();
    slow.on('message', async ({ id }) => {
      assert.ok(!handled.has(id));
      await new Promise(resolve => setTimeout(resolve, 1));
      handled.add(id);
    });
    // The replay is complete, and most of it waits for the handler.
    await new Promise(resolve => slow.on('synced', resolve));
    assert.ok(handled.size < 1_500);
    while (handled.size < 1_500) {
      // Fails if the connection is lost before the ack.
      await slow.send('peer0', 'live', { ephemeral: true });
      await new Promise(resolve => setTimeout(resolve, 20));
    }
    assert.deepEqual(states, ['connecting', 'open']);
  });

  it('nothing is lost, duplicated or reordered while the server is killed repeatedly', async () => {
    server = await Server.start('--messages-per-second', '1000000', '--burst', '1000000');
    const count = 400;
    const texts = (name: string) => Array.from({ length: count }, (_, i) => `${name}${i}`);
    const users = [client('a', { since: 0 }), client('b', { since: 0 })] as const;
    const got: unknown[][] = [[], []];
    let onReceived = () => {};
    const sent = users.map(async (user, i) => {
      user.on('message', message => {
        if (message.from_user === 'ab'[i]) return;
        got[i]?.push(message.message);
        onReceived();
      });
      for (const text of texts('ab'[i] ?? '')) {
        // Up to five are pending at the same time.
        const sending = user.send('ab'[1 - i] ?? '', text);
        if (Number(text.slice(1)) % 5 === 0) await sending;
      }
    });
    for (let round = 1; round <= 6; round += 1) {
      const enough = (round * count * 2) / 8;
      while (got.flat().length < enough) await new Promise<void>(resolve => (onReceived = resolve));
      await server.kill();
      await server.restart();
    }
    await Promise.all(sent);
    while (got.flat().length < count * 2) await new Promise<void>(resolve => (onReceived = resolve));
    assert.deepEqual(got[0], texts('b'));
    assert.deepEqual(got[1], texts('a'));
    // Each message is stored once.
    const stored: unknown[] = [];
    for await (const message of users[0].history('b', { pageSize: 200 })) stored.push(message.message);
    assert.equal(stored.length, count * 2);
    assert.equal(new Set(stored).size, count * 2);
  });

  it('nothing is lost or reordered while the client is killed repeatedly', async () => {
    server = await Server.start('--messages-per-second', '1000000', '--burst', '1000000');
    const count = 150;
    const peer = client('peer', { since: 0 });
    const got = new Map<string, unknown>();
    let onReceived = () => {};
    peer.on('message', message => {
      if (message.from_user !== 'crash') return;
      assert.ok(!got.has(message.id), 'duplicate');
      got.set(message.id, message.message);
      onReceived();
    });
    const sends = Array.from({ length: count }, (_, i) => peer.send('crash', `p${i}`));
    const log = join(folder, 'log');
    const run = () => {
      const program = new URL('support/crashing.js', import.meta.url).pathname;
      const args = [program, server.url, folder, String(count)];
      const child = spawn(process.execPath, args, { stdio: ['ignore', 'inherit', 'inherit'] });
      return { child, exited: once(child, 'exit') };
    };
    for (let round = 1; round <= 5; round += 1) {
      const { child, exited } = run();
      const enough = (round * count) / 6;
      while (got.size < enough) await new Promise<void>(resolve => (onReceived = resolve));
      child.kill('SIGKILL');
      await exited;
    }
    const { exited } = run();
    await Promise.all(sends);
    assert.deepEqual(await exited, [0, null]);
    while (got.size < count) await new Promise<void>(resolve => (onReceived = resolve));
    assert.deepEqual(
      [...got.values()],
      Array.from({ length: count }, (_, i) => `c${i}`),
    );
    // At each kill the last handled messages may not be saved yet: they are delivered again.
    const handled = (await readFile(log, 'utf8')).trim().split('\n');
    assert.deepEqual(
      [...new Set(handled)],
      Array.from({ length: count }, (_, i) => `p${i}`),
    );
    assert.ok(handled.length <= count + 5 * 3, `${handled.length} lines`);
  });
});
