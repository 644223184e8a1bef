import assert from 'node:assert/strict';
import { existsSync } from 'node:fs';
import { mkdtemp, readdir, readFile, rm, symlink, writeFile } from 'node:fs/promises';
import { tmpdir } from 'node:os';
import { join, relative } from 'node:path';
import { afterEach, beforeEach, describe, it } from 'node:test';
import { type Client, connect, type Saved, type State, type Storage, type WebParts, webStorage } from '../src/index.js';
import { fileStorage } from '../src/node.js';
import { FakeServer, settle, until } from './support/fake.js';

const text = (message: string): Saved => ({ v: 1, outbox: [{ frame: { type: 'message', ref: message, message } }] });
const texts = (saved: Saved | undefined) => saved?.outbox.map(({ frame }) => frame.message);

describe('a storage', { timeout: 20_000 }, () => {
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
  /** A storage in memory whose writes end when they are told to. */
  function slow(saved?: Saved) {
    const writes: { saved: Saved; end: (error?: Error) => void }[] = [];
    let atOnce = false;
    const storage: Storage = {
      open: async () => ({
        saved,
        save: async next => {
          const written = new Promise<void>((yes, no) =>
            writes.push({ saved: next, end: error => (error ? no(error) : yes()) }),
          );
          if (!atOnce) await written;
        },
        close: () => {},
      }),
    };
    /** Lets all writes end from now on. */
    const flow = () => {
      atOnce = true;
      for (const { end } of writes) end();
    };
    return { storage, writes, flow };
  }

  it('has what is sent before it is sent', async () => {
    const { storage, writes, flow } = slow();
    const client = start(storage);
    const socket = await server.session();
    const sending = client.send('you', 'x');
    await until(() => writes.length > 0);
    await settle();
    assert.deepEqual(socket.sent, []);
    assert.deepEqual(texts(writes[0]?.saved), ['x']);
    flow();
    socket.ack(await socket.expect('message'), 1);
    assert.equal((await sending).seq, 1);
    // With the ack handled it is done with, and the place has moved.
    await until(() => writes.at(-1)?.saved.seq === 1);
    assert.deepEqual(writes.at(-1)?.saved.outbox, []);
  });

  it('that cannot be written refuses what was to be sent', async () => {
    const { storage, writes, flow } = slow();
    const client = start(storage);
    const socket = await server.session();
    const sending = client.send('you', 'x');
    await until(() => writes.length > 0);
    writes.shift()?.end(new Error('full'));
    await assert.rejects(sending, { code: 'storage' });
    assert.deepEqual(socket.sent, []);
    flow();
  });

  it('is written one state after the other, also when a write is asked for as another ends', async () => {
    const writes: Saved[] = [];
    let open = 0;
    let most = 0;
    const save = async (saved: Saved) => {
      writes.push(saved);
      open += 1;
      most = Math.max(most, open);
      await new Promise(resolve => setImmediate(resolve));
      open -= 1;
    };
    const client = start({ open: async () => ({ save, close() {} }) });
    const socket = await server.session();
    // The first is refused in the moment when it is kept: it is to be removed while the next is to be kept.
    const large = client.send('you', { type: 'data', name: 'n', data: 'x'.repeat(70_000) });
    const refused = assert.rejects(large, { code: 'too_large' });
    await until(() => writes.length === 1);
    void client.send('you', 'x').catch(() => {});
    await refused;
    await socket.expect('message');
    await until(() => open === 0);
    assert.equal(most, 1);
    assert.deepEqual(texts(writes.at(-1)), ['x']);
  });

  it('that cannot be opened closes the client', async () => {
    const client = start({ open: () => Promise.reject(new Error('broken')) });
    const sending = client.send('you', 'x');
    await assert.rejects(sending, { code: 'storage' });
    await until(() => client.state.status === 'closed');
    assert.equal((client.state as State & { status: 'closed' }).error?.code, 'storage');
  });

  it('has no place beyond what was handled', async () => {
    const { storage, writes, flow } = slow();
    let release = () => {};
    start(storage).on('message', ({ seq }) => seq !== 2 || new Promise<void>(resolve => (release = resolve)));
    const socket = await server.session();
    for (const seq of [1, 2, 3]) socket.message(seq);
    flow();
    await settle();
    assert.equal(writes.at(-1)?.saved.seq, 1);
    release();
    await until(() => writes.at(-1)?.saved.seq === 3);
  });

  it('gives back place, device and outbox; what was left is sent ahead of what is new', async () => {
    const frame = (id: string) => ({ type: 'message', target_user: 'you', message: id, id, ref: id });
    const saved: Saved = {
      v: 1,
      device: 'd',
      user: 'me',
      epoch: 'e1',
      seq: 7,
      outbox: [{ frame: frame('a') }, { frame: frame('b'), settled: true, seq: 9 }],
    };
    const { storage, flow } = slow(saved);
    flow();
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
      client.pending.map(waiting => 'message' in waiting && waiting.message),
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
    await until(() => sent.length === 3);
    assert.deepEqual(sent.slice(0, 2), ['b', 'a']);
    await client.close();
  });

  it('of another user is left alone', async () => {
    const { storage, writes, flow } = slow({
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
    await until(() => writes.length > 0);
    assert.deepEqual([writes[0]?.saved.user, texts(writes[0]?.saved)], ['somebody', ['secret']]);
    flow();
  });

  it('waits for the token that names the user, and is not opened without one', async () => {
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
    await settle();
    await first.close();
    await assert.rejects(sending, { code: 'closed' });
    assert.deepEqual(opened, []);
    let fail = true;
    const getToken = () => (fail ? Promise.reject(new Error('not now')) : token);
    const second = start(storage, { user: undefined, getToken, backoff: { base: 1, max: 1 } });
    await until(() => second.state.status === 'waiting');
    fail = false;
    await server.session();
    assert.deepEqual(opened, ['me@ws://host/', 'me']);
    await second.close();
    assert.equal(opened.at(-1), 'closed');
  });

  it('closed before it was open keeps what it held', async () => {
    const { storage, writes, flow } = slow(text('kept'));
    const client = start(storage);
    const closing = client.close();
    await until(() => writes.length > 0);
    assert.deepEqual(texts(writes[0]?.saved), ['kept']);
    flow();
    await closing;
    assert.equal(server.sockets.length, 0);
  });
});

describe('a file as storage', () => {
  let path: string;
  beforeEach(async () => {
    path = join(await mkdtemp(join(tmpdir(), 'dmwire-client-')), 'state.json');
  });
  afterEach(() => rm(join(path, '..'), { recursive: true, force: true }));

  it('gives back what was saved', async () => {
    const first = await fileStorage(path).open('me@host');
    assert.deepEqual(first.saved, { v: 1, outbox: [] });
    await first.save(text('x'));
    await first.close();
    const second = await fileStorage(path).open('me@host');
    assert.deepEqual(texts(second.saved), ['x']);
    await second.close();
    await assert.rejects(fileStorage(path).open('you@host'), {
      code: 'wrong_user',
      message: /is of me@host, not of you@host/,
    });
  });

  it('is for one client at a time, by whatever path', async () => {
    const hold = await fileStorage(path).open('s');
    const link = join(path, '../link');
    await symlink(join(path, '..'), link);
    for (const same of [path, relative('.', path), join(link, 'state.json')]) {
      await assert.rejects(fileStorage(same).open('s'), /in use in this process/);
    }
    await hold.save(text('x'));
    await symlink(path, join(path, '../other.json'));
    await assert.rejects(fileStorage(join(path, '../other.json')).open('s'), /in use in this process/);
    await hold.close();
    assert.deepEqual((await readdir(join(path, '..'))).sort(), ['link', 'other.json', 'state.json']);
  });

  it('is for one process at a time, but a crash leaves no lock that counts', async () => {
    const hold = await fileStorage(path).open('s');
    const own = await readFile(`${path}.lock`, 'utf8');
    await hold.close();
    // A process that lives, and this one, of which another part may have it (a worker has modules of its own).
    for (const owner of [process.ppid, own]) {
      await writeFile(`${path}.lock`, String(owner));
      await assert.rejects(fileStorage(path).open('s'), /in use by process/);
      assert.equal(await readFile(`${path}.lock`, 'utf8'), String(owner));
    }
    // One that is no more, and those that had an id that another has now.
    const others = existsSync('/proc/self/stat') ? [`${process.pid} 1 x`, `${process.ppid} 1 x`] : [];
    for (const owner of [process.pid, 2 ** 22 + 1, `${2 ** 22 + 1} 1 x`, '', ...others]) {
      await writeFile(`${path}.lock`, String(owner));
      const again = await fileStorage(path).open('s');
      assert.match(await readFile(`${path}.lock`, 'utf8'), new RegExp(`^${process.pid} `));
      await again.close();
    }
    // What has been taken from us is not ours to remove.
    const robbed = await fileStorage(path).open('s');
    await writeFile(`${path}.lock`, 'another');
    await robbed.close();
    assert.equal(await readFile(`${path}.lock`, 'utf8'), 'another');
  });

  it('is had by one of many who find the lock of a crashed one at the same moment', async () => {
    // Each of them knows as little of the others as processes do.
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

describe('the storage of a browser', { timeout: 20_000 }, () => {
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
  /** As much of Web Locks as is used. */
  class Locks {
    readonly #held = new Map<string, Promise<unknown>>();
    async request(name: string, options: LockOptions, use: (lock: Lock | null) => unknown): Promise<unknown> {
      while (this.#held.has(name)) {
        if (options.ifAvailable) return use(null);
        const aborted = new Promise((_, no) =>
          options.signal?.addEventListener('abort', () => no(new Error('aborted'))),
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
  const tab = (session = new Memory(), withLocks = true): WebParts =>
    ({ localStorage: local, sessionStorage: session, locks: withLocks ? locks : undefined }) as unknown as WebParts;
  const open = (parts: WebParts, scope = 'me@host') => webStorage('app', parts).open(scope, scope.split('@')[0]);

  it('gives each tab a slot of its own, and after a reload the same', async () => {
    const [one, two] = [tab(), tab()];
    const [first, second] = [await open(one), await open(two)];
    await first.save({ ...text('1'), device: 'd1' });
    await second.save({ ...text('2'), device: 'd2' });
    // Both pages reload, in the other order; the old page of the second lets go a little late.
    const reloading = open(two);
    await settle();
    await second.close();
    const again = await reloading;
    await first.close();
    assert.deepEqual([again.saved?.device, texts(again.saved)], ['d2', ['2']]);
    const firstAgain = await open(one);
    assert.deepEqual([firstAgain.saved?.device, texts(firstAgain.saved)], ['d1', ['1']]);
  });

  it('sends for tabs that are closed', async () => {
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
    await settle();
    const next = await open(tab());
    assert.deepEqual(texts(next.saved), ['1', '2']);
    const other = await open(tab());
    assert.deepEqual([other.saved?.seq, texts(other.saved)], [3, []]);
  });

  for (const damaged of ['{"v":1', '7', 'null', '{"v":2,"outbox":[]}', '{"v":1,"outbox":[null]}']) {
    it(`takes a slot with ${damaged} for an empty one, and puts that aside`, async () => {
      for (const slot of [0, 2]) local.setItem(`app:me@host:${slot}`, damaged);
      const first = await open(tab());
      assert.equal(first.saved, undefined);
      await first.save(text('1'));
      await first.close();
      await settle();
      const again = await open(tab());
      assert.deepEqual(texts(again.saved), ['1']);
      assert.equal(local.getItem('app:me@host:0:damaged'), damaged);
      assert.equal(local.getItem('app:me@host:2'), damaged);
    });
  }

  it('adopts nothing that there is no room for', async () => {
    const [first, second] = [await open(tab()), await open(tab())];
    await first.save({ ...text('1'), device: 'd1' });
    await second.save(text('2'));
    await first.close();
    await second.close();
    await settle();
    const session = new Memory();
    local.setItem = session.setItem = () => {
      throw new Error('full');
    };
    const hold = await open(tab(session));
    assert.deepEqual([hold.saved?.device, texts(hold.saved)], ['d1', ['1']]);
    assert.throws(() => hold.save(text('x')), /full/);
    await hold.close();
    await settle();
    Reflect.deleteProperty(local, 'setItem');
    assert.deepEqual(texts((await open(tab())).saved), ['1', '2']);
  });

  it('leaves alone what an open tab has to send', async () => {
    const first = await open(tab());
    await first.save(text('1'));
    assert.equal((await open(tab())).saved, undefined);
  });

  it('tells users apart', async () => {
    const first = await open(tab(), 'me@host');
    await first.save(text('1'));
    await first.close();
    assert.equal((await open(tab(), 'you@host')).saved, undefined);
    assert.deepEqual(texts((await open(tab(), 'me@host')).saved), ['1']);
  });

  for (const kind of ['a token', 'a function', 'what no client can read'] as const) {
    it(`sends nothing of a user as another's, where the user is in ${kind}`, async () => {
      const server = new FakeServer();
      const claims = (sub: string) => Buffer.from(JSON.stringify({ sub, name: '\u00fc?>' })).toString('base64url');
      const start = (sub: string, parts: WebParts) => {
        const token = kind === 'what no client can read' ? sub : `h.${claims(sub)}.s`;
        return connect({
          url: 'ws://host',
          WebSocket: server.WebSocket,
          storage: webStorage('app', parts),
          ...(kind === 'a function' ? { getToken: async () => token } : { token }),
        });
      };
      const welcome = async (user_id: string) => {
        const socket = await server.accept();
        socket.welcome(0, { user_id });
        socket.frame({ type: 'synced', seq: 0 });
        return socket;
      };
      const [bobs, others] = [tab(), tab()];
      const bob = start('bob', bobs);
      void bob.send('carol', 'of bob').catch(() => {});
      await (await welcome('bob')).expect('message');
      const alice = start('alice', others);
      void alice.send('carol', 'of alice').catch(() => {});
      await (await welcome('alice')).expect('message');
      await Promise.all([alice.close(), bob.close()]);
      await settle();
      // Bob's page again, then a new tab of Alice, who finds the slot free that was Bob's.
      const again = start('bob', bobs);
      const socket = await welcome('bob');
      assert.equal((await socket.expect('message')).message, 'of bob');
      assert.deepEqual(
        again.pending.map(frame => 'message' in frame && frame.message),
        ['of bob'],
      );
      await again.close();
      await settle();
      const new_ = start('alice', tab());
      const last = await welcome('alice');
      await settle();
      assert.ok(last.sent.every(frame => frame.message !== 'of bob'));
      if (kind !== 'what no client can read') assert.equal((await last.expect('message')).message, 'of alice');
      await new_.close();
    });
  }

  it('does without locks, by what the tab remembers', async () => {
    const one = tab(new Memory(), false);
    await (await open(one)).save(text('1'));
    assert.deepEqual(texts((await open(one)).saved), ['1']);
    assert.equal((await open(tab(new Memory(), false))).saved, undefined);
  });
});
