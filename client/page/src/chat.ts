import {
  type Client,
  type ClientFrame,
  type Content,
  connect,
  DmwireError,
  newId,
  type OutFrame,
  type PastMessage,
  type ServerConversations,
  type ServerHistory,
  type ServerMessage,
  type ServerReceipt,
  type State,
  type Storage,
  type WebSocketClass,
  webStorage,
} from '../../src/index.js';
import { Blocks } from './blocks.js';
import { Conversation, fromFrame, type Message, withReaction } from './conversation.js';
import { FrameLog } from './frames.js';
import { type Identity, isUser, keyOf, tab } from './identity.js';

/** How often to say that we are typing, and how long to believe it of others: nobody is sure to say that they have stopped. */
const TYPING_EVERY_MS = 3000;
const TYPING_LASTS_MS = 5000;
/** Several frames written by hand are asked about once. */
export const RAW_DONE_MS = 40;
/** Conversations to ask for at once. */
const LISTED = 100;
const PAGE = 50;
/** As many as may be asked for (PROTOCOL section 4). */
const MOST = 200;

/** How far a message is. */
export type Delivery = 'offline' | 'sending' | 'failed' | 'relayed' | 'stored' | 'received' | 'read' | 'theirs';

/** A message with what the page knows beyond the log. */
export interface Shown {
  readonly message: Message;
  readonly delivery: Delivery;
  /** Why it failed, in words for people. */
  readonly error?: string;
  /** An edit, a deletion or a reaction of ours is not stored yet. */
  readonly changing: boolean;
}

/** A message that was refused, kept until the user sends it again or lets it go. */
interface Failed {
  readonly frame: OutFrame;
  readonly code: string;
  readonly detail: string;
}

/** What the line to the server is doing, in the page's words. */
export type LineState =
  | { readonly is: 'connecting' | 'catching up' | 'open' }
  | { readonly is: 'waiting'; readonly until: number; readonly reason: string }
  | { readonly is: 'closed'; readonly reason: string; readonly code: number | string };

export interface ChatOptions {
  readonly url: string;
  readonly identity: Identity;
  readonly storage?: Storage | undefined;
  readonly WebSocket?: WebSocketClass;
}

/**
 * All that the page knows of one user, told by the server and by the outbox. It never asks the page to show anything in
 * particular: it changes, says so, and is looked at.
 */
export class Chat {
  readonly frames = new FrameLog();
  readonly conversations = new Map<string, Conversation>();
  line: LineState = { is: 'connecting' };
  /** The line was lost and is not back. */
  down = false;
  /** The list of conversations is here, or its newest part. */
  listed = false;
  /** The server has older ones. */
  hasMore = false;
  /** They are on their way. */
  listing = false;
  /** Something to tell the user that belongs to no message. */
  notice: string | undefined;
  current: Conversation | undefined;
  /** The user; known from the beginning or from the server's welcome. */
  me: string;

  readonly #options: ChatOptions;
  readonly #listeners = new Set<() => void>();
  /** Marks of frames that the user has written by hand, and that are not answered. */
  readonly #raw = new Set<string>();
  readonly #arrivals = new Set<(conversation: Conversation, message: Message) => void>();
  #client!: Client;
  /** What was given to be sent and is not told to be stored yet, by its `ref`. */
  #outgoing: OutFrame[] = [];
  #failed: Failed[] = [];
  #lastTyping = 0;
  #reloading: ReturnType<typeof setTimeout> | undefined;
  /** Where the list goes on, and how long it is up to there. */
  #cursor: string | undefined;
  #reach = 0;
  #blocks: Blocks;
  /** Whom the server has been asked to block, or to block no longer, and has not answered. */
  readonly #blocking = new Set<string>();

  constructor(options: ChatOptions) {
    this.#options = options;
    this.me = options.identity.user ?? '';
    this.#failed = this.#restoreFailed();
    this.#blocks = new Blocks(this.me, options.url);
    this.#connect();
  }

  /** Calls back whenever something has changed; gives the function that ends that. */
  onChange(listener: () => void): () => void {
    this.#listeners.add(listener);
    return () => void this.#listeners.delete(listener);
  }

  /** Calls back for each message of somebody else that comes while the page is there. */
  onArrival(listener: (conversation: Conversation, message: Message) => void): () => void {
    this.#arrivals.add(listener);
    return () => void this.#arrivals.delete(listener);
  }

  get unread(): number {
    let sum = 0;
    for (const { unread } of this.conversations.values()) sum += unread;
    return sum;
  }

  /** Those with the newest messages first. */
  get inOrder(): Conversation[] {
    const when = (conversation: Conversation) =>
      this.#outgoing.some(frame => frame.target_user === conversation.peer) ? '~' : (conversation.newest?.sentAt ?? '');
    return [...this.conversations.values()]
      .filter(conversation => conversation === this.current || when(conversation) !== '')
      .sort((a, b) => (when(a) < when(b) ? 1 : when(a) > when(b) ? -1 : 0));
  }

  /** A conversation as it is on show: the log, what waits to be sent, and what was refused. */
  shown(conversation: Conversation): Shown[] {
    const mine = this.#outgoing.filter(frame => frame.target_user === conversation.peer);
    const messages: Message[] = [...conversation.messages];
    const waiting = new Set<string>();
    for (const frame of mine) {
      if (frame.type !== 'message' || conversation.find(String(frame.id))) continue;
      messages.push(this.#own(frame, ''));
      waiting.add(String(frame.id));
    }
    const changing = new Set<string>();
    for (const frame of mine) {
      const at = frame.type === 'message' ? -1 : messages.findIndex(({ id }) => id === frame.id);
      const message = messages[at];
      if (!message || !['edit', 'delete', 'react'].includes(frame.type)) continue;
      messages[at] = this.#changed(message, frame, '');
      changing.add(message.id);
    }
    const at = (id: string | undefined) => (id === undefined ? -1 : messages.findIndex(message => message.id === id));
    const read = at(conversation.theirRead);
    const received = Math.max(read, at(conversation.theirReceived));
    const shown = messages.map((message, i): Shown => {
      let delivery: Delivery = 'stored';
      if (message.from !== this.me) delivery = 'theirs';
      else if (waiting.has(message.id)) delivery = this.line.is === 'open' ? 'sending' : 'offline';
      else if (message.ephemeral) delivery = 'relayed';
      else if (conversation.peer === this.me) delivery = 'stored';
      else if (i <= read) delivery = 'read';
      else if (i <= received) delivery = 'received';
      return { message, delivery, changing: changing.has(message.id) };
    });
    for (const { frame, code, detail } of this.#failed) {
      if (frame.target_user !== conversation.peer) continue;
      // It had come to the server all the same.
      if (code === 'closed' && conversation.find(String(frame.id))) continue;
      const error = reason(conversation.peer, code, detail);
      shown.push({ message: this.#own(frame, ''), delivery: 'failed', error, changing: false });
    }
    return shown;
  }

  // ---- What the user does ----

  open(peer: string): void {
    if (!isUser(peer) || this.current?.peer === peer) return;
    this.#close();
    this.current = this.#with(peer);
    this.#markFirstUnread(this.current);
    this.#lastTyping = 0;
    // Before the list has come it is not known what is unread, and so where to begin; the list then asks for it.
    if (!this.current.loaded && this.listed) void this.#load(this.current);
    this.#change();
  }

  leave(): void {
    this.#close();
    this.current = undefined;
    this.#change();
  }

  send(peer: string, content: Content, replyTo?: string, id: string = newId()): void {
    const given = this.#client.send(peer, content, { id, ...(replyTo !== undefined && { replyTo }) });
    this.#given(given);
    this.#lastTyping = 0;
  }

  edit(peer: string, id: string, content: Content): void {
    this.#given(this.#client.edit(peer, id, content));
  }

  delete(peer: string, id: string): void {
    this.#given(this.#client.delete(peer, id));
  }

  react(peer: string, id: string, emoji: string, remove: boolean): void {
    this.#given(this.#client.react(peer, id, emoji, { remove }));
  }

  /** Whether the user has blocked somebody, as far as this browser knows. */
  isBlocked(peer: string): boolean {
    return this.#blocks.has(peer);
  }

  /** Whether that is about to change. */
  isBlocking(peer: string): boolean {
    return this.#blocking.has(peer);
  }

  /** Takes no more messages from somebody, or takes them again. */
  async block(peer: string, blocked: boolean): Promise<void> {
    if (this.#blocking.has(peer)) return;
    this.#blocking.add(peer);
    this.#change();
    try {
      await (blocked ? this.#client.block(peer) : this.#client.unblock(peer));
      this.#blocks.set(peer, blocked);
      // How far the other side has read is told again after a block, and not before its end.
      if (!blocked) void this.#refresh();
    } catch (error) {
      this.#say(`${peer} was not ${blocked ? 'blocked' : 'unblocked'}: ${(error as DmwireError).message}`);
    }
    this.#blocking.delete(peer);
    this.#change();
  }

  /** Another tab of this browser has changed what they share. */
  shared(key: string | null): void {
    if (this.#blocks.changed(key)) this.#change();
  }

  /** Sends again what was refused. */
  retry(id: string): void {
    const failed = this.#failed.find(({ frame }) => frame.id === id);
    if (!failed) return;
    this.discard(id);
    const { target_user, message, reply_to } = failed.frame as OutFrame & {
      target_user: string;
      message: Content;
      reply_to?: string;
    };
    this.send(target_user, message, reply_to, failed.code === 'id_conflict' ? newId() : id);
  }

  /** Lets go of what was refused. */
  discard(id: string): void {
    this.#failed = this.#failed.filter(({ frame }) => frame.id !== id);
    this.#keepFailed();
    this.#change();
  }

  /** What the user has written to somebody, and not sent. */
  draft(peer: string): string {
    return tab.get(keyOf('draft', this.#options.url, this.me, peer)) ?? '';
  }

  keepDraft(peer: string, text: string): void {
    tab.set(keyOf('draft', this.#options.url, this.me, peer), text || undefined);
  }

  /** What is to happen to what the user has written, were they to leave this tab to somebody else now; in words. */
  get unsent(): string[] {
    const told: string[] = [];
    const { me } = this;
    if (this.#outgoing.length > 0) {
      const kept = `is kept in this browser, and goes out when ${me} comes back`;
      told.push(`What is not sent yet ${this.#options.storage ? kept : 'is lost'}.`);
    }
    if (this.#failed.length > 0) told.push('Messages that were refused are removed.');
    if (this.#drafts.length > 0) told.push('Drafts are removed.');
    return told;
  }

  /** The user leaves this tab to somebody else: nothing that they have written is to be read in it. */
  forget(): void {
    this.#failed = [];
    this.#keepFailed();
    for (const key of this.#drafts) tab.set(key, undefined);
  }

  /** The user has the end of the conversation before their eyes. */
  seen(conversation: Conversation): void {
    const newest = conversation.messages.findLast(({ from, ephemeral }) => from !== this.me && !ephemeral);
    if (!conversation.loaded || !newest || newest.id === conversation.myRead) {
      if (conversation.loaded && conversation.unread > 0) {
        conversation.unread = 0;
        this.#change();
      }
      return;
    }
    const at = (id: string) => conversation.messages.findIndex(message => message.id === id);
    if (conversation.myRead !== undefined && at(conversation.myRead) > at(newest.id)) return;
    conversation.myRead = newest.id;
    conversation.unread = 0;
    this.#given(this.#client.markRead(conversation.peer, newest.id));
  }

  /** The user has changed what they are about to send. */
  typed(conversation: Conversation, text: string): void {
    if (conversation.peer === this.me) return;
    if (text === '') {
      if (this.#lastTyping > 0) this.#client.typing(conversation.peer, false);
      this.#lastTyping = 0;
    } else if (Date.now() - this.#lastTyping > TYPING_EVERY_MS) {
      this.#lastTyping = Date.now();
      this.#client.typing(conversation.peer);
    }
  }

  /** Fetches the messages before the first one, or waits for the page that is on its way. */
  async older(conversation: Conversation): Promise<void> {
    const first = conversation.messages[0];
    if (conversation.loading) return conversation.loading;
    if (!conversation.loaded || !conversation.more || !first || this.line.is === 'closed') return;
    await this.#page(conversation, { before: first.id }, (messages, more) => conversation.takeOlder(messages, more));
  }

  /** Fetches the conversations behind the last one in the list. */
  async list(): Promise<void> {
    if (!this.hasMore || this.listing) return;
    const client = this.#client;
    this.listing = true;
    this.#change();
    try {
      const page = await this.#list(client, this.#cursor);
      if (client === this.#client) this.#listedTo(page.cursor, this.#reach + page.items.length);
    } catch (error) {
      // The message that the list went on from is kept no more.
      if ((error as DmwireError).code === 'unknown_message') void this.#refresh();
      else this.#lost('Older conversations could not be listed', error);
    }
    this.listing = false;
    this.#change();
  }

  /** Puts a frame on the line that the user has written. */
  sendRaw(text: string): boolean {
    const sent = this.#client.sendRaw(text);
    if (!sent) return false;
    try {
      const { ref } = JSON.parse(text) as { ref?: unknown };
      if (typeof ref === 'string') this.#raw.add(ref);
    } catch {
      // The server says what is wrong with it.
    }
    return true;
  }

  dismiss(): void {
    this.notice = undefined;
    this.#change();
  }

  /** Makes a new attempt now, also where the line was closed for good. */
  reconnect(): void {
    if (this.line.is !== 'closed') return this.#client.reconnect();
    const left = this.#outgoing;
    this.#outgoing = [];
    // With a storage the next client has them.
    const error = new DmwireError('closed', 'The connection was closed before that.');
    if (!this.#options.storage) for (const frame of left) this.#refused(frame, error);
    this.#connect();
    for (const conversation of this.conversations.values()) conversation.loaded = false;
  }

  async close(): Promise<void> {
    this.#listeners.clear();
    await this.#client.close();
  }

  // ---- The line ----

  #connect(): void {
    const { url, identity, storage, WebSocket } = this.#options;
    const client = connect({
      url,
      ...identity,
      ...(storage && { storage }),
      ...(WebSocket && { WebSocket }),
    });
    this.#client = client;
    this.line = { is: 'connecting' };
    client.on('state', state => this.#state(state));
    client.on('wire', ({ direction, text }) => {
      this.frames.add(direction, text);
      this.#change();
    });
    client.on('synced', () => {
      this.line = { is: 'open' };
      this.down = false;
      this.#sync();
      void this.#refresh();
    });
    client.on('truncated', ({ reason }) => {
      if (reason === 'reset') {
        this.conversations.clear();
        this.#listedTo(undefined, 0);
        if (this.current) this.current = this.#with(this.current.peer);
        this.#say('The server has another store than before. This is what it holds.');
      }
      for (const conversation of this.conversations.values()) conversation.loaded = false;
      if (this.line.is === 'open') void this.#refresh();
    });
    client.on('message', message => this.#came(message));
    client.on('sent', ({ frame, ack }) => this.#stored(frame, ack.sent_at, ack.duplicate ?? false));
    client.on('failed', ({ frame, error }) => this.#refused(frame as OutFrame, error));
    client.on('edited', frame => this.#change(this.#entry(frame, frame.edited_at)));
    client.on('deleted', frame => this.#change(this.#entry(frame, frame.deleted_at)));
    client.on('reacted', frame => this.#change(this.#entry(frame, '')));
    client.on('receipt', receipt => this.#receipt(receipt));
    client.on('typing', ({ from_user, active }) => this.#typing(from_user, active));
    // An answer to a raw frame: what it has done is asked for, whatever it was. The package gives all of its own a `ref`.
    client.on('ack', ({ ref, seq }) => {
      if (ref !== undefined && !this.#raw.delete(ref)) return;
      if (seq === undefined) return;
      clearTimeout(this.#reloading);
      this.#reloading = setTimeout(() => void this.#refresh(true), RAW_DONE_MS);
    });
    this.#change();
  }

  #state(state: State): void {
    if (state.status === 'connecting') this.line = { is: 'connecting' };
    if (state.status === 'open') {
      this.line = { is: 'catching up' };
      if (this.me === '') {
        this.me = state.session.user_id;
        this.#failed = this.#restoreFailed();
        this.#blocks = new Blocks(this.me, this.#options.url);
      }
    }
    if (state.status === 'waiting') {
      this.down = true;
      this.line = { is: 'waiting', until: Date.now() + state.retryInMs, reason: state.reason };
    }
    if (state.status === 'closed') {
      const { error } = state;
      const goodbye = error?.cause as { code?: number } | undefined;
      this.line = { is: 'closed', reason: error?.message ?? '', code: goodbye?.code ?? error?.code ?? 'closed' };
    }
    this.#sync();
  }

  /** What is not in the outbox any more was answered. */
  #sync(): void {
    if (this.line.is !== 'closed') {
      this.#outgoing = this.#client.pending.filter(frame => frame.type !== 'read') as OutFrame[];
    }
    this.#change();
  }

  /**
   * What the log does not tell: how far others have read while we were away, and conversations from before, down to where
   * the reader has come in the list.
   */
  async #refresh(again = false): Promise<void> {
    const client = this.#client;
    const reach = Math.max(LISTED, this.#reach);
    try {
      let count = 0;
      let page: ServerConversations | undefined;
      do {
        page = await this.#list(client, page?.cursor);
        count += page.items.length;
      } while (page.cursor !== undefined && page.items.length > 0 && count < reach);
      if (client !== this.#client) return;
      this.#listedTo(page.cursor, count);
      this.listed = true;
      this.#change();
    } catch (error) {
      this.#lost('The conversations could not be listed', error);
      // Without it there is the one that is open.
      again = false;
    }
    if (this.current && (again || !this.current.loaded)) await this.#load(this.current);
  }

  /** Takes in one page of the list of conversations. */
  async #list(client: Client, cursor: string | undefined): Promise<ServerConversations> {
    const place = cursor === undefined ? {} : { cursor };
    const page = await client.request<ServerConversations>({ type: 'conversations', limit: LISTED, ...place });
    for (const item of client === this.#client ? page.items : []) {
      if (item.target_user !== undefined) this.#with(item.target_user).list(item, this.me);
    }
    return page;
  }

  #listedTo(cursor: string | undefined, reach: number): void {
    this.#cursor = cursor;
    this.#reach = reach;
    this.hasMore = cursor !== undefined;
  }

  /** The user looks away from the conversation that was open. */
  #close(): void {
    if (!this.current) return;
    this.current.firstUnread = undefined;
    this.current.trim();
  }

  #markFirstUnread(conversation: Conversation): void {
    if (!conversation.loaded || conversation.unread === 0) return;
    const others = conversation.messages.filter(({ from }) => from !== this.me);
    conversation.firstUnread = others.at(-conversation.unread)?.id ?? others[0]?.id;
  }

  async #load(conversation: Conversation): Promise<void> {
    if (conversation.loading) return;
    const first = !conversation.loaded;
    // From where reading has stopped, and a little before, if that is not too long ago.
    const limit = Math.min(MOST, Math.max(PAGE, conversation.unread + PAGE / 5));
    await this.#page(conversation, { limit }, (messages, more) => {
      conversation.takeNewest(messages, more);
      if (first && this.current === conversation) this.#markFirstUnread(conversation);
    });
  }

  #page(
    conversation: Conversation,
    place: { before?: string; limit?: number },
    take: (messages: Message[], more: boolean) => void,
  ): Promise<void> {
    const fetch = async () => {
      await this.#fetch(conversation, place, take);
      conversation.loading = undefined;
      this.#change();
    };
    // Not at once: what asks is told to all who look, and they are to see that it is on its way.
    conversation.loading = Promise.resolve().then(fetch);
    this.#change();
    return conversation.loading;
  }

  async #fetch(
    conversation: Conversation,
    place: { before?: string; limit?: number },
    take: (messages: Message[], more: boolean) => void,
  ): Promise<void> {
    try {
      const page = await this.#client.request<ServerHistory>({
        type: 'history',
        target_user: conversation.peer,
        limit: PAGE,
        ...place,
      });
      take(page.messages.map(fromFrame), page.more);
    } catch (error) {
      this.#lost(`Messages with ${conversation.peer} could not be loaded`, error);
      // Asked again the server would say the same, for ever.
      if (this.line.is !== 'closed') conversation.more = false;
    }
  }

  // ---- What comes ----

  #came(frame: ServerMessage): void {
    const conversation = this.#of(frame);
    if (!conversation) return;
    const message = fromFrame(frame as PastMessage & ServerMessage);
    this.#outgoing = this.#outgoing.filter(({ type, id }) => type !== 'message' || id !== message.id);
    const { last } = conversation;
    const counted = last && (last.id === message.id || last.sentAt > message.sentAt) && !message.ephemeral;
    const isNew = conversation.add(message);
    if (conversation !== this.current) conversation.trim();
    if (isNew && message.from !== this.me) {
      this.#typing(message.from, false);
      if (!counted && !message.ephemeral) conversation.unread += 1;
      for (const listener of this.#arrivals) listener(conversation, message);
    }
    this.#change();
  }

  #stored(frame: ClientFrame, time: string, late: boolean): void {
    const out = frame as OutFrame;
    this.#outgoing = this.#outgoing.filter(({ ref }) => ref !== out.ref);
    const conversation = typeof out.target_user === 'string' && this.#with(out.target_user);
    if (conversation) {
      const message = this.#own(out, time);
      if (out.type === 'message')
        late ? conversation.insert(message) : conversation.find(message.id) || conversation.add(message);
      else conversation.change(String(out.id), message => this.#changed(message, out, time));
    }
    this.#change();
  }

  #refused(frame: OutFrame, error: DmwireError): void {
    this.#outgoing = this.#outgoing.filter(({ ref }) => ref !== frame.ref);
    if (frame.type === 'message') {
      this.#failed = [...this.#failed, { frame, code: error.code, detail: error.message }];
      this.#keepFailed();
    } else if (frame.type !== 'read') {
      const what = { edit: 'The edit', delete: 'The deletion', react: 'The reaction' }[frame.type] ?? 'Something';
      this.#say(`${what} was refused: ${reason(String(frame.target_user), error.code, error.message)}`);
    }
    this.#change();
  }

  #entry(frame: { type: string; from_user: string; id: string; target_user?: string }, time: string): void {
    const conversation = this.#of(frame);
    const done = { edited: 'edit', deleted: 'delete', reacted: 'react' }[frame.type] ?? '';
    const { removed } = frame as { removed?: boolean };
    const as = { ...frame, type: done, ...(removed && { remove: true }) };
    conversation?.change(frame.id, message => this.#changed(message, as, time, frame.from_user));
  }

  #receipt({ kind, by_user, target_user, id }: ServerReceipt): void {
    if (target_user === undefined) return;
    const conversation = this.#with(target_user);
    if (by_user === this.me && kind === 'read') {
      // On another device of ours.
      conversation.myRead = id;
      const at = conversation.messages.findIndex(message => message.id === id);
      const after = conversation.messages.slice(at + 1).filter(({ from, ephemeral }) => from !== this.me && !ephemeral);
      if (at >= 0) conversation.unread = Math.min(conversation.unread, after.length);
      else if (conversation.last?.id === id) conversation.unread = 0;
    } else if (by_user !== this.me) {
      conversation.mark(kind, id);
    }
    this.#change();
  }

  #typing(peer: string, active: boolean): void {
    const conversation = this.conversations.get(peer);
    if (!conversation) return;
    clearTimeout(conversation.typingTimer);
    conversation.typing = active;
    if (active) conversation.typingTimer = setTimeout(() => this.#typing(peer, false), TYPING_LASTS_MS);
    this.#change();
  }

  // ---- Parts ----

  get #drafts(): string[] {
    const [start = '', end = ''] = keyOf('draft', this.#options.url, this.me, ' ').split(' ');
    return tab.keys.filter(key => key.startsWith(start) && key.endsWith(end));
  }

  #restoreFailed(): Failed[] {
    try {
      return JSON.parse(tab.get(keyOf('failed', this.#options.url, this.me)) ?? '[]') as Failed[];
    } catch {
      return [];
    }
  }

  #keepFailed(): void {
    const text = this.#failed.length > 0 ? JSON.stringify(this.#failed) : undefined;
    tab.set(keyOf('failed', this.#options.url, this.me), text);
  }

  /** Something was given to the client; what becomes of it comes as an event. */
  #given(promise: Promise<unknown>): void {
    promise.catch(() => {});
    this.#sync();
  }

  /** An answer that does not come any more: the package itself asks again where that may help. */
  #lost(what: string, error: unknown): void {
    const { code, message } = error as DmwireError;
    // Where the line is closed, its state tells. What is kept no more was the oldest.
    if (code !== 'closed' && code !== 'unknown_message') this.#say(`${what}: ${message}`);
  }

  #say(text: string): void {
    this.notice = text;
    this.#change();
  }

  #with(peer: string): Conversation {
    const conversation = this.conversations.get(peer) ?? new Conversation(peer);
    this.conversations.set(peer, conversation);
    return conversation;
  }

  /** By its other side; rooms are not for this page. */
  #of(frame: { from_user: string; target_user?: string }): Conversation | undefined {
    if (frame.target_user === undefined) return undefined;
    return this.#with(frame.from_user === this.me ? frame.target_user : frame.from_user);
  }

  #own(frame: OutFrame, sentAt: string): Message {
    return {
      id: String(frame.id),
      from: this.me,
      content: frame.message as Content,
      sentAt,
      reactions: [],
      ...(frame.reply_to !== undefined && { replyTo: String(frame.reply_to) }),
    };
  }

  /** What an edit, a deletion or a reaction makes of a message. */
  #changed(message: Message, frame: OutFrame, time: string, by = this.me): Message {
    if (message.deletedAt !== undefined && frame.type !== 'delete') return message;
    switch (frame.type) {
      case 'edit':
        return { ...message, content: frame.message as Content, editedAt: time };
      case 'delete': {
        const { content: _, ...rest } = message;
        return { ...rest, deletedAt: time, reactions: [] };
      }
      case 'react':
        return withReaction(message, String(frame.emoji), by, frame.remove === true);
      default:
        return message;
    }
  }

  #change(_?: unknown): void {
    for (const listener of this.#listeners) listener();
  }
}

/** Where the browser lets the page keep something. */
export function storage(): Storage | undefined {
  try {
    return localStorage && sessionStorage && webStorage();
  } catch {
    return undefined;
  }
}

/** Why something was refused; the server's own words where there are none for it here. */
function reason(peer: string, code: string, detail: string): string {
  return code === 'blocked' ? `${peer} has blocked you.` : detail;
}
