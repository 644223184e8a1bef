/** A position in the log of one epoch: after the entry `seq`. */
export interface LogPosition {
  readonly epoch: string;
  readonly seq: number;
  /** Id and time of that entry, if they are known. The server recognizes by them that its log was rolled back. */
  readonly id?: string | undefined;
  readonly at?: string | undefined;
}

/** Added to the size of each item: its objects take memory, too. */
const ITEM_SIZE = 500;
/** How long items are delivered without giving other tasks a turn: network, timers, user input. */
const TASK_MS = 50;

/** An event for the application. */
export interface InboxItem {
  /** Event type. */
  readonly type: string;
  readonly event: unknown;
  /** Size in characters. */
  readonly size: number;
  /** Position of the log after this item; absent if the item is not an entry of the log. */
  readonly position?: LogPosition;
  /** True for `truncated`: the log continues at `position`, and the entries before it are gone. */
  readonly skip?: boolean;
}

/** Callbacks of an {@link Inbox}. */
export interface InboxEvents {
  /** Whether the application has a handler for the item. Without one the item waits, and all later items behind it. */
  canDeliver(item: InboxItem): boolean;
  /** Passes the item to the application; resolves when the application has handled it. */
  deliver(item: InboxItem): Promise<void>;
  /** The application failed to handle the item. Returns whether it counts as handled all the same. */
  onError(item: InboxItem, error: unknown): boolean;
  /** {@link Inbox.handled} has advanced. */
  onProgress(): void;
  /** No item can be delivered at the moment. */
  onIdle(): void;
}

/** Result of {@link Inbox.offer}. */
export type OfferResult =
  /** The entry is the next one and was queued. */
  | 'accepted'
  /** The entry was accepted earlier. */
  | 'duplicate'
  /** Entries before it are missing. */
  | 'gap'
  /** The queue is full. */
  | 'full';

/**
 * Queue between the log and the application. It tracks two positions: {@link Inbox.position}, up to which entries have
 * arrived, advances by exactly one entry or by a skip; {@link Inbox.handled}, up to which the application has handled them,
 * follows. The next connection asks for entries after the first; only the second is acknowledged and stored, so that entries
 * that have arrived and are not handled when the program ends are delivered again by the next run.
 */
export class Inbox {
  readonly #events: InboxEvents;
  readonly #limit: number;
  #position: LogPosition | undefined;
  #delivered: LogPosition | undefined;
  readonly #queue: InboxItem[] = [];
  /** Size of the queued items. */
  #queued = 0;
  /** Position before the first entry that the application failed on. Later entries do not count as handled. */
  #failed: LogPosition | undefined;
  /** Position before the first entry that an iterator left unfinished. Later entries do not count as handled. */
  #unfinished: LogPosition | undefined;
  #queuedSkips = 0;
  #pumping = false;
  #stopped = false;

  /** @param limit Size of the queue, in characters, from which on no more items are queued. */
  constructor(events: InboxEvents, limit: number) {
    this.#events = events;
    this.#limit = limit;
  }

  /** Starts at the position of an earlier run. */
  restore(position: LogPosition): void {
    this.#position = this.#delivered = position;
  }

  /** Starts at `position` if no position is known yet. */
  begin(position: LogPosition): void {
    if (!this.#position) this.restore(position);
  }

  /** Position up to which entries have arrived. */
  get position(): LogPosition | undefined {
    return this.#position;
  }

  /** Position up to which the application has handled all entries. */
  get handled(): LogPosition | undefined {
    return [this.#failed, this.#unfinished].reduce(earlier, this.#delivered);
  }

  /** Whether a skip is queued. Then {@link Inbox.handled} refers to entries that the server no longer knows. */
  get skipping(): boolean {
    return this.#queuedSkips > 0;
  }

  /** Whether no item is queued or being delivered. */
  get empty(): boolean {
    return this.#queue.length === 0 && !this.#pumping;
  }

  /** Queues an entry of the log if it is the next one. The very first entry defines where the log begins. */
  offer(position: LogPosition, type: string, event: unknown, size: number): OfferResult {
    const { seq, epoch } = position;
    if (this.#position && this.#position.epoch !== epoch) return 'gap';
    if (this.#position && seq <= this.#position.seq) return 'duplicate';
    if (this.#position && seq > this.#position.seq + 1) return 'gap';
    if (this.#queued >= this.#limit) return 'full';
    this.#delivered ??= { epoch, seq: seq - 1 };
    this.#position = position;
    this.#push({ type, event, size, position });
    return 'accepted';
  }

  /** Continues the log after `position`, because the entries before it are gone. */
  skipTo(position: LogPosition, type: string, event: unknown): void {
    this.#position = position;
    this.#queuedSkips += 1;
    this.#push({ type, event, size: 0, position, skip: true });
  }

  /** Queues an event that is not an entry of the log. Returns false if the queue is full. */
  add(type: string, event: unknown, size: number): boolean {
    const hasRoom = this.#queued < this.#limit;
    if (hasRoom) this.#push({ type, event, size });
    return hasRoom;
  }

  /** Marks the entry being delivered as unfinished: the loop of an iterator ended before it asked for the next one. */
  leaveUnfinished(): void {
    this.#unfinished = earlier(this.#delivered, this.#unfinished);
  }

  /** A new iterator continues after the unfinished entry, which counts as handled from now on. */
  finish(): void {
    if (!this.#unfinished) return;
    this.#unfinished = undefined;
    this.#events.onProgress();
  }

  /** Drops the queue and delivers nothing more. */
  stop(): void {
    this.#stopped = true;
    this.#queue.length = 0;
  }

  /** Delivers queued items one after the other. Must be called after a handler was added. */
  async pump(): Promise<void> {
    if (this.#pumping) return;
    this.#pumping = true;
    let startedAt = performance.now();
    for (let item = this.#queue[0]; item && this.#events.canDeliver(item); item = this.#queue[0]) {
      this.#queue.shift();
      this.#queued -= item.size + ITEM_SIZE;
      try {
        await this.#events.deliver(item);
      } catch (error) {
        const isHandled = this.#events.onError(item, error) || !item.position || item.skip;
        if (!isHandled) this.#failed = earlier(this.#delivered, this.#failed);
      }
      if (this.#stopped) return;
      if (item.skip) {
        this.#queuedSkips -= 1;
        // The server cannot deliver entries before the skip again.
        this.#failed = this.#unfinished = undefined;
      }
      if (item.position) {
        this.#delivered = item.position;
        this.#events.onProgress();
      }
      if (performance.now() - startedAt > TASK_MS) {
        await nextTask();
        startedAt = performance.now();
      }
    }
    this.#pumping = false;
    this.#events.onIdle();
  }

  #push(item: InboxItem): void {
    this.#queue.push(item);
    this.#queued += item.size + ITEM_SIZE;
    void this.pump();
  }
}

/** Resolves in a later task. Timers are slowed down in pages in the background; some runtimes have nothing else. */
function nextTask(): Promise<void> {
  return new Promise(resolve => {
    if (!globalThis.MessageChannel) return void setTimeout(resolve);
    const { port1, port2 } = new MessageChannel();
    port1.onmessage = () => {
      port1.close();
      resolve();
    };
    port2.postMessage(0);
  });
}

/** Returns the earlier one of two positions in the same log. */
function earlier(a: LogPosition | undefined, b: LogPosition | undefined): LogPosition | undefined {
  return b && (!a || b.seq < a.seq) ? b : a;
}
