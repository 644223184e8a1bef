/**
 * Randomised tests against a model of the server. The model follows the protocol, but drops connections at random points,
 * loses answers, repeats entries, answers with retryable and final errors, and may replace its store or be rolled back to an
 * earlier state. The client program may crash at random points, or be closed and started again at once, and its storage may
 * fail.
 */

import assert from 'node:assert/strict';
import { describe, it } from 'node:test';
import { type Client, connect, type InFrame, type Saved, type Storage } from '../src/index.js';
import { FakeServer, type FakeSocket, random } from './support/fake.js';

const SEEDS = Number(process.env.DMWIRE_SEEDS ?? 150);
const FIRST_SEED = Number(process.env.DMWIRE_SEED ?? 1);
const COUNT = 40;
/** Recipients of the user's messages, alternating: each id is used for both. */
const PEERS = ['you', 'them'];
/** The message that the user edits. */
const EDITED = '00000000-0000-4000-8000-999999999999';

/** Whether action `n` of the user is an edit. The text of edits and messages is `n`. */
const isEdit = (n: number) => n % 5 === 4;
/** Three actions of ten are about a room, whose name tells their numbers: to join it, to write to it, and to leave it. */
const roomOf = (n: number) => (n % 10 >= 6 && n % 10 <= 8 ? `r${n - (n % 10) + 6}` : undefined);

/** Returns the number of the action that made a frame of the client. */
function numberOf({ type, message, room }: InFrame): number {
  if (room === undefined) return Number(message);
  return Number(String(room).slice(1)) + (type === 'join' ? 0 : 2);
}

/** The log of one user on a server, and the connections to it. */
class Model {
  log: Record<string, unknown>[] = [];
  epoch = 1;
  /** `seq` of the user's stored frames in this epoch, by conversation and id. */
  #stored = new Map<string, number>();
  /** Numbers of the stored frames in this epoch, in order, per conversation and for the edits. */
  order = new Map<string, number[]>();
  /** Numbers of the stored frames in all epochs. */
  readonly everStored = new Set<number>();
  /** Numbers of the frames that were rejected and are not sent again. */
  readonly rejected = new Set<number>();
  /** Numbers of the joins that another device has made. The client need not send them then. */
  readonly joinedElsewhere = new Set<number>();
  /** Numbers of messages that were sent while the user was no member of the room, although the join was stored. */
  readonly outside: number[] = [];
  /** The log was never replaced or rolled back. */
  isComplete = true;
  readonly fake: FakeServer;
  /** Number of entries that were ever appended. */
  #appended = 0;
  /** Position that the user's device has acknowledged. */
  #acknowledged = 0;
  #socket: FakeSocket | undefined;
  /** Frames in flight to the client, in order. */
  #inFlight: (() => void)[] = [];
  /** No faults from now on, so that the run can finish. */
  calm = false;
  /** Length of the log after the last rollback, until a client has continued it. */
  #kept = Number.POSITIVE_INFINITY;
  /** A client has received the whole log at least once. */
  #hasSynced = false;

  /** @param shared Whether another program uses the same device name and acknowledges entries. */
  constructor(
    readonly chance: () => number,
    readonly shared: boolean,
  ) {
    this.fake = new FakeServer(socket => this.#open(socket));
  }

  /** Appends a message from another user. */
  arrive(text: string): void {
    this.#append({ type: 'message', id: `in-${text}`, from_user: 'you', target_user: 'me', message: text }, undefined);
  }

  /** The user joins a room on another device, if nobody has joined or left it. */
  joinElsewhere(room: string): void {
    if (this.log.some(entry => entry.room === room)) return;
    this.joinedElsewhere.add(numberOf({ type: 'join', room }));
    this.#appendMembership(room, 'joined', undefined);
  }

  /** Returns the newest entry about the user's membership of a room. */
  membership(room: unknown): Record<string, unknown> | undefined {
    return this.log.filter(entry => entry.room === room).at(-1);
  }

  /** Delivers some frames in flight, or drops the connection. */
  step(): void {
    if (!this.calm && this.chance() < 0.05) return this.#drop();
    if (this.shared && this.#hasSynced && this.chance() < 0.2) this.#acknowledged = this.log.length;
    for (let n = Math.floor(this.chance() * 4); n >= 0; n -= 1) this.#inFlight.shift()?.();
  }

  /** Replaces the store with an empty one. */
  reset(): void {
    this.#drop();
    this.isComplete = false;
    this.epoch += 1;
    this.log = [];
    this.#stored = new Map();
    this.order = new Map();
    this.#acknowledged = 0;
  }

  /** Removes up to three of the newest entries. The log continues in the same epoch. */
  rollBack(): void {
    this.#drop();
    this.isComplete = false;
    const kept = Math.max(0, this.log.length - 1 - Math.floor(this.chance() * 3));
    this.log = this.log.slice(0, kept);
    this.#kept = Math.min(this.#kept, kept);
    this.#acknowledged = Math.min(this.#acknowledged, kept);
    this.#stored = new Map([...this.#stored].filter(([key, seq]) => seq <= kept && key !== 'edit true'));
    this.order = new Map();
    for (const entry of this.log) {
      if (entry.from_user !== 'me' && entry.own !== true) continue;
      const orderKey = orderKeyOf(entry);
      const type = entry.event === 'joined' ? 'join' : String(entry.type);
      this.order.set(orderKey, [...(this.order.get(orderKey) ?? []), numberOf({ ...entry, type })]);
      if (entry.type === 'edited') this.#stored.set('edit true', entry.seq as number);
    }
  }

  #open(socket: FakeSocket): void {
    this.#drop();
    this.#socket = socket;
    const requestedSince = socket.url.searchParams.get('since');
    const requestedEpoch = socket.url.searchParams.get('epoch');
    socket.onFrame = frame => {
      if (socket === this.#socket) this.#receive(frame);
    };
    const head = this.log.length;
    const epoch = `e${this.epoch}`;
    let since = requestedSince === null ? this.#acknowledged : Number(requestedSince);
    const [id, at] = [socket.url.searchParams.get('since_id'), socket.url.searchParams.get('since_at')];
    const entry = this.log[since - 1];
    // A real server cannot recognize the rollback without id and time (docs/protocol.md section 10, "The entry at the cursor").
    const isUnnamed = at === null && since > this.#kept;
    const isSame = (id === null || id === entry?.id) && (at === null || at === (entry?.sent_at ?? entry?.at));
    const diverged = isUnnamed || (entry !== undefined && !isSame);
    this.#send(() => socket.welcome(head, { epoch }));
    if ((requestedEpoch !== null && requestedEpoch !== epoch) || since > head || diverged) {
      since = 0;
      this.#send(() => socket.frame({ type: 'truncated', reason: 'reset', oldest_seq: 1 }));
    }
    for (const entry of this.log.slice(since)) this.#send(() => socket.frame(this.#shown(entry)));
    this.#send(() => {
      this.#hasSynced = true;
      this.#kept = Number.POSITIVE_INFINITY;
      socket.frame({ type: 'synced', seq: head });
    });
  }

  /** Loses all frames in flight. The client notices later. */
  #drop(): void {
    const socket = this.#socket;
    this.#socket = undefined;
    this.#inFlight = [];
    if (socket) setImmediate(() => socket.drop());
  }

  #send(deliver: () => void): void {
    const socket = this.#socket;
    this.#inFlight.push(() => {
      if (socket === this.#socket) deliver();
    });
  }

  #receive(frame: InFrame): void {
    const socket = this.#socket as FakeSocket;
    if (frame.type === 'received') {
      this.#acknowledged = Math.max(this.#acknowledged, Math.min(frame.seq as number, this.log.length));
    }
    if (!['message', 'edit', 'join', 'leave'].includes(frame.type)) return;
    if (!this.calm && this.chance() < 0.1) return this.#drop();
    const number = numberOf(frame);
    const orderKey = orderKeyOf(frame);
    const order = this.order.get(orderKey) ?? [];
    const membership = this.membership(frame.room ?? frame.target_room);
    const isMember = membership?.event === 'joined';
    if ((frame.type === 'join' && isMember) || (frame.type === 'leave' && !isMember)) {
      this.everStored.add(number);
      const seq = frame.type === 'join' ? membership?.seq : undefined;
      return this.#send(() => socket.ack(frame, 0, { seq, duplicate: true }));
    }
    // Edits have no id of their own: an edit is a duplicate if it is the newest one.
    const key = frame.type === 'edit' ? `edit ${order.at(-1) === number}` : `${orderKey} ${frame.room ?? frame.id}`;
    const known = frame.room === undefined ? this.#stored.get(key) : undefined;
    if (known !== undefined) return this.#send(() => socket.ack(frame, known, { duplicate: true }));
    if (this.rejected.has(number) || (!this.calm && !this.everStored.has(number) && this.chance() < 0.04)) {
      this.rejected.add(number);
      return this.#send(() => socket.reject(frame, 'blocked'));
    }
    if (frame.target_room !== undefined && !isMember) {
      if (this.isComplete && this.everStored.has(number - 1)) this.outside.push(number);
      this.rejected.add(number);
      // It may have been in a log that is gone.
      this.everStored.delete(number);
      return this.#send(() => socket.reject(frame, 'not_member'));
    }
    if (!this.calm && this.chance() < 0.1) {
      const code = ['rate_limited', 'overloaded', 'internal'][Math.floor(this.chance() * 3)] as string;
      // With `internal` the frame may have been stored.
      if (code !== 'internal' || this.chance() < 0.5) {
        return this.#send(() => socket.reject(frame, code, { retryable: true, retry_after_ms: 1 }));
      }
    }
    this.#stored.set(frame.type === 'edit' ? 'edit true' : key, this.log.length + 1);
    this.order.set(orderKey, [...order, number]);
    this.everStored.add(number);
    if (frame.room !== undefined) {
      const event = frame.type === 'join' ? 'joined' : 'left';
      return this.#appendMembership(String(frame.room), event, frame);
    }
    const { target_user, target_room, message, id } = frame;
    const type = frame.type === 'edit' ? 'edited' : 'message';
    this.#append({ type, id, from_user: 'me', target_user, target_room, message }, frame);
  }

  #appendMembership(room: string, event: 'joined' | 'left', own: InFrame | undefined): void {
    this.#append({ type: 'room', room, event, user: 'me', members: 1, own: own !== undefined }, own);
  }

  #append(entry: Record<string, unknown>, own: InFrame | undefined): void {
    const seq = this.log.length + 1;
    this.#appended += 1;
    const sent_at = `time ${this.#appended}`;
    const whole = { ...entry, seq, [entry.type === 'room' ? 'at' : 'sent_at']: sent_at };
    this.log.push(whole);
    const socket = this.#socket;
    if (!socket) return;
    this.#send(() => (own ? socket.ack(own, seq, { sent_at }) : socket.frame(whole)));
    if (this.chance() < 0.1) {
      const again = this.log[Math.floor(this.chance() * seq)] ?? whole;
      this.#send(() => socket.frame(this.#shown(again)));
    }
  }

  /** Returns an entry as the replay shows it: an edit that a later one supersedes has only its number. */
  #shown(entry: Record<string, unknown>): Record<string, unknown> {
    const { type, seq } = entry;
    const isSuperseded = type === 'edited' && this.log.slice(seq as number).some(later => later.type === 'edited');
    return isSuperseded ? { type: 'skipped', seq } : entry;
  }
}

/** Returns the key of the frames and entries that keep their order: the conversation, with edits apart. */
function orderKeyOf({ type, target_user, target_room, room }: Record<string, unknown>): string {
  return type === 'edit' || type === 'edited' ? 'edits' : `${target_user ?? ''} ${target_room ?? room ?? ''}`;
}

/** An in-memory storage with delayed writes. A program that crashes before its write completes leaves the old state. */
class Memory implements Storage {
  saved: Saved | undefined;
  /** Number of the program that has it open. */
  #owner = 0;
  /** Number of programs that have it open or wait for it. */
  #users = 0;
  #closed: Promise<void> = Promise.resolve();
  #release = () => {};
  /** Maximum number of concurrent writes of one program. */
  maxWriting = 0;

  /** @param fails Whether the next write fails. */
  constructor(readonly fails: () => boolean) {}

  /** Whether no program waits for it. */
  get settled(): boolean {
    return this.#users <= 1;
  }

  async open() {
    this.#users += 1;
    const closed = this.#closed;
    this.#closed = new Promise(resolve => {
      this.#release = resolve;
    });
    const release = this.#release;
    await closed;
    this.#owner += 1;
    const owner = this.#owner;
    let writing = 0;
    return {
      saved: this.saved && (JSON.parse(JSON.stringify(this.saved)) as Saved),
      save: async (saved: Saved) => {
        const text = JSON.stringify(saved);
        writing += 1;
        this.maxWriting = Math.max(this.maxWriting, writing);
        await new Promise(resolve => setImmediate(resolve));
        writing -= 1;
        if (this.fails()) throw new Error('full');
        if (owner === this.#owner) this.saved = JSON.parse(text);
      },
      close: () => {
        if (owner === this.#owner) this.#users -= 1;
        release();
      },
    };
  }

  /** Discards the pending writes of the program that has it open. */
  crash(): void {
    this.#owner += 1;
    this.#users = 0;
    this.#release();
  }
}

/** What happens to the program during a run. */
function modeOf(seed: number): 'nothing' | 'crashes' | 'restarts' {
  if (seed % 2 === 1) return 'nothing';
  return seed % 4 === 0 ? 'crashes' : 'restarts';
}

async function run(seed: number): Promise<void> {
  const chance = random(seed);
  const mode = modeOf(seed);
  const crashes = mode === 'crashes';
  const restarts = mode === 'restarts';
  /** The program is being closed; its last save succeeds. */
  let closing = false;
  // A program that crashes before it knows its position relies on the position of the device.
  const model = new Model(chance, !crashes && !restarts);
  const resets = seed % 5 === 0;
  let rollBacks = seed % 5 === 1 ? 3 : 0;
  const hasStorage = crashes || restarts || seed % 3 === 0;
  const storage = new Memory(() => !model.calm && !closing && chance() < 0.03);
  const handled: string[] = [];
  /** Number of messages that were handled before the log started over. */
  let handledBefore = 0;
  /** Number of messages that arrived before the store was replaced or rolled back; they may be lost. */
  let excused = 0;
  const settled = new Set<number>();
  const notStored = new Set<number>();
  const rejected = new Set<number>();
  let sent = 0;
  let client!: Client;
  let program = 0;

  /** Starts the client program. */
  const begin = () => {
    program += 1;
    const own = program;
    client = connect({
      url: 'ws://model',
      user: 'me',
      WebSocket: model.fake.WebSocket,
      backoff: { base: 1, max: 3 },
      ...(hasStorage && { storage }),
      ...(seed % 7 > 2 && { since: 0 }),
    });
    client.on('message', async message => {
      if (chance() < 0.3) await new Promise(resolve => setImmediate(resolve));
      if (own !== program) return new Promise(() => {});
      if (message.from_user === 'you') handled.push(message.message as string);
      return undefined;
    });
    client.on('truncated', () => {
      if (own === program) handledBefore = handled.length;
    });
    client.on('sent', ({ frame }) => {
      if (own === program) settled.add(numberOf(frame as InFrame));
    });
    client.on('failed', ({ frame, error }) => {
      const number = numberOf(frame as InFrame);
      if (own !== program) return;
      settled.add(number);
      (error.code === 'storage' ? notStored : rejected).add(number);
    });
  };
  const send = () => {
    const number = sent;
    sent += 1;
    const id = `00000000-0000-4000-8000-${String(Math.floor(number / 2)).padStart(12, '0')}`;
    const room = roomOf(number);
    let sending: Promise<unknown>;
    if (isEdit(number)) sending = client.edit('you', EDITED, String(number));
    else if (room === undefined) sending = client.send(PEERS[number % 2] as string, String(number), { id });
    else if (number % 10 === 7) sending = client.send({ room }, String(number), { id });
    else sending = number % 10 === 6 ? client.join(room) : client.leave(room);
    sending.then(
      () => settled.add(number),
      () => {},
    );
  };

  begin();
  let arrived = 0;
  const handledCount = () => new Set(handled.filter(text => Number(text) >= excused)).size;
  const done = () =>
    arrived === COUNT &&
    sent >= COUNT &&
    handledCount() === COUNT - excused &&
    settled.size === sent &&
    !needsReset() &&
    rollBacks === 0;
  const needsReset = () => resets && model.epoch === 1;
  for (let turn = 0; !done(); turn += 1) {
    assert.ok(turn < 200_000, `handled ${handledCount()}, excused ${excused}, sent ${settled.size} of ${sent}`);
    model.calm = arrived === COUNT && sent >= COUNT && turn > 4_000;
    if (arrived < COUNT && chance() < 0.2) model.arrive(String(arrived++));
    // A frame sent right before a crash may not be stored yet; its promise is still pending then.
    if (sent < COUNT && chance() < 0.2) send();
    const room = roomOf(sent);
    if (!model.calm && room !== undefined && chance() < 0.05) model.joinElsewhere(room);
    model.step();
    await new Promise(resolve => setImmediate(resolve));
    if (needsReset() && arrived > COUNT / 2 && chance() < 0.05) {
      excused = arrived;
      model.reset();
    }
    if (rollBacks > 0 && model.log.length > 3 && chance() < 0.05) {
      rollBacks -= 1;
      excused = arrived;
      model.rollBack();
    }
    if (restarts && !model.calm && chance() < 0.01) {
      closing = true;
      // Sometimes twice, as under React's StrictMode.
      for (let n = chance() < 0.3 ? 2 : 1; n > 0; n -= 1) {
        program += 1;
        client.dispose();
        begin();
      }
      while (!storage.settled) await new Promise(resolve => setImmediate(resolve));
      closing = false;
    }
    if (crashes && !model.calm && chance() < 0.01) {
      storage.crash();
      const stored = storage.saved?.outbox.map(({ frame }) => numberOf(frame)) ?? [];
      program += 1;
      await client.close();
      // Neither saved by the client nor stored by the server before the crash: counts as not sent.
      for (let i = 0; i < sent; i += 1) {
        if (!stored.includes(i) && !model.everStored.has(i)) settled.add(i);
      }
      begin();
    }
  }
  await client.close();
  assert.ok(storage.maxWriting <= 1, 'one write at a time');

  const all = handled.map(Number);
  const once = [...new Set(all)];
  assert.deepEqual(
    once,
    [...once].sort((x, y) => x - y),
    'messages were handled in order',
  );
  if (!crashes) {
    const since = all.slice(handledBefore);
    assert.deepEqual(since, [...new Set(since)], 'messages were handled once');
  }
  for (const [orderKey, stored] of model.order) {
    assert.deepEqual(
      stored,
      [...new Set(stored)].sort((x, y) => x - y),
      `stored once, in the order of sending: ${orderKey}`,
    );
  }
  assert.deepEqual(model.outside, [], 'no message to a room overtook its join, or came after its leave');
  for (let i = 0; model.isComplete && i < sent; i += 1) {
    const room = roomOf(i);
    if (room === undefined || i % 10 !== 8) continue;
    const joined = model.log.filter(entry => entry.room === room && entry.event === 'joined');
    assert.ok(joined.length <= 1, `${room} was joined once`);
    const isMember = model.membership(room)?.event === 'joined';
    assert.ok(!isMember || !model.everStored.has(i), `${room} was left`);
  }
  for (const number of notStored)
    assert.ok(!model.everStored.has(number), 'frames that could not be saved were not sent');
  for (const number of rejected) assert.ok(model.rejected.has(number), 'only rejected frames failed');
  // After a rollback, a restored edit may count as superseded (docs/protocol.md section 10, "Lost connections").
  if (crashes || (restarts && seed % 5 === 1)) return;
  for (let i = 0; i < sent; i += 1) {
    if (model.joinedElsewhere.has(i)) continue;
    const outcomes = [model.everStored.has(i), rejected.has(i), notStored.has(i)].filter(Boolean).length;
    assert.equal(outcomes, 1, `${i} was stored or failed`);
  }
}

/** A seed takes about 20 ms, and ten times that on a busy machine. */
const TIMEOUT_MS = 60_000 + SEEDS * 1_000;

describe('under random faults', { timeout: TIMEOUT_MS }, () => {
  for (const mode of ['nothing', 'crashes', 'restarts'] as const) {
    it(`nothing is lost, duplicated or reordered while the program ${
      { nothing: 'runs', crashes: 'crashes', restarts: 'is closed and started again' }[mode]
    }`, async () => {
      for (let seed = FIRST_SEED; seed < FIRST_SEED + SEEDS; seed += 1) {
        if (modeOf(seed) !== mode) continue;
        await run(seed).catch(error => {
          throw new Error(`DMWIRE_SEED=${seed} DMWIRE_SEEDS=1`, { cause: error });
        });
      }
    });
  }
});
