import { target } from './address.js';
import type { Conversation, PastMessage, ServerConversations, ServerHistory } from './frames.generated.js';
import type { HistoryOptions, Target } from './options.js';
import type { OutFrame } from './outbox.js';

type Ask = <Reply>(frame: OutFrame) => Promise<Reply>;

const PAGE = 50;

/** All messages of a conversation, in the direction that the options say. */
export async function* history<App>(
  ask: Ask,
  to: Target,
  { before, after, pageSize: limit = PAGE }: HistoryOptions,
): AsyncGenerator<PastMessage<App>, void, undefined> {
  const forward = after !== undefined;
  for (let from = after ?? before; ; ) {
    const place = from === undefined ? {} : forward ? { after: from } : { before: from };
    const page = await ask<ServerHistory<App>>({ type: 'history', ...target(to), limit, ...place });
    const messages = forward ? page.messages : [...page.messages].reverse();
    yield* messages;
    from = messages.at(-1)?.id;
    if (!page.more || from === undefined) return;
  }
}

/** All conversations, the newest first. */
export async function* conversations<App>(ask: Ask, limit = PAGE): AsyncGenerator<Conversation<App>, void, undefined> {
  for (let cursor: string | undefined; ; ) {
    const place = cursor === undefined ? {} : { cursor };
    const page = await ask<ServerConversations<App>>({ type: 'conversations', limit, ...place });
    yield* page.items;
    cursor = page.cursor;
    if (cursor === undefined) return;
  }
}
