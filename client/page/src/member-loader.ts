import type { Client, ServerMembers } from '../../src/index.js';
import type { Conversation } from './conversation.js';

const PAGE_SIZE = 100;
/** Members that have changed meanwhile are loaded again after this time in milliseconds. */
const RELOAD_DELAY = 1000;

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

  /** Loads the first page, and again the pages that were loaded before. */
  async loadFirst(conversation: Conversation): Promise<void> {
    await this.#load(conversation, undefined);
  }

  /** Loads the page after the last member. */
  async loadMore(conversation: Conversation): Promise<void> {
    const cursor = conversation.room?.cursor;
    if (cursor !== undefined) await this.#load(conversation, cursor);
  }

  async #load(conversation: Conversation, start: string | undefined): Promise<void> {
    const { room } = conversation;
    if (!room || room.loading) return;
    room.loading = true;
    if (start === undefined) room.isOutdated = false;
    this.#events.onChange();
    try {
      let members = (start !== undefined && room.members) || [];
      let cursor = start;
      do {
        const position = cursor === undefined ? {} : { cursor };
        const request = { type: 'members', room: room.name, limit: PAGE_SIZE, ...position } as const;
        const page = await this.#events.client().request<ServerMembers>(request);
        members = [...members, ...page.users];
        cursor = page.cursor;
        room.size = page.total;
        for (const { user, read } of page.users) if (read !== undefined) conversation.markReadBy(user, read);
      } while (cursor !== undefined && members.length < (room.members?.length ?? 0));
      room.members = members;
      room.cursor = cursor;
    } catch (error) {
      this.#events.onError(conversation, error);
    }
    room.loading = false;
    this.#events.onChange();
    // The pages may not include a change that arrived before them.
    const reload = () => room.isOutdated && room.isMember && this.loadFirst(conversation);
    if (room.isOutdated) setTimeout(reload, RELOAD_DELAY);
  }
}
