import assert from 'node:assert/strict';
import { afterEach, beforeEach, describe, it } from 'node:test';
import {
  type Client,
  type ConnectOptions,
  connect,
  type Saved,
  type ServerMessage,
  type Storage,
} from '../src/index.js';
import { FakeServer, type FakeSocket, settle, until } from './support/fake.js';

describe('what comes', { timeout: 20_000 }, () => {
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
  /** The place from which a connection asks. */
  function asked(socket: FakeSocket): [string | null, string | null] {
    return [socket.url.searchParams.get('since'), socket.url.searchParams.get('epoch')];
  }
  function received(socket: FakeSocket): unknown[] {
    return socket.sent.filter(frame => frame.type === 'received').map(frame => frame.seq);
  }

  it('is acknowledged when it is handled, and asked for after that on the next connection', async () => {
    listen();
    const socket = await server.session();
    socket.message(1);
    socket.message(2);
    await settle();
    assert.deepEqual(seen, ['m1', 'm2']);
    await until(() => received(socket).at(-1) === 2);
    socket.drop();
    assert.deepEqual(asked(await server.accept()), ['2', 'e1']);
  });

  it('begins where the first entry stands', async () => {
    listen();
    const socket = await server.session(41);
    socket.message(42);
    await settle();
    socket.drop();
    assert.deepEqual(asked(await server.accept()), ['42', 'e1']);
  });

  it('begins where the log stands if there is nothing to replay', async () => {
    listen();
    const socket = await server.accept();
    assert.deepEqual(asked(socket), [null, null]);
    socket.welcome(41);
    socket.drop();
    // Whether something is to be replayed was not known yet; the server knows.
    const next = await server.session(41);
    assert.deepEqual(asked(next), [null, null]);
    next.drop();
    // What others of this device acknowledge meanwhile is ours, too.
    const last = await server.accept();
    assert.deepEqual(asked(last), ['41', 'e1']);
    last.welcome(42);
    last.message(42);
    await settle();
    assert.deepEqual(seen, ['m42']);
  });

  it('begins nowhere while there was no room for the first entry', async () => {
    start();
    const socket = await server.accept();
    socket.welcome(1);
    for (let i = 0; i <= 1000; i += 1) {
      const ephemeral = { seq: undefined, ephemeral: true };
      if (i === 0) client.on('message', () => new Promise(() => {}));
      socket.message(0, 'flash', 'you', ephemeral);
    }
    socket.message(1);
    socket.frame({ type: 'synced', seq: 1 });
    socket.drop();
    assert.deepEqual(asked(await server.accept()), [null, null]);
  });

  it('begins where the application says, with the epoch of the first session', async () => {
    listen({ since: 0 });
    const first = await server.accept();
    assert.deepEqual(asked(first), ['0', null]);
    first.welcome(5);
    first.drop();
    assert.deepEqual(asked(await server.accept()), ['0', 'e1']);
  });

  it('is given once, however often it comes', async () => {
    listen();
    const socket = await server.session();
    for (const seq of [1, 2, 1, 2, 2, 3, 1]) socket.message(seq);
    await settle();
    assert.deepEqual(seen, ['m1', 'm2', 'm3']);
  });

  it('is not skipped: with an entry missing the line is given up and the rest asked for', async () => {
    listen();
    const socket = await server.session();
    socket.message(1);
    socket.message(3);
    const next = await server.accept();
    assert.deepEqual(asked(next), ['1', 'e1']);
    next.welcome(3);
    next.message(2);
    next.message(3);
    await settle();
    assert.deepEqual(seen, ['m1', 'm2', 'm3']);
  });

  it('once begun, moves neither by welcome nor synced nor duplicate acks', async () => {
    listen();
    const socket = await server.session();
    socket.message(1);
    await settle();
    const sending = client.send('you', 'x');
    socket.ack(await socket.expect('received').then(() => socket.expect('message')), 9, { duplicate: true });
    assert.equal((await sending).seq, 9);
    assert.equal(client.state.status, 'open');
    socket.drop();
    const next = await server.session(30);
    assert.deepEqual(asked(next), ['1', 'e1']);
    next.drop();
    assert.deepEqual(asked(await server.accept()), ['1', 'e1']);
  });

  it('moves by the acks of what we send, at their place', async () => {
    listen();
    const socket = await server.session();
    const sending = client.send('you', 'x');
    const frame = await socket.expect('message');
    socket.message(1);
    socket.ack(frame, 2);
    await sending;
    socket.message(3);
    await settle();
    assert.deepEqual(seen, ['m1', 'm3']);
    socket.drop();
    assert.deepEqual(asked(await server.accept()), ['3', 'e1']);
  });

  it('moves by a message to oneself, not by its ack', async () => {
    listen();
    const socket = await server.session();
    const sending = client.send('me', 'note');
    const frame = await socket.expect('message');
    socket.ack(frame, 1);
    assert.equal((await sending).seq, 1);
    socket.drop();
    const next = await server.session();
    assert.deepEqual(asked(next), ['0', 'e1']);
    next.message(1, 'note', 'me', { id: frame.id });
    await settle();
    assert.deepEqual(seen, ['note']);
  });

  it('jumps by truncated, after what came before it was handled', async () => {
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
    await settle();
    assert.deepEqual(seen, []);
    assert.deepEqual(received(socket), []);
    release();
    await settle();
    assert.deepEqual(seen, ['m1', 'retention']);
    release();
    await settle();
    assert.deepEqual(seen, ['m1', 'retention', 'm107']);
    await until(() => received(socket).at(-1) === 107);
    socket.drop();
    assert.deepEqual(asked(await server.accept()), ['107', 'e1']);
  });

  it('keeps place and epoch together when the store was replaced', async () => {
    listen();
    const socket = await server.session();
    socket.message(1);
    await settle();
    socket.drop();
    // This one breaks before it says that the place means nothing in the new epoch.
    const broken = await server.accept();
    broken.welcome(9, { epoch: 'e2' });
    await settle();
    assert.deepEqual(received(broken), []);
    broken.drop();
    const whole = await server.accept();
    assert.deepEqual(asked(whole), ['1', 'e1']);
    whole.welcome(9, { epoch: 'e2' });
    whole.frame({ type: 'truncated', reason: 'reset', oldest_seq: 1 });
    whole.message(1, 'of the new store');
    await settle();
    assert.deepEqual(seen, ['m1', 'of the new store']);
    await until(() => received(whole).at(-1) === 1);
    assert.ok(!received(whole).includes(9));
    whole.drop();
    assert.deepEqual(asked(await server.accept()), ['1', 'e2']);
  });

  it('acknowledges nothing of the old store to the new one', async () => {
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
    await settle();
    waiting.shift()?.();
    await settle();
    // The jump itself is handled now; the old places were never told.
    await until(() => received(next).length > 0);
    assert.deepEqual(received(next), [4]);
  });

  it('is given one after the other, the next when the one before is handled', async () => {
    const waiting: (() => void)[] = [];
    start().on('message', message => {
      seen.push(message.message);
      return new Promise<void>(resolve => waiting.push(resolve));
    });
    const socket = await server.session();
    for (const seq of [1, 2, 3]) socket.message(seq);
    await settle();
    assert.deepEqual(seen, ['m1']);
    assert.deepEqual(received(socket), []);
    waiting.shift()?.();
    await settle();
    assert.deepEqual(seen, ['m1', 'm2']);
    // What has come is not asked for again, handled or not.
    socket.drop();
    assert.deepEqual(asked(await server.accept()), ['3', 'e1']);
  });

  it('may be answered from its handler', async () => {
    start().on('message', async message => {
      seen.push((await client.send(message.from_user, 'echo')).seq);
    });
    const socket = await server.session();
    socket.message(1);
    socket.ack(await socket.expect('message'), 2);
    await settle();
    assert.deepEqual(seen, [2]);
    await until(() => received(socket).at(-1) === 2);
  });

  it('waits for somebody to take it', async () => {
    start();
    const socket = await server.session();
    socket.message(1);
    await settle();
    assert.deepEqual(received(socket), []);
    client.on('message', message => void seen.push(message.message));
    await settle();
    assert.deepEqual(seen, ['m1']);
    assert.deepEqual(received(socket), [1]);
  });

  it('is acknowledged in batches while much comes', async () => {
    listen();
    const socket = await server.session();
    for (let seq = 1; seq <= 500; seq += 1) socket.message(seq);
    while (seen.length < 500) await settle();
    await settle();
    await until(() => received(socket).at(-1) === 500);
    assert.ok(received(socket).length < 20, `${received(socket).length} frames`);
  });

  it('does not pile up without bound: what there is no room for is asked for again', async () => {
    const replay = (socket: FakeSocket) => {
      const since = Number(socket.url.searchParams.get('since'));
      socket.welcome(2500);
      for (let seq = since + 1; seq <= 2500; seq += 1) socket.message(seq);
      socket.frame({ type: 'synced', seq: 2500 });
    };
    start({ since: 0 });
    replay(await server.accept());
    await settle();
    client.on('message', message => void seen.push(message.seq));
    replay(await server.accept());
    replay(await server.accept());
    while (seen.length < 2500) await settle();
    assert.deepEqual(
      seen,
      Array.from({ length: 2500 }, (_, i) => i + 1),
    );
  });

  it('holds the place where a handler fails, and goes on', async () => {
    const failures: unknown[] = [];
    start().on('fault', ({ error }) => void failures.push(error));
    client.on('message', message => {
      if (message.seq === 2) throw new Error('no');
      seen.push(message.message);
    });
    const socket = await server.session();
    for (const seq of [1, 2, 3]) socket.message(seq);
    await settle();
    assert.deepEqual(seen, ['m1', 'm3']);
    await until(() => received(socket).at(-1) === 1);
    assert.equal(failures.length, 1);
  });

  it('may fail for ever, and nothing grows with that', async () => {
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
    await until(() => seen.length === 500);
    assert.deepEqual(received(socket), []);
    const last = states.at(-1) as Saved;
    assert.equal(last.seq, 0);
    assert.equal(last.outbox.length, 250);
    assert.equal(last.outbox.at(-1)?.frame.message, 'x998');
  });

  it('gives ephemeral messages too, in their place, and moves nothing by them', async () => {
    listen();
    const socket = await server.session();
    socket.message(1);
    socket.message(0, 'flash', 'you', { seq: undefined, ephemeral: true });
    socket.message(2);
    await settle();
    assert.deepEqual(seen, ['m1', 'flash', 'm2']);
    await until(() => received(socket).at(-1) === 2);
  });

  it('gives edits, deletions and reactions as they stand among the messages', async () => {
    listen();
    client.on('edited', ({ message }) => void seen.push(`edited ${message}`));
    client.on('reacted', ({ emoji }) => void seen.push(emoji));
    const socket = await server.session();
    socket.message(1);
    const rest = { from_user: 'you', target_user: 'me', id: 'x' };
    socket.frame({ type: 'edited', seq: 2, message: 'm1!', edited_at: '', ...rest });
    socket.frame({ type: 'deleted', seq: 3, deleted_at: '', ...rest });
    socket.frame({ type: 'reacted', seq: 4, emoji: '+', ...rest });
    await settle();
    assert.deepEqual(seen, ['m1', 'edited m1!', '+']);
    await until(() => received(socket).at(-1) === 4);
  });

  it('is left alone after the close, also by handlers that come late', async () => {
    start({ since: 0 });
    const socket = await server.session(1500);
    for (let seq = 1; seq <= 1500; seq += 1) socket.message(seq);
    await client.close();
    client.on('message', () => void seen.push('late'));
    await settle();
    assert.deepEqual(seen, []);
    assert.equal(client.state.status, 'closed');
    assert.equal(server.sockets.length, 1);
  });

  describe('by the iterator', () => {
    it('is handled when the next is asked for', async () => {
      start();
      const messages = client.messages();
      const first = messages.next();
      const socket = await server.session();
      socket.message(1);
      socket.message(2);
      assert.equal(((await first).value as ServerMessage).message, 'm1');
      await settle();
      assert.deepEqual(received(socket), []);
      assert.equal(((await messages.next()).value as ServerMessage).message, 'm2');
      await until(() => received(socket).at(-1) === 1);
    });

    it('leaves out what the user sends elsewhere, unless asked for it', async () => {
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

    it('counts what a loop was left at as handled when a later loop goes on', async () => {
      const socket = start() && (await server.session());
      for (const seq of [1, 2, 3]) socket.message(seq);
      for (const text of ['m1', 'm2']) {
        for await (const message of client.messages()) {
          assert.equal(message.message, text);
          break;
        }
      }
      await until(() => received(socket).length > 0);
      assert.deepEqual(received(socket), [1]);
      const last = client.messages();
      await last.next();
      await until(() => received(socket).at(-1) === 2);
    });
  });
});
