/** Who the page is for: from its address, from what this tab remembers, or from the form. */
export interface Identity {
  readonly user?: string;
  readonly token?: string;
}

export const USER = /^[A-Za-z0-9._~@:+-]{1,64}$/;

/** Nobody can be "." or "..": browsers take these out of an address. */
export function isUser(text: string): boolean {
  return USER.test(text) && text !== '.' && text !== '..';
}

/** Texts by name, over a reload; a browser may forbid a page to keep anything. */
class Keeper {
  readonly #storage: () => Storage;

  constructor(storage: () => Storage) {
    this.#storage = storage;
  }

  get(key: string): string | undefined {
    try {
      return this.#storage().getItem(key) ?? undefined;
    } catch {
      return undefined;
    }
  }

  /** The names under which there is something. */
  get keys(): string[] {
    try {
      return Object.keys(this.#storage());
    } catch {
      return [];
    }
  }

  set(key: string, value: string | undefined): void {
    try {
      if (value === undefined) this.#storage().removeItem(key);
      else this.#storage().setItem(key, value);
    } catch {
      // Then it is forgotten with the page.
    }
  }
}

/**
 * Under what name something of a server is kept: one origin may have several, below different paths.
 *
 * @param of Users whom it concerns. No name has a `/` in it.
 */
export function keyOf(what: string, server: string, ...of: string[]): string {
  return `dmwire.${[what, ...of].join('/')}@${server}`;
}

/** What a tab keeps for itself. */
export const tab = new Keeper(() => sessionStorage);
/** What all tabs of this browser share, for good. */
export const browser = new Keeper(() => localStorage);

/** The server of this page, whether or not the address has a slash at its end. */
export function server(): string {
  return `${location.origin}${location.pathname.replace(/\/+$/, '')}/`;
}

export interface Arrival {
  readonly identity: Identity | undefined;
  readonly to: string | undefined;
  readonly suggested: string | undefined;
}

/** Reads the page's address, when the page is opened. */
export function arrive(): Arrival {
  const { user, to } = asked();
  const identity = identify(user, bring() ?? tab.get(keyOf('token', server())));
  return { identity, to, suggested: identity ? undefined : user };
}

/**
 * Reads the address of the open page, into which somebody may have pasted a link with a token. The user in it may be whom
 * the page was for until now: whom the token names goes before.
 */
export function arriveAgain(): { identity: Identity; to: string | undefined } | undefined {
  const token = bring();
  const { user = '', to } = asked();
  const identity = token && identify(subject(token) ?? (isUser(user) ? user : undefined), token);
  return identity ? { identity, to } : undefined;
}

/** Whom the address asks for. */
export function asked(): { user: string | undefined; to: string | undefined } {
  const query = new URLSearchParams(location.search);
  const to = query.get('to') ?? '';
  return { user: query.get('user') ?? undefined, to: isUser(to) ? to : undefined };
}

/**
 * A token stands behind the `#` of the address, which browsers send nowhere; it is kept for this tab alone, and leaves the
 * address at once: addresses are copied, shown and remembered.
 */
function bring(): string | undefined {
  const token = new URLSearchParams(location.hash.slice(1)).get('token')?.trim();
  if (!token) return undefined;
  tab.set(keyOf('token', server()), token);
  history.replaceState(history.state, '', location.pathname + location.search);
  return token;
}

/** A user, a token, or both. */
export function identify(user: string | undefined, token: string | undefined): Identity | undefined {
  if (user !== undefined && !isUser(user)) return undefined;
  const name = user ?? (token === undefined ? undefined : subject(token));
  if (name === undefined && token === undefined) return undefined;
  return { ...(name !== undefined && { user: name }), ...(token !== undefined && { token }) };
}

export function remember(identity: Identity | undefined): void {
  tab.set(keyOf('token', server()), identity?.token);
}

/** Whom a token names. Only the server can tell whether that is true. */
function subject(token: string): string | undefined {
  try {
    const part = (token.split('.')[1] ?? '').replaceAll('-', '+').replaceAll('_', '/');
    const bytes = Uint8Array.from(atob(part), character => character.charCodeAt(0));
    const { sub } = JSON.parse(new TextDecoder().decode(bytes)) as { sub?: unknown };
    return typeof sub === 'string' && isUser(sub) ? sub : undefined;
  } catch {
    return undefined;
  }
}

/** The address that leads back here. */
export function here(user: string | undefined, to: string | undefined): string {
  const query = new URLSearchParams({ ...(user !== undefined && { user }), ...(to !== undefined && { to }) });
  return query.size > 0 ? `?${query}` : location.pathname;
}
