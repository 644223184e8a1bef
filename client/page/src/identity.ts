import { type Storage as ClientStorage, webStorage } from '../../src/index.js';

/** The user of the page: from its address, from what this tab remembers, or from the sign-in form. */
export interface Identity {
  readonly user?: string;
  readonly token?: string;
}

export const USER_PATTERN = /^[A-Za-z0-9._~@:+-]{1,64}$/;

/** Whether `text` is a valid user name. "." and ".." are not, because browsers remove them from URL paths. */
export function isUser(text: string): boolean {
  return USER_PATTERN.test(text) && text !== '.' && text !== '..';
}

/** Whether a name is one that the server gives to an erased user: nobody can write to it (docs/protocol.md section 10). */
export function isErased(user: string): boolean {
  return /^erased\.[0-9a-f]{32}$/.test(user);
}

/** Access to a browser storage. Errors are ignored, because a browser may forbid a page to store anything. */
class SafeStorage {
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

  get keys(): string[] {
    try {
      return Object.keys(this.#storage());
    } catch {
      return [];
    }
  }

  /** Stores a value; removes the key if `value` is undefined. Returns false if the storage is full or not available. */
  set(key: string, value: string | undefined): boolean {
    try {
      if (value === undefined) this.#storage().removeItem(key);
      else this.#storage().setItem(key, value);
      return true;
    } catch {
      return false;
    }
  }
}

/**
 * Returns the storage key for an item of a server. The key includes the server's URL, because one origin may host several
 * servers below different paths.
 *
 * @param users Users that the item belongs to. User names contain no `/`.
 */
export function storageKey(item: string, server: string, ...users: string[]): string {
  return `dmwire.${[item, ...users].join('/')}@${server}`;
}

/** Storage of this tab. */
export const tabStorage = new SafeStorage(() => sessionStorage);
/** Storage shared by all tabs of this browser. */
export const browserStorage = new SafeStorage(() => localStorage);

/** Returns the browser storage for the client, unless the browser forbids it. */
export function storage(): ClientStorage | undefined {
  try {
    return localStorage && sessionStorage && webStorage();
  } catch {
    return undefined;
  }
}

/**
 * Returns a storage that does not fail: if `storage` cannot be opened or written, because it is full or all of its slots are in
 * use, the client works without it, and `onError` is called.
 */
export function tolerant(storage: ClientStorage, onError: () => void): ClientStorage {
  return {
    async open(scope, user) {
      const handle = await storage.open(scope, user).catch(() => onError());
      return {
        saved: handle?.saved,
        save: async state => {
          try {
            await handle?.save(state);
          } catch {
            onError();
          }
        },
        close: () => handle?.close(),
      };
    },
  };
}

/** Returns the URL of the page's server, the same with and without a trailing slash in the page's address. */
export function serverUrl(): string {
  return `${location.origin}${location.pathname.replace(/\/+$/, '')}/`;
}

/** User and conversation that the address of the page selects. */
export interface InitialAddress {
  readonly identity: Identity | undefined;
  readonly to: string | undefined;
  /** User name for the sign-in form, if there is no identity. */
  readonly suggested: string | undefined;
  /** Link of a user other than the one who is signed in: the page asks before it changes the user. */
  readonly link?: TokenLink | undefined;
  /** Who was signed in before a link with a new token of the same user, which the server may reject. */
  readonly before?: Identity | undefined;
}

/** A link with a token. */
export interface TokenLink {
  readonly identity: Identity;
  readonly to: string | undefined;
}

/** Reads the address when the page is opened. */
export function readAddress(): InitialAddress {
  const { user, to } = readQuery();
  const stored = tabStorage.get(tokenKey());
  const last = lastUser();
  const link = takeLink(stored === undefined ? last : (subjectOf(stored) ?? last ?? ''));
  if (link && !link.asks) {
    rememberToken(link.identity);
    return { ...link, suggested: undefined, before: identityOf(undefined, stored) };
  }
  // A reload must not do without a question what the link asks for.
  if (link) history.replaceState(history.state, '', location.pathname);
  // The user and the recipient in the address of such a link are not meant for the user who is signed in.
  const identity = identityOf(link ? undefined : user, stored);
  return { identity, to: link ? undefined : to, suggested: link ? last : user, link };
}

/**
 * Takes the token of a link from the address. The user of the token takes precedence over the one in the address, who may be
 * the previous one and counts only if nobody is signed in.
 *
 * @param current The user who is signed in, if any; an empty string if the name is not known.
 * @returns The link, and whether it is not one of this user. The writer of a link must not decide whose account the user of this
 * page writes with, so the page asks.
 */
export function takeLink(current: string | undefined): (TokenLink & { readonly asks: boolean }) | undefined {
  const token = takeToken();
  const { user = '', to } = readQuery();
  const isSignedIn = current !== undefined;
  const named = token && subjectOf(token);
  const identity = token && identityOf(named ?? (isUser(user) && !isSignedIn ? user : undefined), token);
  return identity ? { identity, to, asks: isSignedIn && current !== named } : undefined;
}

/** Returns the user who was last signed in, in any tab of this browser; undefined if that user has signed out. */
export function lastUser(): string | undefined {
  return browserStorage.get(storageKey('user', serverUrl()));
}

export function rememberUser(user: string | undefined): void {
  browserStorage.set(storageKey('user', serverUrl()), user);
}

/** Reads the query parameters `user` and `to`. */
export function readQuery(): { user: string | undefined; to: string | undefined } {
  const query = new URLSearchParams(location.search);
  const to = query.get('to') ?? '';
  return { user: query.get('user') ?? undefined, to: isUser(to) ? to : undefined };
}

/**
 * Takes the token from the fragment of the address, which browsers do not send to servers. It is removed from the address at
 * once, because addresses are copied, displayed and kept in the history.
 */
function takeToken(): string | undefined {
  const token = new URLSearchParams(location.hash.slice(1)).get('token')?.trim();
  if (!token) return undefined;
  history.replaceState(history.state, '', location.pathname + location.search);
  return token;
}

/** Returns the identity for a user name, a token, or both. */
export function identityOf(user: string | undefined, token: string | undefined): Identity | undefined {
  if (user !== undefined && !isUser(user)) return undefined;
  const name = user ?? (token === undefined ? undefined : subjectOf(token));
  if (name === undefined && token === undefined) return undefined;
  return { ...(name !== undefined && { user: name }), ...(token !== undefined && { token }) };
}

export function rememberToken(identity: Identity | undefined): void {
  tabStorage.set(tokenKey(), identity?.token);
}

function tokenKey(): string {
  return storageKey('token', serverUrl());
}

/** Returns the user that a token names. Only the server can verify it. */
function subjectOf(token: string): string | undefined {
  try {
    const part = (token.split('.')[1] ?? '').replaceAll('-', '+').replaceAll('_', '/');
    const bytes = Uint8Array.from(atob(part), character => character.charCodeAt(0));
    const { sub } = JSON.parse(new TextDecoder().decode(bytes)) as { sub?: unknown };
    return typeof sub === 'string' && isUser(sub) ? sub : undefined;
  } catch {
    return undefined;
  }
}

/** Returns the address of the page for a user and a conversation. */
export function pageAddress(user: string | undefined, to: string | undefined): string {
  const query = new URLSearchParams({ ...(user !== undefined && { user }), ...(to !== undefined && { to }) });
  return query.size > 0 ? `?${query}` : location.pathname;
}
