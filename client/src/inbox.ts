/** A place in the log of one epoch: everything up to `seq`. */
export interface Place {
  readonly epoch: string;
  readonly seq: number;
}

/** Something for the application, at its place in the log. */
export interface Item {
  /** The event's type. */
  readonly type: string;
  readonly event: unknown;
  /** Where the log stands once this is handled; absent for what is no entry of the log. */
  readonly place?: Place;
  /** True if the log jumps here (`truncated`). */
  readonly jump?: boolean;
}

/** What an {@link Inbox} asks of its client. */
export interface InboxEvents {
  /** Whether the application is there to take an item. What is not taken waits, and what follows waits behind it. */
  taken(item: Item): boolean;
  /** Gives it to the application; resolves when that has handled it. */
  deliver(item: Item): Promise<void>;
  /** The application has failed on an item. */
  failed(item: Item, error: unknown): void;
  /** More is handled than before. */
  moved(): void;
  /** Nothing more can be handled now. */
  idle(): void;
}

/** What became of an entry that was offered. */
export type Offer =
  /** It is the next one. */
  | 'taken'
  /** It has been there before. */
  | 'old'
  /** Something is missing before it. */
  | 'gap'
  /** Too much waits for the application. */
  | 'full';

/**
 * The application's side of the log. It knows two places: up to where entries have *come*, which moves only from n to
 * n+1 or by a jump, and up to where the application has *handled* them, which follows behind. The first tells what to ask
 * for on the next connection, the second what may be acknowledged and kept: what has come and is not handled when the
 * program ends, comes again.
 */
export class Inbox {
  readonly #events: InboxEvents;
  readonly #limit: number;
  #come: Place | undefined;
  #done: Place | undefined;
  readonly #queue: Item[] = [];
  /** The first entry that the application has failed on, and the first that its taker has left: neither is handled. */
  #failed = Number.POSITIVE_INFINITY;
  #left = Number.POSITIVE_INFINITY;
  #jumps = 0;
  #pumping = false;
  #stopped = false;

  /** @param limit Entries that may wait for the application. */
  constructor(events: InboxEvents, limit: number) {
    this.#events = events;
    this.#limit = limit;
  }

  /** Begins where an earlier run has ended. */
  restore(place: Place): void {
    this.#come = this.#done = place;
  }

  /** Nothing has come, and all up to here is known to be handled: the log begins here for us, if it has not begun yet. */
  begin(place: Place): void {
    if (!this.#come) this.restore(place);
  }

  /** All up to here has come. */
  get come(): Place | undefined {
    return this.#come;
  }

  /** All up to here is handled. */
  get handled(): Place | undefined {
    const done = this.#done;
    return done && { epoch: done.epoch, seq: Math.min(done.seq, this.#failed - 1, this.#left - 1) };
  }

  /** Whether the place that is handled lies before a jump, so that the server at hand would misunderstand it. */
  get jumping(): boolean {
    return this.#jumps > 0;
  }

  /** Whether nothing waits. */
  get empty(): boolean {
    return this.#queue.length === 0 && !this.#pumping;
  }

  /** Offers the entry `seq`. The first entry of all tells where the log begins for us. */
  offer(place: Place, type: string, event: unknown): Offer {
    const { seq, epoch } = place;
    if (this.#come && this.#come.epoch !== epoch) return 'gap';
    if (this.#come && seq <= this.#come.seq) return 'old';
    if (this.#come && seq > this.#come.seq + 1) return 'gap';
    if (this.#queue.length >= this.#limit) return 'full';
    this.#done ??= { epoch, seq: seq - 1 };
    this.#come = place;
    this.#push({ type, event, place });
    return 'taken';
  }

  /** The log goes on after `place`; what was between is gone. */
  jump(place: Place, type: string, event: unknown): void {
    this.#come = place;
    this.#jumps += 1;
    this.#push({ type, event, place, jump: true });
  }

  /** Adds what is no entry, behind what waits. False if there is no room. */
  add(type: string, event: unknown): boolean {
    const room = this.#queue.length < this.#limit;
    if (room) this.#push({ type, event });
    return room;
  }

  /** The entry was given out, but its taker has left it. */
  hold(seq: number): void {
    this.#left = Math.min(this.#left, seq);
  }

  /** The application has gone on: what was held is handled after all. */
  release(): void {
    if (this.#left === Number.POSITIVE_INFINITY) return;
    this.#left = Number.POSITIVE_INFINITY;
    this.#events.moved();
  }

  /** Gives nothing more. */
  stop(): void {
    this.#stopped = true;
    this.#queue.length = 0;
  }

  /** Gives on what waits, one after the other. To be called when there may be a taker that was not there before. */
  async pump(): Promise<void> {
    if (this.#pumping) return;
    this.#pumping = true;
    for (let item = this.#queue[0]; item && this.#events.taken(item); item = this.#queue[0]) {
      this.#queue.shift();
      try {
        await this.#events.deliver(item);
      } catch (error) {
        if (item.place && !item.jump) this.#failed = Math.min(this.#failed, item.place.seq);
        this.#events.failed(item, error);
      }
      if (this.#stopped) return;
      if (item.jump) {
        this.#jumps -= 1;
        // What lies before the jump can never come again.
        this.#failed = this.#left = Number.POSITIVE_INFINITY;
      }
      if (item.place) {
        this.#done = item.place;
        this.#events.moved();
      }
    }
    this.#pumping = false;
    this.#events.idle();
  }

  #push(item: Item): void {
    this.#queue.push(item);
    void this.pump();
  }
}
