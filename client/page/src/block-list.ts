import { browserStorage } from './identity.js';

/**
 * The users that a user has blocked, as far as this browser knows. The server provides no list, so a user who was blocked on
 * another device is missing here; blocking that user again has no further effect.
 */
export class BlockList {
  /** Users for whom a block or unblock request is unanswered. */
  readonly pending = new Set<string>();
  readonly #key: string;
  #users: ReadonlySet<string>;
  /** False if the storage is full or not available. */
  #isStored = true;

  /** @param server URL of the server. One origin may host several below different paths. */
  constructor(user: string, server: string) {
    this.#key = `dmwire.blocked.${user}@${server}`;
    this.#users = read(this.#key);
  }

  has(user: string): boolean {
    return this.#users.has(user);
  }

  set(user: string, blocked: boolean): void {
    // Read again, because other tabs may have changed the list.
    const users = this.#isStored ? read(this.#key) : new Set(this.#users);
    if (blocked) users.add(user);
    else users.delete(user);
    this.#users = users;
    this.#isStored = browserStorage.set(this.#key, users.size > 0 ? JSON.stringify([...users]) : undefined);
  }

  /** Removes the users whose name `is` recognises. */
  forget(is: (user: string) => boolean): void {
    for (const user of [...this.#users].filter(is)) this.set(user, false);
  }

  /** Another tab has changed the storage at `key` (`null`: all keys). Returns whether this list was affected. */
  onStorageChange(key: string | null): boolean {
    if (key !== null && key !== this.#key) return false;
    if (this.#isStored) this.#users = read(this.#key);
    return true;
  }
}

function read(key: string): Set<string> {
  try {
    const users: unknown = JSON.parse(browserStorage.get(key) ?? '[]');
    return new Set(Array.isArray(users) ? users.map(String) : []);
  } catch {
    return new Set();
  }
}
