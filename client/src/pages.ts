import { targetFields } from './address.js';
import type { PastMessage, ServerHistory } from './frames.generated.js';
import type { HistoryOptions, Target } from './options.js';
import type { InFrame, OutFrame } from './outbox.js';

type Request = <Reply>(frame: OutFrame) => Promise<Reply>;

const PAGE_SIZE = 50;

/** Iterates over the messages of a conversation: backwards from `before` or the newest, or forwards from `after`. */
export async function* history<App>(
  request: Request,
  to: Target,
  { before, after, pageSize: limit = PAGE_SIZE }: HistoryOptions,
): AsyncGenerator<PastMessage<App>, void, undefined> {
  const forward = after !== undefined;
  for (let from = after ?? before; ; ) {
    const position = from === undefined ? {} : forward ? { after: from } : { before: from };
    const page = await request<ServerHistory<App>>({ type: 'history', ...targetFields(to), limit, ...position });
    const messages = forward ? page.messages : [...page.messages].reverse();
    yield* messages;
    from = messages.at(-1)?.id;
    if (!page.more || from === undefined) return;
  }
}

/** Iterates over the items of a query with a cursor, which each reply has in `field`. */
export async function* items<Item>(
  request: Request,
  query: OutFrame,
  field: string,
  limit = PAGE_SIZE,
): AsyncGenerator<Item, void, undefined> {
  for (let cursor: unknown; ; ) {
    const page = await request<InFrame>({ ...query, limit, ...(cursor !== undefined && { cursor }) });
    yield* page[field] as Item[];
    cursor = page.cursor;
    if (cursor === undefined) return;
  }
}
