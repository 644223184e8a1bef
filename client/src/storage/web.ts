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
      const read = (slot: string): Saved | undefined => {
        const text = localStorage.getItem(prefix + slot);
        return text === null ? undefined : JSON.parse(text);
      };
      const remembered = sessionStorage.getItem(prefix);
      const slot = locks ? await hold(locks, prefix, remembered) : { key: remembered ?? newId(), release() {} };
      sessionStorage.setItem(prefix, slot.key);

      let saved = read(slot.key);
      const save = (next: Saved) => localStorage.setItem(prefix + slot.key, JSON.stringify(next));
      // Unsent messages are one user's: where it is not known whose they are, or whose we are, they stay where they are.
      const owner = user ?? saved?.user;
      for (let i = 0; locks && i < SLOTS; i += 1) {
        const other = String(i);
        if (other === slot.key || !read(other)?.outbox.length) continue;
        await locks.request(prefix + other, { ifAvailable: true }, lock => {
          const left = lock && read(other);
          if (!left || owner === undefined || (left.user ?? user) !== owner) return;
          // Ours first: were the page to end between the two writes, what is there twice has the same id.
          saved = { v: 1, ...saved, outbox: [...(saved?.outbox ?? []), ...left.outbox.filter(unsettled)] };
          save(saved);
          localStorage.setItem(prefix + other, JSON.stringify({ ...left, outbox: [] }));
        });
      }
      return { saved, save, close: slot.release };
    },
  };
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
  const attempt = (key: string, options: LockOptions) =>
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
    const held = await attempt(remembered, { signal: timeout.signal });
    clearTimeout(timer);
    if (held) return held;
  }
  for (let i = 0; i < SLOTS; i += 1) {
    const held = await attempt(String(i), { ifAvailable: true });
    if (held) return held;
  }
  throw new Error(`${SLOTS} tabs are open already`);
}
