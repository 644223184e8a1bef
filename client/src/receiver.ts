import type { Connection } from './connection.js';
import type { Emitter } from './emitter.js';
import { DmwireError } from './errors.js';
import type { ServerError, ServerGoodbye, ServerTruncated, ServerWelcome } from './frames.generated.js';
import type { Inbox, InboxItem } from './inbox.js';
import type { InFrame, Outbox, OutFrame } from './outbox.js';
import type { PendingFrame } from './pending.js';
import { type Persistence, UNKNOWN_EPOCH } from './persistence.js';
import type { Presence } from './presence.js';
import type { Retries } from './retries.js';
import { sha256 } from './sha256.js';

/** Minimum interval between two acknowledgements while many entries are handled. */
const ACKNOWLEDGE_MS = 50;

/** The parts of a client that a {@link Receiver} connects. */
export interface ReceiverParts {
  readonly connection: Connection;
  readonly events: Emitter;
  readonly inbox: Inbox;
  readonly outbox: Outbox;
  readonly persistence: Persistence;
  readonly presence: Presence;
  readonly retries: Retries;
  /** Closes the client, which does not reconnect. */
  fail(error: DmwireError): void;
}

/**
 * Handles the frames of the server: passes log entries to the inbox and replies to the outbox, emits the others as events,
 * and acknowledges the entries that the application has handled.
 */
export class Receiver {
  readonly #parts: ReceiverParts;
  /** The inbox was full, and entries or events `sent` were dropped. The client reconnects to get them once the inbox is empty. */
  #overflowed = false;
  #acknowledgedSeq = 0;
  /** `welcome` has arrived, and the next frame will show whether the server continues the log of our position. */
  #isResuming = false;
  #acknowledgeTimer: ReturnType<typeof setTimeout> | undefined;
  /** Characters of the frame that is being handled. */
  #size = 0;

  constructor(parts: ReceiverParts) {
    this.#parts = parts;
  }

  /** Handles a frame of `size` characters. */
  receive(frame: InFrame, size: number): void {
    const { connection, events, inbox, outbox, persistence } = this.#parts;
    this.#size = size;
    if (this.#isResuming && frame.type !== 'truncated') {
      this.#isResuming = false;
      this.acknowledge();
    }
    switch (frame.type) {
      case 'welcome':
        this.#welcome(frame as unknown as ServerWelcome);
        break;
      case 'synced': {
        const { session } = connection;
        // Without a position the server starts after what this device has acknowledged; if nothing has arrived, that was
        // everything. Without this, entries that another program of the same device acknowledges during a disconnect would
        // be missed.
        if (session && !this.#overflowed) inbox.begin({ epoch: session.epoch, seq: session.seq });
        // A position that this session has defined holds for the next run, too.
        persistence.saveSoon();
        connection.synced();
        for (const pending of outbox.unreported()) this.#report(pending);
        outbox.synced();
        break;
      }
      case 'truncated':
        return this.#truncated(frame as unknown as ServerTruncated);
      case 'ack':
        this.#ack(frame);
        break;
      case 'error':
        if (outbox.reject(frame as unknown as ServerError)) return;
        break;
      case 'goodbye': {
        const goodbye = frame as unknown as ServerGoodbye;
        events.emit('goodbye', goodbye);
        return connection.lost(goodbye.detail, goodbye.code, goodbye);
      }
      default:
        if (frame.ref !== undefined && outbox.resolve(frame)) outbox.flush();
        if (typeof frame.seq === 'number') return this.#entry(frame, frame.seq);
    }
    // Ephemeral messages are queued too, so that they keep their order among the others.
    if (frame.type === 'message') {
      if (events.has('message')) inbox.add('message', frame, size);
    } else events.emit(frame.type, frame);
  }

  /** Passes an inbox item to the application's handlers. */
  async deliver(item: InboxItem): Promise<void> {
    const { events, retries } = this.#parts;
    try {
      if (item.event !== undefined) await events.deliver(item.type, item.event, call => retries.run(call));
    } finally {
      if (item.type === 'sent' && item.event !== undefined && !item.position) {
        this.#parts.outbox.reported((item.event as { frame: OutFrame }).frame);
        this.#dropSettled();
      }
    }
    if (item.type === 'truncated' && (item.event as ServerTruncated).reason === 'reset') {
      this.#parts.outbox.dropSettled(Number.POSITIVE_INFINITY);
    }
  }

  /** The application has handled more entries: saves the position, and acknowledges it now or after an interval. */
  onProgress(): void {
    const { inbox, outbox, persistence } = this.#parts;
    const handled = inbox.handled;
    if (handled) outbox.dropSettled(handled.seq);
    persistence.saveSoon();
    if (this.#acknowledgeTimer !== undefined) return;
    this.acknowledge();
    this.#acknowledgeTimer = setTimeout(() => {
      this.#acknowledgeTimer = undefined;
      this.acknowledge();
    }, ACKNOWLEDGE_MS);
  }

  /** The inbox has nothing to deliver: reconnects if entries were dropped. */
  onIdle(): void {
    const { connection, inbox } = this.#parts;
    if (this.#overflowed && connection.session && inbox.empty) void connection.connect();
  }

  /** Acknowledges the entries that the application has handled. */
  acknowledge(): void {
    const { connection, inbox } = this.#parts;
    const handled = inbox.handled;
    const { session } = connection;
    if (!session || this.#isResuming || !handled || inbox.skipping || handled.epoch !== session.epoch) return;
    if (handled.seq <= this.#acknowledgedSeq) return;
    this.#acknowledgedSeq = handled.seq;
    connection.send(JSON.stringify({ type: 'received', seq: handled.seq }));
  }

  /** Stops all timers. */
  close(): void {
    clearTimeout(this.#acknowledgeTimer);
    this.#parts.retries.stop();
  }

  #welcome(session: ServerWelcome): void {
    const { connection, inbox, outbox, persistence } = this.#parts;
    if (persistence.user !== undefined && persistence.user !== session.user_id) {
      const detail = `the storage belongs to ${persistence.user}, the session to ${session.user_id}`;
      return this.#parts.fail(new DmwireError('wrong_user', detail));
    }
    const { position } = inbox;
    if (position?.epoch === UNKNOWN_EPOCH) inbox.restore({ epoch: session.epoch, seq: position.seq });
    persistence.user = session.user_id;
    // The device name: with another one in each run, the server would have to remember a device for every run.
    persistence.saveSoon();
    this.#overflowed = false;
    this.#acknowledgedSeq = 0;
    this.#isResuming = true;
    connection.welcomed(session);
    // A handler of `state` may have closed the client.
    if (!connection.session) return;
    outbox.welcome(session.limits);
  }

  #truncated(frame: ServerTruncated): void {
    const { connection, inbox, outbox } = this.#parts;
    const { session } = connection;
    if (!session || this.#overflowed) return;
    if (frame.reason === 'reset') outbox.restart(session.seq);
    inbox.skipTo({ epoch: session.epoch, seq: frame.oldest_seq - 1 }, 'truncated', frame);
    this.#isResuming = false;
  }

  #ack(frame: InFrame): void {
    const { outbox, persistence } = this.#parts;
    const pending = outbox.resolve(frame);
    const sent = pending?.frame;
    if (pending) this.#reportEarlier(pending);
    // The event contains the sent frame as well.
    if (pending) this.#size += pending.text.length;
    const event = sent && { frame: sent, ack: frame };
    const seq = typeof frame.seq === 'number' && !frame.duplicate ? frame.seq : undefined;
    // A message to oneself also arrives as `message` with the same `seq`; that one advances the log.
    if (seq === undefined || sent?.target_user === persistence.user) {
      if (pending?.ack) this.#report(pending);
      this.#dropSettled();
    } else {
      if (pending) pending.ack = undefined;
      if (this.#offer(frame, seq, 'sent', event) && pending) pending.reported = true;
    }
    outbox.flush();
  }

  /** Queues the event `sent` for a frame whose answer is not an entry of the log. */
  #report(pending: PendingFrame): void {
    const { frame, ack, text } = pending;
    pending.reported = this.#parts.inbox.add('sent', { frame, ack }, text.length);
    // `synced` of the next connection reports it.
    if (!pending.reported) this.#overflowed = true;
  }

  /** Queues the events `sent` for earlier frames about the same message or membership, which the answer to `later` has settled. */
  #reportEarlier(later: PendingFrame): void {
    for (const pending of this.#parts.outbox.unreported(later)) this.#report(pending);
  }

  /** Drops the settled frames that the application has handled. */
  #dropSettled(): void {
    const { inbox, outbox, persistence } = this.#parts;
    outbox.dropSettled(inbox.handled?.seq ?? Number.POSITIVE_INFINITY);
    persistence.saveSoon();
  }

  #entry(frame: InFrame, seq: number): void {
    const { outbox, persistence } = this.#parts;
    const { user } = persistence;
    if (frame.type === 'erased') return this.#erased(frame, seq);
    if (frame.type === 'skipped') outbox.skipped(seq);
    const author = frame.type === 'room' ? frame.user : frame.from_user;
    // The end of a membership because the room was deleted is no answer to a frame of the user.
    const own = author === user && frame.target_user !== user && frame.reason === undefined && outbox.findEntry(frame);
    if (!own) return void this.#offer(frame, seq, frame.type, frame);
    // The frame was stored, and the connection was lost before its ack, or the ack arrived ahead of its turn. The entry
    // stands for that ack.
    const { id, room } = frame;
    const subject = room === undefined ? { id } : { room };
    const sent_at = timeOf(frame) ?? '';
    const { ref, superseded } = own;
    const ack: InFrame = { type: 'ack', ...subject, ...(!superseded && { seq }), status: 'stored', sent_at, ref };
    if (!own.settled) outbox.settle(own, ack);
    this.#reportEarlier(own);
    this.#size += own.text.length;
    if (superseded) {
      // The entry shows a newer change of another device, which the application does not know yet.
      this.#report(own);
      return void this.#offer(frame, seq, frame.type, frame);
    }
    const event = own.reported ? undefined : { frame: own.frame, ack };
    const answer = own.ack;
    if (!own.reported) own.ack = undefined;
    if (this.#offer(frame, seq, 'sent', event)) own.reported = true;
    // An entry that has come before causes no event.
    else own.ack = answer;
  }

  /** Another user was erased: drops what waits to be sent to that user. */
  #erased(frame: InFrame, seq: number): void {
    const { connection, outbox, presence } = this.#parts;
    const epoch = connection.session?.epoch;
    const is = (user: string) => sha256(`${epoch}:${user}`) === frame.user_hash;
    // An entry that has come before may be about an earlier user of the same name.
    if (!this.#offer(frame, seq, 'erased', { ...frame, is })) return;
    outbox.erase(is, frame.as as string);
    presence.forget(is);
  }

  /** Offers the entry of a frame to the inbox. Returns whether it was accepted. */
  #offer(frame: InFrame, seq: number, type: string, event: unknown): boolean {
    const { connection, inbox } = this.#parts;
    const { session } = connection;
    if (!session || this.#overflowed) return false;
    const id = frame.id as string | undefined;
    const result = inbox.offer({ epoch: session.epoch, seq, id, at: timeOf(frame) }, type, event, this.#size);
    if (result === 'full') this.#overflowed = true;
    if (result === 'gap') connection.lost('an entry of the log is missing');
    return result === 'accepted';
  }
}

/** Returns the time of an entry; `reacted` has none. */
function timeOf(frame: InFrame): string | undefined {
  return (frame.sent_at ?? frame.edited_at ?? frame.deleted_at ?? frame.at) as string | undefined;
}
