import { Backoff } from './backoff.js';
import { DmwireError, type LocalErrorCode } from './errors.js';
import type { ServerGoodbye, ServerWelcome } from './frames.generated.js';
import type { ConnectOptions } from './options.js';
import type { InFrame } from './outbox.js';
import type { State } from './state.js';
import { Line, webSocketClass } from './transport.js';

/** How long a server may take to welcome us, and the application to give a token. */
const WELCOME_MS = 15_000;
/** How long it may take to answer when there is reason to doubt the line. */
const PROBE_MS = 5_000;
/** A connection that has lasted so long was a success, whatever ended it. */
const STEADY_MS = 5_000;
/** Close codes after which the same would only happen again (PROTOCOL sections 2 and 8). */
const FINAL = new Set([1008, 4400, 4401, 4403, 4408]);
/** Those by which the server refuses to let us in. */
const REFUSED: Record<number, LocalErrorCode | 'forbidden'> = {
  4400: 'invalid_request',
  4401: 'unauthorized',
  4403: 'forbidden',
};

/** What a {@link Connection} asks of its client. */
export interface ConnectionEvents {
  /** A connection is about to be made, with this token. Nothing goes on before it is fulfilled. */
  ready(token: string | undefined): Promise<unknown>;
  /** Where the next connection goes to. */
  address(): string;
  state(state: State): void;
  wire(direction: 'in' | 'out', text: string): void;
  frame(frame: InFrame): void;
  /** The session, if there was one, is over. */
  down(): void;
  /** It makes no sense to go on. */
  failed(error: DmwireError): void;
}

/** Keeps one line to the server: makes it, makes it anew when it breaks, and says what it is doing. */
export class Connection {
  readonly #options: ConnectOptions;
  readonly #events: ConnectionEvents;
  readonly #backoff: Backoff;
  #state: State = { status: 'connecting' };
  /** The line at hand; what an earlier one still does is not listened to. */
  #line: Line | undefined;
  /** Counts attempts, so that one that was overtaken while it waited for a token is given up. */
  #attempt = 0;
  #syncedAt: number | undefined;
  #retry: ReturnType<typeof setTimeout> | undefined;

  constructor(options: ConnectOptions, events: ConnectionEvents) {
    this.#options = options;
    this.#events = events;
    this.#backoff = new Backoff(options.backoff?.base, options.backoff?.max);
    globalThis.addEventListener?.('online', this.#online);
  }

  /** What it is doing. */
  get state(): State {
    return this.#state;
  }

  /** The session, from its `welcome` on. */
  get session(): ServerWelcome | undefined {
    return this.#state.status === 'open' ? this.#state.session : undefined;
  }

  get closed(): boolean {
    return this.#state.status === 'closed';
  }

  /** Makes a new line now. One that there was is given up. */
  async connect(): Promise<void> {
    if (!this.#hangUp()) return;
    const attempt = this.#attempt;
    this.#become({ status: 'connecting' });
    if (attempt !== this.#attempt) return;
    this.#retry = setTimeout(() => this.lost('no token: it takes too long'), WELCOME_MS);
    try {
      const Socket = await webSocketClass(this.#options.WebSocket);
      const token = await this.#token();
      if (attempt !== this.#attempt) return;
      clearTimeout(this.#retry);
      await this.#events.ready(token);
      if (attempt !== this.#attempt) return;
      const protocols = token === undefined ? ['dmwire.v1'] : ['dmwire.v1', `bearer.${token}`];
      this.#line = new Line(Socket, this.#events.address(), protocols, WELCOME_MS, {
        frame: text => this.#receive(text),
        down: (reason, code) => this.lost(reason, code),
      });
    } catch (error) {
      if (attempt !== this.#attempt) return;
      // No token for now is no reason to give up; an address or a token that cannot stand in a request is.
      if (error instanceof TokenError) this.lost(`no token: ${error.cause}`);
      else if (error instanceof DmwireError) this.#events.failed(error);
      else this.#events.failed(new DmwireError('invalid_request', String(error), { cause: error }));
    }
  }

  /** Makes the next attempt now, if it is waited for, or if one is under way, which may hang. */
  retry(): void {
    // While handlers are being told that an attempt begins, none hangs.
    if (this.#retry && !this.session) void this.connect();
  }

  send(text: string): void {
    this.#events.wire('out', text);
    this.#line?.send(text);
  }

  /** The server has welcomed us. */
  welcomed(session: ServerWelcome): void {
    if (this.#line) this.#line.silence = session.heartbeat_seconds * 2000 + 1000;
    this.#become({ status: 'open', session });
  }

  /** The session is whole. */
  synced(): void {
    this.#syncedAt = Date.now();
  }

  /** The line is down, or is given up: the next one comes when it is due, if it makes sense. */
  lost(reason: string, code?: number, goodbye?: ServerGoodbye): void {
    const hopeless = goodbye ? !goodbye.reconnect : code !== undefined && FINAL.has(code);
    // With 4401 it is the token that decides: the same one again is refused again.
    if (code === 4401 ? !this.#options.getToken : hopeless) {
      return this.#events.failed(new DmwireError(REFUSED[code ?? 0] ?? 'closed', reason, { cause: goodbye }));
    }
    if (!this.#hangUp()) return;
    const retryInMs = this.#backoff.next(goodbye?.retry_after_ms);
    this.#retry = setTimeout(() => void this.connect(), retryInMs);
    this.#become({ status: 'waiting', retryInMs, reason });
  }

  /** Ends it for good. */
  end(error?: DmwireError): void {
    if (!this.#hangUp()) return;
    globalThis.removeEventListener?.('online', this.#online);
    this.#become(error ? { status: 'closed', error } : { status: 'closed' });
  }

  /** The one place where the state changes: never any more once it is closed. */
  #become(state: State): void {
    if (this.closed) return;
    this.#state = state;
    this.#events.state(state);
  }

  /** Gives up the line, and whatever is under way to a new one. False if it is closed: then there is to be none. */
  #hangUp(): boolean {
    clearTimeout(this.#retry);
    this.#retry = undefined;
    this.#attempt += 1;
    this.#line?.end();
    this.#line = undefined;
    if (this.#syncedAt !== undefined && Date.now() - this.#syncedAt >= STEADY_MS) this.#backoff.reset();
    this.#syncedAt = undefined;
    this.#events.down();
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
    this.#events.wire('in', text);
    // Whoever saw it may have closed us.
    if (!this.#line) return;
    let frame: InFrame;
    try {
      frame = JSON.parse(text);
    } catch {
      return this.lost('what came is no frame');
    }
    this.#events.frame(frame);
  }

  /** The network is back, or is another one: a line that seems to be up may be dead. */
  readonly #online = (): void => {
    this.retry();
    if (this.#state.status !== 'open') return;
    this.send('{"type":"ping"}');
    this.#line?.watch(PROBE_MS);
  };
}

/** `getToken` has failed, for now. */
class TokenError extends Error {}
