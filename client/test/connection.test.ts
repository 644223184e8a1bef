import assert from 'node:assert/strict';
import { afterEach, beforeEach, describe, it, mock } from 'node:test';
import { type Client, type ConnectOptions, connect, type State } from '../src/index.js';
import { FakeServer, settle } from './support/fake.js';

describe('the connection', { timeout: 20_000 }, () => {
  let server: FakeServer;
  let client: Client;
  /** The share of the bound that each wait takes. */
  let luck = 0.5;

  beforeEach(() => {
    luck = 0.5;
    mock.timers.enable({ apis: ['setTimeout', 'Date'] });
    mock.method(Math, 'random', () => luck);
    server = new FakeServer();
  });
  afterEach(async () => {
    await client.close();
    mock.timers.reset();
    mock.restoreAll();
  });

  function start(options: Partial<ConnectOptions> = {}): Client {
    client = connect({ url: 'http://host/base/', user: 'me', WebSocket: server.WebSocket, ...options });
    return client;
  }

  function status(): string {
    return client.state.status;
  }
  function inState<S extends State['status']>(wanted: S): State & { status: S } {
    assert.equal(status(), wanted);
    return client.state as State & { status: S };
  }

  /** Lets time pass; tells whether a new connection was made. */
  async function after(milliseconds: number): Promise<boolean> {
    const before = server.sockets.length;
    mock.timers.tick(milliseconds);
    await settle();
    return server.sockets.length > before;
  }

  it('is made to the user below the base path, and always offers the protocol', async () => {
    start({ user: 'a@b+c:~' });
    const socket = await server.accept();
    assert.equal(socket.url.protocol, 'ws:');
    assert.equal(socket.url.host, 'host');
    assert.equal(decodeURIComponent(socket.url.pathname), '/base/ws/a@b+c:~');
    assert.equal(socket.url.searchParams.get('ack'), 'manual');
    assert.equal(socket.url.searchParams.get('since'), null);
    assert.deepEqual(socket.protocols, ['dmwire.v1']);
  });

  it('carries a token as a subprotocol', async () => {
    start({ token: 'abc.def' });
    assert.deepEqual((await server.accept()).protocols, ['dmwire.v1', 'bearer.abc.def']);
  });

  it('leaves the user to the token where none is given', async () => {
    client = connect({ url: 'wss://host', token: 't', WebSocket: server.WebSocket });
    const { url } = await server.accept();
    assert.equal(url.protocol + url.pathname, 'wss:/ws');
  });

  it('has one state, and tells of each change', async () => {
    const seen: string[] = [];
    start().on('state', state => seen.push(state.status));
    assert.equal(status(), 'connecting');
    const socket = await server.session();
    assert.equal(status(), 'open');
    socket.drop();
    assert.equal(status(), 'waiting');
    await after(500);
    await server.session();
    await client.close();
    assert.equal(status(), 'closed');
    assert.deepEqual(seen, ['connecting', 'open', 'waiting', 'connecting', 'open', 'closed']);
  });

  it('comes back after a wait that is any part of a doubling bound', async () => {
    start();
    for (const bound of [500, 1000, 2000, 4000, 8000, 16000, 30000, 30000]) {
      const socket = await server.accept();
      socket.drop();
      assert.equal(inState('waiting').retryInMs, bound * luck);
      luck = luck === 0.5 ? 0.25 : 0.5;
      const due = inState('waiting').retryInMs;
      assert.equal(await after(due - 1), false);
      assert.equal(await after(1), true);
    }
  });

  it('begins anew with short waits after a connection that lasted', async () => {
    start({ backoff: { base: 100, max: 1000 } });
    for (const bound of [100, 200, 400]) {
      (await server.accept()).drop();
      assert.equal(await after(bound / 2), true);
    }
    const short = await server.session();
    await after(4999);
    short.drop();
    assert.equal(await after(399), false);
    assert.equal(await after(1), true);
    const long = await server.session();
    await after(5000);
    long.drop();
    assert.equal(await after(50), true);
  });

  it('waits at least as long as the server asks', async () => {
    start();
    (await server.accept()).goodbye(1013, true, { retry_after_ms: 7000 });
    assert.equal(await after(7249), false);
    assert.equal(await after(1), true);
  });

  it('survives a wait longer than timers take', async () => {
    start();
    (await server.accept()).goodbye(1013, true, { retry_after_ms: Number.MAX_SAFE_INTEGER });
    assert.equal(await after(1_000_000), false);
    assert.equal(status(), 'waiting');
  });

  for (const [code, name] of [
    [1008, 'closed'],
    [4400, 'invalid_request'],
    [4401, 'unauthorized'],
    [4403, 'forbidden'],
    [4408, 'closed'],
  ] as const) {
    it(`ends for good when the server says so with ${code}`, async () => {
      start({ token: 'fixed' });
      const waiting = client.send('you', 'x');
      (await server.accept()).goodbye(code, false);
      await assert.rejects(waiting, { code: name, message: 'a detail' });
      assert.equal(status(), 'closed');
      assert.equal(await after(10_000_000), false);
      await assert.rejects(client.send('you', 'y'), { code: name });
    });

    it(`ends for good at close code ${code}, had its goodbye been lost`, async () => {
      start({ token: 'fixed' });
      (await server.accept()).drop(code);
      assert.equal(status(), 'closed');
    });
  }

  for (const code of [1009, 1012, 1013, 4429]) {
    it(`comes back after ${code}`, async () => {
      start();
      (await server.accept()).goodbye(code, true);
      assert.equal(await after(500), true);
    });
  }

  it('asks for a token anew for each connection, and comes back with it after 4401', async () => {
    let asked = 0;
    start({ getToken: async () => `t${++asked}` });
    const first = await server.accept();
    assert.deepEqual(first.protocols, ['dmwire.v1', 'bearer.t1']);
    first.goodbye(4401, false);
    await after(500);
    const second = await server.accept();
    assert.deepEqual(second.protocols, ['dmwire.v1', 'bearer.t2']);
    second.drop();
    await after(1000);
    assert.deepEqual((await server.accept()).protocols, ['dmwire.v1', 'bearer.t3']);
  });

  it('tries again when there is no token for now', async () => {
    let fail = true;
    start({
      getToken: () => {
        if (fail) throw new Error('not now');
        return 't';
      },
    });
    await settle();
    assert.equal(status(), 'waiting');
    fail = false;
    assert.equal(await after(500), true);
  });

  for (const type of ['state', 'wire', 'goodbye', 'welcome', 'synced'] as const) {
    it(`stays closed when it is closed by a handler of ${type}`, async () => {
      start().on(type, () => void client.close());
      void client.send('you', 'x').catch(() => {});
      await settle();
      for (const socket of server.sockets) {
        socket.welcome();
        socket.frame({ type: 'synced', seq: 0 });
        socket.goodbye(1012, true);
        assert.equal(socket.ended, true);
      }
      assert.equal(status(), 'closed');
      client.reconnect();
      await after(100_000);
      assert.equal(status(), 'closed');
      assert.equal(server.sockets.length, type === 'state' ? 0 : 1);
    });
  }

  it('is tried anew by hand where an attempt hangs', async () => {
    start();
    const hanging = await server.accept();
    client.reconnect();
    await server.session();
    assert.equal(hanging.ended, true);
    assert.equal(status(), 'open');
    client.reconnect();
    await settle();
    assert.equal(server.sockets.length, 2);
  });

  it('is tried once by a handler that asks for it whenever there is no line', async () => {
    start().on('state', state => state.status !== 'open' && client.reconnect());
    (await server.accept()).drop();
    await settle();
    assert.equal(server.sockets.length, 2);
    assert.equal(status(), 'connecting');
  });

  it('does not wait for ever for a token', async () => {
    let asked = 0;
    start({
      getToken: () => {
        asked += 1;
        return asked < 3 ? new Promise(() => {}) : 't';
      },
    });
    await settle();
    await after(14_999);
    assert.equal(status(), 'connecting');
    await after(1);
    assert.match(inState('waiting').reason, /no token/);
    await after(250);
    assert.equal(status(), 'connecting');
    assert.equal(asked, 2);
    client.reconnect();
    await server.session();
    await after(20_000);
    assert.equal(status(), 'open');
    assert.equal(server.sockets.length, 1);
  });

  it('is not made with a token that comes after the close', async () => {
    let give = (_: string) => {};
    start({ getToken: () => new Promise(resolve => (give = resolve)) });
    await settle();
    await client.close();
    give('late');
    await settle();
    assert.equal(server.sockets.length, 0);
  });

  it('notices a line that is silent for two heartbeats', async () => {
    start();
    const socket = await server.session();
    await after(60_999);
    assert.equal(status(), 'open');
    socket.frame({ type: 'heartbeat', timestamp: '' });
    await after(60_999);
    assert.equal(status(), 'open');
    await after(1);
    assert.equal(status(), 'waiting');
    assert.equal(socket.ended, true);
  });

  it('gives up a server that does not welcome', async () => {
    start();
    await server.accept();
    await after(15_000);
    assert.equal(status(), 'waiting');
  });

  it('listens no more to a socket that was given up', async () => {
    const seen: string[] = [];
    start().on('message', message => void seen.push(message.message as string));
    const stale = await server.session();
    await after(61_000);
    await after(500);
    const fresh = await server.session();
    stale.message(1, 'from the grave');
    stale.goodbye(4408, false);
    assert.equal(status(), 'open');
    fresh.message(1, 'alive');
    await settle();
    assert.deepEqual(seen, ['alive']);
  });

  it('comes back by hand, without waiting', async () => {
    start();
    (await server.accept()).drop();
    client.reconnect();
    await settle();
    assert.equal(server.sockets.length, 2);
    assert.equal(await after(10_000), false);
  });

  it('says what is wrong with an address or a user', async () => {
    start({ url: 'nonsense' });
    await settle();
    assert.equal(inState('closed').error?.code, 'invalid_request');
    start({ user: '..' });
    await settle();
    assert.equal(inState('closed').error?.code, 'invalid_request');
    start({ url: 'ftp://localhost' });
    await settle();
    assert.match(inState('closed').error?.message ?? '', /http or ws/);
  });

  it('says that nobody answers, or somebody else', async () => {
    start();
    (await server.accept()).drop();
    assert.match(inState('waiting').reason, /base path/);
    client.reconnect();
    const socket = await server.session(0);
    socket.drop();
    assert.equal(inState('waiting').reason, 'the connection was closed');
  });

  it('names a device as it was named', async () => {
    start({ device: 'a b+c' });
    const { url } = await server.accept();
    assert.match(url.href, /[?&]device=a%20b%2Bc(&|$)/);
  });

  it('says what is wrong with a token that no header can carry', async () => {
    start({
      token: 'a b',
      WebSocket: class {
        constructor() {
          throw new SyntaxError('invalid subprotocol');
        }
      } as never,
    });
    await settle();
    assert.equal(inState('closed').error?.code, 'invalid_request');
  });

  it('puts a raw frame on the line as it is, and tells of its answers', async () => {
    start();
    assert.equal(client.sendRaw('{"type":"ping"}'), false);
    const socket = await server.session();
    const told: string[] = [];
    client.on('ack', ({ ref }) => told.push(`ack ${ref}`));
    client.on('error', ({ code }) => told.push(code));
    client.on('sent', () => told.push('sent'));
    assert.equal(client.sendRaw('{ "message": "x", "target_user": "you", "ref": "r" }'), true);
    const frame = await socket.expect(undefined as unknown as string);
    socket.ack(frame, 1);
    socket.frame({ type: 'error', code: 'invalid_json', detail: 'no', retryable: false });
    socket.message(2);
    await settle();
    assert.deepEqual(told, ['ack r', 'invalid_json']);
    assert.deepEqual(client.pending, []);
    // The log has moved on over its entry.
    socket.drop();
    mock.timers.tick(500);
    assert.equal((await server.accept()).url.searchParams.get('since'), '2');
  });

  it('shows every frame on the wire', async () => {
    const wire: string[] = [];
    start().on('wire', ({ direction, text }) => wire.push(`${direction} ${JSON.parse(text).type}`));
    const socket = await server.session();
    client.typing('you');
    await socket.expect('typing');
    assert.deepEqual(wire, ['in welcome', 'in synced', 'out typing']);
  });

  it('leaves frames of later versions to handlers, and bears what is none', async () => {
    const seen: unknown[] = [];
    start().on('presence' as 'pong', frame => seen.push(frame));
    const socket = await server.session();
    socket.frame({ type: 'presence', user: 'you' });
    assert.deepEqual(seen, [{ type: 'presence', user: 'you' }]);
    assert.equal(status(), 'open');
  });

  it('tells the end to iterators: an error if it was not asked for', async () => {
    start();
    const next = client.messages().next();
    (await server.accept()).goodbye(4403, false);
    await assert.rejects(next, { code: 'forbidden' });
    start();
    const last = client.messages().next();
    await server.session();
    await client.close();
    assert.deepEqual(await last, { done: true, value: undefined });
  });

  describe('in a browser', () => {
    let heard: Map<string, () => void>;
    beforeEach(() => {
      heard = new Map();
      Object.assign(globalThis, {
        addEventListener: (type: string, listener: () => void) => heard.set(type, listener),
        removeEventListener: (type: string) => heard.delete(type),
      });
    });
    afterEach(() => {
      for (const name of ['addEventListener', 'removeEventListener']) Reflect.deleteProperty(globalThis, name);
    });

    it('comes back at once when the network does', async () => {
      start();
      (await server.accept()).drop();
      heard.get('online')?.();
      await settle();
      assert.equal(server.sockets.length, 2);
      await client.close();
      assert.equal(heard.size, 0);
    });

    it('asks a line for a sign of life when the network changes', async () => {
      start();
      const socket = await server.session();
      heard.get('online')?.();
      await socket.expect('ping');
      socket.frame({ type: 'pong', server_time: '' });
      await after(5000);
      assert.equal(status(), 'open');
      heard.get('online')?.();
      await after(5000);
      assert.equal(status(), 'waiting');
    });
  });
});
