import { LONGEST_TIMER } from './backoff.js';
import { DmwireError } from './errors.js';

/** As much of a WebSocket as is used here: that of browsers, of Node from 22, and of the package `ws` will do. */
export interface WebSocketLike {
  send(data: string): void;
  close(code?: number, reason?: string): void;
  addEventListener(
    type: 'open' | 'message' | 'close' | 'error',
    listener: (event: { readonly type: string; readonly data?: unknown; readonly code?: number }) => void,
  ): void;
}
/** A class that makes {@link WebSocketLike} objects. */
export type WebSocketClass = new (url: string, protocols: string[]) => WebSocketLike;

/** The WebSocket class to use: the one given, the runtime's own, or that of the package `ws`. */
export async function webSocketClass(given: WebSocketClass | undefined): Promise<WebSocketClass> {
  const found = given ?? (globalThis as { WebSocket?: WebSocketClass }).WebSocket;
  if (found) return found;
  try {
    // Not a literal, so that bundlers for browsers do not look for it.
    const name: string = ['w', 's'].join('');
    return ((await import(/* @vite-ignore */ /* webpackIgnore: true */ name)) as { WebSocket: WebSocketClass })
      .WebSocket;
  } catch (cause) {
    const detail =
      'there is no WebSocket here: Node has one from version 22; before, `npm install ws` or pass { WebSocket }';
    throw new DmwireError('no_websocket', detail, { cause });
  }
}

/** What a {@link Line} tells, until it is over. */
export interface LineEvents {
  /** A frame has come. */
  frame(text: string): void;
  /** The line is down, told once. `code` is the WebSocket close code, if there was one. */
  down(reason: string, code?: number): void;
}

/**
 * One connection. What a socket does after its line is over reaches nobody, so that a stale one cannot speak for the
 * next; and a dead line, which does not tell that it is dead, is found out by its silence.
 */
export class Line {
  readonly #socket: WebSocketLike;
  readonly #events: LineEvents;
  #over = false;
  #heard = false;
  #silenceMs: number;
  #watchdog: ReturnType<typeof setTimeout> | undefined;

  /** @param silenceMs After so long without any frame the line counts as dead. */
  constructor(Socket: WebSocketClass, url: string, protocols: string[], silenceMs: number, events: LineEvents) {
    this.#events = events;
    this.#silenceMs = silenceMs;
    this.#socket = new Socket(url, protocols);
    this.#socket.addEventListener('message', ({ data }) => {
      if (this.#over) return;
      this.#heard = true;
      this.watch(this.#silenceMs);
      if (typeof data === 'string') events.frame(data);
    });
    this.#socket.addEventListener('close', ({ code }) => {
      // A runtime does not say why there is no connection.
      const never = 'nobody answers there, or it is no dmwire server: are host, port and base path right?';
      this.#down(this.#heard ? 'the connection was closed' : never, code);
    });
    // `close` follows; without a listener some implementations throw.
    this.#socket.addEventListener('error', () => {});
    this.watch(silenceMs);
  }

  /** Bears silence for so long from now on. */
  set silence(milliseconds: number) {
    this.#silenceMs = milliseconds;
    this.watch(milliseconds);
  }

  /** Expects the next frame within so many milliseconds. */
  watch(milliseconds: number): void {
    clearTimeout(this.#watchdog);
    const down = () => this.#down('the line is silent');
    this.#watchdog = setTimeout(down, Math.min(milliseconds, LONGEST_TIMER));
  }

  /** Sends a frame. What a broken line swallows is sent again on the next one. */
  send(text: string): void {
    if (this.#over) return;
    try {
      this.#socket.send(text);
    } catch {
      this.#down('the connection takes no frames');
    }
  }

  /** Ends it from our side; nothing is told. */
  end(): void {
    this.#over = true;
    clearTimeout(this.#watchdog);
    this.#socket.close();
  }

  #down(reason: string, code?: number): void {
    if (this.#over) return;
    this.end();
    this.#events.down(reason, code);
  }
}
