import assert from 'node:assert/strict';
import { spawn } from 'node:child_process';
import { once } from 'node:events';
import { mkdtemp, readFile, rm } from 'node:fs/promises';
import { tmpdir } from 'node:os';
import { join } from 'node:path';
import { afterEach, beforeEach, describe, it } from 'node:test';
import { type Client, connect, newId, type ServerMessage } from '../src/index.js';
import { fileStorage } from '../src/node.js';
import { DEADLINE, Server } from './support/server.js';

describe('with the real server', { timeout: 4 * DEADLINE }, () => {
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

  it('two users talk', async () => {
    server = await Server.start();
    const [a, b] = [client('a'), client('b')];
    const came = new Promise<ServerMessage>(resolve => b.on('message', resolve));
    const ack = await a.send('b', { type: 'image', url: 'https://example.org/cat.png', alt: 'A cat' });
    assert.equal(ack.status, 'stored');
    const { id, message } = await came;
    assert.deepEqual(message, { type: 'image', url: 'https://example.org/cat.png', alt: 'A cat' });
    assert.equal(id, ack.id);
    await assert.rejects(a.send('b', ''), { code: 'invalid_frame', path: '/message' });
    await assert.rejects(a.send({ room: 'r' }, 'x'), { code: 'unknown_room' });
    await assert.rejects(a.edit('b', newId(), 'x'), { code: 'unknown_message' });

    const changed = new Promise(resolve => b.on('edited', resolve));
    await a.edit('b', ack.id, 'A dog');
    assert.equal(((await changed) as { message: string }).message, 'A dog');
    const read = new Promise(resolve => a.on('receipt', receipt => receipt.kind === 'read' && resolve(receipt.id)));
    await b.markRead('a', ack.id);
    assert.equal(await read, ack.id);
    await b.react('a', ack.id, '👍');
    for await (const { last, unread } of b.conversations()) {
      assert.deepEqual([last.message, last.reactions?.[0]?.users, unread], ['A dog', ['b'], 0]);
    }
    const typing = new Promise(resolve => b.on('typing', resolve));
    a.typing('b');
    await typing;
    await a.delete('b', ack.id);
    const history = [];
    for await (const message of b.history('a')) history.push(message);
    assert.equal(history.length, 1);
    assert.ok(history[0]?.deleted_at);
  });

  it('one user takes notes', async () => {
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

  it('what was acknowledged does not come again, the rest does', async () => {
    server = await Server.start();
    const a = client('a');
    const storage = () => fileStorage(join(folder, 'b.json'));
    const first = client('b', { storage: storage(), since: 0 });
    const messages = first.messages();
    const begun = take(messages, 3);
    for (const text of ['1', '2', '3', '4']) await a.send('b', text);
    assert.deepEqual(await begun, ['1', '2', '3']);
    // The third is given out, but the next was not asked for.
    await first.close();
    assert.deepEqual(await take(client('b', { storage: storage() }).messages(), 2), ['3', '4']);
  });

  it('many devices of one user see the same', async () => {
    server = await Server.start();
    const [one, two, other] = [client('a', { device: 'one' }), client('a', { device: 'two' }), client('b')];
    const seen = two.messages({ own: true });
    const next = take(seen, 2);
    await one.send('b', 'mine');
    await other.send('a', 'yours');
    assert.deepEqual(await next, ['mine', 'yours']);
  });

  it('keeps to the pace that the server sets', async () => {
    server = await Server.start('--messages-per-second', '200', '--burst', '200');
    const refused: string[] = [];
    const [a, b] = [client('a'), client('b')];
    a.on('wire', ({ text }) => text.includes('rate_limited') && refused.push(text));
    const texts = Array.from({ length: 600 }, (_, i) => String(i));
    const got = take(b.messages(), texts.length);
    await Promise.all(texts.map(text => a.send('b', text)));
    assert.deepEqual(await got, texts);
    assert.deepEqual(refused, []);
  });

  it('keeps the order though the server refuses for now', async () => {
    // The burst is less than the client takes it for.
    server = await Server.start('--messages-per-second', '100', '--burst', '3');
    const [a, b] = [client('a'), client('b')];
    const texts = Array.from({ length: 60 }, (_, i) => String(i));
    const got = take(b.messages(), texts.length);
    await Promise.all(texts.map(text => a.send('b', text)));
    assert.deepEqual(await got, texts);
  });

  it('nothing is lost, doubled or out of order while the server is killed, again and again', async () => {
    server = await Server.start('--messages-per-second', '1000000', '--burst', '1000000');
    const count = 400;
    const texts = (name: string) => Array.from({ length: count }, (_, i) => `${name}${i}`);
    const users = [client('a', { since: 0 }), client('b', { since: 0 })] as const;
    const got: unknown[][] = [[], []];
    let moved = () => {};
    const sent = users.map(async (user, i) => {
      user.on('message', message => {
        if (message.from_user === 'ab'[i]) return;
        got[i]?.push(message.message);
        moved();
      });
      for (const text of texts('ab'[i] ?? '')) {
        // A few are under way at the same time, to the user and, in another lane, to oneself.
        const sending = user.send('ab'[1 - i] ?? '', text);
        if (Number(text.slice(1)) % 5 === 0) await sending;
      }
    });
    for (let round = 1; round <= 6; round += 1) {
      const enough = (round * count * 2) / 8;
      while (got.flat().length < enough) await new Promise<void>(resolve => (moved = resolve));
      await server.kill();
      await server.restart();
    }
    await Promise.all(sent);
    while (got.flat().length < count * 2) await new Promise<void>(resolve => (moved = resolve));
    assert.deepEqual(got[0], texts('b'));
    assert.deepEqual(got[1], texts('a'));
    // Each is stored once.
    const stored: unknown[] = [];
    for await (const message of users[0].history('b', { pageSize: 200 })) stored.push(message.message);
    assert.equal(stored.length, count * 2);
    assert.equal(new Set(stored).size, count * 2);
  });

  it('nothing is lost or out of order while the client is killed, again and again', async () => {
    server = await Server.start('--messages-per-second', '1000000', '--burst', '1000000');
    const count = 150;
    const peer = client('peer', { since: 0 });
    const got = new Map<string, unknown>();
    let moved = () => {};
    peer.on('message', message => {
      if (message.from_user !== 'crash') return;
      assert.ok(!got.has(message.id), 'doubled');
      got.set(message.id, message.message);
      moved();
    });
    const sends = Array.from({ length: count }, (_, i) => peer.send('crash', `p${i}`));
    const log = join(folder, 'log');
    const run = () => {
      const program = new URL('support/crashing.js', import.meta.url).pathname;
      const words = [program, server.url, folder, String(count)];
      const child = spawn(process.execPath, words, { stdio: ['ignore', 'inherit', 'inherit'] });
      return { child, ended: once(child, 'exit') };
    };
    for (let round = 1; round <= 5; round += 1) {
      const { child, ended } = run();
      const enough = (round * count) / 6;
      while (got.size < enough) await new Promise<void>(resolve => (moved = resolve));
      child.kill('SIGKILL');
      await ended;
    }
    const { ended } = run();
    await Promise.all(sends);
    assert.deepEqual(await ended, [0, null]);
    while (got.size < count) await new Promise<void>(resolve => (moved = resolve));
    assert.deepEqual(
      [...got.values()],
      Array.from({ length: count }, (_, i) => `c${i}`),
    );
    // At the end of each run one message may have been handled and not yet kept as such: it comes again, as the same.
    const handled = (await readFile(log, 'utf8')).trim().split('\n');
    assert.deepEqual(
      [...new Set(handled)],
      Array.from({ length: count }, (_, i) => `p${i}`),
    );
    assert.ok(handled.length <= count + 5 * 3, `${handled.length} lines`);
  });
});
