import { newId } from '../ids.js';
import type { OutboxRecord } from '../outbox.js';
import type { Saved, Storage, StorageHandle } from './storage.js';
import { Turns } from './turns.js';

/** The browser APIs that {@link webStorage} uses. */
export interface WebStorageApis {
  readonly localStorage: Pick<globalThis.Storage, 'getItem' | 'setItem' | 'removeItem'>;
  readonly sessionStorage: Pick<globalThis.Storage, 'getItem' | 'setItem'>;
  /** Web Locks. Browsers provide them in secure contexts (https, localhost) only. */
  readonly locks?: Pick<LockManager, 'request'> | undefined;
}

/** Maximum number of tabs with a storage. The server remembers 16 devices of a user. */
const SLOTS = 12;
/** How long a client waits for the slot of its tab, which the old page or a closed client may not have released yet. */
const RELOAD_MS = 1000;
/** The newest call of `open`. The calls run one after the other: a client finds the slot of the one before it. */
let opening: Promise<unknown> = Promise.resolve();

/**
 * Stores cursor and outbox in `localStorage`, so that a reload or a crash of the tab or the browser loses nothing.
 *
 * Each tab has its own slot with a device name, a cursor and an outbox; two tabs never share one. A Web Lock holds the slot
 * while the page lives, and a reload gets the same slot again. The next tab that opens sends the unsent messages of closed
 * tabs. Without Web Locks (a page that is neither on https nor on localhost) the tab's `sessionStorage` names its slot: then a
 * *duplicated* tab shares the slot, and the unsent messages of a closed tab stay where they are.
 *
 * @param name Separates applications on the same origin.
 */
export function webStorage(name = 'dmwire', apis?: WebStorageApis): Storage {
  return {
    open(scope, user) {
      const opened = opening.then(() => openSlot(`${name}:${scope}:`, user, apis));
      opening = opened.catch(() => {});
      return opened;
    },
  };
}

async function openSlot(
  prefix: string,
  user: string | undefined,
  apis: WebStorageApis | undefined,
): Promise<StorageHandle> {
  const {
    localStorage,
    sessionStorage,
    locks = undefined,
  }: WebStorageApis = apis ?? {
    localStorage: globalThis.localStorage,
    sessionStorage: globalThis.sessionStorage,
    locks: navigator.locks,
  };
  /** Reads a slot. Content of another format counts as empty. */
  const read = (slot: string): Saved | undefined => {
    try {
      const saved: Saved = JSON.parse(localStorage.getItem(prefix + slot) ?? '');
      return saved.v === 1 && saved.outbox.every(({ frame }) => frame.type) ? saved : undefined;
    } catch {
      return undefined;
    }
  };
  const previous = sessionStorage.getItem(prefix);
  const slot = await (locks ? lockSlot(locks, prefix, previous) : shareSlot(prefix, previous ?? newId()));
  const ownKey = prefix + slot.key;
  const save = (next: Saved) => localStorage.setItem(ownKey, JSON.stringify(next));
  let saved = read(slot.key);
  ignoreErrors(() => {
    sessionStorage.setItem(prefix, slot.key);
    // Keep damaged content for inspection before it is overwritten.
    const damaged = saved ? null : localStorage.getItem(ownKey);
    if (damaged !== null) localStorage.setItem(`${ownKey}:damaged`, damaged);
  });
  // Unsent messages must not be sent as another user: if the user of either slot is unknown, they stay where they are.
  const owner = user ?? saved?.user;
  for (let i = 0; locks && i < SLOTS; i += 1) {
    const other = String(i);
    if (other === slot.key || !read(other)?.outbox.length) continue;
    const adopt = (lock: Lock | null) => {
      const left = lock && read(other);
      if (!left || owner === undefined || (left.user ?? user) !== owner) return;
      const merged: Saved = {
        v: 1,
        ...saved,
        outbox: [...(saved?.outbox ?? []), ...left.outbox.filter(unsettled)],
      };
      // Write our slot first: if the page ends between the two writes, both slots hold the messages under the same ids.
      // If there is no room for them, they stay for a later tab.
      ignoreErrors(() => {
        save(merged);
        saved = merged;
        localStorage.setItem(prefix + other, JSON.stringify({ ...left, outbox: [] }));
      });
    };
    await locks.request(prefix + other, { ifAvailable: true }, adopt).catch(() => {});
  }
  return { saved, save, close: slot.release };
}

/** Runs a write that may fail because the storage is full or disabled. */
function ignoreErrors(write: () => void): void {
  try {
    write();
  } catch {
    // The client works without it.
  }
}

function unsettled(record: OutboxRecord): boolean {
  return !record.settled;
}

interface Slot {
  readonly key: string;
  release(): void;
}

/** The clients of this page that use a slot, by its key. Used where there are no Web Locks. */
const turns = new Turns();

/** Takes a slot without a Web Lock. Only a client of the same page is waited for, and only for a second. */
async function shareSlot(prefix: string, key: string): Promise<Slot> {
  return { key, release: (await turns.take(prefix + key, RELOAD_MS)) ?? (() => {}) };
}

/** Locks a slot until it is released: `previous` if it becomes free within a second, else the first free one. */
async function lockSlot(locks: Pick<LockManager, 'request'>, prefix: string, previous: string | null): Promise<Slot> {
  const lock = (key: string, options: LockOptions) =>
    new Promise<Slot | undefined>(resolve => {
      locks
        .request(prefix + key, options, lock => {
          if (!lock) return resolve(undefined);
          return new Promise<void>(release => resolve({ key, release }));
        })
        .catch(() => resolve(undefined));
    });
  if (previous !== null) {
    const timeout = new AbortController();
    const timer = setTimeout(() => timeout.abort(), RELOAD_MS);
    const slot = await lock(previous, { signal: timeout.signal });
    clearTimeout(timer);
    if (slot) return slot;
  }
  for (let i = 0; i < SLOTS; i += 1) {
    const slot = await lock(String(i), { ifAvailable: true });
    if (slot) return slot;
  }
  throw new Error(`${SLOTS} tabs are open already`);
}
