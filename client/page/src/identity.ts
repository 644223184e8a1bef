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

/** Returns the user who was last signed in, in any tab of this browser; undefined if that user has signed out. */
export function lastUser(): string | undefined {
  return browserStorage.get(storageKey('user', serverUrl()));
}

export function rememberUser(user: string | undefined): void {
  browserStorage.set(storageKey('user', serverUrl()), user);
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

/** Returns the token that this tab remembers. */
export function rememberedToken(): string | undefined {
  return tabStorage.get(tokenKey());
}

function tokenKey(): string {
  return storageKey('token', serverUrl());
}

/** Returns the user that a token names. Only the server can verify it. */
export function subjectOf(token: string): string | undefined {
  try {
    const part = (token.split('.')[1] ?? '').replaceAll('-', '+').replaceAll('_', '/');
    const bytes = Uint8Array.from(atob(part), character => character.charCodeAt(0));
    const { sub } = JSON.parse(new TextDecoder().decode(bytes)) as { sub?: unknown };
    return typeof sub === 'string' && isUser(sub) ? sub : undefined;
  } catch {
    return undefined;
  }
}
