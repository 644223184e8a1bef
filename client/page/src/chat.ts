import {
  type Client,
  type Content,
  connect,
  DmwireError,
  newId,
  type OutFrame,
  type ServerMessage,
  type State,
  type Storage,
  type WebSocketClass,
} from '../../src/index.js';
import { BlockList } from './block-list.js';
import { type ConnectionState, connectionState } from './connection-state.js';
import { Conversation, type Message } from './conversation.js';
import { ConversationList } from './conversation-list.js';
import { type ChangeEntry, Conversations } from './conversations.js';
import { type DisplayedMessage, displayedMessages, errorText, placeOf } from './display.js';
import { FrameLog, refOf } from './frames.js';
import { HistoryLoader } from './history-loader.js';
import { type Identity, isUser, tolerant } from './identity.js';
import { setTyping, TypingReporter } from './typing.js';
import { UnsentStore } from './unsent.js';

/** Delay before the list is loaded again, so that several frames cause one request. */
export const REFRESH_DELAY_MS = 40;
/** What the frames of the user do, by type. */
const ACTIONS: Record<string, string> = { edit: 'The edit', delete: 'The deletion', react: 'The reaction' };

export interface ChatOptions {
  readonly url: string;
  readonly identity: Identity;
  readonly storage?: Storage | undefined;
  readonly WebSocket?: WebSocketClass;
}

/**
 * All conversations of one user, from the server and the outbox. It is independent of the user interface, which reads it
 * after each change.
 */
export class Chat {
  readonly frames = new FrameLog();
  readonly conversations: Conversations;
  readonly list: ConversationList;
  connection: ConnectionState = { status: 'connecting' };
  /** The connection was lost and is not back. */
  isDown = false;
  /** A notice for the user that belongs to no message. */
  notice: string | undefined;
  /** The open conversation. */
  current: Conversation | undefined;
  readonly #options: ChatOptions;
  readonly #changeListeners = new Set<() => void>();
  readonly #arrivalListeners = new Set<(conversation: Conversation, message: Message) => void>();
  /** `ref`s of unanswered frames that the user wrote by hand. */
  readonly #rawRefs = new Set<string>();
  readonly #history: HistoryLoader;
  #client!: Client;
  /** Frames without an ack. */
  #outgoing: OutFrame[] = [];
  /** When the client sends frames again that a limit of the server delays, by `ref`. Times of `performance.now()`. */
  readonly #delayed = new Map<unknown, number>();
  /** Keeps unsent messages over a reload. */
  #storage: Storage | undefined;
  /** Drafts and rejected messages. */
  unsent: UnsentStore;
  readonly #typing = new TypingReporter();
  #timer: ReturnType<typeof setTimeout> | undefined;
  /** The next refresh reloads the open conversation. */
  #reload = false;
  /** Blocked users, as far as this browser knows. */
  blocks: BlockList;

  constructor(options: ChatOptions) {
    this.#options = options;
    this.#storage =
      options.storage &&
      tolerant(options.storage, () => {
        // One notice is enough.
        if (this.#storage)
          this.#notify('This browser stores no more data. Unsent messages are lost when you close this page.');
        this.#storage = undefined;
      });
    this.conversations = new Conversations(options.identity.user ?? '');
    this.unsent = new UnsentStore(this.me, options.url);
    this.blocks = new BlockList(this.me, options.url);
    this.list = new ConversationList({
      client: () => this.#client,
      onItem: (item, ...place) => {
        if (item.target_user === undefined) return;
        this.conversations.with(item.target_user).mergeListItem(item, this.me, ...place);
      },
      onChange: () => this.#changed(),
    });
    this.#history = new HistoryLoader({
      client: () => this.#client,
      onChange: () => this.#changed(),
      onError: (conversation, error) => {
        this.#notifyFailure(`Messages with ${conversation.peer} could not be loaded`, error);
        // Do not repeat a request that would fail again.
        if (this.connection.status !== 'closed') conversation.more = false;
      },
    });
    this.#connect();
  }

  /** Adds a listener for all changes. Returns a function that removes it. */
  onChange(listener: () => void): () => void {
    this.#changeListeners.add(listener);
    return () => void this.#changeListeners.delete(listener);
  }

  /** Adds a listener for new messages of other users. Returns a function that removes it. */
  onArrival(listener: (conversation: Conversation, message: Message) => void): () => void {
    this.#arrivalListeners.add(listener);
    return () => void this.#arrivalListeners.delete(listener);
  }

  /** The user name, from the identity or from `welcome`; empty until it is known. */
  get me(): string {
    return this.conversations.me;
  }

  /** The conversations, those with unsent and with the newest messages first. */
  get sortedConversations(): Conversation[] {
    return this.conversations.sorted(this.current, new Set(this.#outgoing.map(frame => frame.target_user)));
  }

  /** Returns the messages of a conversation as displayed. */
  displayed(conversation: Conversation): DisplayedMessage[] {
    return displayedMessages(conversation, {
      me: this.me,
      isOnline: this.connection.status === 'open',
      outgoing: this.#outgoing,
      delayed: this.#delayed,
      failed: this.unsent.failed,
    });
  }

  // ---- Actions of the user ----

  open(peer: string): void {
    if (!isUser(peer) || this.current?.peer === peer) return;
    this.current?.onClose();
    this.current = this.conversations.with(peer);
    this.current.markFirstUnread(this.me);
    this.#typing.reset();
    // The list of conversations holds the unread count, which decides where to start. Without it, wait for the list.
    if (!this.current.loaded && this.list.loaded) void this.#load(this.current);
    this.#changed();
  }

  leave(): void {
    this.current?.onClose();
    this.current = undefined;
    this.#changed();
  }

  send(peer: string, content: Content, replyTo?: string, id: string = newId()): void {
    this.#typing.reset();
    if (!this.#isClosed) {
      return this.#track(this.#client.send(peer, content, { id, ...(replyTo !== undefined && { replyTo }) }));
    }
    const frame = { type: 'message', target_user: peer, message: content, id, reply_to: replyTo };
    this.#onFailed(frame, new DmwireError('closed', 'The connection is closed.'));
  }

  edit(peer: string, id: string, content: Content): void {
    this.#change(this.#client.edit(peer, id, content));
  }

  delete(peer: string, id: string): void {
    this.#change(this.#client.delete(peer, id));
  }

  react(peer: string, id: string, emoji: string, remove: boolean): void {
    this.#change(this.#client.react(peer, id, emoji, { remove }));
  }

  /** Blocks or unblocks a peer. */
  async block(peer: string, blocked: boolean): Promise<void> {
    if (this.blocks.pending.has(peer)) return;
    this.blocks.pending.add(peer);
    this.#changed();
    try {
      await (blocked ? this.#client.block(peer) : this.#client.unblock(peer));
      this.blocks.set(peer, blocked);
      // The server sends no receipts of the peer during a block, so load them now.
      if (!blocked) void this.#refresh();
    } catch (error) {
      this.#notify(`Could not ${blocked ? 'block' : 'unblock'} ${peer}: ${(error as DmwireError).message}`);
    }
    this.blocks.pending.delete(peer);
    this.#changed();
  }

  /** Another tab has changed the shared storage at `key` (`null`: all keys). */
  onStorageChange(key: string | null): void {
    if (this.blocks.onStorageChange(key)) this.#changed();
  }

  /** Sends a failed message again. */
  retry(id: string): void {
    const failed = this.unsent.findFailed(id);
    if (!failed || this.#isClosed) return;
    this.discard(id);
    const { target_user = '', message, reply_to } = failed.frame as unknown as ServerMessage;
    this.send(target_user, message, reply_to, failed.code === 'id_conflict' ? newId() : id);
  }

  /** Removes a failed message. */
  discard(id: string): void {
    this.unsent.removeFailed(id);
    this.#changed();
  }

  /** Effects of signing out of this tab on unsent messages and drafts, as sentences for the user. */
  get signOutWarnings(): string[] {
    const kept = `stay in this browser and are sent when ${this.me} signs in again`;
    const outgoing = this.#outgoing.length > 0 && `Unsent messages ${this.#storage ? kept : 'are lost'}.`;
    return [outgoing, ...this.unsent.warnings].filter(text => typeof text === 'string');
  }

  /** The end of the conversation is visible: marks its messages as read. */
  markSeen(conversation: Conversation): void {
    const newest = conversation.messages.findLast(({ from, ephemeral }) => from !== this.me && !ephemeral);
    if (!conversation.loaded || !newest || newest.id === conversation.myRead) {
      if (conversation.loaded && conversation.unread > 0) {
        conversation.unread = 0;
        this.#changed();
      }
      return;
    }
    const indexOf = (id: string) => conversation.messages.findIndex(message => message.id === id);
    if (conversation.myRead !== undefined && indexOf(conversation.myRead) > indexOf(newest.id)) return;
    conversation.myRead = newest.id;
    conversation.unread = 0;
    this.#track(this.#client.markRead(conversation.peer, newest.id));
  }

  /** The text in the composer has changed: reports that the user is typing. */
  onInput({ peer }: Conversation, text: string): void {
    const active = peer === this.me ? undefined : this.#typing.next(text);
    if (active !== undefined) this.#client.typing(peer, active);
  }

  /** Loads the messages before the first one, or waits for the page that is being loaded. */
  async loadOlder(conversation: Conversation): Promise<void> {
    if (this.connection.status === 'closed') return conversation.loading;
    await this.#history.loadOlder(conversation);
  }

  /** Loads the next page of the list of conversations. */
  async loadMoreConversations(): Promise<void> {
    if (!this.list.hasMore || this.list.loading) return;
    try {
      await this.list.loadMore();
    } catch (error) {
      // The message that the cursor refers to was deleted by retention.
      if ((error as DmwireError).code === 'unknown_message') void this.#refresh();
      else this.#notifyFailure('Older conversations could not be loaded', error);
      this.#changed();
    }
  }

  /** Sends a frame that the user wrote by hand. Returns false while offline. */
  sendRaw(text: string): boolean {
    const isSent = this.#client.sendRaw(text);
    const ref = isSent && refOf(text);
    if (ref) this.#rawRefs.add(ref);
    return isSent;
  }

  dismissNotice(): void {
    this.notice = undefined;
    this.#changed();
  }

  /** Connects now, also if the connection was closed and does not reconnect. */
  reconnect(): void {
    if (this.connection.status !== 'closed') return this.#client.reconnect();
    const left = this.#outgoing;
    this.#outgoing = [];
    // With a storage the next client restores them.
    const error = new DmwireError('closed', 'The connection was closed before it was sent.');
    if (!this.#storage) for (const frame of left) this.#onFailed(frame, error);
    this.#connect();
    for (const conversation of this.conversations) {
      conversation.loaded = false;
      // The new client may deliver messages again that arrived before.
      conversation.pageAt = Conversation.arrivals;
    }
  }

  async close(): Promise<void> {
    this.#changeListeners.clear();
    await this.#client.close();
  }

  // ---- Connection ----

  #connect(): void {
    const { url, identity, WebSocket } = this.#options;
    const client = connect({
      url,
      ...identity,
      ...(this.#storage && { storage: this.#storage }),
      ...(WebSocket && { WebSocket }),
    });
    this.#client = client;
    this.connection = { status: 'connecting' };
    client.on('state', state => this.#onState(state));
    client.on('wire', ({ direction, text }) => {
      this.frames.add(direction, text);
      this.#changed();
    });
    client.on('synced', () => {
      this.connection = { status: 'open' };
      this.isDown = false;
      this.#syncOutgoing();
      void this.#refresh();
    });
    client.on('truncated', ({ reason }) => {
      if (reason === 'reset') {
        this.conversations.clear();
        this.list.reset();
        if (this.current) this.current = this.conversations.with(this.current.peer);
        this.#notify('The data of the server was replaced. This page shows the new data.');
      }
      for (const conversation of this.conversations) conversation.loaded = false;
      if (this.connection.status === 'open') void this.#refresh();
    });
    client.on('message', message => this.#onMessage(message));
    client.on('sent', ({ frame, ack }) => this.#onSent(frame as OutFrame, ack.sent_at, ack.duplicate ?? false));
    client.on('failed', ({ frame, error }) => this.#onFailed(frame as OutFrame, error));
    client.on('delayed', ({ frame, retryInMs, error }) => {
      this.#delayed.set((frame as OutFrame).ref, performance.now() + retryInMs);
      const action = ACTIONS[frame.type ?? ''];
      if (action) this.#notify(`${action} is delayed: ${error.message}`);
      this.#changed();
    });
    client.on('edited', frame => this.#onEntry(frame, frame.edited_at));
    client.on('deleted', frame => this.#onEntry(frame, frame.deleted_at));
    client.on('reacted', frame => this.#onEntry(frame, ''));
    client.on('receipt', receipt => {
      this.conversations.onReceipt(receipt);
      this.#changed();
    });
    client.on('typing', ({ from_user, target_user, active }) => {
      if (target_user !== undefined) this.#onTyping(from_user, active);
    });
    // The ack of a raw frame: load its effects, whatever they are. The client gives a `ref` to all of its own frames.
    client.on('ack', ({ ref, seq }) => {
      if (ref !== undefined && !this.#rawRefs.delete(ref)) return;
      if (seq === undefined) return;
      this.#refreshSoon(true);
    });
    this.#changed();
  }

  #onState(state: State): void {
    this.connection = connectionState(state);
    if (state.status === 'waiting') this.isDown = true;
    // The next connection sends delayed frames at once.
    this.#delayed.clear();
    if (state.status === 'open' && this.me === '') {
      this.conversations.me = state.session.user_id;
      this.unsent = new UnsentStore(this.me, this.#options.url);
      this.blocks = new BlockList(this.me, this.#options.url);
    }
    this.#syncOutgoing();
  }

  /** Updates the list of frames without an ack from the client. */
  #syncOutgoing(): void {
    if (this.connection.status !== 'closed') {
      this.#outgoing = this.#client.pending.filter(frame => frame.type !== 'read') as OutFrame[];
    }
    this.#changed();
  }

  // ---- Queries ----

  /**
   * Loads receipts and unread counts, which the log does not contain, by loading the list of conversations again. Also loads
   * the open conversation if it is not loaded, or in any case with `reload`.
   */
  async #refresh(reload = false): Promise<void> {
    try {
      if (!(await this.list.refresh())) return;
    } catch (error) {
      this.#notifyFailure('The conversations could not be loaded', error);
      // The open conversation can be loaded without the list.
      reload = false;
    }
    if (this.current && (reload || !this.current.loaded)) await this.#load(this.current);
  }

  #refreshSoon(reload: boolean): void {
    this.#reload ||= reload;
    clearTimeout(this.#timer);
    this.#timer = setTimeout(() => {
      void this.#refresh(this.#reload);
      this.#reload = false;
    }, REFRESH_DELAY_MS);
  }

  async #load(conversation: Conversation): Promise<void> {
    const isFirst = !conversation.loaded;
    await this.#history.loadNewest(conversation, () => {
      this.unsent.place(conversation.peer, conversation.messages.findLast(({ ephemeral }) => !ephemeral)?.id ?? '');
      if (isFirst && this.current === conversation) conversation.markFirstUnread(this.me);
    });
  }

  // ---- Events of the client ----

  #onMessage(frame: ServerMessage): void {
    const added = this.conversations.onMessage(frame);
    if (!added) return;
    const { conversation, message, isNew } = added;
    this.#outgoing = this.#outgoing.filter(({ type, id }) => type !== 'message' || id !== message.id);
    if (conversation !== this.current) conversation.trim();
    if (isNew && message.from !== this.me) {
      this.#onTyping(message.from, false);
      for (const listener of this.#arrivalListeners) listener(conversation, message);
    }
    this.#changed();
  }

  #onSent(frame: OutFrame, time: string, isDuplicate: boolean): void {
    this.#settle(frame);
    this.conversations.onSent(frame, time, isDuplicate);
    if (isDuplicate && this.current?.loaded === false) void this.#load(this.current);
    this.#changed();
  }

  #onFailed(frame: OutFrame, error: DmwireError): void {
    const conversation = this.conversations.get(String(frame.target_user));
    const after = conversation && placeOf(String(frame.id), this.displayed(conversation), conversation);
    this.#settle(frame);
    if (frame.type === 'message') {
      this.unsent.addFailed({ frame, code: error.code, detail: error.message, after });
    } else if (frame.type !== 'read') {
      const action = ACTIONS[frame.type] ?? 'A frame';
      this.#notify(`${action} was rejected: ${errorText(String(frame.target_user), error.code, error.message)}`);
    }
    this.#changed();
  }

  #onEntry(entry: ChangeEntry, time: string): void {
    if (!this.conversations.onEntry(entry, time)) this.#refreshSoon(false);
    this.#changed();
  }

  #onTyping(peer: string, active: boolean): void {
    const conversation = this.conversations.get(peer);
    if (conversation) setTyping(conversation, active, () => this.#changed());
  }

  // ---- Helpers ----

  get #isClosed(): boolean {
    return this.connection.status === 'closed';
  }

  /** A frame has its answer. */
  #settle({ ref }: OutFrame): void {
    this.#outgoing = this.#outgoing.filter(frame => frame.ref !== ref);
    this.#delayed.delete(ref);
  }

  /** Handles the promise of a frame given to the client. Its outcome arrives as the event `sent` or `failed`. */
  #track(promise: Promise<unknown>): void {
    promise.catch(() => {});
    this.#syncOutgoing();
  }

  /** Like {@link Chat.#track}, for changes of messages. */
  #change(promise: Promise<unknown>): void {
    this.#track(promise);
    if (this.#isClosed) this.#notify('Nothing was changed: the connection is closed.');
  }

  /** Reports a failed query to the user. The client retries temporary errors itself. */
  #notifyFailure(summary: string, error: unknown): void {
    const { code, message } = error as DmwireError;
    // A closed connection is shown by its state. With `unknown_message`, retention has deleted the older messages.
    if (code !== 'closed' && code !== 'unknown_message') this.#notify(`${summary}: ${message}`);
  }

  #notify(text: string): void {
    this.notice = text;
    this.#changed();
  }

  #changed(): void {
    for (const listener of this.#changeListeners) listener();
  }
}
