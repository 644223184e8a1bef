import type { JSX } from 'preact';
import { useEffect, useLayoutEffect, useMemo, useRef, useState } from 'preact/hooks';
import type { Chat, Shown } from '../chat.js';
import type { Conversation, Message } from '../conversation.js';
import { here } from '../identity.js';
import { BlockButton, BlockedStrip } from './block.js';
import { Composer } from './composer.js';
import { Icon } from './icons.js';
import { type Deeds, MessageRow } from './message.js';
import { Avatar, Dialog, day, timeOf } from './parts.js';

/** How near to an end counts as being there, in pixels. */
const END = 60;
const TOP = 600;
/** Messages of one author that come so soon after one another stand together. */
const TOGETHER_MS = 5 * 60_000;
/** Pages to look through for the message that another one answers. */
const SEARCHED = 20;

interface ThreadProps {
  readonly chat: Chat;
  readonly conversation: Conversation;
  readonly hasToken: boolean;
  readonly frames: boolean;
  readonly onBack: () => void;
  readonly onFrames: () => void;
}

/** One conversation. */
export function Thread({ chat, conversation, hasToken, frames, onBack, onFrames }: ThreadProps): JSX.Element {
  const { peer } = conversation;
  const shown = chat.shown(conversation);
  const scroller = useRef<HTMLElement>(null);
  const list = useRef<HTMLOListElement>(null);
  const place = useRef({ atEnd: true, fromEnd: 0, first: undefined as string | undefined, count: 0 });
  const [away, setAway] = useState(false);
  const [menu, setMenu] = useState<string>();
  const [active, setActive] = useState<string>();
  const [replying, setReplying] = useState<Message>();
  const [editing, setEditing] = useState<Message>();
  const [deleting, setDeleting] = useState<string>();
  /** The reader has been brought to where they had stopped. */
  const landed = useRef(false);
  const input = useRef<HTMLTextAreaElement>(null);
  const waiting = chat.down ? 'What was said comes when the line is back.' : 'Loading…';
  const blockButton = useRef<HTMLButtonElement>(null);

  // ---- The place in the list: the reader stays where they are, or at the end ----

  const look = () => {
    const element = scroller.current;
    if (!element) return;
    const fromEnd = element.scrollHeight - element.scrollTop;
    const atEnd = fromEnd - element.clientHeight < END;
    Object.assign(place.current, { atEnd, fromEnd });
    setAway(!atEnd);
    if (atEnd && document.visibilityState === 'visible') chat.seen(conversation);
    if (element.scrollTop < TOP) void chat.older(conversation);
  };
  const toEnd = () => {
    if (scroller.current) scroller.current.scrollTop = scroller.current.scrollHeight;
    look();
  };
  const first = shown[0]?.message.id;
  useLayoutEffect(() => {
    const element = scroller.current;
    const was = place.current;
    if (!element) return;
    const mine = shown.at(-1);
    const sentNow = shown.length > was.count && was.count > 0 && mine?.message.sentAt === '';
    const unread = !landed.current && element.querySelector('.new-messages');
    landed.current ||= conversation.loaded;
    if (unread) element.scrollTop += unread.getBoundingClientRect().top - element.getBoundingClientRect().top;
    else if (was.atEnd || sentNow) element.scrollTop = element.scrollHeight;
    else if (first !== was.first) element.scrollTop = element.scrollHeight - was.fromEnd;
    Object.assign(place.current, { first, count: shown.length });
    look();
  });
  useEffect(() => {
    const follow = () => {
      if (place.current.atEnd && scroller.current) scroller.current.scrollTop = scroller.current.scrollHeight;
    };
    const sizes = new ResizeObserver(follow);
    if (scroller.current) sizes.observe(scroller.current);
    if (list.current) sizes.observe(list.current);
    document.addEventListener('visibilitychange', look);
    if (matchMedia('(hover: hover)').matches) input.current?.focus();
    return () => {
      sizes.disconnect();
      document.removeEventListener('visibilitychange', look);
    };
  }, []);

  // ---- What one may do ----

  const rowOf = (id: string) => list.current?.querySelector<HTMLElement>(`[data-id="${CSS.escape(id)}"]`);
  const deeds = useMemo<Deeds>(() => {
    const jump = async (id: string) => {
      // Also where a page is on its way already.
      for (let i = 0; !conversation.find(id) && conversation.more && i < SEARCHED; i += 1)
        await chat.older(conversation);
      // After it is on show.
      requestAnimationFrame(() => {
        rowOf(id)?.scrollIntoView({ block: 'center' });
        rowOf(id)?.focus({ preventScroll: true });
      });
    };
    return {
      menu: setMenu,
      jump: id => void jump(id),
      reply: message => {
        setMenu(undefined);
        setEditing(undefined);
        setReplying(message);
        input.current?.focus();
      },
      edit: message => {
        setMenu(undefined);
        setReplying(undefined);
        setEditing(message);
        input.current?.focus();
      },
      delete: ({ id }) => {
        // Where the dialog gives the focus back to.
        rowOf(id)?.focus();
        setMenu(undefined);
        setDeleting(id);
      },
      react: (message, emoji) => {
        setMenu(undefined);
        const mine = message.reactions.some(reaction => reaction.emoji === emoji && reaction.users.includes(chat.me));
        chat.react(peer, message.id, emoji, mine);
      },
      retry: id => chat.retry(id),
      discard: id => chat.discard(id),
      focus: setActive,
    };
  }, [chat, conversation]);

  const editable = ({ message, delivery }: Shown) => {
    const { content, from } = message;
    const isText = typeof content === 'string' || (content as { type?: string } | undefined)?.type === 'markdown';
    return from === chat.me && isText && !message.ephemeral && delivery !== 'failed';
  };

  /** The list is one stop of the Tab key; within it arrows go from message to message. */
  const keys = (event: KeyboardEvent) => {
    const row = (event.target as HTMLElement).closest<HTMLElement>('[data-id]');
    if (!row || event.target !== row) return;
    const rows = [...(list.current?.querySelectorAll<HTMLElement>('[data-id]') ?? [])];
    const at = rows.indexOf(row);
    const next = { ArrowUp: at - 1, ArrowDown: at + 1, Home: 0, End: rows.length - 1 }[event.key];
    if (next !== undefined) {
      event.preventDefault();
      rows[next]?.focus();
      rows[next]?.scrollIntoView({ block: 'nearest' });
    } else if (event.key === 'Enter' || event.key === ' ' || event.key === 'ContextMenu') {
      event.preventDefault();
      // Some have none: it is not to open when they have one, maybe much later.
      if (row.querySelector('.handle')) setMenu(row.dataset.id);
    } else if (event.key === 'Escape') {
      input.current?.focus();
    }
  };

  // ---- The rows ----

  const rows: JSX.Element[] = [];
  const byId = new Map(shown.map(({ message }) => [message.id, message]));
  const stop = active !== undefined && byId.has(active) ? active : shown.at(-1)?.message.id;
  const lastOwn = shown.findLast(({ message }) => message.from === chat.me && message.deletedAt === undefined)?.message
    .id;
  let before: Message | undefined;
  let dayBefore = '';
  for (const { message, delivery, error, changing } of shown) {
    const time = timeOf(message.sentAt);
    const isNewDay = time.toDateString() !== dayBefore;
    const isFirstUnread = message.id === conversation.firstUnread;
    if (isNewDay) {
      rows.push(
        <li key={`day ${time.toDateString()}`} class="day">
          <span>{day(time)}</span>
        </li>,
      );
    }
    if (isFirstUnread) {
      rows.push(
        <li key="unread" class="day new-messages">
          <span>New messages</span>
        </li>,
      );
    }
    const soon = before !== undefined && time.getTime() - timeOf(before.sentAt).getTime() < TOGETHER_MS;
    rows.push(
      <MessageRow
        key={message.id}
        me={chat.me}
        message={message}
        delivery={delivery}
        error={error}
        changing={changing}
        follows={!isNewDay && !isFirstUnread && soon && before?.from === message.from && message.replyTo === undefined}
        original={message.replyTo === undefined ? undefined : byId.get(message.replyTo)}
        menu={menu === message.id}
        stop={stop === message.id}
        spellOut={lastOwn === message.id}
        editable={editable({ message, delivery, changing })}
        deeds={deeds}
      />,
    );
    before = message;
    dayBefore = time.toDateString();
  }

  const isEmpty = conversation.loaded && shown.length === 0;
  return (
    <section class="thread" aria-label={`Conversation with ${peer}`}>
      <header>
        <button type="button" class="round back" onClick={onBack} title="All conversations">
          <Icon name="back" />
          <span class="unseen">All conversations</span>
        </button>
        <Avatar user={peer} />
        <div class="title">
          <h2>{peer}</h2>
          <p class="dim" role="status">
            {conversation.typing ? 'is typing…' : ''}
          </p>
        </div>
        {peer !== chat.me && <BlockButton chat={chat} peer={peer} button={blockButton} />}
        <button
          type="button"
          class="round only-narrow"
          onClick={onFrames}
          aria-pressed={frames}
          title="Frames on the wire"
        >
          <Icon name="frames" />
          <span class="unseen">Frames on the wire</span>
        </button>
      </header>
      <section
        class="scroller"
        ref={scroller}
        onScroll={look}
        aria-label={`Messages with ${peer}`}
        aria-busy={conversation.loading !== undefined}
      >
        {isEmpty && <Nobody me={chat.me} peer={peer} hasToken={hasToken} />}
        {!conversation.loaded && shown.length === 0 && chat.line.is !== 'closed' && <p class="dim hint">{waiting}</p>}
        {shown.length > 0 && (
          <p class="dim hint beginning">
            {conversation.loading
              ? 'Loading…'
              : conversation.loaded && !conversation.more
                ? 'The beginning of the conversation'
                : ''}
          </p>
        )}
        <ol ref={list} onKeyDown={keys} aria-label="Messages">
          {rows}
        </ol>
      </section>
      {away && (
        <button type="button" class="to-end" onClick={toEnd}>
          <Icon name="down" />
          {conversation.unread > 0 ? `${conversation.unread} new` : <span class="unseen">To the newest message</span>}
        </button>
      )}
      <BlockedStrip chat={chat} peer={peer} button={blockButton} />
      <Composer
        chat={chat}
        conversation={conversation}
        input={input}
        replying={replying}
        editing={editing}
        onDone={() => {
          setReplying(undefined);
          setEditing(undefined);
        }}
        onEditLast={() => {
          const last = shown.findLast(editable);
          if (last) setEditing(last.message);
        }}
        onSent={() => requestAnimationFrame(toEnd)}
      />
      {deleting !== undefined && (
        <Dialog label="Delete the message?" onClose={() => setDeleting(undefined)}>
          <form method="dialog">
            <h2>Delete the message?</h2>
            <p>It is removed for both of you.</p>
            <p class="buttons">
              <button type="submit">Keep it</button>
              <button type="submit" class="danger" onClick={() => chat.delete(peer, deleting)}>
                Delete
              </button>
            </p>
          </form>
        </Dialog>
      )}
    </section>
  );
}

/** A conversation without messages. */
function Nobody({ me, peer, hasToken }: { me: string; peer: string; hasToken: boolean }): JSX.Element {
  return (
    <div class="nothing">
      <Avatar user={peer} />
      <p>No messages with {peer} yet.</p>
      {!hasToken && peer !== me && (
        <p>
          To try both sides,{' '}
          <a href={here(peer, me)} target="_blank" rel="noopener">
            open a tab as {peer}
          </a>
          .
        </p>
      )}
    </div>
  );
}
