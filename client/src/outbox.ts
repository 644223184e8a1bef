import { Backoff, MAX_TIMER_MS } from './backoff.js';
import { DmwireError } from './errors.js';
import type { ServerError } from './frames.generated.js';
import { newId } from './ids.js';
import type { Delivery, PendingFrame } from './pending.js';
import {
  createPending,
  hasSameSubject,
  type InFrame,
  isEntryOf,
  isMembershipChange,
  isReplaceable,
  isSettledBy,
  type OutboxRecord,
  type OutFrame,
  orderingKey,
} from './pending.js';
import { TokenBucket } from './token-bucket.js';

export type { InFrame, OutboxRecord, OutFrame } from './pending.js';

/** Callbacks of an {@link Outbox}. */
export interface OutboxEvents {
  send(text: string): void;
  /** Returns the `seq` up to which the log has arrived, if it is known. */
  position(): number | undefined;
  /** Writes {@link Outbox.records} to the storage. Returns `undefined` if there is no storage. */
  save(): Promise<void> | undefined;
  /** Writes them without waiting for it. */
  saveSoon(): void;
  /** The server has rejected a durable frame, which is not sent again. */
  onFailed(frame: OutFrame, error: DmwireError): void;
  /** The server has rejected a frame for now. It is sent again after a wait of more than {@link MAX_PAUSE_MS}. */
  onDelayed(frame: OutFrame, retryInMs: number, error: DmwireError): void;
}

/** Phase of the session, which decides what may be sent. */
export type SessionPhase =
  | 'down'
  /** `welcome` has arrived: requests may be sent. */
  | 'welcomed'
  /** The replay is complete. It has shown which frames of earlier connections were stored; the others may be sent now. */
  | 'synced';

/**
 * Longest delay after which a rejected frame is sent again and that all other frames wait for: it is due to their rate. A longer
 * one is due to the frame itself, such as the limit of bytes per day.
 */
const MAX_PAUSE_MS = 2_000;

/**
 * Maximum number of settled records that wait for their log entry, while the application handles none. Those with an `ack` do not
 * count.
 */
const MAX_SETTLED = 250;

const encoder = new TextEncoder();

/**
 * Frames that wait for an answer, in the order in which they were added. Durable frames are stored before they are sent. Per
 * conversation one frame is in flight: with more, the server could reject one for now (`overloaded`) and accept the next one,
 * which would reorder them. All frames for a room wait for earlier ones that join or leave it.
 */
export class Outbox {
  readonly #events: OutboxEvents;
  #frames: PendingFrame[] = [];
  #phase: SessionPhase = 'down';
  #maxBytes = 0;
  readonly #bucket = new TokenBucket();
  readonly #backoff = new Backoff();
  /** Prefix of all `ref`s, so that they differ from those of other runs and of raw frames. */
  readonly #refPrefix = newId().slice(-6);
  #refCount = 0;
  /** Nothing is sent before this time by `performance.now()`: unlike the wall clock, it is never set. */
  #resumeAt = 0;
  #timer: ReturnType<typeof setTimeout> | undefined;
  /** Number of calls of {@link Outbox.flush}. A handler of an event of one may cause the next. */
  #flushes = 0;

  constructor(events: OutboxEvents) {
    this.#events = events;
  }

  /** Restores the frames of an earlier run. */
  restore(records: readonly OutboxRecord[]): void {
    const restored = records.map(({ frame, settled = false, seq, ack, after, superseded = false }) => {
      const pending = this.#create(frame, 'durable', true);
      Object.assign(pending, { settled, seq, ack, after, superseded, maybeStored: true });
      // This run has no caller that waits for the answer.
      pending.answer.catch(() => {});
      return pending;
    });
    // Frames that were added while the storage was being opened come after them.
    this.#frames = [...restored, ...this.#frames];
  }

  /** Returns the durable frames as they are stored. */
  records(): OutboxRecord[] {
    return this.#frames
      .filter(pending => pending.delivery === 'durable')
      .map(pending => {
        const { frame, settled, seq, ack, maybeStored, superseded } = pending;
        // The next run cannot know that it was not sent: its entry will come after all that have arrived.
        const after = settled || maybeStored ? pending.after : (this.#events.position() ?? pending.after);
        return {
          frame,
          ...(settled && { settled }),
          ...(seq !== undefined && { seq }),
          ...(ack && { ack }),
          ...(after !== undefined && { after }),
          ...(superseded && { superseded }),
        };
      });
  }

  /** Returns the durable frames without an answer. */
  unanswered(): OutFrame[] {
    return this.#frames
      .filter(pending => pending.delivery === 'durable' && !pending.settled)
      .map(pending => pending.frame);
  }

  /** Adds a frame. Resolves with its answer, or fails with the server's error. */
  add(frame: OutFrame, delivery: Delivery): Promise<InFrame> {
    const isDurable = delivery === 'durable';
    const pending = this.#create(frame, delivery, !isDurable);
    pending.after = this.#events.position();
    this.#frames.push(pending);
    const saved = isDurable ? this.#events.save() : undefined;
    if (saved) {
      saved.then(
        () => {
          pending.saved = true;
          this.flush();
        },
        cause => this.#fail(pending, new DmwireError('storage', 'not stored, so not sent', { cause })),
      );
    } else {
      pending.saved = true;
      this.flush();
    }
    return pending.answer;
  }

  /** Returns the answer of an unanswered frame with the same effect: same `id`, same {@link orderingKey}. */
  findSame(frame: OutFrame): Promise<InFrame> | undefined {
    const key = orderingKey(frame);
    return this.#frames.find(({ orderingKey, settled, frame: { id } }) => {
      return orderingKey === key && !settled && id === frame.id;
    })?.answer;
  }

  /** A session has begun. */
  welcome(limits: { max_frame_bytes: number; messages_per_second: number }): void {
    this.#maxBytes = limits.max_frame_bytes;
    this.#bucket.start(limits.messages_per_second);
    this.#resumeAt = 0;
    // The limits may have changed.
    for (const pending of this.#frames) pending.resumeAt = 0;
    this.#phase = 'welcomed';
    this.flush();
  }

  /** The replay of the session is complete. */
  synced(): void {
    this.#phase = 'synced';
    // No entry of a newer change has come.
    for (const pending of this.#frames) pending.superseded = false;
    this.flush();
  }

  /** The session has ended: frames in flight are sent again by the next one. */
  down(): void {
    this.#phase = 'down';
    clearTimeout(this.#timer);
    for (const pending of [...this.#frames]) {
      if (pending.delivery === 'once') {
        const detail = 'the connection was lost before the answer';
        this.#fail(pending, new DmwireError('disconnected', detail, { retryable: true }));
      }
      pending.inFlight = false;
    }
  }

  /** Sends a frame now or not at all. Returns whether it was sent. */
  sendNow(frame: OutFrame): boolean {
    const mustWait = this.#frames.some(other => isMembershipChange(other) && other.frame.room === frame.target_room);
    if (mustWait || this.#phase === 'down' || this.#bucket.take() > 0) return false;
    this.#events.send(JSON.stringify(frame));
    return true;
  }

  /**
   * Takes a reply. Returns the frame that it answers, if that is one of ours. The caller calls {@link Outbox.flush}
   * afterwards.
   */
  resolve(reply: InFrame): PendingFrame | undefined {
    const pending = this.#inFlight(reply.ref);
    if (!pending) return undefined;
    // `watch` is answered for each user, in the order of the list.
    if (reply.type === 'presence' && reply.user !== (pending.frame.users as string[] | undefined)?.at(-1))
      return undefined;
    this.#backoff.reset();
    this.settle(pending, reply);
    return pending;
  }

  /** Notes a superseded entry: that of an edit or a reaction, of which the answer may have been lost. */
  skipped(seq: number): void {
    for (const pending of this.#frames) {
      const { frame, after, maybeStored, settled } = pending;
      const isChange = isReplaceable(frame) && maybeStored && !settled;
      if (isChange && after !== undefined && seq > after) pending.superseded = true;
    }
  }

  /** Finds the durable frame that an entry of the log was made from. */
  findEntry(entry: InFrame): PendingFrame | undefined {
    return this.#frames.find(pending => {
      const { frame, settled, seq } = pending;
      const isSame =
        pending.delivery === 'durable' &&
        frame.target_user === entry.target_user &&
        frame.target_room === entry.target_room &&
        frame.room === entry.room &&
        frame.id === entry.id;
      if (!isSame || settled) return isSame && seq === entry.seq;
      // The id of a message is unique. Changes share the id of their message, so their content is compared, and only where
      // the answer may have been lost.
      if (entry.type === 'message') return frame.type === 'message';
      return pending.maybeStored && this.#phase !== 'synced' && isEntryOf(entry, pending);
    });
  }

  /** Records the answer to a frame. Durable frames stay until {@link Outbox.reported} and {@link Outbox.dropSettled}. */
  settle(pending: PendingFrame, reply: InFrame): void {
    for (const other of this.#frames) {
      if (other === pending) break;
      if (!isSettledBy(other, pending)) continue;
      this.settle(other, { ...reply, seq: undefined, duplicate: true, ref: other.ref });
    }
    pending.inFlight = false;
    pending.settled = true;
    pending.seq = typeof reply.seq === 'number' ? reply.seq : undefined;
    if (pending.delivery === 'durable' && reply.type === 'ack') pending.ack = reply;
    else this.#remove(pending);
    // While the application handles nothing, the records, which each save writes, must not grow without bound. Without its record,
    // an entry arrives like that of another device. No entry replaces the event `sent` of a record with an `ack`.
    const removable = this.#frames.filter(other => other.settled && !other.ack);
    if (removable[0] && removable.length >= MAX_SETTLED) this.#remove(removable[0]);
    pending.resolve(reply);
  }

  /** Returns the settled frames for which the event `sent` is still to be queued: all, or those before `later` with its subject. */
  unreported(later?: PendingFrame): PendingFrame[] {
    const frames = later ? this.#frames.slice(0, this.#frames.indexOf(later)) : this.#frames;
    return frames.filter(pending => pending.ack && !pending.reported && (!later || hasSameSubject(pending, later)));
  }

  /** The application has handled the event `sent` for a frame. */
  reported(frame: OutFrame): void {
    for (const pending of this.#frames) if (pending.frame === frame) pending.ack = undefined;
  }

  /** Drops settled and reported frames up to `seq`, after the application has handled the log up to there. */
  dropSettled(seq: number): void {
    this.#frames = this.#frames.filter(({ settled, ack, seq: own = 0 }) => !settled || ack || own > seq);
  }

  /**
   * A user was erased: drops the frames for the user, whose name `is` recognises. The user's own messages can still be deleted, under the
   * name that the erased user has got.
   */
  erase(is: (user: string) => boolean, renamedTo: string): void {
    for (const pending of this.#frames) {
      const { frame, settled } = pending;
      if (typeof frame.target_user !== 'string' || !is(frame.target_user)) continue;
      this.#remove(pending);
      if (settled) continue;
      if (frame.type === 'delete') {
        this.add({ ...frame, target_user: renamedTo }, 'durable').then(pending.resolve, pending.reject);
      } else {
        pending.reject(new DmwireError('forbidden', 'the user was erased', { path: '/target_user' }));
      }
    }
    this.flush();
  }

  /** The log starts over and has entries up to `seq`. An unanswered frame, which is sent again, produces a later one. */
  restart(seq: number): void {
    for (const pending of this.#frames) if (pending.after) pending.after = Math.min(pending.after, seq);
  }

  /** Takes an `error` frame. Returns false if it answers none of our frames. */
  reject(error: ServerError): boolean {
    const pending = this.#inFlight(error.ref);
    if (!pending) return false;
    pending.inFlight = false;
    // With every other code the server guarantees that nothing was stored.
    pending.maybeStored = error.code === 'internal';
    const delay = error.retryable ? (error.retry_after_ms ?? this.#backoff.next()) : 0;
    const resumeAt = performance.now() + delay;
    const isLong = delay > MAX_PAUSE_MS;
    if (!error.retryable || (pending.delivery === 'once' && (pending.maybeStored || isLong))) {
      this.#fail(pending, DmwireError.from(error));
    } else if (isLong) {
      pending.resumeAt = resumeAt;
      this.#events.onDelayed(pending.frame, delay, DmwireError.from(error));
    } else {
      if (error.code === 'rate_limited') this.#bucket.drain();
      this.#resumeAt = Math.max(this.#resumeAt, resumeAt);
    }
    this.flush();
    return true;
  }

  /** Rejects all unanswered frames with `error`; the durable ones stay in the storage. */
  close(error: DmwireError): void {
    clearTimeout(this.#timer);
    this.#phase = 'down';
    for (const pending of this.#frames) if (!pending.settled) pending.reject(error);
  }

  /** Sends the frames that may be sent now. */
  flush(): void {
    clearTimeout(this.#timer);
    this.#flushes += 1;
    if (this.#isDown()) return;
    const flush = this.#flushes;
    const now = performance.now();
    const delay = this.#resumeAt - now;
    if (delay > 0) return this.#flushIn(delay);
    let nextAt = Number.POSITIVE_INFINITY;
    const busyKeys = new Set<unknown>();
    // Also those of frames that have overtaken an earlier one.
    for (const { inFlight, orderingKey } of this.#frames) {
      if (inFlight && orderingKey !== undefined) busyKeys.add(orderingKey);
    }
    for (const pending of [...this.#frames]) {
      if (flush !== this.#flushes) return;
      const { orderingKey: key, settled, delivery, resumeAt, frame } = pending;
      if (settled) continue;
      const isMembership = isMembershipChange(pending);
      const roomKey = `room ${frame.target_room ?? frame.room}`;
      const isBusy = busyKeys.has(roomKey) || busyKeys.has(key);
      if (isMembership) busyKeys.add(roomKey);
      if (isBusy) continue;
      // A frame that waits for long holds back the changes of its message, and a message all later messages of its conversation.
      // Joining and leaving a room wait for all frames that come before. A deletion waits for its message, but not for other changes
      // of it: the server always accepts it.
      const ownKey = `${key} ${frame.id}`;
      const anyKey = `${key} any`;
      const deleteKey = `${ownKey} delete`;
      let heldKey = frame.type === 'message' ? `${key} *` : ownKey;
      if (frame.type === 'delete') heldKey = deleteKey;
      if (isMembership) heldKey = anyKey;
      if (resumeAt > now || (key !== undefined && busyKeys.has(heldKey))) {
        busyKeys.add(ownKey).add(heldKey).add(anyKey);
        if (frame.type === 'message') busyKeys.add(deleteKey);
        if (resumeAt > now) nextAt = Math.min(nextAt, resumeAt);
        continue;
      }
      if (key !== undefined) busyKeys.add(key);
      if (pending.inFlight || !pending.saved || (delivery === 'durable' && this.#phase !== 'synced')) continue;
      const { text } = pending;
      // The server closes the connection on a frame that is too large.
      const bytes = text.length * 3 > this.#maxBytes ? encoder.encode(text).length : 0;
      if (bytes > this.#maxBytes) {
        const detail = `the frame has ${bytes} bytes, the server allows ${this.#maxBytes}`;
        this.#fail(pending, new DmwireError('too_large', detail));
        if (key !== undefined) busyKeys.delete(key);
        continue;
      }
      const wait = this.#bucket.take();
      if (wait > 0) return this.#flushIn(wait);
      pending.after = this.#events.position() ?? pending.after;
      pending.inFlight = pending.maybeStored = true;
      pending.superseded = false;
      this.#events.send(text);
      if (this.#isDown()) return;
      // `read` has no reply of its own. The server handles frames in order, so the pong confirms it.
      if (frame.type === 'read') this.#events.send(JSON.stringify({ type: 'ping', ref: pending.ref }));
    }
    if (flush === this.#flushes) this.#flushIn(nextAt - now);
  }

  #isDown(): boolean {
    return this.#phase === 'down';
  }

  #flushIn(milliseconds: number): void {
    if (milliseconds < Number.POSITIVE_INFINITY) {
      this.#timer = setTimeout(() => this.flush(), Math.min(milliseconds, MAX_TIMER_MS));
    }
  }

  #create(frame: OutFrame, delivery: Delivery, saved: boolean): PendingFrame {
    this.#refCount += 1;
    return createPending(frame, `${this.#refPrefix}-${this.#refCount}`, delivery, saved);
  }

  #inFlight(ref: unknown): PendingFrame | undefined {
    return this.#frames.find(pending => pending.inFlight && pending.ref === ref);
  }

  #fail(pending: PendingFrame, error: DmwireError): void {
    this.#remove(pending);
    pending.reject(error);
    if (pending.delivery === 'durable') this.#events.onFailed(pending.frame, error);
  }

  #remove(pending: PendingFrame): void {
    this.#frames = this.#frames.filter(other => other !== pending);
    if (pending.delivery === 'durable') this.#events.saveSoon();
  }
}
