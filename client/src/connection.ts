import { Backoff } from './backoff.js';
import { DmwireError, type LocalErrorCode } from './errors.js';
import type { ServerGoodbye, ServerWelcome } from './frames.generated.js';
import type { ConnectOptions } from './options.js';
import type { InFrame } from './outbox.js';
import type { State } from './state.js';
import { Transport, webSocketClass } from './transport.js';

/** Timeout for the server's `welcome`, and for the application's `getToken`. */
const WELCOME_TIMEOUT_MS = 15_000;
/** Timeout for the answer to a `ping` after one of {@link RETURN_EVENTS}. */
const PROBE_TIMEOUT_MS = 5_000;
/** An attempt that has lasted this long may hang, and may be replaced by a new one. */
const HANGING_MS = 5_000;
/**
 * Browser events after which a wait is pointless and a connection may be dead: the network is back; the page is visible again,
 * has left the back/forward cache, or is no longer frozen.
 */
const RETURN_EVENTS = ['online', 'visibilitychange', 'pageshow', 'resume'];
/** A connection that lasted this long after `synced` resets the backoff, however it ended. */
const STABLE_MS = 5_000;
/** Close codes after which a reconnect would fail again (docs/protocol.md sections 2 and 8). */
const FINAL_CODES = new Set([1008, 4400, 4401, 4403, 4408]);
/** Error codes for the close codes of a rejected handshake. */
const REJECTION_CODES: Record<number, LocalErrorCode | 'forbidden'> = {
  4400: 'invalid_request',
  4401: 'unauthorized',
  4403: 'forbidden',
};

/** Callbacks of a {@link Connection}. */
export interface ConnectionEvents {
  /** Called with the token before a connection is opened; the connection waits for the promise. */
  beforeConnect(token: string | undefined): Promise<unknown>;
  /** Returns the URL of the next connection. */
  url(): string;
  onState(state: State): void;
  onWire(direction: 'in' | 'out', text: string): void;
  /** `size`: length of its text in characters. */
  onFrame(frame: InFrame, size: number): void;
  /** The session, if there was one, has ended. */
  onDown(): void;
  /** Reconnecting cannot succeed. */
  onFatal(error: DmwireError): void;
}

/** Keeps a connection to the server open: connects, reconnects with backoff, and reports its state. */
export class Connection {
  readonly #options: ConnectOptions;
  readonly #events: ConnectionEvents;
  readonly #backoff: Backoff;
  #state: State = { status: 'connecting' };
  /** The current socket. Events of earlier sockets are ignored. */
  #transport: Transport | undefined;
  /** Number of the current attempt. An attempt that was overtaken while it waited for a token gives up. */
  #attempt = 0;
  /** When it began, by `performance.now()`: unlike the wall clock, it is never set. */
  #attemptedAt = performance.now();
  /** By `performance.now()`. */
  #syncedAt: number | undefined;
  #retryTimer: ReturnType<typeof setTimeout> | undefined;

  constructor(options: ConnectOptions, events: ConnectionEvents) {
    this.#options = options;
    this.#events = events;
    this.#backoff = new Backoff(options.backoff?.base, options.backoff?.max);
    // Captures events of the document on their way to it. Node has no such events, and no `addEventListener`.
    for (const type of RETURN_EVENTS) globalThis.addEventListener?.(type, this.#onReturn, true);
  }

  /** Current state. */
  get state(): State {
    return this.#state;
  }

  /** The session, once `welcome` has arrived. */
  get session(): ServerWelcome | undefined {
    return this.#state.status === 'open' ? this.#state.session : undefined;
  }

  get closed(): boolean {
    return this.#state.status === 'closed';
  }

  /** Connects now. An existing connection is dropped. */
  async connect(): Promise<void> {
    if (!this.#reset()) return;
    const attempt = this.#attempt;
    this.#attemptedAt = performance.now();
    this.#setState({ status: 'connecting' });
    if (attempt !== this.#attempt) return;
    this.#retryTimer = setTimeout(() => this.lost('getToken timed out'), WELCOME_TIMEOUT_MS);
    try {
      const Socket = await webSocketClass(this.#options.WebSocket);
      const token = await this.#token();
      if (attempt !== this.#attempt) return;
      clearTimeout(this.#retryTimer);
      await this.#events.beforeConnect(token);
      if (attempt !== this.#attempt) return;
      const protocols = token === undefined ? ['dmwire.v1'] : ['dmwire.v1', `bearer.${token}`];
      this.#transport = new Transport(Socket, this.#events.url(), protocols, WELCOME_TIMEOUT_MS, {
        onFrame: text => this.#receive(text),
        onClose: (reason, code) => this.lost(reason, code),
      });
    } catch (error) {
      if (attempt !== this.#attempt) return;
      // A failed `getToken` may succeed later; an invalid URL or token cannot.
      if (error instanceof TokenError) this.lost(`getToken failed: ${error.cause}`);
      else if (error instanceof DmwireError) this.#events.onFatal(error);
      else this.#events.onFatal(new DmwireError('invalid_request', String(error), { cause: error }));
    }
  }

  /** Starts the next attempt now if one is scheduled, and replaces an attempt that hangs. */
  retry(): void {
    const { status } = this.#state;
    const hangs = status === 'connecting' && performance.now() - this.#attemptedAt >= HANGING_MS;
    if (hangs || status === 'waiting') void this.connect();
  }

  send(text: string): void {
    this.#events.onWire('out', text);
    this.#transport?.send(text);
  }

  /** `welcome` has arrived. */
  welcomed(session: ServerWelcome): void {
    if (this.#transport) this.#transport.idleTimeout = session.heartbeat_seconds * 2000 + 1000;
    this.#setState({ status: 'open', session });
  }

  /** `synced` has arrived: the replay is complete. */
  synced(): void {
    this.#syncedAt = performance.now();
  }

  /** Drops the connection, and schedules a reconnect unless it cannot succeed. */
  lost(reason: string, code?: number, goodbye?: ServerGoodbye): void {
    const isFinal = goodbye ? !goodbye.reconnect : code !== undefined && FINAL_CODES.has(code);
    // After 4401 a new token may be accepted; the same token would be rejected again.
    if (code === 4401 ? !this.#options.getToken : isFinal) {
      return this.#events.onFatal(new DmwireError(REJECTION_CODES[code ?? 0] ?? 'closed', reason, { cause: goodbye }));
    }
    if (!this.#reset()) return;
    const retryInMs = this.#backoff.next(goodbye?.retry_after_ms);
    this.#retryTimer = setTimeout(() => void this.connect(), retryInMs);
    this.#setState({ status: 'waiting', retryInMs, reason });
  }

  /** Closes the connection and does not reconnect. */
  end(error?: DmwireError): void {
    if (!this.#reset()) return;
    for (const type of RETURN_EVENTS) globalThis.removeEventListener?.(type, this.#onReturn, true);
    this.#setState(error ? { status: 'closed', error } : { status: 'closed' });
  }

  /** The only place that changes the state. A closed connection stays closed. */
  #setState(state: State): void {
    if (this.closed) return;
    this.#state = state;
    this.#events.onState(state);
  }

  /** Drops the current socket and any attempt under way. Returns false if the connection is closed. */
  #reset(): boolean {
    clearTimeout(this.#retryTimer);
    this.#retryTimer = undefined;
    this.#attempt += 1;
    this.#transport?.close();
    this.#transport = undefined;
    if (this.#syncedAt !== undefined && performance.now() - this.#syncedAt >= STABLE_MS) this.#backoff.reset();
    this.#syncedAt = undefined;
    this.#events.onDown();
    return !this.closed;
  }

  async #token(): Promise<string | undefined> {
    const { getToken, token } = this.#options;
    try {
      return getToken ? await getToken() : token;
    } catch (cause) {
      throw new TokenError('', { cause });
    }
  }

  #receive(text: string): void {
    this.#events.onWire('in', text);
    // A handler of `wire` may have closed the client.
    if (!this.#transport) return;
    let frame: InFrame;
    try {
      frame = JSON.parse(text);
    } catch {
      return this.lost('the server sent a frame that is not JSON');
    }
    this.#events.onFrame(frame, text.length);
  }

  /** One of {@link RETURN_EVENTS}. A connection that seems open may be dead, so it is probed. */
  readonly #onReturn = (event?: Event): void => {
    if (event?.type === 'visibilitychange' && document.visibilityState === 'hidden') return;
    this.retry();
    if (!this.session) return;
    this.send('{"type":"ping"}');
    this.#transport?.expectFrameWithin(PROBE_TIMEOUT_MS);
  };
}

/** `getToken` has failed; the next attempt calls it again. */
class TokenError extends Error {}
