import type { OutboxRecord } from '../outbox.js';

/** State of a client that the next run continues from. Plain JSON; the field names are part of the stored format. */
export interface Saved {
  /** Version of this format. */
  readonly v: 1;
  /** Device name under which the server knows this storage. */
  readonly device?: string;
  /** The user that the state belongs to. */
  readonly user?: string;
  /** The application has handled the log of this epoch up to `seq`. */
  readonly epoch?: string;
  readonly seq?: number;
  /** Id and time of that entry, if they are known. */
  readonly id?: string | undefined;
  readonly at?: string | undefined;
  /** Unanswered and settled frames, in order. */
  readonly outbox: readonly OutboxRecord[];
}

/** Persistent storage for {@link Saved}. `webStorage` and `fileStorage` are implementations. */
export interface Storage {
  /**
   * Opens the storage exclusively: two clients with the same cursor and outbox would lose and duplicate messages.
   * @param scope Key that separates the users and servers that share the storage.
   * @param user The user, if known. Then it is part of the scope.
   */
  open(scope: string, user?: string): Promise<StorageHandle>;
}

/** An open {@link Storage}. */
export interface StorageHandle {
  /** State that the last run saved. */
  readonly saved?: Saved | undefined;
  /** Replaces the stored state; it is stored when the promise resolves. Never called concurrently. */
  save(saved: Saved): Promise<void> | void;
  /** Releases the storage. */
  close(): Promise<void> | void;
}

/** Serialises writes. All changes during a write go into one next write. */
export class Saver {
  readonly #write: () => Promise<void> | void;
  /** The newest write, running or scheduled. */
  #last: Promise<void> = Promise.resolve();
  /** The scheduled write, until it starts. It will include all changes up to then. */
  #scheduled: Promise<void> | undefined;

  /** @param write Writes the state at the time of the call. */
  constructor(write: () => Promise<void> | void) {
    this.#write = write;
  }

  /** Resolves when all changes up to now are stored. */
  save(): Promise<void> {
    this.#scheduled ??= this.#last = this.#last
      .catch(() => {})
      .then(() => {
        this.#scheduled = undefined;
        return this.#write();
      });
    return this.#scheduled;
  }
}
