import { newId } from '../ids.js';
import type { Kept } from '../outbox.js';
import type { Hold, Saved, Storage } from './storage.js';

/** The parts of a browser that {@link webStorage} stands on. */
export interface WebParts {
  readonly localStorage: Pick<globalThis.Storage, 'getItem' | 'setItem' | 'removeItem'>;
  readonly sessionStorage: Pick<globalThis.Storage, 'getItem' | 'setItem'>;
  /** Web Locks; browsers have them in secure contexts (https, localhost) only. */
  readonly locks?: Pick<LockManager, 'request'> | undefined;
}

/** Tabs that can keep something at the same time; the server remembers 16 devices of a user. */
const SLOTS = 12;
/** How long to wait for the slot that this tab had before a reload: the old page may not have let go of it yet. */
const RELOAD_MS = 1000;

/**
 * Keeps cursor and outbox in `localStorage`, so that a reload, a crash of the tab or of the browser loses nothing.
 *
 * Every tab has a slot of its own, with a device name, a cursor and an outbox: two tabs never share one. A slot is held
 * by a Web Lock for as long as the page lives; a reload gets the slot back that it had. What a closed tab has left unsent
 * in its slot is sent by the next tab that opens. Where there are no Web Locks (a page that is not on https or localhost) a
 * tab's slot is known by its `sessionStorage`: then a *duplicated* tab shares it, and what a closed tab has left stays.
 *
 * @param name Tells applications on the same origin apart.
 */
export function webStorage(name = 'dmwire', parts?: WebParts): Storage {
  return {
    async open(scope, user): Promise<Hold> {
      const {
        localStorage,
        sessionStorage,
        locks = undefined,
      }: WebParts = parts ?? {
        localStorage: globalThis.localStorage,
        sessionStorage: globalThis.sessionStorage,
        locks: navigator.locks,
      };
      const prefix = `${name}:${scope}:`;
      /** What is in a slot; what is no state of ours counts as nothing. */
      const read = (slot: string): Saved | undefined => {
        try {
          const saved: Saved = JSON.parse(localStorage.getItem(prefix + slot) ?? '');
          return saved.v === 1 && saved.outbox.every(({ frame }) => frame.type) ? saved : undefined;
        } catch {
          return undefined;
        }
      };
      const remembered = sessionStorage.getItem(prefix);
      const slot = locks ? await hold(locks, prefix, remembered) : { key: remembered ?? newId(), release() {} };
      const own = prefix + slot.key;
      const save = (next: Saved) => localStorage.setItem(own, JSON.stringify(next));
      let saved = read(slot.key);
      attempt(() => {
        sessionStorage.setItem(prefix, slot.key);
        // What we are about to write over, somebody may want to look at.
        const damaged = saved ? null : localStorage.getItem(own);
        if (damaged !== null) localStorage.setItem(`${own}:damaged`, damaged);
      });
      // Unsent messages are one user's: where it is not known whose they are, or whose we are, they stay where they are.
      const owner = user ?? saved?.user;
      for (let i = 0; locks && i < SLOTS; i += 1) {
        const other = String(i);
        if (other === slot.key || !read(other)?.outbox.length) continue;
        const adopt = (lock: Lock | null) => {
          const left = lock && read(other);
          if (!left || owner === undefined || (left.user ?? user) !== owner) return;
          const both: Saved = { v: 1, ...saved, outbox: [...(saved?.outbox ?? []), ...left.outbox.filter(unsettled)] };
          // Ours first: were the page to end between the two writes, what is there twice has the same id. Where there is
          // no room for it, it is left to a tab that has some.
          attempt(() => {
            save(both);
            saved = both;
            localStorage.setItem(prefix + other, JSON.stringify({ ...left, outbox: [] }));
          });
        };
        await locks.request(prefix + other, { ifAvailable: true }, adopt).catch(() => {});
      }
      return { saved, save, close: slot.release };
    },
  };
}

/** Does what may fail: a storage may be full, or turned off. */
function attempt(what: () => void): void {
  try {
    what();
  } catch {
    // It is done without.
  }
}

function unsettled(kept: Kept): boolean {
  return !kept.settled;
}

/** Holds the lock of a slot until released: that of `remembered` if it comes free at once or soon, else the first free one. */
async function hold(
  locks: Pick<LockManager, 'request'>,
  prefix: string,
  remembered: string | null,
): Promise<{ key: string; release(): void }> {
  const take = (key: string, options: LockOptions) =>
    new Promise<{ key: string; release(): void } | undefined>(resolve => {
      locks
        .request(prefix + key, options, lock => {
          if (!lock) return resolve(undefined);
          return new Promise<void>(release => resolve({ key, release }));
        })
        .catch(() => resolve(undefined));
    });
  if (remembered !== null) {
    const timeout = new AbortController();
    const timer = setTimeout(() => timeout.abort(), RELOAD_MS);
    const held = await take(remembered, { signal: timeout.signal });
    clearTimeout(timer);
    if (held) return held;
  }
  for (let i = 0; i < SLOTS; i += 1) {
    const held = await take(String(i), { ifAvailable: true });
    if (held) return held;
  }
  throw new Error(`${SLOTS} tabs are open already`);
}
