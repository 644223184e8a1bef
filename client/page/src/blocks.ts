import { browser } from './identity.js';

/**
 * Whom a user has blocked, as far as this browser knows: the server does not list it. What was blocked on another device is
 * in force all the same, and to block it here once more changes nothing.
 */
export class Blocks {
  readonly #key: string;
  #users: ReadonlySet<string>;

  /** @param server Its address: one origin may have several, below different paths. */
  constructor(user: string, server: string) {
    this.#key = `dmwire.blocked.${user}@${server}`;
    this.#users = read(this.#key);
  }

  has(user: string): boolean {
    return this.#users.has(user);
  }

  set(user: string, blocked: boolean): void {
    // Other tabs may have written meanwhile.
    const users = read(this.#key);
    if (blocked) users.add(user);
    else users.delete(user);
    this.#users = users;
    browser.set(this.#key, users.size > 0 ? JSON.stringify([...users]) : undefined);
  }

  /** Another tab has changed what lies under a key (any, if that is null). True if it was ours. */
  changed(key: string | null): boolean {
    if (key !== null && key !== this.#key) return false;
    this.#users = read(this.#key);
    return true;
  }
}

function read(key: string): Set<string> {
  try {
    const users: unknown = JSON.parse(browser.get(key) ?? '[]');
    return new Set(Array.isArray(users) ? users.map(String) : []);
  } catch {
    return new Set();
  }
}
