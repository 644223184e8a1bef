import type { Content, Conversation as ListItem, PastMessage, Reactions } from '../../src/index.js';
import { roomOf } from './peer.js';
import { type Notice, Room } from './room.js';

/** A message as the page shows it. Immutable: a change replaces it. */
export interface Message {
  readonly id: string;
  readonly from: string;
  /** Absent if it was deleted. */
  readonly content?: Content;
  readonly sentAt: string;
  readonly replyTo?: string;
  readonly editedAt?: string;
  readonly deletedAt?: string;
  readonly ephemeral?: boolean;
  readonly reactions: readonly Reactions[];
  /** Position in the order of arrival, if it arrived live; absent if it is from a history page. */
  readonly arrival?: number;
}

/** Converts a message from a frame. */
export function fromFrame(frame: PastMessage & { readonly ephemeral?: boolean }): Message {
  const { message, reply_to, edited_at, deleted_at, ephemeral, reactions } = frame;
  return {
    id: frame.id,
    from: frame.from_user,
    sentAt: frame.sent_at,
    reactions: reactions ?? [],
    ...(message != null && { content: message }),
    ...(reply_to !== undefined && { replyTo: reply_to }),
    ...(edited_at !== undefined && { editedAt: edited_at }),
    ...(deleted_at !== undefined && { deletedAt: deleted_at }),
    ...(ephemeral && { ephemeral }),
  };
}

/** Number of messages kept of a conversation that is not open. */
const KEPT = 200;

/**
 * The conversation with one user or in one room. The log and the answers of the server determine all orders: times may run backwards, because
 * clocks are set.
 */
export class Conversation {
  /** Number of messages and notices that have arrived live, in all conversations. */
  static arrivals = 0;
  /** In log order. Contiguous from the first to the newest message once `loaded`. */
  messages: readonly Message[] = [];
  /** The newest history page has arrived. Before that `messages` holds live messages only. */
  loaded = false;
  /** The server has older messages. */
  more = false;
  /** The newest message according to the list of conversations. */
  last: Message | undefined;
  /** Place in the list, the highest first: the arrival of the newest message, or just before the next one if the list named it. */
  rank = 0;
  unread = 0;
  myRead: string | undefined;
  theirRead: string | undefined;
  theirReceived: string | undefined;
  /** Users who are typing, with the timer that ends it. */
  readonly typing = new Map<string, ReturnType<typeof setTimeout>>();
  /** The first unread message at the time the conversation was opened. */
  firstUnread: string | undefined;
  /** Messages that arrived later than this may be newer than the newest history page. */
  pageAt = 0;
  /** Messages that arrived later than this may be newer than `last`. */
  #lastAt = 0;
  /** How many of `unread` the list may include as well, because `last` has not arrived yet. */
  #uncertain = 0;
  #loading: Promise<void> | undefined;
  /** The history page that is being loaded is of a room that was deleted meanwhile. */
  #isPageDeleted = false;
  /** Changes that arrived while a history page was loading. The page may not include them. */
  #changesWhileLoading: [id: string, change: (message: Message) => Message][] = [];

  /** Absent if the peer is a user. */
  readonly room: Room | undefined;

  /** @param peer The other user, or `#` and the name of the room. */
  constructor(readonly peer: string) {
    const room = roomOf(peer);
    this.room = room === undefined ? undefined : new Room(room);
  }

  /** Resolves when the history page that is being loaded has arrived; undefined if none is. */
  get loading(): Promise<void> | undefined {
    return this.#loading;
  }

  set loading(page: Promise<void> | undefined) {
    this.#loading = page;
    this.#isPageDeleted = false;
    this.#changesWhileLoading = [];
  }

  get newest(): Message | undefined {
    const known = this.messages.at(-1);
    const isNewer = !this.loaded && !isAfter(this.#lastAt)(known) && this.#indexOf(this.last?.id) < 0;
    return isNewer ? (this.last ?? known) : (known ?? this.last);
  }

  find(id: string): Message | undefined {
    return this.messages.find(message => message.id === id);
  }

  /**
   * Merges the item `index` of the list of conversations.
   * @param listAt Number of arrivals when the list was requested. @param pageAt The same for the page with this item.
   */
  mergeListItem(item: ListItem, me: string, index: number, listAt: number, pageAt: number): void {
    if (this.room) {
      Object.assign(this.room, { isMember: true, size: item.members, confirmedAt: listAt, problem: undefined });
    }
    // Only a room may have no message.
    this.last = item.last && fromFrame(item.last);
    const last = this.#indexOf(this.last?.id);
    // The messages that arrived live after the server made the list.
    const after = last < 0 ? this.messages.filter(isAfter(pageAt)) : this.messages.slice(last + 1);
    if (after.length === 0) this.rank = listAt + 1 / (index + 2);
    this.#lastAt = pageAt;
    this.#uncertain = 0;
    const countsAsUnread = (message: Message) => isCounted(message, me);
    const read = this.#indexOf(this.myRead);
    if (read > this.#indexOf(item.my_read)) {
      // The server made the list before it received our read mark.
      this.unread = this.messages.slice(read + 1).filter(countsAsUnread).length;
    } else {
      const added = after.filter(countsAsUnread).length;
      if (last < 0 && this.last) this.#uncertain = added;
      this.unread = item.unread + added;
      this.myRead = item.my_read ?? this.myRead;
    }
    this.mark('read', item.their_read);
    this.mark('received', item.their_received);
  }

  /**
   * Moves the peer's receipt to a message, never backwards. An id that is not in `messages` counts as older than all of them.
   */
  mark(kind: 'read' | 'received', id: string | undefined): void {
    const mark = kind === 'read' ? 'theirRead' : 'theirReceived';
    if (id !== undefined && this.#indexOf(id) >= this.#indexOf(this[mark])) this[mark] = id;
  }

  /** Moves the mark of what a member of the room has read, never backwards. */
  markReadBy(user: string, id: string): void {
    const reads = this.room?.reads;
    if (reads && this.#indexOf(id) >= this.#indexOf(reads.get(user))) reads.set(user, id);
  }

  /** The end of the conversation is visible. Returns the message to report as read; undefined if nothing has to be reported. */
  see(me: string): string | undefined {
    const newest = this.messages.findLast(({ from, ephemeral }) => from !== me && !ephemeral);
    if (!this.loaded) return undefined;
    if (newest && newest.id !== this.myRead) {
      if (this.#indexOf(this.myRead) > this.#indexOf(newest.id)) return undefined;
      this.myRead = newest.id;
      this.unread = 0;
      return newest.id;
    }
    this.unread = 0;
    return undefined;
  }

  /** Moves the user's own read mark to a message. */
  markRead(id: string, me: string): void {
    this.myRead = id;
    const index = this.#indexOf(id);
    const after = this.messages.slice(index + 1).filter(message => isCounted(message, me));
    if (index >= 0) this.unread = Math.min(this.unread, after.length);
    else if (this.last?.id === id) this.unread = 0;
  }

  /** Adds a message from the log, or one of ours that was stored. Returns whether it is new. */
  add(message: Message): boolean {
    Conversation.arrivals += 1;
    const added = { ...message, arrival: Conversation.arrivals };
    const index = this.#indexOf(message.id);
    const known = this.messages[index];
    if (!known) {
      this.messages = [...this.messages, added];
      this.rank = added.arrival;
      return true;
    }
    // A history page may have come before the message. Those behind it that arrived since then are older: the log is in order.
    const isOlder = (other: Message) => known.arrival === undefined && isAfter(this.pageAt)(other);
    const after = this.messages.slice(index + 1);
    this.messages = [
      ...this.messages.slice(0, index),
      ...after.filter(isOlder),
      // A replayed message is up to date except for its reactions, which follow as separate entries.
      { ...added, reactions: known.reactions },
      ...after.filter(other => !isOlder(other)),
    ];
    return false;
  }

  /** A user has joined or left the room. Returns the notice if it is new. */
  addNotice(event: Omit<Notice, 'arrival'>, me: string, size?: number): Notice | undefined {
    const { room } = this;
    if (!room) return undefined;
    Conversation.arrivals += 1;
    const notice = { ...event, arrival: Conversation.arrivals };
    if (!room.add(notice, me, size)) return undefined;
    if (event.event === 'left') this.#stopTyping(event.user);
    if (event.user !== me) return notice;
    // The messages of the time without membership are missing.
    this.loaded = false;
    if (room.isMember) {
      this.rank = notice.arrival;
    } else {
      room.forget();
      this.unread = 0;
      this.myRead = undefined;
      for (const user of [...this.typing.keys()]) this.#stopTyping(user);
    }
    return notice;
  }

  /** Returns the notices by the id of the message that they follow, with an empty id before the first message. */
  get notices(): ReadonlyMap<string, readonly Notice[]> {
    const places = new Map<string, Notice[]>();
    for (const notice of this.room?.notices ?? []) {
      const next = this.messages.findIndex(isAfter(notice.arrival));
      const id = this.messages.at(next < 0 ? -1 : next - 1)?.id ?? '';
      const place = next === 0 ? '' : id;
      // Those before it are not loaded.
      if (place !== '' || !this.more) places.set(place, [...(places.get(place) ?? []), notice]);
    }
    return places;
  }

  /** Adds a message as {@link Conversation.add}, and counts it if it is unread. */
  receive(message: Message, isUnread: boolean): boolean {
    const isNew = this.add(message);
    if (message.id === this.last?.id) {
      // The list has counted it and all before it.
      this.unread = Math.max(0, this.unread - this.#uncertain);
      this.#uncertain = 0;
    } else if (isNew && isUnread) {
      this.unread += 1;
      this.#uncertain += 1;
    }
    return isNew;
  }

  /** The message is being deleted: it no longer counts as unread. Returns false if it is not known whether it did. */
  uncount(id: string, me: string): boolean {
    const index = this.#indexOf(id);
    const message = this.messages[index];
    if (!message || this.unread === 0) return this.unread === 0;
    if (isCounted(message, me) && index > this.#indexOf(this.myRead)) this.unread -= 1;
    return true;
  }

  /** Drops the oldest messages; scrolling loads them again. */
  trim(): void {
    if (this.messages.length <= KEPT) return;
    this.messages = this.messages.slice(-KEPT);
    this.room?.dropBefore(this.messages[0]?.arrival);
    this.more = true;
  }

  /** Changes a message, now and in a history page that is being loaded. */
  change(id: string, change: (message: Message) => Message): void {
    if (this.loading) this.#changesWhileLoading.push([id, change]);
    this.#apply(id, change);
  }

  /**
   * Merges the newest history page. Live messages are in the page or newer. If the page and the known messages do not
   * overlap, those that arrived after the page was requested are newer.
   */
  mergeNewest(page: readonly Message[], more: boolean): void {
    if (this.#isPageDeleted) return;
    const known = this.messages;
    const pageIds = new Set(page.map(({ id }) => id));
    const lastShared = known.findLastIndex(({ id }) => pageIds.has(id));
    let after = known.slice(lastShared + 1);
    if (lastShared < 0 && page.length > 0) after = known.filter(isAfter(this.pageAt));
    const start = known.findIndex(({ id }) => id === page[0]?.id);
    const before = start > 0 && this.loaded ? known.slice(0, start) : [];
    // The page includes all changes but those that have arrived since it was requested.
    const arrivals = new Map(known.map(({ id, arrival }) => [id, arrival]));
    const withArrival = (message: Message): Message => {
      const arrival = arrivals.get(message.id);
      return arrival === undefined ? message : { ...message, arrival };
    };
    this.messages = [...before, ...page.map(withArrival), ...after];
    if (before.length === 0) this.more = more;
    if (this.more) this.room?.dropBefore(this.messages[0]?.arrival);
    this.loaded = true;
    this.#applyChangesWhileLoading();
  }

  /** Merges the history page before the first message. */
  mergeOlder(page: readonly Message[], more: boolean): void {
    if (this.#isPageDeleted) return;
    const known = new Set(this.messages.map(({ id }) => id));
    const older = page.filter(({ id }) => !known.has(id));
    this.messages = [...older, ...this.messages];
    // Without an older message the next request would return the same page.
    this.more = more && older.length > 0;
    this.#applyChangesWhileLoading();
  }

  /** Marks the first unread message, so that the page can scroll to it. */
  markFirstUnread(me: string): void {
    if (!this.loaded || this.unread === 0) return;
    const others = this.messages.filter(({ from }) => from !== me);
    this.firstUnread = others.at(-this.unread)?.id ?? others[0]?.id;
  }

  /** The conversation is no longer open. */
  onClose(): void {
    this.firstUnread = undefined;
    if (this.room?.isMember === false) this.#clear();
    else this.trim();
  }

  /** The room was deleted with all of its messages, also those of a page that is being loaded. */
  onDeleted(): void {
    this.#clear();
    if (this.room) this.room.problem = 'This room was deleted.';
    this.#isPageDeleted = true;
  }

  /** Forgets the messages of a room that the user has left. */
  #clear(): void {
    this.messages = [];
    this.last = undefined;
    this.loaded = this.more = false;
    if (this.room) this.room.notices = [];
  }

  #stopTyping(user: string): void {
    clearTimeout(this.typing.get(user));
    this.typing.delete(user);
  }

  #indexOf(id: string | undefined): number {
    return this.messages.findIndex(message => message.id === id);
  }

  #apply(id: string, change: (message: Message) => Message): void {
    const index = this.#indexOf(id);
    if (index >= 0) this.messages = this.messages.with(index, change(this.messages[index] as Message));
    if (this.last?.id === id) this.last = change(this.last);
  }

  /** Changes are idempotent, so it does not matter whether the page includes them. */
  #applyChangesWhileLoading(): void {
    for (const [id, change] of this.#changesWhileLoading) this.#apply(id, change);
  }
}

/** Whether a message counts as unread until the user has read it. */
export function isCounted({ from, content, ephemeral }: Message, me: string): boolean {
  return from !== me && content !== undefined && !ephemeral;
}

/** Returns a check whether a message arrived later than another one. */
function isAfter(arrival: number): (message: Message | undefined) => boolean {
  return message => (message?.arrival ?? 0) > arrival;
}

/** Returns a message with a user's reaction added or removed. */
export function withReaction(message: Message, emoji: string, user: string, removed: boolean): Message {
  const existing = message.reactions.find(reaction => reaction.emoji === emoji);
  const users = (existing?.users ?? []).filter(other => other !== user);
  if (!removed) users.push(user);
  const changed = { emoji, users };
  const reactions = existing
    ? message.reactions.map(reaction => (reaction === existing ? changed : reaction))
    : [...message.reactions, changed];
  return { ...message, reactions: reactions.filter(({ users }) => users.length > 0) };
}
