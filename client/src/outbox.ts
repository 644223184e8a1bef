import { Backoff } from './backoff.js';
import { DmwireError } from './errors.js';
import type { ServerError } from './frames.generated.js';
import { newId } from './ids.js';
import { Pace } from './pace.js';

/** A frame for the server, of a type that this version of the package need not know. */
export interface OutFrame {
  readonly type: string;
  readonly [field: string]: unknown;
}

/** A frame from the server, of whatever type. */
export interface InFrame {
  readonly type: string;
  readonly [field: string]: unknown;
}

/** How a frame is to be treated until it is answered. */
export type Care =
  /** Kept in the storage, sent in order, sent again until there is an answer. */
  | 'durable'
  /** Sent again until there is an answer, for as long as the program runs. */
  | 'retried'
  /** Sent once: a second time could have a second effect. */
  | 'once';

/** A durable frame as it lies in the storage. */
export interface Kept {
  readonly frame: OutFrame;
  /** It was answered; it stays until the application has handled its own entry in the log. */
  readonly settled?: boolean;
  /** The place of that entry. */
  readonly seq?: number;
  /** How far the log had come when it was given, or last sent: its own entry lies beyond that. */
  readonly after?: number;
}

/** A frame that waits for its answer, or for its own entry in the log. */
export interface Owed {
  /** Its own among all frames, by which its answer is known: an `id` may stand in several conversations. */
  readonly ref: string;
  /** As it was when it was given, whatever becomes of the object that it was made of. */
  readonly frame: OutFrame;
  /** The same, as it goes over the line. */
  readonly text: string;
  readonly care: Care;
  /** Frames of one lane go out one after the other, each when the one before it has been answered. */
  readonly lane: string | undefined;
  saved: boolean;
  sent: boolean;
  settled: boolean;
  seq: number | undefined;
  after: number | undefined;
  /** It may have been stored: it was sent, in this run or in an earlier one. */
  tried: boolean;
  /** Since it was last sent, this user has made another change that may hide it. */
  hidden: boolean;
  /** The application was told that it is stored. */
  told: boolean;
  readonly answer: Promise<InFrame>;
  readonly resolve: (frame: InFrame) => void;
  readonly reject: (error: DmwireError) => void;
}

/** What an {@link Outbox} asks of its client. */
export interface OutboxEvents {
  send(text: string): void;
  /** How far the log has come, if that is known. */
  come(): number | undefined;
  /** Writes {@link Outbox.kept} to the storage; `undefined` if there is none. */
  save(): Promise<void> | undefined;
  /** A durable frame was refused for good. */
  failed(frame: OutFrame, error: DmwireError): void;
}

/** How far a session is: what may be sent. */
export type Readiness =
  | 'down'
  /** Welcomed: questions may be asked. */
  | 'welcomed'
  /** What we had missed is here: what we had sent before and was stored is known, and the rest may be sent. */
  | 'synced';

/** Answered frames that are known as our own when they come in the log: beyond that the log stands still. */
const MOST_SETTLED = 250;

const encoder = new TextEncoder();

/**
 * Everything that waits for an answer, in the order in which it was given. Durable frames are in the storage before they
 * are sent. A lane (a conversation) has one frame under way: were there more, one could be refused for now (the server has
 * too much to do) and the one behind it accepted, and the order would be lost.
 */
export class Outbox {
  readonly #events: OutboxEvents;
  #owed: Owed[] = [];
  #readiness: Readiness = 'down';
  #maxBytes = 0;
  readonly #pace = new Pace();
  readonly #backoff = new Backoff();
  /** Refs are not those of another run either, nor what somebody would give to a raw frame. */
  readonly #run = newId().slice(-6);
  #count = 0;
  #resumeAt = 0;
  #timer: ReturnType<typeof setTimeout> | undefined;

  constructor(events: OutboxEvents) {
    this.#events = events;
  }

  /** Takes over what an earlier run has left. */
  restore(kept: readonly Kept[]): void {
    const before = kept.map(({ frame, settled = false, seq, after }) => {
      const owed = Object.assign(this.#make(frame, 'durable', true), { settled, seq, after, tried: true });
      // Nobody of this run waits for it.
      owed.answer.catch(() => {});
      return owed;
    });
    // What was given to be sent while the storage was being opened stands behind it.
    this.#owed = [...before, ...this.#owed];
  }

  /** What is to lie in the storage. */
  kept(): Kept[] {
    return this.#owed
      .filter(owed => owed.care === 'durable')
      .map(({ frame, settled, seq, after }) => ({
        frame,
        ...(settled && { settled }),
        ...(seq !== undefined && { seq }),
        ...(after !== undefined && { after }),
      }));
  }

  /** Durable frames without an answer. */
  waiting(): OutFrame[] {
    return this.#owed.filter(owed => owed.care === 'durable' && !owed.settled).map(owed => owed.frame);
  }

  /** Adds a frame; gives its answer, or fails with the server's error. */
  add(frame: OutFrame, care: Care): Promise<InFrame> {
    const saving = care === 'durable';
    const owed = this.#make(frame, care, !saving);
    owed.after = this.#events.come();
    this.#owed.push(owed);
    const saved = saving ? this.#events.save() : undefined;
    if (saved) {
      saved.then(
        () => {
          owed.saved = true;
          this.flush();
        },
        cause => this.#refuse(owed, new DmwireError('storage', 'it could not be kept, and was not sent', { cause })),
      );
    } else {
      owed.saved = true;
      this.flush();
    }
    return owed.answer;
  }

  /** The answer of a frame that waits and has the same effect: the same `id` in the same lane. */
  same(frame: OutFrame): Promise<InFrame> | undefined {
    const lane = laneOf(frame);
    return this.#owed.find(owed => owed.lane === lane && !owed.settled && owed.frame.id === frame.id)?.answer;
  }

  /** A session has begun. */
  welcome(limits: { max_frame_bytes: number; messages_per_second: number }): void {
    this.#maxBytes = limits.max_frame_bytes;
    this.#pace.start(limits.messages_per_second);
    this.#resumeAt = 0;
    this.#readiness = 'welcomed';
    this.flush();
  }

  /** The session has given all that we had missed. */
  synced(): void {
    this.#readiness = 'synced';
    this.flush();
  }

  /** The session is over: what was sent and not answered is to be sent again. */
  down(): void {
    this.#readiness = 'down';
    clearTimeout(this.#timer);
    for (const owed of [...this.#owed]) {
      if (owed.sent && owed.care === 'once') {
        this.#refuse(owed, new DmwireError('disconnected', 'the line broke before the answer', { retryable: true }));
      }
      owed.sent = false;
    }
  }

  /** Takes a frame that is not worth waiting for, if it may go at once. */
  offer(frame: OutFrame): boolean {
    if (this.#readiness === 'down' || this.#pace.take() > 0) return false;
    this.#events.send(JSON.stringify(frame));
    return true;
  }

  /** An answer has come. Gives what it answers, if one of ours was waiting. {@link Outbox.flush} is due then. */
  answered(reply: InFrame): Owed | undefined {
    const owed = this.#find(reply.ref);
    if (!owed) return undefined;
    this.#backoff.reset();
    this.settle(owed, reply);
    return owed;
  }

  /** A durable frame's own entry has come in the log: the ack itself, or, had that been lost, what others see of it. */
  findEntry(frame: InFrame): Owed | undefined {
    return this.#owed.find(owed => {
      const { frame: own, settled, seq } = owed;
      const same =
        owed.care === 'durable' &&
        own.target_user === frame.target_user &&
        own.target_room === frame.target_room &&
        own.id === frame.id;
      if (!same || settled) return same && seq === frame.seq;
      // A message has its id to itself. A change is told by what it says, and only where its answer may have been lost.
      if (frame.type === 'message') return own.type === 'message';
      return owed.tried && this.#readiness !== 'synced' && isEntryOf(frame, owed);
    });
  }

  /** The answer to this frame is known. Durable ones stay until {@link Outbox.forget}. */
  settle(owed: Owed, reply: InFrame): void {
    owed.sent = false;
    owed.settled = true;
    owed.seq = typeof reply.seq === 'number' ? reply.seq : undefined;
    if (owed.care !== 'durable' || owed.seq === undefined) this.#remove(owed);
    const settled = this.#owed.filter(other => other.settled);
    // The application takes nothing, or has failed: what is kept, and written each time, must not grow with that.
    if (settled[0] && settled.length > MOST_SETTLED) this.#remove(settled[0]);
    owed.resolve(reply);
  }

  /** The application has handled the log up to `seq`: what was settled up to there is done with. */
  forget(seq: number): void {
    this.#owed = this.#owed.filter(owed => !(owed.settled && (owed.seq ?? 0) <= seq));
  }

  /** The server has refused a frame. False if it was none that waits here. */
  refused(error: ServerError): boolean {
    const owed = this.#find(error.ref);
    if (!owed) return false;
    owed.sent = false;
    // Of any other it is known that nothing was stored.
    owed.tried = error.code === 'internal';
    if (error.retryable && !(owed.care === 'once' && owed.tried)) {
      if (error.code === 'rate_limited') this.#pace.drain();
      const pause = error.retry_after_ms ?? this.#backoff.next();
      this.#resumeAt = Math.max(this.#resumeAt, Date.now() + pause);
    } else {
      this.#refuse(owed, DmwireError.from(error));
    }
    this.flush();
    return true;
  }

  /** Nothing will be answered any more. */
  close(error: DmwireError): void {
    clearTimeout(this.#timer);
    this.#readiness = 'down';
    for (const owed of this.#owed) if (!owed.settled) owed.reject(error);
  }

  /** Sends what may be sent now. */
  flush(): void {
    clearTimeout(this.#timer);
    if (this.#isDown()) return;
    const pause = this.#resumeAt - Date.now();
    if (pause > 0) return this.#flushIn(pause);
    const lanes = new Set<string>();
    for (const owed of [...this.#owed]) {
      const { lane, settled, care } = owed;
      if (settled || (lane !== undefined && lanes.has(lane))) continue;
      if (lane !== undefined) lanes.add(lane);
      if (owed.sent || !owed.saved || (care === 'durable' && this.#readiness !== 'synced')) continue;
      const { text } = owed;
      // The server would hang up on it, each time that it comes.
      const bytes = text.length * 3 > this.#maxBytes ? encoder.encode(text).length : 0;
      if (bytes > this.#maxBytes) {
        const detail = `it takes ${bytes} bytes, the server allows ${this.#maxBytes}`;
        this.#refuse(owed, new DmwireError('too_large', detail));
        if (lane !== undefined) lanes.delete(lane);
        continue;
      }
      const wait = this.#pace.take();
      if (wait > 0) return this.#flushIn(wait);
      owed.after = this.#events.come() ?? owed.after;
      owed.sent = owed.tried = true;
      owed.hidden = false;
      this.#events.send(text);
      if (this.#isDown()) return;
      // `read` has no answer of its own. The pong tells that the server has got as far.
      if (owed.frame.type === 'read') this.#events.send(JSON.stringify({ type: 'ping', ref: owed.ref }));
    }
  }

  #isDown(): boolean {
    return this.#readiness === 'down';
  }

  #flushIn(milliseconds: number): void {
    this.#timer = setTimeout(() => this.flush(), milliseconds);
  }

  #make(given: OutFrame, care: Care, saved: boolean): Owed {
    this.#count += 1;
    const ref = `${this.#run}-${this.#count}`;
    let text: string;
    try {
      text = JSON.stringify({ ...given, ref });
    } catch (cause) {
      throw new DmwireError('invalid_request', `it cannot be written as JSON: ${cause}`, { cause });
    }
    const frame = JSON.parse(text) as OutFrame;
    let resolve!: (frame: InFrame) => void;
    let reject!: (error: DmwireError) => void;
    const answer = new Promise<InFrame>((yes, no) => {
      resolve = yes;
      reject = no;
    });
    const lane = care === 'durable' ? laneOf(frame) : undefined;
    const settled = false;
    return {
      ref,
      frame,
      text,
      care,
      lane,
      saved,
      sent: false,
      settled,
      seq: undefined,
      after: undefined,
      tried: false,
      hidden: false,
      told: false,
      answer,
      resolve,
      reject,
    };
  }

  /** What is under way with this `ref`. */
  #find(ref: unknown): Owed | undefined {
    return this.#owed.find(owed => owed.sent && owed.ref === ref);
  }

  #refuse(owed: Owed, error: DmwireError): void {
    this.#remove(owed);
    owed.reject(error);
    if (owed.care === 'durable') this.#events.failed(owed.frame, error);
  }

  #remove(owed: Owed): void {
    this.#owed = this.#owed.filter(other => other !== owed);
    if (owed.care === 'durable') void this.#events.save()?.catch(() => {});
  }
}

/** What becomes of a frame in the log. */
const ENTRIES: Record<string, string> = { edited: 'edit', deleted: 'delete', reacted: 'react' };

/**
 * Whether an entry of this user, for the same message, is what became of this change, whose answer was lost. Were it sent
 * again, it would undo what came after it.
 */
function isEntryOf(entry: InFrame, owed: Owed): boolean {
  const { frame, after } = owed;
  const seq = entry.seq as number;
  if (ENTRIES[entry.type] !== frame.type || after === undefined || seq <= after) return false;
  if (frame.type === 'react') return frame.emoji === entry.emoji && !frame.remove === !entry.removed;
  if (frame.type === 'delete' || JSON.stringify(frame.message) === JSON.stringify(entry.message)) return true;
  // The replay shows the newest content in the place of all edits. One is that of another device; with a second one, ours
  // is taken to be among them: that it undoes the newer one would be worse.
  const before = owed.hidden;
  owed.hidden = true;
  owed.after = seq;
  return before;
}

/** Where a frame must keep its order: its conversation; read marks by themselves. */
export function laneOf(frame: OutFrame): string {
  return `${frame.type === 'read' ? 'read' : ''} ${frame.target_user ?? ''} ${frame.target_room ?? ''}`;
}
