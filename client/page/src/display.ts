import type { Content, OutFrame } from '../../src/index.js';
import { type Conversation, type Message, withReaction } from './conversation.js';
import { peerOf } from './peer.js';
import type { Notice } from './room.js';
import type { FailedMessage } from './unsent.js';

/** Delivery state of a message; `theirs` for the messages of others. In a room, `read` means by at least one member. */
export type Delivery = 'offline' | 'sending' | 'failed' | 'relayed' | 'stored' | 'received' | 'read' | 'theirs';

/** A message with its delivery state. */
export interface DisplayedMessage {
  readonly message: Message;
  readonly delivery: Delivery;
  /** Why it failed, for the user. */
  readonly error?: string;
  /** A limit of the server delays it until this time of `performance.now()`. */
  readonly until?: number | undefined;
  /** An edit, deletion or reaction of ours is not stored yet. */
  readonly changing: boolean;
  /** The members of the room who have read it, as far as known. */
  readonly readers?: readonly string[] | undefined;
}

/** Frames of the user that are not part of the log. */
export interface Unsent {
  /** User name of the client. */
  readonly me: string;
  readonly isOnline: boolean;
  /** Frames without an ack. */
  readonly outgoing: readonly OutFrame[];
  /** Times of `performance.now()` until which the server delays some of them, by `ref`. */
  readonly delayed: ReadonlyMap<unknown, number>;
  /** Rejected messages. */
  readonly failed: readonly FailedMessage[];
}

/** Returns the messages of a conversation as displayed: the log with pending changes, then unsent messages, and failed ones at their places. */
export function displayedMessages(conversation: Conversation, unsent: Unsent): DisplayedMessage[] {
  const { me } = unsent;
  const frames = unsent.outgoing.filter(frame => peerOf(frame) === conversation.peer);
  const messages: Message[] = [...conversation.messages];
  const waiting = new Map<string, number | undefined>();
  let until: number | undefined;
  for (const frame of frames) {
    if (frame.type !== 'message' || conversation.find(String(frame.id))) continue;
    messages.push(ownMessage(frame, me, ''));
    // Those behind a delayed one wait for it.
    until = unsent.delayed.get(frame.ref) ?? until;
    waiting.set(String(frame.id), until);
  }
  const changing = new Set<string>();
  for (const frame of frames) {
    const index = frame.type === 'message' ? -1 : messages.findIndex(({ id }) => id === frame.id);
    const message = messages[index];
    if (!message || !['edit', 'delete', 'react'].includes(frame.type)) continue;
    messages[index] = changedMessage(message, frame, me, '');
    changing.add(message.id);
  }
  const indexOf = (id: string | undefined) =>
    id === undefined ? -1 : messages.findIndex(message => message.id === id);
  const read = indexOf(conversation.theirRead);
  const received = Math.max(read, indexOf(conversation.theirReceived));
  const reads = [...(conversation.room?.reads ?? [])]
    .filter(([user]) => user !== me)
    .map(([user, id]) => ({ user, at: indexOf(id) }));
  const displayed = messages.map((message, i): DisplayedMessage => {
    const readers = message.from === me ? reads.filter(({ at }) => i <= at).map(({ user }) => user) : [];
    let delivery: Delivery = 'stored';
    if (message.from !== me) delivery = 'theirs';
    else if (waiting.has(message.id)) delivery = unsent.isOnline ? 'sending' : 'offline';
    else if (message.ephemeral) delivery = 'relayed';
    else if (conversation.peer === me) delivery = 'stored';
    else if (i <= read || readers.length > 0) delivery = 'read';
    else if (i <= received) delivery = 'received';
    return { message, delivery, changing: changing.has(message.id), until: waiting.get(message.id), readers };
  });
  for (const { frame, code, detail, after } of unsent.failed) {
    const id = String(frame.id);
    if (peerOf(frame) !== conversation.peer) continue;
    // It had reached the server before the client was closed.
    if (code === 'closed' && conversation.find(id)) continue;
    const message = ownMessage(frame, me, timeOf(id));
    let index = displayed.findLastIndex(({ message, delivery }) =>
      after === undefined ? !waiting.has(message.id) && delivery !== 'failed' : message.id === after,
    );
    // The place is in the history that is not loaded.
    const { newest } = conversation;
    if (index < 0 && after !== undefined && !conversation.loaded && newest && newest.id !== after) continue;
    const error = errorText(conversation.peer, code, detail);
    while (displayed[index + 1]?.delivery === 'failed') index += 1;
    displayed.splice(index + 1, 0, { message, delivery: 'failed', error, changing: false });
  }
  return displayed;
}

/**
 * Returns the id of the message that an unsent one follows, except for ephemeral ones, which the history does not contain: empty
 * if it is the first one, undefined while that is not known.
 */
export function placeOf(
  id: string,
  displayed: readonly DisplayedMessage[],
  conversation: Conversation,
): string | undefined {
  const index = displayed.findIndex(({ message }) => message.id === id);
  const before = index < 0 ? displayed : displayed.slice(0, index);
  const last = before.findLast(({ message }) => !message.ephemeral);
  return (last?.message ?? conversation.newest)?.id ?? (conversation.loaded ? '' : undefined);
}

/** Returns the time at which a message was written, from its id (a UUID version 7): it has no time of the server. */
function timeOf(id: string): string {
  return new Date(Number.parseInt(id.slice(0, 13).replace('-', ''), 16) || 0).toISOString();
}

/** Converts a frame of the user to a message. */
export function ownMessage(frame: OutFrame, me: string, sentAt: string): Message {
  return {
    id: String(frame.id),
    from: me,
    content: frame.message as Content,
    sentAt,
    reactions: [],
    ...(frame.reply_to !== undefined && { replyTo: String(frame.reply_to) }),
  };
}

/** Applies an `edit`, `delete` or `react` frame by `user` to a message. */
export function changedMessage(message: Message, frame: OutFrame, user: string, time: string): Message {
  if (message.deletedAt !== undefined && frame.type !== 'delete') return message;
  switch (frame.type) {
    case 'edit':
      return { ...message, content: frame.message as Content, editedAt: time };
    case 'delete': {
      const { content: _, ...rest } = message;
      return { ...rest, deletedAt: time, reactions: [] };
    }
    case 'react':
      return withReaction(message, String(frame.emoji), user, frame.remove === true);
    default:
      return message;
  }
}

/** Texts of the page for error codes. */
const ERRORS: Record<string, string> = {
  not_member: 'You are not a member of this room.',
  room_full: 'This room is full.',
  unknown_room: 'This server has no rooms.',
};

/** Returns the text for an error; the server's detail unless the page has its own text for the code. */
export function errorText(peer: string, code: string, detail: string): string {
  return code === 'blocked' ? `${peer} has blocked you.` : (ERRORS[code] ?? detail);
}

/** Returns who has read a message of a room with `size` members, as a text for the user; empty for nobody. */
export function readersText(readers: readonly string[], size: number | undefined): string {
  if (readers.length === 0) return '';
  if (readers.length > 1 && size !== undefined && readers.length >= size - 1) return 'Read by all';
  return `Read by ${readers.length > 3 ? `${readers.length} members` : readers.join(', ')}`;
}

/** Returns the text of a notice in a room. */
export function noticeText({ user, event }: Notice, me: string): string {
  return `${user === me ? 'You' : user} ${event}`;
}
