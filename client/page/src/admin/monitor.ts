/** The connection to `/monitor`. It reconnects by itself, until the server rejects it for good. */

import { Backoff } from '../../../src/backoff.js';
import { isObject, sentence } from './api.js';
import type { Metrics } from './samples.js';

/** Bounds of the delay between attempts, in milliseconds. */
const FIRST_DELAY = 500;
const LONGEST_DELAY = 15_000;
/** A connection without a frame for this long is lost, in milliseconds. */
const SILENCE = 10_000;

export type MonitorState =
  | { readonly status: 'connecting' }
  | { readonly status: 'open' }
  /** `until`: the time of the next attempt by `performance.now()`. */
  | { readonly status: 'waiting'; readonly until: number; readonly reason: string }
  | { readonly status: 'rejected'; readonly code: string; readonly detail: string };

interface Goodbye {
  readonly reason: string;
  readonly detail: string;
  readonly reconnect: boolean;
  readonly retryAfterMs: number;
}

export class Monitor {
  state: MonitorState = { status: 'connecting' };
  readonly #backoff = new Backoff(FIRST_DELAY, LONGEST_DELAY);
  #socket: WebSocket | undefined;
  #timer: ReturnType<typeof setTimeout> | undefined;

  /**
   * @param url The URL of `/monitor`.
   * @param key The key, if the server requires one.
   * @param onMetrics Called for each sample.
   * @param onChange Called when the state has changed.
   */
  constructor(
    readonly url: string,
    readonly key: string | undefined,
    readonly onMetrics: (metrics: Metrics) => void,
    readonly onChange: () => void,
  ) {}

  /** Connects, without waiting for the time of the next attempt. */
  connect(): void {
    this.stop();
    this.#become({ status: 'connecting' });
    // A browser cannot set headers of a WebSocket.
    const protocols = this.key === undefined ? ['dmwire.v1'] : ['dmwire.v1', `bearer.${this.key}`];
    const socket = new WebSocket(this.url, protocols);
    this.#socket = socket;
    let goodbye: Goodbye | undefined;
    this.#expectFrame(socket);
    socket.onmessage = ({ data }) => {
      if (socket !== this.#socket) return;
      const frame = parse(data);
      if (!frame) return;
      if (frame.type === 'goodbye') {
        goodbye = readGoodbye(frame);
      } else if (frame.type === 'metrics' && isMetrics(frame)) {
        this.#backoff.reset();
        this.#expectFrame(socket);
        if (this.state.status !== 'open') this.#become({ status: 'open' });
        this.onMetrics(frame);
      }
    };
    socket.onclose = ({ code }) => {
      if (socket === this.#socket) this.#end(goodbye, code);
    };
  }

  /** Connects now if it is waiting for the next attempt. */
  retry(): void {
    if (this.state.status === 'waiting') this.connect();
  }

  stop(): void {
    clearTimeout(this.#timer);
    const socket = this.#socket;
    this.#socket = undefined;
    socket?.close();
  }

  #end(goodbye: Goodbye | undefined, code: number): void {
    this.stop();
    if (goodbye && !goodbye.reconnect) {
      this.#become({ status: 'rejected', code: goodbye.reason, detail: sentence(goodbye.detail) });
      return;
    }
    const isRestart = code === 1012;
    const delay = this.#backoff.next(goodbye?.retryAfterMs);
    this.#timer = setTimeout(() => this.connect(), delay);
    this.#become({
      status: 'waiting',
      until: performance.now() + delay,
      reason: goodbye
        ? sentence(goodbye.detail)
        : isRestart
          ? 'The server has shut down.'
          : 'No connection to the server.',
    });
  }

  /** Gives the connection up if no frame follows. */
  #expectFrame(socket: WebSocket): void {
    clearTimeout(this.#timer);
    this.#timer = setTimeout(() => {
      if (socket === this.#socket) this.#end(undefined, 1006);
    }, SILENCE);
  }

  #become(state: MonitorState): void {
    this.state = state;
    this.onChange();
  }
}

function parse(data: unknown): Record<string, unknown> | undefined {
  try {
    const frame: unknown = JSON.parse(String(data));
    return isObject(frame) ? frame : undefined;
  } catch {
    return undefined;
  }
}

function readGoodbye(frame: Record<string, unknown>): Goodbye {
  return {
    reason: String(frame.reason),
    detail: String(frame.detail),
    reconnect: frame.reconnect === true,
    retryAfterMs: typeof frame.retry_after_ms === 'number' ? frame.retry_after_ms : 0,
  };
}

function isMetrics(frame: Record<string, unknown>): frame is Record<string, unknown> & Metrics {
  const { timestamp, sessions, queue, rejected_per_second: rejected } = frame;
  return (
    typeof timestamp === 'string' && typeof sessions === 'number' && typeof queue === 'number' && isObject(rejected)
  );
}
