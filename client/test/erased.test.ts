import assert from 'node:assert/strict';
import { createHash } from 'node:crypto';
import { afterEach, beforeEach, describe, it } from 'node:test';
import { type Client, connect, type DmwireError, type Events, type Saved } from '../src/index.js';
import { sha256 } from '../src/sha256.js';
import { FakeServer, type FakeSocket, flushMicrotasks } from './support/fake.js';

const RENAMED = 'erased.0123456789abcdef0123456789abcdef';

function hash(text: string): string {
  return createHash('sha256').update(text).digest('hex');
}

describe('an erased user', { timeout: 60_000 }, () => {
  let server: FakeServer;
  let client: Client;
  const erased: Events['erased'][] = [];

  beforeEach(() => {
    erased.length = 0;
    server = new FakeServer();
    client = connect({ url: 'ws://host', user: 'me', WebSocket: server.WebSocket });
    client.on('erased', event => void erased.push(event));
  });
  afterEach(() => client.close());

  function erase(socket: FakeSocket, seq: number, user: string, epoch = 'e1'): void {
    const at = '2026-01-01T00:00:00.000Z';
    socket.frame({ type: 'erased', as: RENAMED, user_hash: hash(`${epoch}:${user}`), seq, at });
  }

  it('is an event that recognises the former name', async () => {
    const socket = await server.session();
    erase(socket, 1, 'zoe');
    await flushMicrotasks();
    assert.equal(erased.length, 1);
    assert.equal(erased[0]?.as, RENAMED);
    assert.deepEqual(
      ['zoe', 'ann', RENAMED, ''].map(user => erased[0]?.is(user)),
      [true, false, false, false],
    );
    // It is an entry like others.
    assert.deepEqual((await socket.expect('received')).seq, 1);
  });

  it('gets no more frames', async () => {
    const socket = await server.accept();
    socket.welcome(1);
    // They wait for the end of the replay.
    const [toZoe, toAnn] = [client.send('zoe', 'to zoe'), client.send('ann', 'to ann')];
    const read = client.markRead('zoe', '00000000-0000-0000-0000-000000000001');
    const deletion = client.delete('zoe', '00000000-0000-0000-0000-000000000002');
    const isDropped = (error: DmwireError) => error.code === 'forbidden' && error.path === '/target_user';
    const dropped = [assert.rejects(toZoe, isDropped), assert.rejects(read, isDropped)];
    await flushMicrotasks();
    erase(socket, 1, 'zoe');
    await Promise.all(dropped);
    socket.frame({ type: 'synced', seq: 1 });
    const sent = await socket.expect('message');
    assert.equal(sent.target_user, 'ann');
    socket.ack(sent, 2);
    await toAnn;
    // One's own messages can still be deleted.
    const deleted = await socket.expect('delete');
    assert.equal(deleted.target_user, RENAMED);
    socket.ack(deleted, 3);
    assert.equal((await deletion).seq, 3);
    assert.deepEqual(client.pending, []);
  });

  it('is not watched any more', async () => {
    const socket = await server.session();
    const watching = client.watch(['zoe', 'ann']);
    const watch = await socket.expect('watch');
    for (const user of ['zoe', 'ann']) socket.frame({ type: 'presence', user, status: 'offline', ref: watch.ref });
    await watching;
    erase(socket, 1, 'zoe');
    const unwatch = await socket.expect('unwatch');
    assert.deepEqual(unwatch.users, ['zoe']);
    socket.frame({ type: 'ok', ref: unwatch.ref });
  });

  it('is another one than a later user of the name', async () => {
    const first = await server.session();
    erase(first, 1, 'zoe');
    await flushMicrotasks();
    first.drop();
    client.reconnect();
    const second = await server.accept();
    second.welcome(1);
    const sending = client.send('zoe', 'to the next one');
    await flushMicrotasks();
    // The entry comes again, although the client has it.
    erase(second, 1, 'zoe');
    second.frame({ type: 'synced', seq: 1 });
    const sent = await second.expect('message');
    second.ack(sent, 2);
    await sending;
    assert.equal(erased.length, 1);
  });

  it('leaves no frames in the storage', async () => {
    await client.close();
    let saved: Saved | undefined;
    const open = async () => ({
      saved: undefined,
      save: async (state: Saved) => {
        saved = state;
      },
      close: () => {},
    });
    client = connect({ url: 'ws://host', user: 'me', WebSocket: server.WebSocket, storage: { open } });
    await server.accept();
    const socket = await server.accept();
    socket.welcome(1);
    const sending = assert.rejects(client.send('zoe', 'a secret'));
    await flushMicrotasks();
    erase(socket, 1, 'zoe');
    await sending;
    await client.close();
    assert.equal(JSON.stringify(saved).includes('zoe'), false, JSON.stringify(saved));
  });
});

describe('the hash of a name', () => {
  it('is SHA-256', () => {
    for (let length = 0; length < 200; length += 1) {
      const text = Array.from({ length }, (_, i) => String.fromCharCode(33 + ((i * 7 + length) % 90))).join('');
      assert.equal(sha256(text), hash(text), text);
    }
  });
});
