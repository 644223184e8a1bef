import type { Client, ServerMembers } from '../../src/index.js';
import type { Conversation } from './conversation.js';

const PAGE_SIZE = 100;

/** Callbacks of a {@link MemberLoader}. */
export interface MemberEvents {
  client(): Client;
  onChange(): void;
  /** A page could not be loaded. */
  onError(conversation: Conversation, error: unknown): void;
}

/** Loads the members of rooms page by page. */
export class MemberLoader {
  readonly #events: MemberEvents;

  constructor(events: MemberEvents) {
    this.#events = events;
  }

  /** Loads the first page again. */
  async loadFirst(conversation: Conversation): Promise<void> {
    await this.#load(conversation, undefined);
  }

  /** Loads the page after the last member. */
  async loadMore(conversation: Conversation): Promise<void> {
    const cursor = conversation.room?.cursor;
    if (cursor !== undefined) await this.#load(conversation, cursor);
  }

  async #load(conversation: Conversation, cursor: string | undefined): Promise<void> {
    const { room } = conversation;
    if (!room || room.loading) return;
    room.loading = true;
    room.isOutdated = false;
    this.#events.onChange();
    try {
      const position = cursor === undefined ? {} : { cursor };
      const request = { type: 'members', room: room.name, limit: PAGE_SIZE, ...position } as const;
      const page = await this.#events.client().request<ServerMembers>(request);
      room.members = cursor === undefined ? page.users : [...(room.members ?? []), ...page.users];
      room.cursor = page.cursor;
      room.size = page.total;
      for (const { user, read } of page.users) if (read !== undefined) conversation.markReadBy(user, read);
    } catch (error) {
      this.#events.onError(conversation, error);
    }
    room.loading = false;
    this.#events.onChange();
    // The page may not include a change that arrived before it.
    if (room.isOutdated && room.isMember) await this.#load(conversation, undefined);
  }
}
