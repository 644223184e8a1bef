/** The calls of the HTTP API that the page uses (docs/operations.md). */

import type { PastMessage, ServerConversations } from '../../../src/frames.generated.js';
import { isName } from './place.js';

/** How long a call may take, in milliseconds. The server deletes many messages in steps, and answers after the last one. */
const TIMEOUTS = { GET: 20_000, DELETE: 600_000 } as const;

export interface ListedSession {
  readonly session_id: string;
  readonly user: string;
  readonly device: string;
  readonly since: string;
  readonly client_ip?: string;
  readonly frames_per_second: number;
}

export interface SessionList {
  readonly sessions: readonly ListedSession[];
  readonly total: number;
  readonly cursor?: string;
}

export type UserSession = Omit<ListedSession, 'user' | 'frames_per_second'>;

export interface User {
  readonly user: string;
  readonly status: string;
  readonly last_seen?: string;
  readonly first_seen?: string;
  readonly sessions: number;
  readonly unread: number;
  readonly rooms: readonly string[];
  /** Tokens of the user are revoked. */
  readonly revoked?: boolean;
}

export interface RoomList {
  readonly rooms: readonly { readonly room: string; readonly members: number }[];
  readonly cursor?: string;
}

export interface Room {
  readonly room: string;
  readonly users: readonly { readonly user: string; readonly joined_at: string }[];
  readonly total: number;
  readonly cursor?: string;
}

/** A receiver of events. The numbers count since the start of the server. */
export interface Webhook {
  readonly url: string;
  readonly events: readonly string[];
  readonly state: string;
  readonly lag_seconds: number;
  readonly in_flight: number;
  readonly delivered: number;
  readonly retried: number;
  readonly dropped: number;
  readonly last_delivered_at?: string;
  readonly last_error?: string;
  readonly last_error_at?: string;
}

/** Messages, the oldest first. */
export interface History {
  readonly messages: readonly PastMessage[];
  readonly more: boolean;
}

/** A call that failed. The message is for people. */
export class CallError extends Error {
  /**
   * @param status The HTTP status; 0 if there was no answer.
   * @param code The code of the API's error, or `unreachable`, `timeout` or `invalid_answer`.
   */
  constructor(
    readonly status: number,
    readonly code: string,
    detail: string,
    readonly retryAfterMs?: number,
  ) {
    super(detail);
  }

  /** Whether this server does not have the call. */
  get isUnsupported(): boolean {
    return this.code === 'not_found' || this.code === 'method_not_allowed';
  }
}

type Method = keyof typeof TIMEOUTS;
type Query = Readonly<Record<string, string | number | boolean | undefined>>;

export class Api {
  /**
   * @param base The URL of the operations port, ending in `/`.
   * @param key The key, if the server requires one.
   * @param onUnauthorized Called when the server does not accept the key.
   */
  constructor(
    readonly base: string,
    readonly key: string | undefined,
    readonly onUnauthorized: (detail: string) => void,
  ) {}

  sessions(sort: 'since' | 'rate', limit: number, cursor?: string): Promise<SessionList> {
    return this.#call('GET', ['sessions'], { sort, limit, cursor });
  }

  user(user: string): Promise<User> {
    return this.#call('GET', ['users', user]);
  }

  userSessions(user: string): Promise<{ readonly sessions: readonly UserSession[] }> {
    return this.#call('GET', ['users', user, 'sessions']);
  }

  conversations(user: string, limit: number, cursor?: string): Promise<ServerConversations> {
    return this.#call('GET', ['users', user, 'conversations'], { limit, cursor });
  }

  /** Closes the sessions of a user, and with `revoke` rejects the tokens issued until now. */
  disconnect(user: string, revoke = false): Promise<{ readonly closed: number }> {
    return this.#call('DELETE', ['users', user, 'sessions'], { revoke: revoke || undefined });
  }

  /** Accepts the tokens that were revoked. */
  liftRevocation(user: string): Promise<{ readonly lifted: boolean }> {
    return this.#call('DELETE', ['users', user, 'revocation']);
  }

  /** Erases a user. The answer has counts of what was erased. */
  erase(user: string): Promise<Readonly<Record<string, unknown>>> {
    return this.#call('DELETE', ['users', user]);
  }

  rooms(limit: number, cursor?: string): Promise<RoomList> {
    return this.#call('GET', ['rooms'], { limit, cursor });
  }

  room(room: string, limit: number, cursor?: string): Promise<Room> {
    return this.#call('GET', ['rooms', room], { limit, cursor });
  }

  /** Deletes a room. The answer has counts of what was deleted. */
  deleteRoom(room: string): Promise<Readonly<Record<string, unknown>>> {
    return this.#call('DELETE', ['rooms', room]);
  }

  roomHistory(room: string, limit: number): Promise<History> {
    return this.#call('GET', ['rooms', room, 'history'], { limit });
  }

  webhooks(): Promise<{ readonly webhooks: readonly Webhook[] }> {
    return this.#call('GET', ['webhooks']);
  }

  async #call<T>(method: Method, [resource, name, part]: readonly string[], query: Query = {}): Promise<T> {
    // A browser would resolve the names `.` and `..` as parts of a path.
    if (name !== undefined && !isName(name)) throw new CallError(0, 'invalid_request', `${name} is not a name`);
    const path = [resource, name, part].filter(each => each !== undefined).map(encodeURIComponent);
    const url = new URL(`v1/${path.join('/')}`, this.base);
    for (const [key, value] of Object.entries(query)) {
      if (value !== undefined) url.searchParams.set(key, String(value));
    }
    let response: Response;
    let body: unknown;
    try {
      response = await fetch(url, {
        method,
        headers: this.key === undefined ? {} : { authorization: `Bearer ${this.key}` },
        signal: AbortSignal.timeout(TIMEOUTS[method]),
        // The key is the only credential.
        credentials: 'omit',
        cache: 'no-store',
      });
      body = await response.json().catch(() => undefined);
    } catch (error) {
      throw error instanceof DOMException && error.name === 'TimeoutError'
        ? new CallError(0, 'timeout', 'The server has not answered in time.')
        : new CallError(0, 'unreachable', 'The server cannot be reached.');
    }
    if (response.ok && isObject(body)) return body as T;
    const error = errorOf(response, body);
    if (response.status === 401) this.onUnauthorized(error.message);
    throw error;
  }
}

function errorOf({ status }: Response, body: unknown): CallError {
  if (!isObject(body) || typeof body.code !== 'string' || typeof body.detail !== 'string') {
    return new CallError(status, 'invalid_answer', `The answer is not one of this API (status ${status}).`);
  }
  const retryAfter = typeof body.retry_after_ms === 'number' ? body.retry_after_ms : undefined;
  return new CallError(status, body.code, sentence(body.detail), retryAfter);
}

/** The detail of an error as a sentence of the page. */
export function sentence(detail: string): string {
  const text = detail.charAt(0).toUpperCase() + detail.slice(1);
  return /[.?!]$/.test(text) ? text : `${text}.`;
}

export function isObject(value: unknown): value is Record<string, unknown> {
  return typeof value === 'object' && value !== null && !Array.isArray(value);
}
