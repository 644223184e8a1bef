/** A scripted server: sockets that do what a test tells them, without a network. */

import assert from 'node:assert/strict';
import type { InFrame, WebSocketClass, WebSocketLike } from '../../src/index.js';

type Listener = Parameters<WebSocketLike['addEventListener']>[1];

export class FakeServer {
  readonly sockets: FakeSocket[] = [];
  readonly #arrivals = new Queue<FakeSocket>();

  /** The class to give to a client. */
  readonly WebSocket: WebSocketClass;

  constructor(onSocket?: (socket: FakeSocket) => void) {
    const server = this;
    this.WebSocket = class extends FakeSocket {
      constructor(url: string, protocols: string[]) {
        super(url, protocols);
        server.sockets.push(this);
        server.#arrivals.push(this);
        onSocket?.(this);
      }
    };
  }

  /** The next connection that a client makes. */
  accept(): Promise<FakeSocket> {
    return this.#arrivals.shift();
  }

  /** As {@link accept}, welcomed and without anything to replay. */
  async session(seq = 0, welcome: Record<string, unknown> = {}): Promise<FakeSocket> {
    const socket = await this.accept();
    socket.welcome(seq, welcome);
    socket.frame({ type: 'synced', seq });
    return socket;
  }
}

export class FakeSocket implements WebSocketLike {
  readonly url: URL;
  /** Whether the client has ended it. */
  ended = false;
  /** What the client has sent, all of it. */
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
    this.ended = true;
  }

  /** The next frame that the client sends, which must be of this type. Whatever is received may be said in between. */
  async expect(type: string): Promise<InFrame> {
    let frame = await this.#frames.shift();
    while (frame.type === 'received' && type !== 'received') frame = await this.#frames.shift();
    assert.equal(frame.type, type, JSON.stringify(frame));
    return frame;
  }

  /** Sends a frame to the client. */
  frame(frame: Record<string, unknown>): void {
    this.#tell('message', { data: JSON.stringify(frame) });
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

  /** A message from `from`, at its place in the log. */
  message(seq: number, text = `m${seq}`, from = 'you', more: Record<string, unknown> = {}): void {
    const sent_at = '2026-01-01T00:00:00.000Z';
    const id = `00000000-0000-0000-0000-${String(seq).padStart(12, '0')}`;
    this.frame({ type: 'message', id, seq, from_user: from, target_user: 'me', message: text, sent_at, ...more });
  }

  /** The ack of a frame. */
  ack(frame: InFrame, seq: number, more: Record<string, unknown> = {}): void {
    const { id, ref } = frame;
    this.frame({ type: 'ack', id, seq, status: 'stored', sent_at: '2026-01-01T00:00:00.000Z', ref, ...more });
  }

  /** Refuses a frame. */
  refuse(frame: InFrame, code: string, more: Record<string, unknown> = {}): void {
    this.frame({ type: 'error', code, detail: code, retryable: false, ref: frame.ref, ...more });
  }

  goodbye(code: number, reconnect: boolean, more: Record<string, unknown> = {}): void {
    this.frame({ type: 'goodbye', code, reason: 'a_reason', detail: 'a detail', reconnect, ...more });
    this.drop(code);
  }

  /** The line breaks, or is closed by the server. */
  drop(code = 1006): void {
    this.#tell('close', { code });
  }

  #tell(type: string, event: { data?: string; code?: number }): void {
    for (const [wanted, listener] of this.#listeners) if (wanted === type) listener({ type, ...event });
  }
}

/** Gives what is pushed to those who ask, in order. */
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

/** Lets everything run that needs no timer. */
export async function settle(): Promise<void> {
  for (let i = 0; i < 100; i += 1) await Promise.resolve();
}

/** Waits until something is so. */
export async function until(so: () => boolean, what = String(so), within = 20_000): Promise<void> {
  for (const end = performance.now() + within; !so(); ) {
    if (performance.now() > end) throw new Error(`not so within ${within} ms: ${what}`);
    await new Promise(resolve => setImmediate(resolve));
  }
}

/** A generator of the same numbers from 0 to 1 for the same seed (mulberry32). */
export function random(seed: number): () => number {
  let a = seed >>> 0;
  return () => {
    a = (a + 0x6d2b79f5) >>> 0;
    let t = Math.imul(a ^ (a >>> 15), 1 | a);
    t = (t + Math.imul(t ^ (t >>> 7), 61 | t)) ^ t;
    return ((t ^ (t >>> 14)) >>> 0) / 2 ** 32;
  };
}
