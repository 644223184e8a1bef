import { socketUrl } from './address.js';
import { DmwireError } from './errors.js';
import { newId } from './ids.js';
import type { Inbox } from './inbox.js';
import type { ConnectOptions } from './options.js';
import type { Outbox } from './outbox.js';
import { Saver, type StorageHandle } from './storage/storage.js';

/** Epoch of a `since` option, until the first session defines it. */
export const UNKNOWN_EPOCH = '';

/** Opens the storage, restores cursor and outbox from it, and saves them. Works without a storage as well. */
export class Persistence {
  /** The user: from the options, the token, the storage, or `welcome`. */
  user: string | undefined;
  /** The device name, from the options or the storage. */
  device: string | undefined;

  readonly #options: ConnectOptions;
  readonly #inbox: Inbox;
  readonly #outbox: Outbox;
  readonly #isClosed: () => boolean;
  readonly #opening: Promise<StorageHandle | undefined>;
  /** Tells {@link Persistence.#open} the user; only the first call counts. */
  #resolveUser!: (user: string | undefined) => void;
  #saver: Saver | undefined;

  constructor(options: ConnectOptions, inbox: Inbox, outbox: Outbox, isClosed: () => boolean) {
    this.#options = options;
    this.#inbox = inbox;
    this.#outbox = outbox;
    this.#isClosed = isClosed;
    this.device = options.device;
    const user = new Promise<string | undefined>(resolve => {
      this.#resolveUser = resolve;
    });
    this.#opening = this.#open(user);
    this.#opening.catch(() => {});
    if (options.storage) this.#saver = new Saver(async () => this.#write(await this.#opening));
  }

  /** Resolves when the storage is open. `user` is the user that the options or the token name. */
  async ready(user: string | undefined): Promise<void> {
    this.#resolveUser(user);
    try {
      await this.#opening;
    } catch (cause) {
      if (cause instanceof DmwireError) throw cause;
      throw new DmwireError('storage', `the storage cannot be opened: ${cause}`, { cause });
    }
  }

  /** Saves the state; resolves when it is stored. Returns `undefined` if there is no storage. */
  save(): Promise<void> | undefined {
    return this.#saver?.save();
  }

  /** Saves the state without waiting for it. The next save includes what a failed one did not write. */
  saveSoon(): void {
    void this.save()?.catch(() => {});
  }

  /** Saves the state a last time and releases the storage. */
  async close(): Promise<void> {
    const saved = this.#saver?.save();
    this.#saver = undefined;
    this.#resolveUser(undefined);
    await saved?.catch(() => {});
    await (await this.#opening.catch(() => undefined))?.close();
  }

  /** Opens the storage and restores its state. Nothing is written to it before that is done. */
  async #open(namedUser: Promise<string | undefined>): Promise<StorageHandle | undefined> {
    const { storage, url } = this.#options;
    const server = socketUrl(url, undefined);
    const user = storage && (this.#options.user ?? (await namedUser));
    const handle = this.#isClosed() ? undefined : await storage?.open(`${user ?? ''}@${server}`, user);
    try {
      this.#restore(handle, user);
    } catch (error) {
      // The content is damaged.
      await handle?.close();
      throw error;
    }
    return handle;
  }

  #restore(handle: StorageHandle | undefined, user: string | undefined): void {
    const saved = handle?.saved;
    const { since } = this.#options;
    if (saved?.epoch !== undefined && saved.seq !== undefined) {
      const { epoch, seq, id, at } = saved;
      this.#inbox.restore({ epoch, seq, id, at });
    } else if (since !== undefined) {
      this.#inbox.restore({ epoch: UNKNOWN_EPOCH, seq: since });
    }
    this.user = saved?.user ?? user;
    this.device ??= saved?.device ?? (handle && `d-${newId().slice(-12)}`);
    this.#outbox.restore(saved?.outbox ?? []);
  }

  #write(handle: StorageHandle | undefined): Promise<void> | void {
    const handled = this.#inbox.handled;
    return handle?.save({
      v: 1,
      ...(this.device !== undefined && { device: this.device }),
      ...(this.user !== undefined && { user: this.user }),
      ...(handled && handled.epoch !== UNKNOWN_EPOCH && handled),
      outbox: this.#outbox.records(),
    });
  }
}
