import type { OutFrame, PastMessage, ServerMessage, ServerReceipt } from '../../src/index.js';
import { Conversation, fromFrame, isCounted, type Message } from './conversation.js';
import { changedMessage, ownMessage } from './display.js';

/** An `edited`, `deleted` or `reacted` entry of the log. */
export interface ChangeEntry {
  readonly type: string;
  readonly from_user: string;
  readonly id: string;
  readonly target_user?: string;
  readonly removed?: boolean;
}

/** The conversations of a user, updated from the entries of the user's log. */
export class Conversations {
  /** The user name; empty until it is known. */
  me: string;
  readonly #byPeer = new Map<string, Conversation>();

  constructor(me: string) {
    this.me = me;
  }

  [Symbol.iterator](): Iterator<Conversation> {
    return this.#byPeer.values();
  }

  get(peer: string): Conversation | undefined {
    return this.#byPeer.get(peer);
  }

  /** Returns the conversation with a peer and creates it if necessary. */
  with(peer: string): Conversation {
    const conversation = this.#byPeer.get(peer) ?? new Conversation(peer);
    this.#byPeer.set(peer, conversation);
    return conversation;
  }

  /** Returns those with messages and `current`, the ones that the user is `sending` to and with the newest messages first. */
  sorted(current: Conversation | undefined, sending: ReadonlySet<unknown>): Conversation[] {
    const rank = ({ peer, rank }: Conversation) => (sending.has(peer) ? Number.MAX_VALUE : rank);
    return [...this]
      .filter(conversation => conversation === current || conversation.newest || sending.has(conversation.peer))
      .sort((a, b) => rank(b) - rank(a));
  }

  clear(): void {
    this.#byPeer.clear();
  }

  /** Number of unread messages in all conversations. */
  get unread(): number {
    let sum = 0;
    for (const { unread } of this) sum += unread;
    return sum;
  }

  /** Adds a message. Returns undefined for rooms, which this page does not support. */
  onMessage(frame: ServerMessage): { conversation: Conversation; message: Message; isNew: boolean } | undefined {
    const conversation = this.#of(frame);
    if (!conversation) return undefined;
    const message = fromFrame(frame as PastMessage & ServerMessage);
    const isNew = conversation.receive(message, isCounted(message, this.me));
    return { conversation, message, isNew };
  }

  /** Applies a frame of the user that was stored. */
  onSent(frame: OutFrame, time: string, isDuplicate: boolean): void {
    if (typeof frame.target_user !== 'string') return;
    const conversation = this.with(frame.target_user);
    if (frame.type !== 'message') {
      conversation.change(String(frame.id), message => changedMessage(message, frame, this.me, time));
      return;
    }
    const message = ownMessage(frame, this.me, time);
    const known = conversation.find(message.id);
    if (!isDuplicate) conversation.receive(known ?? message, false);
    // It was stored earlier: its history page shows the place.
    else if (!known) conversation.loaded = false;
  }

  /** Applies a change of a message. Returns false if the unread count of its conversation is no longer known. */
  onEntry(entry: ChangeEntry, time: string): boolean {
    const type = { edited: 'edit', deleted: 'delete', reacted: 'react' }[entry.type] ?? '';
    const change = { ...entry, type, ...(entry.removed && { remove: true }) };
    const conversation = this.#of(entry);
    const isKnown = type !== 'delete' || conversation?.uncount(entry.id, this.me);
    conversation?.change(entry.id, message => changedMessage(message, change, entry.from_user, time));
    return isKnown !== false;
  }

  onReceipt({ kind, by_user, target_user, id }: ServerReceipt): void {
    if (target_user === undefined) return;
    const conversation = this.with(target_user);
    if (by_user !== this.me) return conversation.mark(kind, id);
    // Read on another device of the user.
    if (kind === 'read') conversation.markRead(id, this.me);
  }

  /** Returns the conversation of an entry; undefined for rooms. */
  #of(frame: { from_user: string; target_user?: string }): Conversation | undefined {
    if (frame.target_user === undefined) return undefined;
    return this.with(frame.from_user === this.me ? frame.target_user : frame.from_user);
  }
}
