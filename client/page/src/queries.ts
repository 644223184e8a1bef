import type { Client, DmwireError } from '../../src/index.js';
import type { Conversation } from './conversation.js';
import { ConversationList } from './conversation-list.js';
import type { Conversations } from './conversations.js';
import { HistoryLoader } from './history-loader.js';
import { peerOf } from './peer.js';
import type { Rooms } from './rooms.js';

/** Delay before the list is loaded again, so that several frames cause one request. */
export const REFRESH_DELAY_MS = 40;

/** What {@link Queries} need of a chat. */
export interface QueryEvents {
  client(): Client;
  readonly conversations: Conversations;
  readonly rooms: Rooms;
  /** Returns the open conversation. */
  current(): Conversation | undefined;
  /** Whether the connection is closed and does not reconnect. */
  isClosed(): boolean;
  /** Whether the user's frame that joins a room waits for its answer. */
  isJoining(room: string): boolean;
  onChange(): void;
  /** The newest messages are loaded, for the first time with `isFirst`. */
  onLoaded(conversation: Conversation, isFirst: boolean): void;
  /** Reports a failed query to the user. */
  onError(summary: string, error: unknown): void;
}

/** Loads what the log does not contain: the list of conversations with unread counts, history, and members of rooms. */
export class Queries {
  readonly list: ConversationList;
  readonly #events: QueryEvents;
  readonly #history: HistoryLoader;
  #timer: ReturnType<typeof setTimeout> | undefined;
  /** The next refresh reloads the open conversation. */
  #reload = false;

  constructor(events: QueryEvents) {
    this.#events = events;
    const { client, conversations, rooms, onChange } = events;
    this.list = new ConversationList({
      client,
      onItem: (item, ...place) => {
        const peer = peerOf(item);
        if (peer !== undefined) conversations.with(peer).mergeListItem(item, conversations.me, ...place);
      },
      onEnd: listAt => conversations.onListEnd(listAt),
      onChange,
    });
    this.#history = new HistoryLoader({
      client,
      onChange,
      onError: (conversation, error) => {
        const { peer, room } = conversation;
        if (room && rooms.isRejected(room.name, error)) return;
        events.onError(`Messages ${room ? 'in' : 'with'} ${peer} could not be loaded`, error);
        // Do not repeat a request that would fail again.
        if (!events.isClosed()) conversation.more = false;
      },
    });
  }

  /**
   * Loads receipts and unread counts, which the log does not contain, by loading the list of conversations again. Also loads
   * the open conversation if it is not loaded, or in any case with `reload`.
   */
  async refresh(reload = false): Promise<void> {
    let reloads = reload;
    try {
      if (!(await this.list.refresh())) return;
    } catch (error) {
      this.#events.onError('The conversations could not be loaded', error);
      // The open conversation can be loaded without the list.
      reloads = false;
    }
    const current = this.#events.current();
    if (current && (reloads || !current.loaded)) await this.load(current);
  }

  /** Like {@link Queries.refresh}, after a delay. */
  refreshSoon(reload = false): void {
    this.#reload ||= reload;
    clearTimeout(this.#timer);
    this.#timer = setTimeout(() => {
      void this.refresh(this.#reload);
      this.#reload = false;
    }, REFRESH_DELAY_MS);
  }

  /** Loads the newest messages of a conversation. */
  async load(conversation: Conversation): Promise<void> {
    const { room } = conversation;
    // It is loaded once the user is a member.
    if (room && (room.isMember === false || this.#events.isJoining(room.name))) return;
    const isFirst = !conversation.loaded;
    await this.#history.loadNewest(conversation, () => this.#events.onLoaded(conversation, isFirst));
    // The marks of members refer to messages, which are loaded now.
    if (room && conversation.loaded) await this.#events.rooms.loadMembers(conversation);
  }

  /** Loads the messages before the first one, or waits for the page that is being loaded. */
  async loadOlder(conversation: Conversation): Promise<void> {
    if (this.#events.isClosed()) return conversation.loading;
    await this.#history.loadOlder(conversation);
  }

  /** Loads the next page of the list of conversations. */
  async loadMoreConversations(): Promise<void> {
    if (!this.list.hasMore || this.list.loading) return;
    try {
      await this.list.loadMore();
    } catch (error) {
      // The message that the cursor refers to was deleted by retention.
      if ((error as DmwireError).code === 'unknown_message') void this.refresh();
      else this.#events.onError('Older conversations could not be loaded', error);
      this.#events.onChange();
    }
  }
}
