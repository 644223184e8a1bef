import { DmwireError } from './errors.js';

/** A frame for the server, possibly of a type that this version of the package does not know. */
export interface OutFrame {
  readonly type: string;
  readonly [field: string]: unknown;
}

/** A frame from the server, possibly of a type that this version of the package does not know. */
export interface InFrame {
  readonly type: string;
  readonly [field: string]: unknown;
}

/** Delivery guarantee of a frame. */
export type Delivery =
  /** Stored, sent in order, and sent again until it is answered, across restarts. */
  | 'durable'
  /** Sent again until it is answered, while the program runs. */
  | 'retried'
  /** Sent once, because a second time could have a second effect. */
  | 'once';

/** A durable frame as it is stored. The field names are part of the stored format. */
export interface OutboxRecord {
  readonly frame: OutFrame;
  /** The frame was answered. The record stays until the application has handled the log entry that the frame produced. */
  readonly settled?: boolean;
  /** `seq` of that entry. */
  readonly seq?: number;
  /** The answer, until the application has handled the event `sent`. Absent if the entry causes that event. */
  readonly ack?: InFrame;
  /** `seq` up to which the log had arrived when the frame was last sent, or saved without being sent. Its own entry has a higher one. */
  readonly after?: number;
  /** The replay has shown an entry that may be that of the frame, and superseded. */
  readonly superseded?: boolean;
}

/** A frame in the outbox: it waits for its answer, or for the log entry that it produced. */
export interface PendingFrame {
  /** Unique among all frames. It identifies the answer; an `id` does not, as it may occur in several conversations. */
  readonly ref: string;
  /** A copy of the frame, independent of the caller's object. */
  readonly frame: OutFrame;
  /** The frame as it is sent. */
  readonly text: string;
  readonly delivery: Delivery;
  /** Frames with the same key are sent one after the other, each after the answer to the previous one. */
  readonly orderingKey: string | undefined;
  saved: boolean;
  /** Sent on the current connection and not answered. */
  inFlight: boolean;
  settled: boolean;
  seq: number | undefined;
  /** The answer, until the application has handled the event `sent`. Absent if the log entry causes that event. */
  ack: InFrame | undefined;
  after: number | undefined;
  /** It is not sent before this time by `performance.now()`. */
  resumeAt: number;
  /** The server may have stored it: it was sent, in this run or an earlier one. */
  maybeStored: boolean;
  /** The replay has shown a `skipped` entry that may be its own: it may have been stored, and superseded by a newer change. */
  superseded: boolean;
  /** The event `sent` for it is queued for the application. */
  reported: boolean;
  readonly answer: Promise<InFrame>;
  readonly resolve: (frame: InFrame) => void;
  readonly reject: (error: DmwireError) => void;
}

/** Creates the outbox entry for a frame. Throws if the frame cannot be written as JSON. */
export function createPending(given: OutFrame, ref: string, delivery: Delivery, saved: boolean): PendingFrame {
  let text: string;
  try {
    text = JSON.stringify({ ...given, ref });
  } catch (cause) {
    throw new DmwireError('invalid_request', `cannot be written as JSON: ${cause}`, { cause });
  }
  const frame = JSON.parse(text) as OutFrame;
  let resolve!: (frame: InFrame) => void;
  let reject!: (error: DmwireError) => void;
  const answer = new Promise<InFrame>((fulfill, fail) => {
    resolve = fulfill;
    reject = fail;
  });
  return {
    ref,
    frame,
    text,
    delivery,
    orderingKey: delivery === 'durable' ? orderingKey(frame) : undefined,
    saved,
    inFlight: false,
    settled: false,
    seq: undefined,
    ack: undefined,
    after: undefined,
    resumeAt: 0,
    maybeStored: false,
    superseded: false,
    reported: false,
    answer,
    resolve,
    reject,
  };
}

/** Returns the key within which a frame keeps its order: its conversation, with read marks apart. */
export function orderingKey(frame: OutFrame): string {
  return `${frame.type === 'read' ? 'read' : ''} ${frame.target_user ?? ''} ${frame.target_room ?? frame.room ?? ''}`;
}

/** Whether the frame joins or leaves a room and waits for its answer. No later frame for the room may overtake it. */
export function isMembershipChange({ frame, delivery, settled }: PendingFrame): boolean {
  return delivery === 'durable' && frame.room !== undefined && !settled;
}

/** Whether the frame changes the content or a reaction of a message. Its deletion removes both. */
export function isReplaceable({ type }: OutFrame): boolean {
  return type === 'edit' || type === 'react';
}

/** Whether two durable frames are about the same message, or about the membership of the same room. */
export function hasSameSubject(a: PendingFrame, b: PendingFrame): boolean {
  return a.orderingKey !== undefined && a.orderingKey === b.orderingKey && a.frame.id === b.frame.id;
}

/**
 * Whether a frame needs no answer of its own once a later one is stored. A later change of the same membership was sent after the
 * answer, which was lost when an earlier run ended. A deletion overtakes changes of its message that wait for long.
 */
export function isSettledBy(pending: PendingFrame, later: PendingFrame): boolean {
  if (pending.settled || !hasSameSubject(pending, later)) return false;
  return isMembershipChange(pending) || (later.frame.type === 'delete' && isReplaceable(pending.frame));
}

/** Types of changes by the type of their log entry. */
const CHANGES: Record<string, string> = {
  edited: 'edit',
  deleted: 'delete',
  reacted: 'react',
  joined: 'join',
  left: 'leave',
};

/**
 * Whether a log entry by this user for the same message or room was produced by this change, whose answer was lost. Sending
 * the change again would undo later changes.
 */
export function isEntryOf(entry: InFrame, pending: PendingFrame): boolean {
  const { frame, after } = pending;
  const type = (entry.type === 'room' ? entry.event : entry.type) as string;
  if (CHANGES[type] !== frame.type || after === undefined || (entry.seq as number) <= after) return false;
  if (frame.emoji !== entry.emoji) return false;
  const isSame =
    frame.type === 'delete' ||
    (!frame.remove === !entry.removed && JSON.stringify(frame.message) === JSON.stringify(entry.message));
  // The entry of another change, and ours may have been superseded before it: undoing a newer change would be worse than losing
  // ours.
  if (isSame) pending.superseded = false;
  return pending.superseded || isSame;
}
