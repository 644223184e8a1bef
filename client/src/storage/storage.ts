import type { Kept } from '../outbox.js';

/** What a client keeps, so that the next run goes on where this one ends. Plain JSON. */
export interface Saved {
  /** Version of this shape. */
  readonly v: 1;
  /** Name of the device that the server knows this storage as. */
  readonly device?: string;
  /** Whose it is. */
  readonly user?: string;
  /** The log is handled up to `seq` of this epoch. */
  readonly epoch?: string;
  readonly seq?: number;
  /** What is to be sent, in order. */
  readonly outbox: readonly Kept[];
}

/** A place to keep {@link Saved}. To write one of your own, see `webStorage` and `fileStorage`. */
export interface Storage {
  /**
   * Takes hold of it, for this client alone: two clients with one cursor and one outbox would lose and double things.
   * @param scope Tells users and servers apart that share the storage.
   * @param user Whose it is to be, where that is known: it is part of the scope then.
   */
  open(scope: string, user?: string): Promise<Hold>;
}

/** A storage that is held. */
export interface Hold {
  /** What the last run has left. */
  readonly saved?: Saved | undefined;
  /** Replaces what is kept. When it resolves, it is kept. Never called while another call is under way. */
  save(saved: Saved): Promise<void> | void;
  /** Lets go of it. */
  close(): Promise<void> | void;
}

/** Writes one after the other, and all changes that come during a write at once in the next. */
export class Saver {
  readonly #write: () => Promise<void> | void;
  /** The newest write, whether it has begun or not. */
  #last: Promise<void> = Promise.resolve();
  /** The same, as long as it has not begun: what changes now will be in it. */
  #next: Promise<void> | undefined;

  /** @param write Writes the state of the moment when it is called. */
  constructor(write: () => Promise<void> | void) {
    this.#write = write;
  }

  /** Resolves when everything up to now is kept. */
  save(): Promise<void> {
    this.#next ??= this.#last = this.#last
      .catch(() => {})
      .then(() => {
        this.#next = undefined;
        return this.#write();
      });
    return this.#next;
  }
}
