import { MAX_TIMER_MS } from './backoff.js';
import { DmwireError } from './errors.js';

/** The part of the WebSocket API that the client uses. Browsers, Node 22 and the package `ws` provide it. */
export interface WebSocketLike {
  send(data: string): void;
  close(code?: number, reason?: string): void;
  addEventListener(
    type: 'open' | 'message' | 'close' | 'error',
    listener: (event: { readonly type: string; readonly data?: unknown; readonly code?: number }) => void,
  ): void;
}
/** Constructor of {@link WebSocketLike} objects. */
export type WebSocketClass = new (url: string, protocols: string[]) => WebSocketLike;

/** Returns the WebSocket class to use: the given one, the runtime's own, or that of the package `ws`. */
export async function webSocketClass(given: WebSocketClass | undefined): Promise<WebSocketClass> {
  const found = given ?? (globalThis as { WebSocket?: WebSocketClass }).WebSocket;
  if (found) return found;
  try {
    // Not a literal, so that bundlers for browsers do not try to resolve it.
    const name: string = ['w', 's'].join('');
    return ((await import(/* @vite-ignore */ /* webpackIgnore: true */ name)) as { WebSocket: WebSocketClass })
      .WebSocket;
  } catch (cause) {
    const detail = 'this runtime has no WebSocket: use Node 22 or newer, run `npm install ws`, or pass { WebSocket }';
    throw new DmwireError('no_websocket', detail, { cause });
  }
}

/**
 * A timer that is later than this means that the thread was busy or suspended. Frames may have arrived meanwhile, so they get as
 * long again, once: browsers delay all timers of a hidden page.
 */
const LATE_MS = 1000;

/** Callbacks of a {@link Transport}. */
export interface TransportEvents {
  /** A text frame was received. */
  onFrame(text: string): void;
  /** The connection is lost. Called at most once. `code` is the WebSocket close code, if there was one. */
  onClose(reason: string, code?: number): void;
}

/**
 * One WebSocket connection. Events of the socket after {@link Transport.close} are ignored, so that a stale socket cannot
 * affect its successor. A connection without incoming frames for a configurable time counts as lost, because TCP reports a
 * dead peer late or never.
 */
export class Transport {
  readonly #socket: WebSocketLike;
  readonly #events: TransportEvents;
  #closed = false;
  #hasReceived = false;
  #idleTimeoutMs: number;
  #idleTimer: ReturnType<typeof setTimeout> | undefined;

  /** @param idleTimeoutMs Time without any frame after which the connection counts as lost. */
  constructor(
    Socket: WebSocketClass,
    url: string,
    protocols: string[],
    idleTimeoutMs: number,
    events: TransportEvents,
  ) {
    this.#events = events;
    this.#idleTimeoutMs = idleTimeoutMs;
    this.#socket = new Socket(url, protocols);
    this.#socket.addEventListener('message', ({ data }) => {
      if (this.#closed) return;
      this.#hasReceived = true;
      this.expectFrameWithin(this.#idleTimeoutMs);
      if (typeof data === 'string') events.onFrame(data);
    });
    this.#socket.addEventListener('close', ({ code }) => {
      // The WebSocket API does not report why a connection failed.
      const refused = 'cannot connect: check host, port and base path, and that a dmwire server runs there';
      this.#lost(this.#hasReceived ? 'the connection was closed' : refused, code);
    });
    // `close` follows. Without a listener some implementations throw.
    this.#socket.addEventListener('error', () => {});
    this.expectFrameWithin(idleTimeoutMs);
  }

  /** Changes the idle timeout and restarts its timer. */
  set idleTimeout(milliseconds: number) {
    this.#idleTimeoutMs = milliseconds;
    this.expectFrameWithin(milliseconds);
  }

  /** Restarts the idle timer: the connection counts as lost unless a frame arrives within `milliseconds`. */
  expectFrameWithin(milliseconds: number, isRepeated = false): void {
    clearTimeout(this.#idleTimer);
    const end = performance.now() + milliseconds;
    const check = () => {
      if (performance.now() - end > LATE_MS && !isRepeated) this.expectFrameWithin(LATE_MS, true);
      else this.#lost('no frame from the server for too long');
    };
    this.#idleTimer = setTimeout(check, Math.min(milliseconds, MAX_TIMER_MS));
  }

  /** Sends a frame. The outbox sends it again on the next connection if this one fails. */
  send(text: string): void {
    if (this.#closed) return;
    try {
      this.#socket.send(text);
    } catch {
      this.#lost('the socket accepts no more frames');
    }
  }

  /** Closes the connection without calling {@link TransportEvents.onClose}. */
  close(): void {
    this.#closed = true;
    clearTimeout(this.#idleTimer);
    this.#socket.close();
  }

  #lost(reason: string, code?: number): void {
    if (this.#closed) return;
    this.close();
    this.#events.onClose(reason, code);
  }
}
