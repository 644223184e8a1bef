import assert from 'node:assert/strict';
import { afterEach, beforeEach, describe, it, mock } from 'node:test';
import { type Client, type ConnectOptions, connect, type State } from '../src/index.js';
import { FakeServer, flushMicrotasks, mockClock } from './support/fake.js';

describe('connection', { timeout: 60_000 }, () => {
  let server: FakeServer;
  let client: Client;
  /** Result of `Math.random`: the fraction of the bound that each delay takes. */
  let jitter = 0.5;

  beforeEach(() => {
    jitter = 0.5;
    mockClock();
    mock.method(Math, 'random', () => jitter);
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

  /** Advances the clock. Returns whether a new connection was opened. */
  async function after(milliseconds: number): Promise<boolean> {
    const before = server.sockets.length;
    mock.timers.tick(milliseconds);
    await flushMicrotasks();
    return server.sockets.length > before;
  }

  it('uses the user path below the base path and always offers the subprotocol', async () => {
    start({ user: 'a@b+c:~' });
    const socket = await server.accept();
    assert.equal(socket.url.protocol, 'ws:');
    assert.equal(socket.url.host, 'host');
    assert.equal(decodeURIComponent(socket.url.pathname), '/base/ws/a@b+c:~');
    assert.equal(socket.url.searchParams.get('ack'), 'manual');
    assert.equal(socket.url.searchParams.get('since'), null);
    assert.deepEqual(socket.protocols, ['dmwire.v1']);
  });

  it('sends a token as a subprotocol', async () => {
    start({ token: 'abc.def' });
    assert.deepEqual((await server.accept()).protocols, ['dmwire.v1', 'bearer.abc.def']);
  });

  it('uses /ws without a user, so that the token names the user', async () => {
    client = connect({ url: 'wss://host', token: 't', WebSocket: server.WebSocket });
    const { url } = await server.accept();
    assert.equal(url.protocol + url.pathname, 'wss:/ws');
  });

  it('reports each state change', async () => {
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

  it('reconnects after a random part of a doubling bound', async () => {
    start();
    for (const bound of [500, 1000, 2000, 4000, 8000, 16000, 30000, 30000]) {
      const socket = await server.accept();
      socket.drop();
      assert.equal(inState('waiting').retryInMs, bound * jitter);
      jitter = jitter === 0.5 ? 0.25 : 0.5;
      const due = inState('waiting').retryInMs;
      assert.equal(await after(due - 1), false);
      assert.equal(await after(1), true);
    }
  });

  it('resets the backoff after a stable connection', async () => {
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

  it('waits at least for retry_after_ms', async () => {
    start();
    (await server.accept()).goodbye(1013, true, { retry_after_ms: 7000 });
    assert.equal(await after(7249), false);
    assert.equal(await after(1), true);
  });

  it('limits retry_after_ms to the longest timer', async () => {
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
    it(`closes and does not reconnect after goodbye ${code}`, async () => {
      start({ token: 'fixed' });
      const waiting = client.send('you', 'x');
      (await server.accept()).goodbye(code, false);
      await assert.rejects(waiting, { code: name, message: 'a detail' });
      assert.equal(status(), 'closed');
      assert.equal(await after(10_000_000), false);
      await assert.rejects(client.send('you', 'y'), { code: name });
    });

    it(`closes and does not reconnect at close code ${code} without a goodbye`, async () => {
      start({ token: 'fixed' });
      (await server.accept()).drop(code);
      assert.equal(status(), 'closed');
    });
  }

  for (const code of [1009, 1012, 1013, 4429]) {
    it(`reconnects after ${code}`, async () => {
      start();
      (await server.accept()).goodbye(code, true);
      assert.equal(await after(500), true);
    });
  }

  it('calls getToken for each connection and reconnects with a new token after 4401', async () => {
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

  it('retries when getToken fails', async () => {
    let fail = true;
    start({
      getToken: () => {
        if (fail) throw new Error('not now');
        return 't';
      },
    });
    await flushMicrotasks();
    assert.equal(status(), 'waiting');
    fail = false;
    assert.equal(await after(500), true);
  });

  for (const type of ['state', 'wire', 'goodbye', 'welcome', 'synced'] as const) {
    it(`stays closed when a handler of ${type} closes it`, async () => {
      start().on(type, () => void client.close());
      void client.send('you', 'x').catch(() => {});
      await flushMicrotasks();
      for (const socket of server.sockets) {
        socket.welcome();
        socket.frame({ type: 'synced', seq: 0 });
        socket.goodbye(1012, true);
        assert.equal(socket.closed, true);
      }
      assert.equal(status(), 'closed');
      client.reconnect();
      await after(100_000);
      assert.equal(status(), 'closed');
      assert.equal(server.sockets.length, type === 'state' ? 0 : 1);
    });
  }

  it('replaces a hanging attempt on reconnect()', async () => {
    start();
    const hanging = await server.accept();
    await after(4_999);
    client.reconnect();
    assert.equal(hanging.closed, false, 'the attempt has just started');
    await after(1);
    client.reconnect();
    await server.session();
    assert.equal(hanging.closed, true);
    assert.equal(status(), 'open');
    client.reconnect();
    await flushMicrotasks();
    assert.equal(server.sockets.length, 2);
  });

  it('starts one attempt when a state handler always calls reconnect()', async () => {
    start().on('state', state => state.status !== 'open' && client.reconnect());
    (await server.accept()).drop();
    await flushMicrotasks();
    assert.equal(server.sockets.length, 2);
    assert.equal(status(), 'connecting');
  });

  it('stops waiting for getToken after 15 seconds', async () => {
    let asked = 0;
    start({
      getToken: () => {
        asked += 1;
        return asked < 3 ? new Promise(() => {}) : 't';
      },
    });
    await flushMicrotasks();
    await after(14_999);
    assert.equal(status(), 'connecting');
    await after(1);
    assert.match(inState('waiting').reason, /getToken timed out/);
    await after(250);
    assert.equal(status(), 'connecting');
    assert.equal(asked, 2);
    await after(5000);
    client.reconnect();
    await server.session();
    await after(20_000);
    assert.equal(status(), 'open');
    assert.equal(server.sockets.length, 1);
  });

  it('does not connect with a token that arrives after close()', async () => {
    let give = (_: string) => {};
    start({ getToken: () => new Promise(resolve => (give = resolve)) });
    await flushMicrotasks();
    await client.close();
    give('late');
    await flushMicrotasks();
    assert.equal(server.sockets.length, 0);
  });

  it('drops a connection without frames for two heartbeat intervals', async () => {
    start();
    const socket = await server.session();
    await after(60_999);
    assert.equal(status(), 'open');
    socket.frame({ type: 'heartbeat', timestamp: '' });
    await after(60_999);
    assert.equal(status(), 'open');
    await after(1);
    assert.equal(status(), 'waiting');
    assert.equal(socket.closed, true);
  });

  it('keeps a connection whose frames waited while the program was busy, for a second', async () => {
    start();
    const socket = await server.session();
    // The timer expires nine seconds late, before the frames that have arrived.
    await after(70_000);
    assert.equal(status(), 'open');
    socket.frame({ type: 'heartbeat', timestamp: '' });
    await after(60_999);
    assert.equal(status(), 'open');
    // Late again and again, as in a hidden page.
    await after(10_000);
    assert.equal(status(), 'open');
    await after(10_000);
    assert.equal(status(), 'waiting');
  });

  it('drops a connection without a welcome', async () => {
    start();
    await server.accept();
    await after(15_000);
    assert.equal(status(), 'waiting');
  });

  it('ignores frames from a dropped socket', async () => {
    const seen: string[] = [];
    start().on('message', message => void seen.push(message.message as string));
    const stale = await server.session();
    await after(61_000);
    await after(500);
    const fresh = await server.session();
    stale.message(1, 'stale');
    stale.goodbye(4408, false);
    assert.equal(status(), 'open');
    fresh.message(1, 'fresh');
    await flushMicrotasks();
    assert.deepEqual(seen, ['fresh']);
  });

  it('reconnects at once on reconnect()', async () => {
    start();
    (await server.accept()).drop();
    client.reconnect();
    await flushMicrotasks();
    assert.equal(server.sockets.length, 2);
    assert.equal(await after(10_000), false);
  });

  it('reports an invalid URL or user', async () => {
    start({ url: 'nonsense' });
    await flushMicrotasks();
    assert.equal(inState('closed').error?.code, 'invalid_request');
    start({ user: '..' });
    await flushMicrotasks();
    assert.equal(inState('closed').error?.code, 'invalid_request');
    start({ url: 'ftp://localhost' });
    await flushMicrotasks();
    assert.match(inState('closed').error?.message ?? '', /http or ws/);
  });

  it('distinguishes a failed handshake from a closed connection', async () => {
    start();
    (await server.accept()).drop();
    assert.match(inState('waiting').reason, /base path/);
    client.reconnect();
    const socket = await server.session(0);
    socket.drop();
    assert.equal(inState('waiting').reason, 'the connection was closed');
  });

  it('encodes the device name in the URL', async () => {
    start({ device: 'a b+c' });
    const { url } = await server.accept();
    assert.match(url.href, /[?&]device=a%20b%2Bc(&|$)/);
  });

  it('reports a token that is not a valid subprotocol', async () => {
    start({
      token: 'a b',
      WebSocket: class {
        constructor() {
          throw new SyntaxError('invalid subprotocol');
        }
      } as never,
    });
    await flushMicrotasks();
    assert.equal(inState('closed').error?.code, 'invalid_request');
  });

  it('sends a raw frame unchanged and emits its answers as events', async () => {
    start();
    assert.equal(client.sendRaw('{"type":"ping"}'), false);
    const socket = await server.session();
    const events: string[] = [];
    client.on('ack', ({ ref }) => events.push(`ack ${ref}`));
    client.on('error', ({ code }) => events.push(code));
    client.on('sent', () => events.push('sent'));
    assert.equal(client.sendRaw('{ "message": "x", "target_user": "you", "ref": "r" }'), true);
    const frame = await socket.expect(undefined as unknown as string);
    socket.ack(frame, 1);
    socket.frame({ type: 'error', code: 'invalid_json', detail: 'no', retryable: false });
    socket.message(2);
    await flushMicrotasks();
    assert.deepEqual(events, ['ack r', 'invalid_json']);
    assert.deepEqual(client.pending, []);
    // The position includes the entry of the raw frame.
    socket.drop();
    mock.timers.tick(500);
    assert.equal((await server.accept()).url.searchParams.get('since'), '2');
  });

  it('emits wire for every frame', async () => {
    const wire: string[] = [];
    start().on('wire', ({ direction, text }) => wire.push(`${direction} ${JSON.parse(text).type}`));
    const socket = await server.session();
    client.typing('you');
    await socket.expect('typing');
    assert.deepEqual(wire, ['in welcome', 'in synced', 'out typing']);
  });

  it('passes frames of unknown types to handlers', async () => {
    const seen: unknown[] = [];
    start().on('presence' as 'pong', frame => seen.push(frame));
    const socket = await server.session();
    socket.frame({ type: 'presence', user: 'you' });
    assert.deepEqual(seen, [{ type: 'presence', user: 'you' }]);
    assert.equal(status(), 'open');
  });

  it('ends iterators on close(), and with an error otherwise', async () => {
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

  it('is closed by dispose(), which returns nothing', async () => {
    start();
    const socket = await server.session();
    assert.equal(client.dispose(), undefined);
    assert.equal(status(), 'closed');
    assert.equal(socket.closed, true);
    client.dispose();
  });

  describe('in a browser', () => {
    type Listener = (event: { type: string }) => void;
    let listeners: Map<string, Listener>;
    let document: { visibilityState: string };
    beforeEach(() => {
      listeners = new Map();
      document = { visibilityState: 'visible' };
      Object.assign(globalThis, {
        document,
        addEventListener: (type: string, listener: Listener) => listeners.set(type, listener),
        removeEventListener: (type: string, listener: Listener) => {
          if (listeners.get(type) === listener) listeners.delete(type);
        },
      });
    });
    afterEach(() => {
      for (const name of ['document', 'addEventListener', 'removeEventListener']) {
        Reflect.deleteProperty(globalThis, name);
      }
    });
    const dispatch = (type: string) => listeners.get(type)?.({ type });

    for (const type of ['online', 'visibilitychange', 'pageshow', 'resume']) {
      it(`reconnects at once on ${type}`, async () => {
        start();
        (await server.accept()).drop();
        dispatch(type);
        await flushMicrotasks();
        assert.equal(server.sockets.length, 2);
        await client.close();
        assert.equal(listeners.size, 0);
      });

      it(`probes the connection with a ping on ${type}`, async () => {
        start();
        const socket = await server.session();
        dispatch(type);
        await socket.expect('ping');
        socket.frame({ type: 'pong', server_time: '' });
        await after(5000);
        assert.equal(status(), 'open');
        dispatch(type);
        await after(4999);
        assert.equal(status(), 'open');
        await after(1);
        assert.equal(status(), 'waiting');
      });

      it(`leaves an attempt alone that has just started on ${type}`, async () => {
        start();
        const first = await server.accept();
        for (let i = 0; i < 4; i += 1) {
          dispatch(type);
          assert.equal(await after(1000), false);
        }
        assert.equal(first.closed, false);
        await after(1000);
        dispatch(type);
        await server.session();
        assert.equal(first.closed, true);
        assert.equal(server.sockets.length, 2);
      });
    }

    it('does nothing when the page is hidden', async () => {
      start();
      const socket = await server.session();
      document.visibilityState = 'hidden';
      dispatch('visibilitychange');
      await after(5000);
      assert.equal(status(), 'open');
      assert.deepEqual(socket.sent, []);
      socket.drop();
      dispatch('visibilitychange');
      await flushMicrotasks();
      assert.equal(server.sockets.length, 1);
    });
  });
});
