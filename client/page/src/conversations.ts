import type { OutFrame, PastMessage, ServerMessage, ServerReceipt, ServerRoom } from '../../src/index.js';
import { Conversation, fromFrame, isCounted, type Message } from './conversation.js';
import { changedMessage, ownMessage } from './display.js';
import { peerOf, peerOfRoom } from './peer.js';
import type { Notice } from './room.js';

/** An `edited`, `deleted` or `reacted` entry of the log. */
export interface ChangeEntry {
  readonly type: string;
  readonly from_user: string;
  readonly id: string;
  readonly target_user?: string;
  readonly target_room?: string;
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

  /**
   * Returns those with messages, the rooms of the user, and `current`. The ones that the user is `sending` to and with the newest
   * messages come first.
   */
  sorted(current: Conversation | undefined, sending: ReadonlySet<unknown>): Conversation[] {
    const rank = ({ peer, rank }: Conversation) => (sending.has(peer) ? Number.MAX_VALUE : rank);
    const isListed = ({ peer, room, newest }: Conversation) =>
      sending.has(peer) || (room?.isMember ?? newest !== undefined);
    return [...this]
      .filter(conversation => conversation === current || isListed(conversation))
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

  onMessage(frame: ServerMessage): { conversation: Conversation; message: Message; isNew: boolean } {
    const conversation = this.#of(frame);
    const message = fromFrame(frame as PastMessage & ServerMessage);
    const isNew = conversation.receive(message, isCounted(message, this.me));
    return { conversation, message, isNew };
  }

  /** Applies a frame of the user that was stored. */
  onSent(frame: OutFrame, time: string, isDuplicate: boolean): void {
    const peer = peerOf(frame);
    if (peer === undefined) return;
    const conversation = this.with(peer);
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
    const isKnown = type !== 'delete' || conversation.uncount(entry.id, this.me);
    conversation.change(entry.id, message => changedMessage(message, change, entry.from_user, time));
    return isKnown;
  }

  onReceipt({ kind, by_user, target_user, target_room, id }: ServerReceipt): void {
    const peer = peerOf({ target_user, target_room });
    if (peer === undefined) return;
    const conversation = this.with(peer);
    if (by_user !== this.me)
      return conversation.room ? conversation.markReadBy(by_user, id) : conversation.mark(kind, id);
    // Read on another device of the user.
    if (kind === 'read') conversation.markRead(id, this.me);
  }

  /** A user has joined or left a room. Returns the notice if it is new. */
  onRoom(frame: Omit<ServerRoom, 'type' | 'members'>, size?: number): { conversation: Conversation; notice?: Notice } {
    const { room, seq, event, user, at, reason } = frame;
    const conversation = this.with(peerOfRoom(room));
    const notice = conversation.addNotice({ seq, event, user, at }, this.me, size);
    if (notice && reason) conversation.onDeleted();
    return { conversation, ...(notice && { notice }) };
  }

  /** The list of conversations, requested after `listAt` arrivals, was loaded to its end: the user has left the rooms that it lacks. */
  onListEnd(listAt: number): void {
    for (const { room } of this) if (room?.isMember && room.confirmedAt < listAt) room.isMember = false;
  }

  /** Returns the conversation of an entry. */
  #of(frame: { from_user: string; target_user?: string; target_room?: string }): Conversation {
    const isRoom = frame.target_room !== undefined;
    return this.with((isRoom || frame.from_user === this.me ? peerOf(frame) : undefined) ?? frame.from_user);
  }
}
