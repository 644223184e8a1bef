/**
 * Whatever happens to the line: a model of the server that keeps the rules of the protocol, but breaks the line at any
 * point, forgets to answer, repeats itself, is busy now and then, refuses for good, and may lose its store. And the
 * client's program ends at any point, too, and its storage takes a state or does not.
 */

import assert from 'node:assert/strict';
import { describe, it } from 'node:test';
import { type Client, connect, type InFrame, type Saved, type Storage } from '../src/index.js';
import { FakeServer, type FakeSocket, random } from './support/fake.js';

const SEEDS = Number(process.env.DMWIRE_SEEDS ?? 150);
const FIRST = Number(process.env.DMWIRE_SEED ?? 1);
const COUNT = 40;
/** Whom the user writes to, in turn: each id goes to both. */
const PEERS = ['you', 'them'];
/** The message that the user edits. */
const EDITED = '00000000-0000-4000-8000-999999999999';

/** What the user does, by its number: it is the text, and which of the two kinds it is, too. */
const isEdit = (n: number) => n % 5 === 4;

/** One user's log on a server, and the lines to it. */
class Model {
  log: Record<string, unknown>[] = [];
  epoch = 1;
  /** What was stored of the user's sends in this epoch, by conversation and id: its place. */
  #stored = new Map<string, number>();
  /** The numbers of what was stored in this epoch, in order, for each conversation and for the edits. */
  order = new Map<string, number[]>();
  /** The same of all epochs. */
  readonly ever = new Set<number>();
  /** What is refused for good, by its number. */
  readonly refused = new Set<number>();
  readonly fake: FakeServer;
  /** How far the user's device has acknowledged. */
  #received = 0;
  #socket: FakeSocket | undefined;
  /** What the line still brings; it comes in order, some time. */
  #line: (() => void)[] = [];
  calm = false;
  /** The client has come as far as the log at least once. */
  #met = false;

  /** @param shared Whether another program has the same device, and acknowledges what it gets. */
  constructor(
    readonly chance: () => number,
    readonly shared: boolean,
  ) {
    this.fake = new FakeServer(socket => this.#open(socket));
  }

  /** Somebody writes to the user. */
  arrive(text: string): void {
    this.#append({ type: 'message', id: `in-${text}`, from_user: 'you', target_user: 'me', message: text }, undefined);
  }

  /** Brings something of what is under way, or breaks the line. */
  step(): void {
    if (!this.calm && this.chance() < 0.05) return this.#break();
    if (this.shared && this.#met && this.chance() < 0.2) this.#received = this.log.length;
    for (let n = Math.floor(this.chance() * 4); n >= 0; n -= 1) this.#line.shift()?.();
  }

  /** The store is replaced by an empty one. */
  reset(): void {
    this.#break();
    this.epoch += 1;
    this.log = [];
    this.#stored = new Map();
    this.order = new Map();
    this.#received = 0;
  }

  #open(socket: FakeSocket): void {
    this.#break();
    this.#socket = socket;
    const asked = socket.url.searchParams.get('since');
    const known = socket.url.searchParams.get('epoch');
    socket.onFrame = frame => {
      if (socket === this.#socket) this.#hear(frame);
    };
    const head = this.log.length;
    const epoch = `e${this.epoch}`;
    let since = asked === null ? this.#received : Number(asked);
    this.#tell(() => socket.welcome(head, { epoch }));
    if ((known !== null && known !== epoch) || since > head) {
      since = 0;
      this.#tell(() => socket.frame({ type: 'truncated', reason: 'reset', oldest_seq: 1 }));
    }
    for (const entry of this.log.slice(since)) this.#tell(() => socket.frame(this.#shown(entry)));
    this.#tell(() => {
      this.#met = true;
      socket.frame({ type: 'synced', seq: head });
    });
  }

  /** What is under way in both directions is lost; the client may hear of it late. */
  #break(): void {
    const socket = this.#socket;
    this.#socket = undefined;
    this.#line = [];
    if (socket) setImmediate(() => socket.drop());
  }

  #tell(what: () => void): void {
    const socket = this.#socket;
    this.#line.push(() => {
      if (socket === this.#socket) what();
    });
  }

  #hear(frame: InFrame): void {
    const socket = this.#socket as FakeSocket;
    if (frame.type === 'received') this.#received = Math.max(this.#received, frame.seq as number);
    if (frame.type !== 'message' && frame.type !== 'edit') return;
    if (!this.calm && this.chance() < 0.1) return this.#break();
    const number = Number(frame.message);
    const lane = frame.type === 'edit' ? 'edits' : String(frame.target_user);
    const order = this.order.get(lane) ?? [];
    // An edit has no id: it is the same if nothing came after it.
    const key = frame.type === 'edit' ? `edit ${order.at(-1) === number}` : `${frame.target_user} ${frame.id}`;
    const known = this.#stored.get(key);
    if (known !== undefined) return this.#tell(() => socket.ack(frame, known, { duplicate: true }));
    if (this.refused.has(number) || (!this.calm && !this.ever.has(number) && this.chance() < 0.04)) {
      this.refused.add(number);
      return this.#tell(() => socket.refuse(frame, 'blocked'));
    }
    if (!this.calm && this.chance() < 0.1) {
      const code = ['rate_limited', 'overloaded', 'internal'][Math.floor(this.chance() * 3)] as string;
      // The outcome of `internal` is unknown.
      if (code !== 'internal' || this.chance() < 0.5) {
        return this.#tell(() => socket.refuse(frame, code, { retryable: true, retry_after_ms: 1 }));
      }
    }
    this.#stored.set(frame.type === 'edit' ? 'edit true' : key, this.log.length + 1);
    this.order.set(lane, [...order, number]);
    this.ever.add(number);
    const { target_user, message, id } = frame;
    const type = frame.type === 'edit' ? 'edited' : 'message';
    this.#append({ type, id, from_user: 'me', target_user, message }, frame);
  }

  #append(entry: Record<string, unknown>, own: InFrame | undefined): void {
    const seq = this.log.length + 1;
    const whole = { ...entry, seq, sent_at: '2026-01-01T00:00:00.000Z' };
    this.log.push(whole);
    const socket = this.#socket;
    if (!socket) return;
    this.#tell(() => (own ? socket.ack(own, seq) : socket.frame(whole)));
    if (this.chance() < 0.1) {
      const again = this.log[Math.floor(this.chance() * seq)] ?? whole;
      this.#tell(() => socket.frame(this.#shown(again)));
    }
  }

  /** As the replay shows it: the present, at the place of every edit. */
  #shown(entry: Record<string, unknown>): Record<string, unknown> {
    return entry.type === 'edited' ? { ...entry, message: String(this.order.get('edits')?.at(-1)) } : entry;
  }
}

/** Keeps what was saved when its time comes; a program that ends before leaves the old state. */
class Memory implements Storage {
  kept: Saved | undefined;
  /** Which program has it. */
  #turn = 0;
  /** Writes that one program had under way at a time. */
  most = 0;

  /** @param fails Whether it is to take no state now. */
  constructor(readonly fails: () => boolean) {}

  async open() {
    this.#turn += 1;
    const turn = this.#turn;
    let writing = 0;
    return {
      saved: this.kept && (JSON.parse(JSON.stringify(this.kept)) as Saved),
      save: async (saved: Saved) => {
        const text = JSON.stringify(saved);
        writing += 1;
        this.most = Math.max(this.most, writing);
        await new Promise(resolve => setImmediate(resolve));
        writing -= 1;
        if (this.fails()) throw new Error('full');
        if (turn === this.#turn) this.kept = JSON.parse(text);
      },
      close: () => {},
    };
  }

  /** The program that has it is no more. */
  crash(): void {
    this.#turn += 1;
  }
}

async function story(seed: number): Promise<void> {
  const chance = random(seed);
  const crashes = seed % 2 === 0;
  // A program that ends before it knows its place has only the device's.
  const model = new Model(chance, !crashes);
  const resets = seed % 5 === 0;
  const keeps = crashes || seed % 3 === 0;
  const storage = new Memory(() => !model.calm && chance() < 0.03);
  const handled: string[] = [];
  /** What came before the store was replaced, and may have gone with it. */
  let excused = 0;
  const settled = new Set<number>();
  const unkept = new Set<number>();
  const refused = new Set<number>();
  let given = 0;
  let client!: Client;
  let run = 0;

  /** Starts the program; with its storage, if it ends now and then. */
  const begin = () => {
    run += 1;
    const mine = run;
    client = connect({
      url: 'ws://model',
      user: 'me',
      WebSocket: model.fake.WebSocket,
      backoff: { base: 1, max: 3 },
      ...(keeps && { storage }),
      ...(seed % 7 > 2 && { since: 0 }),
    });
    client.on('message', async message => {
      if (chance() < 0.3) await new Promise(resolve => setImmediate(resolve));
      if (mine !== run) return new Promise(() => {});
      if (message.from_user === 'you') handled.push(message.message as string);
      return undefined;
    });
    client.on('sent', ({ frame }) => {
      if (mine === run) settled.add(Number((frame as unknown as InFrame).message));
    });
    client.on('failed', ({ frame, error }) => {
      const number = Number((frame as unknown as InFrame).message);
      if (mine !== run) return;
      settled.add(number);
      (error.code === 'storage' ? unkept : refused).add(number);
    });
  };
  const send = () => {
    const number = given;
    given += 1;
    const id = `00000000-0000-4000-8000-${String(Math.floor(number / 2)).padStart(12, '0')}`;
    const sending = isEdit(number)
      ? client.edit('you', EDITED, String(number))
      : client.send(PEERS[number % 2] as string, String(number), { id });
    sending.then(
      () => settled.add(number),
      () => {},
    );
  };

  begin();
  let arrived = 0;
  const heard = () => new Set(handled.filter(text => Number(text) >= excused)).size;
  const done = () =>
    arrived === COUNT && given >= COUNT && heard() === COUNT - excused && settled.size === given && !needsReset();
  const needsReset = () => resets && model.epoch === 1;
  for (let turn = 0; !done(); turn += 1) {
    assert.ok(turn < 200_000, `handled ${heard()}, excused ${excused}, sent ${settled.size} of ${given}`);
    model.calm = arrived === COUNT && given >= COUNT && turn > 4_000;
    if (arrived < COUNT && chance() < 0.2) model.arrive(String(arrived++));
    // What is given in the last moment before a crash may not be kept yet; the program would know by the promise.
    if (given < COUNT && chance() < 0.2) send();
    model.step();
    await new Promise(resolve => setImmediate(resolve));
    if (needsReset() && arrived > COUNT / 2 && chance() < 0.05) {
      excused = arrived;
      model.reset();
    }
    if (crashes && !model.calm && chance() < 0.01) {
      storage.crash();
      const kept = storage.kept?.outbox.map(({ frame }) => Number(frame.message)) ?? [];
      run += 1;
      await client.close();
      // Given, but neither kept nor stored when it ended: as if it had not been given.
      for (let i = 0; i < given; i += 1) {
        if (!kept.includes(i) && !model.ever.has(i)) settled.add(i);
      }
      begin();
    }
  }
  await client.close();
  assert.ok(storage.most <= 1, 'one write at a time');

  const all = handled.map(Number);
  const once = [...new Set(all)];
  assert.deepEqual(
    once,
    [...once].sort((x, y) => x - y),
    'what came was handled in order',
  );
  if (!crashes) assert.deepEqual(all, once, 'each once');
  for (const [lane, sent] of model.order) {
    assert.deepEqual(
      sent,
      [...new Set(sent)].sort((x, y) => x - y),
      `stored once, and in the order in which it was given: ${lane}`,
    );
  }
  for (const number of unkept) assert.ok(!model.ever.has(number), 'what could not be kept was not sent');
  for (const number of refused) assert.ok(model.refused.has(number), 'only what was refused has failed');
  if (crashes) return;
  for (let i = 0; i < given; i += 1) {
    const fate = [model.ever.has(i), refused.has(i), unkept.has(i)].filter(Boolean).length;
    assert.equal(fate, 1, `${i} was stored, or failed`);
  }
}

describe('whatever happens to the line', { timeout: 300_000 }, () => {
  for (const kind of ['the program stays', 'the program ends, too']) {
    it(`nothing is lost, doubled or out of order: ${kind}`, async () => {
      for (let seed = FIRST; seed < FIRST + SEEDS; seed += 1) {
        if ((seed % 2 === 0) !== (kind !== 'the program stays')) continue;
        await story(seed).catch(error => {
          throw new Error(`DMWIRE_SEED=${seed} DMWIRE_SEEDS=1`, { cause: error });
        });
      }
    });
  }
});
