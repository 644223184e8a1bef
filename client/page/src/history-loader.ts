import type { Client, ServerHistory } from '../../src/index.js';
import { Conversation, fromFrame, type Message } from './conversation.js';
import { targetFields } from './peer.js';

const PAGE_SIZE = 50;
/** Largest page that the server returns (docs/protocol.md section 4). */
const MAX_PAGE_SIZE = 200;

/** Callbacks of a {@link HistoryLoader}. */
export interface HistoryEvents {
  client(): Client;
  onChange(): void;
  /** A page could not be loaded. */
  onError(conversation: Conversation, error: unknown): void;
}

type Merge = (messages: Message[], more: boolean) => void;

/** Loads the messages of conversations page by page. */
export class HistoryLoader {
  readonly #events: HistoryEvents;

  constructor(events: HistoryEvents) {
    this.#events = events;
  }

  /** Loads all unread messages and a few before them, within the largest page. */
  async loadNewest(conversation: Conversation, onLoaded: () => void): Promise<void> {
    if (conversation.loading) return;
    conversation.pageAt = Conversation.arrivals;
    const limit = Math.min(MAX_PAGE_SIZE, Math.max(PAGE_SIZE, conversation.unread + PAGE_SIZE / 5));
    await this.#load(conversation, { limit }, (messages, more) => {
      conversation.mergeNewest(messages, more);
      onLoaded();
    });
  }

  /** Loads the page before the first message, or waits for the page that is being loaded. */
  async loadOlder(conversation: Conversation): Promise<void> {
    const first = conversation.messages[0];
    if (conversation.loading) return conversation.loading;
    if (!conversation.loaded || !conversation.more || !first) return;
    await this.#load(conversation, { limit: PAGE_SIZE, before: first.id }, (messages, more) =>
      conversation.mergeOlder(messages, more),
    );
  }

  #load(conversation: Conversation, range: { before?: string; limit: number }, merge: Merge): Promise<void> {
    const load = async () => {
      await this.#request(conversation, range, merge);
      conversation.loading = undefined;
      this.#events.onChange();
    };
    // Start the request after `loading` is set, because sending it notifies the listeners.
    conversation.loading = Promise.resolve().then(load);
    this.#events.onChange();
    return conversation.loading;
  }

  async #request(conversation: Conversation, range: { before?: string; limit: number }, merge: Merge): Promise<void> {
    try {
      const target = targetFields(conversation.peer);
      const page = await this.#events.client().request<ServerHistory>({ type: 'history', ...target, ...range });
      merge(page.messages.map(fromFrame), page.more);
    } catch (error) {
      this.#events.onError(conversation, error);
    }
  }
}
