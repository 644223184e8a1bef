import type { Client, Conversation as ListItem, ServerConversations } from '../../src/index.js';
import { Conversation } from './conversation.js';

const PAGE_SIZE = 100;

/** Callbacks of a {@link ConversationList}. */
export interface ListEvents {
  /** Returns the current client. An answer to an earlier client is ignored. */
  client(): Client;
  /** `index`, `listAt` and `pageAt` as for {@link Conversation.mergeListItem}. */
  onItem(item: ListItem, index: number, listAt: number, pageAt: number): void;
  /** The list, requested after `listAt` arrivals, was loaded to its end. */
  onEnd(listAt: number): void;
  onChange(): void;
}

/** Loads the user's list of conversations page by page. */
export class ConversationList {
  /** The first page has arrived. */
  loaded = false;
  /** The server has older conversations. */
  hasMore = false;
  /** The next page is being loaded. */
  loading = false;
  readonly #events: ListEvents;
  /** Position after the last loaded conversation. */
  #cursor: string | undefined;
  /** Number of loaded conversations. */
  #length = 0;
  /** Number of arrivals when the first page was requested. */
  #listAt = 0;

  constructor(events: ListEvents) {
    this.#events = events;
  }

  /** Loads the next page. */
  async loadMore(): Promise<void> {
    const client = this.#events.client();
    this.loading = true;
    this.#events.onChange();
    try {
      const page = await this.#load(client, this.#cursor, this.#length);
      if (client === this.#events.client()) this.#setEnd(page.cursor, this.#length + page.items.length);
    } finally {
      this.loading = false;
    }
    this.#events.onChange();
  }

  /** Loads the list again from the start, as far as it was loaded. Returns false if the client has been replaced. */
  async refresh(): Promise<boolean> {
    const client = this.#events.client();
    const length = Math.max(PAGE_SIZE, this.#length);
    let count = 0;
    let page: ServerConversations | undefined;
    // No event has this number, so that a room that this list confirms differs from one that an earlier list has confirmed.
    Conversation.arrivals += 1;
    this.#listAt = Conversation.arrivals;
    do {
      page = await this.#load(client, page?.cursor, count);
      count += page.items.length;
    } while (page.cursor !== undefined && page.items.length > 0 && count < length);
    if (client !== this.#events.client()) return false;
    this.#setEnd(page.cursor, count);
    if (!this.hasMore) this.#events.onEnd(this.#listAt);
    this.loaded = true;
    this.#events.onChange();
    return true;
  }

  /** Forgets the list, because the server's data was replaced. */
  reset(): void {
    this.#setEnd(undefined, 0);
  }

  async #load(client: Client, cursor: string | undefined, first: number): Promise<ServerConversations> {
    const pageAt = Conversation.arrivals;
    const position = cursor === undefined ? {} : { cursor };
    const page = await client.request<ServerConversations>({ type: 'conversations', limit: PAGE_SIZE, ...position });
    if (client === this.#events.client()) {
      page.items.forEach((item, i) => void this.#events.onItem(item, first + i, this.#listAt, pageAt));
    }
    return page;
  }

  #setEnd(cursor: string | undefined, length: number): void {
    this.#cursor = cursor;
    this.#length = length;
    this.hasMore = cursor !== undefined;
  }
}
