import {
  type Client,
  type Content,
  connect,
  DmwireError,
  type MessageAck,
  newId,
  type OutFrame,
  type RoomAck,
  type ServerMessage,
  type State,
  type Storage,
  type WebSocketClass,
} from '../../src/index.js';
import { BlockList } from './block-list.js';
import { type ConnectionState, connectionState } from './connection-state.js';
import { Conversation, type Message } from './conversation.js';
import type { ConversationList } from './conversation-list.js';
import { type ChangeEntry, Conversations } from './conversations.js';
import { type DisplayedMessage, displayedMessages, errorText, placeOf } from './display.js';
import { FrameLog, refOf } from './frames.js';
import { type Identity, isUser, tolerant } from './identity.js';
import { Outgoing } from './outgoing.js';
import { peerOf, peerOfRoom, roomOf, targetFields, targetOf } from './peer.js';
import { Queries } from './queries.js';
import type { Notice } from './room.js';
import { Rooms } from './rooms.js';
import { setTyping, TypingReporter } from './typing.js';
import { UnsentStore } from './unsent.js';

/** What the frames of the user do, by type. */
const ACTIONS: Record<string, string> = { edit: 'The edit', delete: 'The deletion', react: 'The reaction' };

/** Is called for a new message or notice. */
export type ArrivalListener = (conversation: Conversation, arrival: Message | Notice) => void;

export interface ChatOptions {
  readonly url: string;
  readonly identity: Identity;
  readonly storage?: Storage | undefined;
  /** A room that the user joins for as long as the page is connected. */
  readonly sessionRoom?: string | undefined;
  readonly WebSocket?: WebSocketClass;
}

/**
 * All conversations of one user, from the server and the outbox. It is independent of the user interface, which reads it
 * after each change.
 */
export class Chat {
  readonly frames = new FrameLog();
  readonly conversations: Conversations;
  readonly rooms: Rooms;
  connection: ConnectionState = { status: 'connecting' };
  /** The connection was lost and is not back. */
  isDown = false;
  /** A notice for the user that belongs to no message. */
  notice: string | undefined;
  /** The open conversation. */
  current: Conversation | undefined;
  readonly #options: ChatOptions;
  readonly #changeListeners = new Set<() => void>();
  readonly #arrivalListeners = new Set<ArrivalListener>();
  /** `ref`s of unanswered frames that the user wrote by hand. */
  readonly #rawRefs = new Set<string>();
  readonly #queries: Queries;
  #client!: Client;
  readonly #outgoing = new Outgoing();
  /** Keeps unsent messages over a reload. */
  #storage: Storage | undefined;
  /** Drafts and rejected messages. */
  unsent: UnsentStore;
  readonly #typing = new TypingReporter();
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
    this.rooms = new Rooms(options.sessionRoom, {
      client: () => this.#client,
      conversations: this.conversations,
      onChange: () => this.#changed(),
      track: promise => this.#track(promise),
      refresh: () => this.#queries.refreshSoon(),
      onNotice: (conversation, notice) => {
        for (const listener of this.#arrivalListeners) listener(conversation, notice);
      },
      onError: (summary, error) => this.#notifyFailure(summary, error),
    });
    this.#queries = new Queries({
      client: () => this.#client,
      conversations: this.conversations,
      rooms: this.rooms,
      current: () => this.current,
      isClosed: () => this.#isClosed,
      isJoining: room => this.pendingMembership(room) === 'join',
      onChange: () => this.#changed(),
      onLoaded: (conversation, isFirst) => {
        this.unsent.place(conversation.peer, conversation.messages.findLast(({ ephemeral }) => !ephemeral)?.id ?? '');
        if (isFirst && this.current === conversation) conversation.markFirstUnread(this.me);
      },
      onError: (summary, error) => this.#notifyFailure(summary, error),
    });
    this.#connect();
  }

  /** Adds a listener for all changes. Returns a function that removes it. */
  onChange(listener: () => void): () => void {
    this.#changeListeners.add(listener);
    return () => void this.#changeListeners.delete(listener);
  }

  /** Adds a listener for new messages of other users, and for notices. Returns a function that removes it. */
  onArrival(listener: ArrivalListener): () => void {
    this.#arrivalListeners.add(listener);
    return () => void this.#arrivalListeners.delete(listener);
  }

  /** The user name, from the identity or from `welcome`; empty until it is known. */
  get me(): string {
    return this.conversations.me;
  }

  get list(): ConversationList {
    return this.#queries.list;
  }

  /** The conversations, those with unsent and with the newest messages first. */
  get sortedConversations(): Conversation[] {
    return this.conversations.sorted(this.current, this.#outgoing.peers);
  }

  /** Returns the messages of a conversation as displayed. */
  displayed(conversation: Conversation): DisplayedMessage[] {
    return displayedMessages(conversation, {
      me: this.me,
      isOnline: this.connection.status === 'open',
      outgoing: this.#outgoing.frames,
      delayed: this.#outgoing.delayed,
      failed: this.unsent.failed,
    });
  }

  /** Returns the change of the user's membership of a room that is being sent. */
  pendingMembership(room: string): 'join' | 'leave' | undefined {
    return this.#outgoing.membership(room);
  }

  // ---- Actions of the user ----

  /** Opens the conversation with a user or, with `#` and a name, in a room. */
  open(peer: string): void {
    if (!isUser(roomOf(peer) ?? peer) || this.current?.peer === peer) return;
    this.current?.onClose();
    this.current = this.conversations.with(peer);
    this.current.markFirstUnread(this.me);
    this.#typing.reset();
    // The list of conversations holds the unread count, which decides where to start. Without it, wait for the list.
    if (!this.current.loaded && this.list.loaded) void this.#queries.load(this.current);
    this.#changed();
  }

  closeCurrent(): void {
    this.current?.onClose();
    this.current = undefined;
    this.#changed();
  }

  send(peer: string, content: Content, replyTo?: string, id: string = newId()): void {
    this.#typing.reset();
    if (!this.#isClosed) {
      return this.#track(this.#client.send(targetOf(peer), content, { id, ...(replyTo !== undefined && { replyTo }) }));
    }
    const frame = { type: 'message', ...targetFields(peer), message: content, id, reply_to: replyTo };
    this.#onFailed(frame, new DmwireError('closed', 'The connection is closed.'));
  }

  edit(peer: string, id: string, content: Content): void {
    this.#change(this.#client.edit(targetOf(peer), id, content));
  }

  delete(peer: string, id: string): void {
    this.#change(this.#client.delete(targetOf(peer), id));
  }

  react(peer: string, id: string, emoji: string, remove: boolean): void {
    this.#change(this.#client.react(targetOf(peer), id, emoji, { remove }));
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
      if (!blocked) void this.#queries.refresh();
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
    const { message, reply_to } = failed.frame as unknown as ServerMessage;
    this.send(peerOf(failed.frame) ?? '', message, reply_to, failed.code === 'id_conflict' ? newId() : id);
  }

  /** Removes a failed message. */
  discard(id: string): void {
    this.unsent.removeFailed(id);
    this.#changed();
  }

  /** Effects of signing out of this tab on unsent messages and drafts, as sentences for the user. */
  get signOutWarnings(): string[] {
    const kept = `stay in this browser and are sent when ${this.me} signs in again`;
    const outgoing = this.#outgoing.frames.length > 0 && `Unsent messages ${this.#storage ? kept : 'are lost'}.`;
    return [outgoing, ...this.unsent.warnings].filter(text => typeof text === 'string');
  }

  /** The end of the conversation is visible: marks its messages as read. */
  markSeen(conversation: Conversation): void {
    const { peer, room, unread } = conversation;
    if (room?.isMember === false) return;
    const id = conversation.see(this.me);
    if (id !== undefined) this.#track(this.#client.markRead(targetOf(peer), id));
    else if (conversation.unread !== unread) this.#changed();
  }

  /** The text in the composer has changed: reports that the user is typing. */
  onInput({ peer }: Conversation, text: string): void {
    const active = peer === this.me ? undefined : this.#typing.next(text);
    if (active !== undefined) this.#client.typing(targetOf(peer), active);
  }

  /** Loads the messages before the first one, or waits for the page that is being loaded. */
  loadOlder(conversation: Conversation): Promise<void> {
    return this.#queries.loadOlder(conversation);
  }

  /** Loads the next page of the list of conversations. */
  loadMoreConversations(): Promise<void> {
    return this.#queries.loadMoreConversations();
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
    const left = this.#outgoing.frames;
    this.#outgoing.frames = [];
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
      ...this.rooms.options,
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
      void this.#queries.refresh();
      // The receipts of the members during the disconnect.
      if (this.current?.room?.isMember) void this.rooms.loadMembers(this.current);
    });
    client.on('truncated', ({ reason }) => {
      if (reason === 'reset') {
        this.#reset();
        this.#notify('The data of the server was replaced. This page shows the new data.');
      }
      for (const conversation of this.conversations) conversation.loaded = false;
      if (this.connection.status === 'open') void this.#queries.refresh();
    });
    client.on('erased', ({ is, as }) => {
      this.unsent.forget(is);
      this.blocks.forget(is);
      // Messages in rooms, and what they quote, have the name, too.
      this.#reset(peer => (is(peer) ? as : peer));
      if (this.connection.status === 'open') void this.#queries.refresh();
      this.#syncOutgoing();
    });
    client.on('message', message => this.#onMessage(message));
    client.on('sent', ({ frame, ack }) => this.#onSent(frame as OutFrame, ack));
    client.on('failed', ({ frame, error }) => this.#onFailed(frame as OutFrame, error));
    client.on('delayed', ({ frame, retryInMs, error }) => {
      this.#outgoing.delayed.set((frame as OutFrame).ref, performance.now() + retryInMs);
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
    client.on('room', frame => this.rooms.onRoom(frame));
    client.on('typing', ({ from_user, target_room, active }) => {
      this.#onTyping(target_room === undefined ? from_user : peerOfRoom(target_room), from_user, active);
    });
    // The ack of a raw frame: load its effects, whatever they are. The client gives a `ref` to all of its own frames.
    client.on('ack', ({ ref, seq }) => {
      if (ref !== undefined && !this.#rawRefs.delete(ref)) return;
      if (seq === undefined) return;
      this.#queries.refreshSoon(true);
    });
    this.#changed();
  }

  #onState(state: State): void {
    this.connection = connectionState(state);
    if (state.status === 'waiting') this.isDown = true;
    // The next connection sends delayed frames at once.
    this.#outgoing.delayed.clear();
    if (state.status === 'open' && this.me === '') {
      this.conversations.me = state.session.user_id;
      this.unsent = new UnsentStore(this.me, this.#options.url);
      this.blocks = new BlockList(this.me, this.#options.url);
    }
    this.#syncOutgoing();
  }

  /** Forgets all conversations, which are loaded again. The open one may have another name from now on. */
  #reset(rename = (peer: string) => peer): void {
    this.conversations.clear();
    this.list.reset();
    if (this.current) this.current = this.conversations.with(rename(this.current.peer));
  }

  /** Updates the list of frames without an ack from the client. */
  #syncOutgoing(): void {
    if (this.connection.status !== 'closed') this.#outgoing.update(this.#client);
    this.#changed();
  }

  // ---- Events of the client ----

  #onMessage(frame: ServerMessage): void {
    const { conversation, message, isNew } = this.conversations.onMessage(frame);
    this.#outgoing.onStored(message.id);
    if (conversation !== this.current) conversation.trim();
    if (isNew && message.from !== this.me) {
      this.#onTyping(conversation.peer, message.from, false);
      for (const listener of this.#arrivalListeners) listener(conversation, message);
    }
    this.#changed();
  }

  #onSent(frame: OutFrame, ack: MessageAck | RoomAck): void {
    this.#outgoing.settle(frame);
    if (ack.room !== undefined) return this.rooms.onSent(frame, ack);
    this.conversations.onSent(frame, ack.sent_at, ack.duplicate ?? false);
    if (ack.duplicate && this.current?.loaded === false) void this.#queries.load(this.current);
    this.#changed();
  }

  #onFailed(frame: OutFrame, error: DmwireError): void {
    const peer = peerOf(frame) ?? '';
    const conversation = this.conversations.get(peer);
    const after = conversation && placeOf(String(frame.id), this.displayed(conversation), conversation);
    this.#outgoing.settle(frame);
    if (conversation?.room) this.rooms.isRejected(conversation.room.name, error);
    if (frame.room !== undefined) {
      this.rooms.onFailed(frame, error);
    } else if (frame.type === 'message') {
      this.unsent.addFailed({ frame, code: error.code, detail: error.message, after });
    } else if (frame.type !== 'read') {
      const action = ACTIONS[frame.type] ?? 'A frame';
      this.#notify(`${action} was rejected: ${errorText(peer, error.code, error.message)}`);
    }
    this.#changed();
  }

  #onEntry(entry: ChangeEntry, time: string): void {
    if (!this.conversations.onEntry(entry, time)) this.#queries.refreshSoon();
    this.#changed();
  }

  #onTyping(peer: string, user: string, active: boolean): void {
    const conversation = this.conversations.get(peer);
    if (conversation) setTyping(conversation, user, active, () => this.#changed());
  }

  // ---- Helpers ----

  get #isClosed(): boolean {
    return this.connection.status === 'closed';
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
