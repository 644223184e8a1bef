/** A scripted server without a network: each test controls its sockets. */

import assert from 'node:assert/strict';
import { mock } from 'node:test';
import type { InFrame, WebSocketClass, WebSocketLike } from '../../src/index.js';

type Listener = Parameters<WebSocketLike['addEventListener']>[1];

export class FakeServer {
  readonly sockets: FakeSocket[] = [];
  readonly #accepted = new Queue<FakeSocket>();

  /** The WebSocket class to pass to a client. */
  readonly WebSocket: WebSocketClass;

  constructor(onSocket?: (socket: FakeSocket) => void) {
    const server = this;
    this.WebSocket = class extends FakeSocket {
      constructor(url: string, protocols: string[]) {
        super(url, protocols);
        server.sockets.push(this);
        server.#accepted.push(this);
        onSocket?.(this);
      }
    };
  }

  /** Waits for the next connection of a client. */
  accept(): Promise<FakeSocket> {
    return this.#accepted.shift();
  }

  /** Like {@link accept}, and sends `welcome` and `synced` with an empty replay. */
  async session(seq = 0, welcome: Record<string, unknown> = {}): Promise<FakeSocket> {
    const socket = await this.accept();
    socket.welcome(seq, welcome);
    socket.frame({ type: 'synced', seq });
    return socket;
  }
}

export class FakeSocket implements WebSocketLike {
  readonly url: URL;
  /** Whether the client has closed it. */
  closed = false;
  /** All frames that the client has sent. */
  readonly sent: InFrame[] = [];
  readonly #frames = new Queue<InFrame>();
  readonly #listeners: [string, Listener][] = [];
  onFrame: ((frame: InFrame) => void) | undefined;

  constructor(
    url: string,
    readonly protocols: readonly string[],
  ) {
    this.url = new URL(url);
  }

  addEventListener(type: string, listener: Listener): void {
    this.#listeners.push([type, listener]);
  }

  send(data: string): void {
    const frame = JSON.parse(data) as InFrame;
    this.sent.push(frame);
    if (this.onFrame) this.onFrame(frame);
    else this.#frames.push(frame);
  }

  close(): void {
    this.closed = true;
  }

  /** Waits for the client's next frame and asserts its type. Skips `received` frames. */
  async expect(type: string): Promise<InFrame> {
    let frame = await this.#frames.shift();
    while (frame.type === 'received' && type !== 'received') frame = await this.#frames.shift();
    assert.equal(frame.type, type, JSON.stringify(frame));
    return frame;
  }

  /** Sends a frame to the client. */
  frame(frame: Record<string, unknown>): void {
    this.#emit('message', { data: JSON.stringify(frame) });
  }

  welcome(seq = 0, more: Record<string, unknown> = {}): void {
    this.frame({
      type: 'welcome',
      user_id: 'me',
      device: 'default',
      epoch: 'e1',
      seq,
      heartbeat_seconds: 30,
      limits: { max_frame_bytes: 65536, messages_per_second: 50 },
      ...more,
    });
  }

  /** Sends a message from `from` as the log entry `seq`. */
  message(seq: number, text = `m${seq}`, from = 'you', more: Record<string, unknown> = {}): void {
    const sent_at = '2026-01-01T00:00:00.000Z';
    const id = `00000000-0000-0000-0000-${String(seq).padStart(12, '0')}`;
    this.frame({ type: 'message', id, seq, from_user: from, target_user: 'me', message: text, sent_at, ...more });
  }

  /** Sends the ack of a frame. */
  ack(frame: InFrame, seq: number, more: Record<string, unknown> = {}): void {
    const { id, room, ref } = frame;
    this.frame({ type: 'ack', id, room, seq, status: 'stored', sent_at: '2026-01-01T00:00:00.000Z', ref, ...more });
  }

  /** Sends the error for a frame. */
  reject(frame: InFrame, code: string, more: Record<string, unknown> = {}): void {
    this.frame({ type: 'error', code, detail: code, retryable: false, ref: frame.ref, ...more });
  }

  goodbye(code: number, reconnect: boolean, more: Record<string, unknown> = {}): void {
    this.frame({ type: 'goodbye', code, reason: 'a_reason', detail: 'a detail', reconnect, ...more });
    this.drop(code);
  }

  /** Closes the connection: lost, or closed by the server. */
  drop(code = 1006): void {
    this.#emit('close', { code });
  }

  #emit(type: string, event: { data?: string; code?: number }): void {
    for (const [wanted, listener] of this.#listeners) if (wanted === type) listener({ type, ...event });
  }
}

/** An asynchronous FIFO queue. */
export class Queue<T> {
  readonly #items: T[] = [];
  readonly #waiting: ((item: T) => void)[] = [];

  push(item: T): void {
    const next = this.#waiting.shift();
    if (next) next(item);
    else this.#items.push(item);
  }

  async shift(): Promise<T> {
    const item = this.#items.shift();
    if (item !== undefined) return item;
    return new Promise(resolve => this.#waiting.push(resolve));
  }
}

/**
 * Replaces timers and clocks until `mock.timers.reset` and `mock.restoreAll`. Only `mock.timers.tick` advances the timers and
 * `performance.now`. The wall clock jumps back an hour whenever it is read, because nothing may depend on it.
 */
export function mockClock(): void {
  mock.timers.enable({ apis: ['setTimeout', 'Date'] });
  const ticked = Date.now;
  mock.method(performance, 'now', () => ticked());
  let wallClock = Date.UTC(2026, 0, 1);
  mock.method(Date, 'now', () => {
    wallClock -= 3_600_000;
    return wallClock;
  });
}

/** Runs all pending microtasks, including those after a task in which the client delivers the next entry. */
export async function flushMicrotasks(): Promise<void> {
  for (let task = 0; task < 3; task += 1) {
    for (let i = 0; i < 100; i += 1) await Promise.resolve();
    await new Promise(resolve => setImmediate(resolve));
  }
}

/** Waits until the condition is true. */
export async function waitUntil(condition: () => boolean, what = String(condition), timeout = 20_000): Promise<void> {
  for (const end = performance.now() + timeout; !condition(); ) {
    if (performance.now() > end) throw new Error(`still false after ${timeout} ms: ${what}`);
    await new Promise(resolve => setImmediate(resolve));
  }
}

/** Returns a seeded generator of random numbers in [0, 1) (mulberry32). */
export function random(seed: number): () => number {
  let a = seed >>> 0;
  return () => {
    a = (a + 0x6d2b79f5) >>> 0;
    let t = Math.imul(a ^ (a >>> 15), 1 | a);
    t = (t + Math.imul(t ^ (t >>> 7), 61 | t)) ^ t;
    return ((t ^ (t >>> 14)) >>> 0) / 2 ** 32;
  };
}
