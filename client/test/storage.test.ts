import assert from 'node:assert/strict';
import { existsSync } from 'node:fs';
import { mkdtemp, readdir, readFile, rm, symlink, writeFile } from 'node:fs/promises';
import { tmpdir } from 'node:os';
import { join, relative } from 'node:path';
import { afterEach, beforeEach, describe, it } from 'node:test';
import {
  type Client,
  connect,
  type Saved,
  type State,
  type Storage,
  type WebStorageApis,
  webStorage,
} from '../src/index.js';
import { fileStorage } from '../src/node.js';
import { FakeServer, flushMicrotasks, waitUntil } from './support/fake.js';

const text = (message: string): Saved => ({ v: 1, outbox: [{ frame: { type: 'message', ref: message, message } }] });
const texts = (saved: Saved | undefined) => saved?.outbox.map(({ frame }) => frame.message);

describe('a storage', { timeout: 60_000 }, () => {
  let server: FakeServer;
  const clients: Client[] = [];

  beforeEach(() => {
    server = new FakeServer();
  });
  afterEach(() => Promise.all(clients.splice(0).map(client => client.close())));

  function start(storage: Storage, more = {}): Client {
    const client = connect({ url: 'ws://host', user: 'me', WebSocket: server.WebSocket, storage, ...more });
    clients.push(client);
    return client;
  }
  /** An in-memory storage; the test completes its writes. */
  function slow(saved?: Saved) {
    const writes: { saved: Saved; complete: (error?: Error) => void }[] = [];
    let immediate = false;
    const storage: Storage = {
      open: async () => ({
        saved,
        save: async next => {
          const written = new Promise<void>((resolve, reject) =>
            writes.push({ saved: next, complete: error => (error ? reject(error) : resolve()) }),
          );
          if (!immediate) await written;
        },
        close: () => {},
      }),
    };
    /** Completes all writes from now on. */
    const completeAll = () => {
      immediate = true;
      for (const { complete } of writes) complete();
    };
    return { storage, writes, completeAll };
  }

  it('contains a frame before it is sent', async () => {
    const { storage, writes, completeAll } = slow();
    const client = start(storage);
    const socket = await server.session();
    const sending = client.send('you', 'x');
    await waitUntil(() => writes.length > 0);
    await flushMicrotasks();
    assert.deepEqual(socket.sent, []);
    assert.deepEqual(texts(writes[0]?.saved), ['x']);
    completeAll();
    socket.ack(await socket.expect('message'), 1);
    assert.equal((await sending).seq, 1);
    // After the ack is handled, the record is dropped and the position has advanced.
    await waitUntil(() => writes.at(-1)?.saved.seq === 1);
    assert.deepEqual(writes.at(-1)?.saved.outbox, []);
  });

  it('that cannot be written fails the frame', async () => {
    const { storage, writes, completeAll } = slow();
    const client = start(storage);
    const socket = await server.session();
    const sending = client.send('you', 'x');
    await waitUntil(() => writes.length > 0);
    writes.shift()?.complete(new Error('full'));
    await assert.rejects(sending, { code: 'storage' });
    assert.deepEqual(socket.sent, []);
    completeAll();
  });

  it('is never written concurrently, even if a write is requested when another completes', async () => {
    const writes: Saved[] = [];
    let running = 0;
    let maxRunning = 0;
    const save = async (saved: Saved) => {
      writes.push(saved);
      running += 1;
      maxRunning = Math.max(maxRunning, running);
      await new Promise(resolve => setImmediate(resolve));
      running -= 1;
    };
    const client = start({ open: async () => ({ save, close() {} }) });
    const socket = await server.session();
    // The first frame fails right after it is stored, so its removal and the second frame are saved at the same time.
    const large = client.send('you', { type: 'data', name: 'n', data: 'x'.repeat(70_000) });
    const rejected = assert.rejects(large, { code: 'too_large' });
    await waitUntil(() => writes.length === 1);
    void client.send('you', 'x').catch(() => {});
    await rejected;
    await socket.expect('message');
    await waitUntil(() => running === 0);
    assert.equal(maxRunning, 1);
    assert.deepEqual(texts(writes.at(-1)), ['x']);
  });

  it('contains the device from the first session on, and the position once it is known', async () => {
    const { storage, writes, completeAll } = slow();
    completeAll();
    start(storage);
    const socket = await server.accept();
    const device = socket.url.searchParams.get('device');
    assert.match(String(device), /^d-/);
    assert.equal(writes.length, 0);
    socket.welcome(7, { device, resumed: 'new' });
    await waitUntil(() => writes.length === 1);
    // The entries up to 7 are not replayed yet, so the next run must not start after them.
    assert.deepEqual(writes[0]?.saved, { v: 1, device, user: 'me', outbox: [] });
    socket.frame({ type: 'synced', seq: 7 });
    await waitUntil(() => writes.length === 2);
    assert.deepEqual(writes[1]?.saved, { v: 1, device, user: 'me', epoch: 'e1', seq: 7, outbox: [] });
  });

  it('contains the position before the first entry while that waits for a handler', async () => {
    const { storage, writes, completeAll } = slow();
    completeAll();
    start(storage);
    const socket = await server.accept();
    socket.welcome(7);
    socket.message(6);
    socket.message(7);
    socket.frame({ type: 'synced', seq: 7 });
    await waitUntil(() => writes.at(-1)?.saved.seq === 5);
    assert.equal(writes.at(-1)?.saved.epoch, 'e1');
  });

  it('that cannot be opened closes the client', async () => {
    const client = start({ open: () => Promise.reject(new Error('broken')) });
    const sending = client.send('you', 'x');
    await assert.rejects(sending, { code: 'storage' });
    await waitUntil(() => client.state.status === 'closed');
    assert.equal((client.state as State & { status: 'closed' }).error?.code, 'storage');
  });

  it('tells the next run that no entry so far is that of an unsent change', async () => {
    const { storage, writes, completeAll } = slow();
    completeAll();
    const client = start(storage);
    client.on('message', () => new Promise(() => {}));
    const socket = await server.session();
    client.edit('you', 'x', 'mine').catch(() => {});
    socket.reject(await socket.expect('edit'), 'rate_limited', { retryable: true, retry_after_ms: 1_000_000 });
    // Meanwhile another device of the user edits the same message, twice.
    const edited = { type: 'edited', id: 'x', from_user: 'me', target_user: 'you', edited_at: 'then' };
    socket.message(1);
    for (const seq of [2, 3]) socket.frame({ ...edited, seq, message: `${seq}` });
    await client.close();
    const saved = slow(writes.at(-1)?.saved);
    saved.completeAll();
    start(saved.storage);
    const next = await server.accept();
    next.welcome(3);
    next.message(1);
    next.frame({ type: 'skipped', seq: 2 });
    next.frame({ ...edited, seq: 3, message: '3' });
    next.frame({ type: 'synced', seq: 3 });
    await flushMicrotasks();
    assert.deepEqual(
      next.sent.filter(({ type }) => type === 'edit').map(({ message }) => message),
      ['mine'],
    );
  });

  it('has the next run report what was sent if the program ended before that', async () => {
    const first = slow({ v: 1, user: 'me', epoch: 'e1', seq: 5, outbox: text('x').outbox });
    first.completeAll();
    const client = start(first.storage);
    client.on('message', () => new Promise(() => {}));
    client.on('sent', () => assert.fail('the handler of the message is not finished'));
    const socket = await server.accept();
    socket.welcome(6);
    socket.message(6);
    socket.frame({ type: 'synced', seq: 6 });
    // It was stored by an earlier run, whose ack was lost.
    socket.ack(await socket.expect('message'), 4, { duplicate: true });
    await flushMicrotasks();
    assert.deepEqual(client.pending, []);
    await client.close();
    const second = slow(first.writes.at(-1)?.saved);
    second.completeAll();
    const sent: unknown[] = [];
    start(second.storage).on(
      'sent',
      ({ frame, ack }) => void sent.push([(frame as { message?: unknown }).message, ack.seq]),
    );
    const next = await server.session(6);
    await waitUntil(() => sent.length > 0);
    await waitUntil(() => second.writes.at(-1)?.saved.outbox.length === 0);
    next.drop();
    assert.deepEqual(sent, [['x', 4]]);
    assert.deepEqual(texts(second.writes.at(-1)?.saved), []);
  });

  it('is released when any close() resolves', async () => {
    const { storage } = slow();
    let release = () => {};
    const released = new Promise<void>(resolve => (release = resolve));
    const closing = () => released;
    const client = start({
      open: async () => ({ ...(await storage.open('', 'me')), save() {}, close: closing }),
    });
    await server.session();
    client.dispose();
    const closed: string[] = [];
    const both = [client.close(), client.close()].map(close => close.then(() => closed.push('closed')));
    await flushMicrotasks();
    assert.deepEqual(closed, []);
    release();
    await Promise.all(both);
  });

  it('is released if its content is damaged', async () => {
    const closed: string[] = [];
    const saved = { v: 1, outbox: [null] } as unknown as Saved;
    const client = start({ open: async () => ({ saved, save() {}, close: () => void closed.push('closed') }) });
    await waitUntil(() => client.state.status === 'closed');
    assert.equal((client.state as State & { status: 'closed' }).error?.code, 'storage');
    await client.close();
    assert.deepEqual(closed, ['closed']);
  });

  it('that cannot be released causes no unhandled rejection', async () => {
    const close = () => Promise.reject(new Error('no'));
    const client = start({ open: async () => ({ save() {}, close }) });
    (await server.session()).goodbye(4403, false);
    assert.equal(client.state.status, 'closed');
    clients.splice(0);
    await flushMicrotasks();
    await assert.rejects(client.close(), /no/);
  });

  it('contains the handled position only', async () => {
    const { storage, writes, completeAll } = slow();
    let release: (() => void) | undefined;
    start(storage).on('message', ({ seq }) => seq !== 2 || new Promise<void>(resolve => (release = resolve)));
    const socket = await server.session();
    for (const seq of [1, 2, 3]) socket.message(seq);
    completeAll();
    await waitUntil(() => release !== undefined && writes.at(-1)?.saved.seq === 1);
    assert.equal(writes.at(-1)?.saved.id, '00000000-0000-0000-0000-000000000001');
    release?.();
    await waitUntil(() => writes.at(-1)?.saved.seq === 3);
    assert.equal(writes.at(-1)?.saved.id, '00000000-0000-0000-0000-000000000003');
    assert.equal(writes.at(-1)?.saved.at, '2026-01-01T00:00:00.000Z');
  });

  it('restores id and time of the entry at the position', async () => {
    const { storage, completeAll } = slow({ v: 1, epoch: 'e1', seq: 7, id: 'i7', at: 't7', outbox: [] });
    completeAll();
    start(storage);
    const { searchParams } = (await server.accept()).url;
    assert.deepEqual(
      ['since', 'epoch', 'since_id', 'since_at'].map(key => searchParams.get(key)),
      ['7', 'e1', 'i7', 't7'],
    );
  });

  it('restores position, device and outbox, and sends restored frames first', async () => {
    const frame = (id: string) => ({ type: 'message', target_user: 'you', message: id, id, ref: id });
    const saved: Saved = {
      v: 1,
      device: 'd',
      user: 'me',
      epoch: 'e1',
      seq: 7,
      outbox: [{ frame: frame('a') }, { frame: frame('b'), settled: true, seq: 9 }],
    };
    const { storage, completeAll } = slow(saved);
    completeAll();
    const client = start(storage);
    const sent: unknown[] = [];
    client.on('sent', ({ ack }) => void sent.push(ack.id));
    const sending = client.send('you', 'new');
    const socket = await server.accept();
    assert.deepEqual(Object.fromEntries(socket.url.searchParams), {
      ack: 'manual',
      device: 'd',
      since: '7',
      epoch: 'e1',
    });
    assert.deepEqual(
      client.pending.map(frame => 'message' in frame && frame.message),
      ['a', 'new'],
    );
    socket.welcome(9);
    socket.message(8);
    client.on('message', () => {});
    socket.message(9, 'b', 'me', { id: 'b', target_user: 'you' });
    socket.frame({ type: 'synced', seq: 9 });
    const a = await socket.expect('message');
    assert.equal(a.id, 'a');
    socket.ack(a, 10);
    socket.ack(await socket.expect('message'), 11);
    await sending;
    await waitUntil(() => sent.length === 3);
    assert.deepEqual(sent.slice(0, 2), ['b', 'a']);
    await client.close();
  });

  it('of another user is not modified', async () => {
    const { storage, writes, completeAll } = slow({
      v: 1,
      user: 'somebody',
      epoch: 'e1',
      seq: 3,
      outbox: text('secret').outbox,
    });
    const client = start(storage, { user: undefined, token: 't' });
    const socket = await server.session(9);
    assert.equal((client.state as State & { status: 'closed' }).error?.code, 'wrong_user');
    assert.deepEqual(socket.sent, []);
    await waitUntil(() => writes.length > 0);
    assert.deepEqual([writes[0]?.saved.user, texts(writes[0]?.saved)], ['somebody', ['secret']]);
    completeAll();
  });

  it('is opened once the token names the user', async () => {
    const opened: unknown[] = [];
    const storage: Storage = {
      open: async (scope, user) => {
        opened.push(scope, user);
        return { save() {}, close: () => void opened.push('closed') };
      },
    };
    const token = `h.${Buffer.from('{"sub":"me"}').toString('base64url')}.s`;
    const first = start(storage, { user: undefined, getToken: () => new Promise(() => {}) });
    const sending = first.send('you', 'x');
    await flushMicrotasks();
    await first.close();
    await assert.rejects(sending, { code: 'closed' });
    assert.deepEqual(opened, []);
    let fail = true;
    const getToken = () => (fail ? Promise.reject(new Error('not now')) : token);
    const second = start(storage, { user: undefined, getToken, backoff: { base: 1, max: 1 } });
    await waitUntil(() => second.state.status === 'waiting');
    fail = false;
    await server.session();
    assert.deepEqual(opened, ['me@ws://host/', 'me']);
    await second.close();
    assert.equal(opened.at(-1), 'closed');
  });

  it('keeps its content if the client is closed before it is open', async () => {
    const { storage, writes, completeAll } = slow(text('kept'));
    const client = start(storage);
    const closing = client.close();
    await waitUntil(() => writes.length > 0);
    assert.deepEqual(texts(writes[0]?.saved), ['kept']);
    completeAll();
    await closing;
    assert.equal(server.sockets.length, 0);
  });
});

describe('fileStorage', () => {
  let path: string;
  beforeEach(async () => {
    path = join(await mkdtemp(join(tmpdir(), 'dmwire-client-')), 'state.json');
  });
  afterEach(() => rm(join(path, '..'), { recursive: true, force: true }));

  it('restores the saved state', async () => {
    const first = await fileStorage(path).open('me@host');
    assert.deepEqual(first.saved, { v: 1, outbox: [] });
    await first.save(text('x'));
    await first.close();
    const second = await fileStorage(path).open('me@host');
    assert.deepEqual(texts(second.saved), ['x']);
    await second.close();
    await assert.rejects(fileStorage(path).open('you@host'), {
      code: 'wrong_user',
      message: /belongs to me@host, not to you@host/,
    });
  });

  it('is exclusive within a process, by any path', async () => {
    const handle = await fileStorage(path).open('s');
    const link = join(path, '../link');
    await symlink(join(path, '..'), link);
    await handle.save(text('x'));
    await symlink(path, join(path, '../other.json'));
    const paths = [path, relative('.', path), join(link, 'state.json'), join(path, '../other.json')];
    await Promise.all(paths.map(same => assert.rejects(fileStorage(same).open('s'), /already open in this process/)));
    await handle.close();
    assert.deepEqual((await readdir(join(path, '..'))).sort(), ['link', 'other.json', 'state.json']);
  });

  it('waits in the order of the calls for clients of this process that close it', async () => {
    const order: number[] = [];
    const [first, ...others] = [1, 2, 3, 4].map(n =>
      fileStorage(n % 2 ? path : relative('.', path))
        .open('s')
        .then(handle => {
          order.push(n);
          return handle;
        }),
    );
    for (let handle = first; handle; handle = others.shift()) {
      const opened = await handle;
      const known = texts(opened.saved) ?? [];
      await opened.save({
        v: 1,
        outbox: [...known, order.length].map(message => ({ frame: { type: 'message', message } })),
      });
      void opened.close();
    }
    assert.deepEqual(order, [1, 2, 3, 4]);
    const last = await fileStorage(path).open('s');
    assert.deepEqual(texts(last.saved), [1, 2, 3, 4]);
    await last.close();
  });

  it('continues in a client that is created right after another was disposed of', async () => {
    const server = new FakeServer();
    const start = () =>
      connect({ url: 'ws://host', user: 'me', WebSocket: server.WebSocket, storage: fileStorage(path) });
    for (const message of ['1', '2']) {
      const client = start();
      client.send('you', message).catch(() => {});
      client.dispose();
    }
    const last = start();
    const socket = await server.session();
    assert.deepEqual(
      last.pending.map(frame => 'message' in frame && frame.message),
      ['1', '2'],
    );
    const device = socket.url.searchParams.get('device');
    assert.equal(server.sockets.length, 1);
    await last.close();
    const { device: saved, outbox } = JSON.parse(await readFile(path, 'utf8'));
    assert.deepEqual([saved, outbox.length], [device, 2]);
  });

  it('is exclusive among processes and ignores the lock of a crashed one', async () => {
    const handle = await fileStorage(path).open('s');
    const own = await readFile(`${path}.lock`, 'utf8');
    await handle.close();
    // The lock of another running process, or of this one: a worker thread has its own copy of the module.
    for (const owner of [process.ppid, own]) {
      await writeFile(`${path}.lock`, String(owner));
      await assert.rejects(fileStorage(path).open('s'), /in use by process/);
      assert.equal(await readFile(`${path}.lock`, 'utf8'), String(owner));
    }
    // Locks of ended processes, and of processes whose id was reused.
    const others = existsSync('/proc/self/stat') ? [`${process.pid} 1 x`, `${process.ppid} 1 x`] : [];
    for (const owner of [process.pid, 2 ** 22 + 1, `${2 ** 22 + 1} 1 x`, '', ...others]) {
      await writeFile(`${path}.lock`, String(owner));
      const reopened = await fileStorage(path).open('s');
      assert.match(await readFile(`${path}.lock`, 'utf8'), new RegExp(`^${process.pid} `));
      await reopened.close();
    }
    // A lock that another process has replaced is not removed.
    const replaced = await fileStorage(path).open('s');
    await writeFile(`${path}.lock`, 'another');
    await replaced.close();
    assert.equal(await readFile(`${path}.lock`, 'utf8'), 'another');
  });

  it('is opened by one of several that find a stale lock at the same time', async () => {
    // Separate module instances share no state, like separate processes.
    const racers = await Promise.all(
      Array.from({ length: 8 }, async (_, i): Promise<typeof fileStorage> => {
        const file = `../src/storage/file.js?${i}`;
        assert.notEqual((await import(file)).fileStorage, fileStorage);
        return (await import(file)).fileStorage;
      }),
    );
    for (let round = 0; round < 20; round += 1) {
      await writeFile(`${path}.lock`, String(2 ** 22 + 1));
      const results = await Promise.allSettled(racers.map(racer => racer(path).open('s')));
      const won = results.flatMap(result => (result.status === 'fulfilled' ? [result.value] : []));
      assert.equal(won.length, 1);
      await won[0]?.close();
      assert.deepEqual(await readdir(join(path, '..')), []);
    }
  });
});

describe('webStorage', { timeout: 60_000 }, () => {
  class Memory {
    readonly map = new Map<string, string>();
    getItem(key: string) {
      return this.map.get(key) ?? null;
    }
    setItem(key: string, value: string) {
      this.map.set(key, value);
    }
    removeItem(key: string) {
      this.map.delete(key);
    }
  }
  /** The part of the Web Locks API that is used. */
  class Locks {
    readonly #held = new Map<string, Promise<unknown>>();
    async request(name: string, options: LockOptions, use: (lock: Lock | null) => unknown): Promise<unknown> {
      while (this.#held.has(name)) {
        if (options.ifAvailable) return use(null);
        const aborted = new Promise((_, reject) =>
          options.signal?.addEventListener('abort', () => reject(new Error('aborted'))),
        );
        await Promise.race([this.#held.get(name), aborted]);
      }
      const using = (async () => use({ name, mode: 'exclusive' }))();
      this.#held.set(name, using);
      await using.catch(() => {});
      this.#held.delete(name);
      return using;
    }
  }

  let local: Memory;
  let locks: Locks;
  beforeEach(() => {
    local = new Memory();
    locks = new Locks();
  });
  const tab = (session = new Memory(), withLocks = true): WebStorageApis =>
    ({
      localStorage: local,
      sessionStorage: session,
      locks: withLocks ? locks : undefined,
    }) as unknown as WebStorageApis;
  const open = (apis: WebStorageApis, scope = 'me@host') => webStorage('app', apis).open(scope, scope.split('@')[0]);

  it('gives each tab its own slot, and the same one after a reload', async () => {
    const [one, two] = [tab(), tab()];
    const [first, second] = [await open(one), await open(two)];
    await first.save({ ...text('1'), device: 'd1' });
    await second.save({ ...text('2'), device: 'd2' });
    // Both pages reload, in reverse order; the old page of the second one releases its slot late.
    const reloading = open(two);
    await flushMicrotasks();
    await second.close();
    const secondAgain = await reloading;
    await first.close();
    assert.deepEqual([secondAgain.saved?.device, texts(secondAgain.saved)], ['d2', ['2']]);
    const firstAgain = await open(one);
    assert.deepEqual([firstAgain.saved?.device, texts(firstAgain.saved)], ['d1', ['1']]);
  });

  it('adopts the unsent messages of closed tabs', async () => {
    const [first, second] = [await open(tab()), await open(tab())];
    await first.save(text('1'));
    const left = text('2').outbox;
    await second.save({
      v: 1,
      device: 'd2',
      seq: 3,
      epoch: 'e',
      outbox: [...left, { ...left[0], settled: true } as never],
    });
    await first.close();
    await second.close();
    await flushMicrotasks();
    const next = await open(tab());
    assert.deepEqual(texts(next.saved), ['1', '2']);
    const other = await open(tab());
    assert.deepEqual([other.saved?.seq, texts(other.saved)], [3, []]);
  });

  for (const damaged of ['{"v":1', '7', 'null', '{"v":2,"outbox":[]}', '{"v":1,"outbox":[null]}']) {
    it(`treats a slot with ${damaged} as empty and keeps a copy of the content`, async () => {
      for (const slot of [0, 2]) local.setItem(`app:me@host:${slot}`, damaged);
      const first = await open(tab());
      assert.equal(first.saved, undefined);
      await first.save(text('1'));
      await first.close();
      await flushMicrotasks();
      const again = await open(tab());
      assert.deepEqual(texts(again.saved), ['1']);
      assert.equal(local.getItem('app:me@host:0:damaged'), damaged);
      assert.equal(local.getItem('app:me@host:2'), damaged);
    });
  }

  it('adopts nothing if localStorage is full', async () => {
    const [first, second] = [await open(tab()), await open(tab())];
    await first.save({ ...text('1'), device: 'd1' });
    await second.save(text('2'));
    await first.close();
    await second.close();
    await flushMicrotasks();
    const session = new Memory();
    local.setItem = session.setItem = () => {
      throw new Error('full');
    };
    const handle = await open(tab(session));
    assert.deepEqual([handle.saved?.device, texts(handle.saved)], ['d1', ['1']]);
    assert.throws(() => handle.save(text('x')), /full/);
    await handle.close();
    await flushMicrotasks();
    Reflect.deleteProperty(local, 'setItem');
    assert.deepEqual(texts((await open(tab())).saved), ['1', '2']);
  });

  it('does not adopt the messages of an open tab', async () => {
    const first = await open(tab());
    await first.save(text('1'));
    assert.equal((await open(tab())).saved, undefined);
  });

  it('separates users', async () => {
    const first = await open(tab(), 'me@host');
    await first.save(text('1'));
    await first.close();
    assert.equal((await open(tab(), 'you@host')).saved, undefined);
    assert.deepEqual(texts((await open(tab(), 'me@host')).saved), ['1']);
  });

  for (const kind of ['a token', 'getToken', 'an opaque token'] as const) {
    it(`never sends messages of one user as another, with ${kind}`, async () => {
      const server = new FakeServer();
      const claims = (sub: string) => Buffer.from(JSON.stringify({ sub, name: '\u00fc?>' })).toString('base64url');
      const start = (sub: string, apis: WebStorageApis) => {
        const token = kind === 'an opaque token' ? sub : `h.${claims(sub)}.s`;
        return connect({
          url: 'ws://host',
          WebSocket: server.WebSocket,
          storage: webStorage('app', apis),
          ...(kind === 'getToken' ? { getToken: async () => token } : { token }),
        });
      };
      const welcome = async (user_id: string) => {
        const socket = await server.accept();
        socket.welcome(0, { user_id });
        socket.frame({ type: 'synced', seq: 0 });
        return socket;
      };
      const [bobTab, aliceTab] = [tab(), tab()];
      const bob = start('bob', bobTab);
      void bob.send('carol', 'from bob').catch(() => {});
      await (await welcome('bob')).expect('message');
      const alice = start('alice', aliceTab);
      void alice.send('carol', 'from alice').catch(() => {});
      await (await welcome('alice')).expect('message');
      await Promise.all([alice.close(), bob.close()]);
      await flushMicrotasks();
      // Bob's page again, then a new tab of Alice, which finds Bob's slot free.
      const bobAgain = start('bob', bobTab);
      const socket = await welcome('bob');
      assert.equal((await socket.expect('message')).message, 'from bob');
      assert.deepEqual(
        bobAgain.pending.map(frame => 'message' in frame && frame.message),
        ['from bob'],
      );
      await bobAgain.close();
      await flushMicrotasks();
      const aliceAgain = start('alice', tab());
      const last = await welcome('alice');
      await flushMicrotasks();
      assert.ok(last.sent.every(frame => frame.message !== 'from bob'));
      if (kind !== 'an opaque token') assert.equal((await last.expect('message')).message, 'from alice');
      await aliceAgain.close();
    });
  }

  for (const withLocks of [true, false]) {
    it(`gives a client the slot of a client that closes it, ${withLocks ? 'with' : 'without'} Web Locks`, async () => {
      const page = tab(new Memory(), withLocks);
      const first = open(page).then(async handle => {
        await flushMicrotasks();
        await handle.save({ ...text('1'), device: 'd1' });
        await handle.close();
      });
      const second = await open(page);
      assert.deepEqual([second.saved?.device, texts(second.saved)], ['d1', ['1']]);
      await first;
    });
  }

  it('works without Web Locks, by sessionStorage', async () => {
    const one = tab(new Memory(), false);
    await (await open(one)).save(text('1'));
    // The page of a duplicated tab has the same slot.
    assert.deepEqual(texts((await open(one)).saved), ['1']);
    assert.equal((await open(tab(new Memory(), false))).saved, undefined);
  });
});
