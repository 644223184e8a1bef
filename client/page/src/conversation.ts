import type { Content, Conversation as Listed, PastMessage, Reactions } from '../../src/index.js';

/** A message as the page shows it. Replaced when it changes, never changed. */
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
}

/** A message as the server tells of it. */
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

/** Messages that are kept of a conversation that nobody looks at. */
const KEPT = 200;

/** What is known of the talk with one user. */
export class Conversation {
  /** In the order of the log: without a gap from the first one to the newest, once `loaded`. */
  messages: readonly Message[] = [];
  /** The newest page of history is here; before that `messages` has only what came live. */
  loaded = false;
  /** The server has older ones. */
  more = false;
  /** The newest message, as the list of conversations told. */
  last: Message | undefined;
  unread = 0;
  myRead: string | undefined;
  theirRead: string | undefined;
  theirReceived: string | undefined;
  typing = false;
  typingTimer: ReturnType<typeof setTimeout> | undefined;
  /** The first message that was unread when the conversation was opened. */
  firstUnread: string | undefined;
  #loading: Promise<void> | undefined;
  /** What was changed while that page was on its way, which may not have it. */
  #meanwhile: [id: string, change: (message: Message) => Message][] = [];

  constructor(readonly peer: string) {}

  /** A page of history, while it is on its way. */
  get loading(): Promise<void> | undefined {
    return this.#loading;
  }

  set loading(page: Promise<void> | undefined) {
    this.#loading = page;
    this.#meanwhile = [];
  }

  get newest(): Message | undefined {
    const known = this.messages.at(-1);
    if (known && this.last && this.last.sentAt > known.sentAt && !this.loaded) return this.last;
    return known ?? this.last;
  }

  find(id: string): Message | undefined {
    return this.messages.find(message => message.id === id);
  }

  /** Takes what the list of conversations says, now. */
  list(item: Listed, me: string): void {
    this.last = fromFrame(item.last);
    const at = (id: string | undefined) => this.messages.findIndex(message => message.id === id);
    const others = ({ from, content, ephemeral }: Message) => from !== me && content !== undefined && !ephemeral;
    const read = at(this.myRead);
    if (read > at(item.my_read)) {
      // The list was made before the server heard of our mark.
      this.unread = this.messages.slice(read + 1).filter(others).length;
    } else {
      // What has come live while the answer was under way is not in it.
      const last = at(item.last.id);
      this.unread = item.unread + (last < 0 ? 0 : this.messages.slice(last + 1).filter(others).length);
      this.myRead = item.my_read ?? this.myRead;
    }
    this.mark('read', item.their_read);
    this.mark('received', item.their_received);
  }

  /** The other side has come as far as this. It never goes back: what is not among the messages here is older than they. */
  mark(kind: 'read' | 'received', id: string | undefined): void {
    const mark = kind === 'read' ? 'theirRead' : 'theirReceived';
    const at = (id: string | undefined) => this.messages.findIndex(message => message.id === id);
    if (id !== undefined && at(id) >= at(this[mark])) this[mark] = id;
  }

  /** A message has come in the log, or ours was stored. True if it was not known. */
  add(message: Message): boolean {
    const at = this.messages.findIndex(({ id }) => id === message.id);
    if (at >= 0) {
      // A replay shows the present, but no reactions: those follow.
      const known = this.messages[at] as Message;
      this.messages = this.messages.with(at, { ...message, reactions: known.reactions });
      return false;
    }
    this.messages = [...this.messages, message];
    return true;
  }

  /** Our own, of which only now is told that it was stored at that time. */
  insert(message: Message): void {
    if (this.find(message.id)) return;
    const at = this.messages.findLastIndex(({ sentAt }) => sentAt <= message.sentAt) + 1;
    // Older than what is here: it comes with the page that it is on. Here it would hide those between.
    if (at === 0 && this.more) return;
    this.messages = this.messages.toSpliced(at, 0, message);
  }

  /** Lets go of the oldest messages: they come back by scrolling. */
  trim(): void {
    if (this.messages.length <= KEPT) return;
    this.messages = this.messages.slice(-KEPT);
    this.more = true;
  }

  /** Changes a message, where it is known, and also as a page of history gives it that was made before. */
  change(id: string, change: (message: Message) => Message): void {
    if (this.loading) this.#meanwhile.push([id, change]);
    this.#apply(id, change);
  }

  #apply(id: string, change: (message: Message) => Message): void {
    const at = this.messages.findIndex(message => message.id === id);
    if (at >= 0) this.messages = this.messages.with(at, change(this.messages[at] as Message));
    if (this.last?.id === id) this.last = change(this.last);
  }

  /**
   * Takes the newest page of history. What came live stands behind it, or is in it. Where the two do not touch, what was
   * there lies on one side of the page, and only then the time has to tell on which.
   */
  takeNewest(page: readonly Message[], more: boolean): void {
    const known = this.messages;
    const places = new Map(page.map((message, at) => [message.id, at]));
    const shared = known.findLastIndex(({ id }) => places.has(id));
    const end = page.at(-1);
    let behind = known.slice(shared + 1);
    if (shared < 0 && end) behind = known.filter(({ sentAt }) => sentAt >= end.sentAt);
    const start = known.findIndex(({ id }) => id === page[0]?.id);
    const before = start > 0 && this.loaded ? known.slice(0, start) : [];
    const byId = new Map(known.map(message => [message.id, message]));
    this.messages = [...before, ...page.map(message => newer(message, byId.get(message.id))), ...behind];
    if (before.length === 0) this.more = more;
    this.loaded = true;
    this.#catchUp();
  }

  /** Takes the page before the first message. */
  takeOlder(page: readonly Message[], more: boolean): void {
    const known = new Set(this.messages.map(({ id }) => id));
    const older = page.filter(({ id }) => !known.has(id));
    this.messages = [...older, ...this.messages];
    // From the same place the same page would come again.
    this.more = more && older.length > 0;
    this.#catchUp();
  }

  /** Changes what the page has brought as it was changed while the page was on its way. Twice is like once. */
  #catchUp(): void {
    for (const [id, change] of this.#meanwhile) this.#apply(id, change);
  }
}

/** The one of two accounts of a message that is further on. */
function newer(told: Message, known: Message | undefined): Message {
  if (!known) return told;
  const changed = (message: Message) => message.deletedAt ?? message.editedAt ?? '';
  return changed(known) > changed(told) ? known : told;
}

/** A message with somebody's reaction added or removed. */
export function withReaction(message: Message, emoji: string, user: string, removed: boolean): Message {
  const mine = message.reactions.find(reaction => reaction.emoji === emoji);
  const users = (mine?.users ?? []).filter(other => other !== user);
  if (!removed) users.push(user);
  const changed = { emoji, users };
  const reactions = mine
    ? message.reactions.map(reaction => (reaction === mine ? changed : reaction))
    : [...message.reactions, changed];
  return { ...message, reactions: reactions.filter(({ users }) => users.length > 0) };
}
