import type { JSX } from 'preact';
import { useEffect, useLayoutEffect, useMemo, useRef, useState } from 'preact/hooks';
import { pageAddress } from '../address.js';
import type { Chat } from '../chat.js';
import type { Conversation, Message } from '../conversation.js';
import { type DisplayedMessage, readersText } from '../display.js';
import { isErased } from '../identity.js';
import { roomOf } from '../peer.js';
import { typingText } from '../typing.js';
import { BlockButton, BlockedStrip } from './block.js';
import { Composer } from './composer.js';
import { Icon } from './icons.js';
import { type MessageActions, MessageRow } from './message.js';
import { Avatar, Confirm, formatDay, IconButton, parseTime } from './parts.js';
import { JoinStrip, NoticeRow, RoomButtons, RoomStatus } from './room.js';

/** Distance to the end that still counts as being at the end, in pixels. */
const END_DISTANCE = 60;
/** Distance to the start at which older messages are loaded, in pixels. */
const LOAD_DISTANCE = 600;
/** Messages of one user within this time are grouped. */
const GROUP_MS = 5 * 60_000;
/** Maximum number of pages loaded to find the message that another one replies to. */
const MAX_SEARCH_PAGES = 20;

interface ThreadProps {
  readonly chat: Chat;
  readonly conversation: Conversation;
  readonly hasToken: boolean;
  readonly showFrames: boolean;
  readonly onOpen: (peer: string) => void;
  readonly onBack: () => void;
  readonly onToggleFrames: () => void;
}

/** One conversation. */
export function Thread(props: ThreadProps): JSX.Element {
  const { chat, conversation, hasToken, showFrames, onBack, onToggleFrames } = props;
  const { peer, room } = conversation;
  // While the user joins, messages wait for the answer.
  const isOutside = room?.isMember === false && chat.pendingMembership(room.name) !== 'join';
  const canWrite = !isErased(peer) && !isOutside;
  const displayed = chat.displayed(conversation);
  const scroller = useRef<HTMLElement>(null);
  const list = useRef<HTMLOListElement>(null);
  /** Scroll position at the last render. */
  const position = useRef({ isAtEnd: true, fromEnd: 0, first: undefined as string | undefined, count: 0 });
  const [isAway, setIsAway] = useState(false);
  const [menu, setMenu] = useState<string>();
  const [active, setActive] = useState<string>();
  const [replying, setReplying] = useState<Message>();
  const [editing, setEditing] = useState<Message>();
  const [deleting, setDeleting] = useState<string>();
  /** The list was scrolled to the first unread message. */
  const hasScrolled = useRef(false);
  const input = useRef<HTMLTextAreaElement>(null);
  const loadingText = chat.isDown ? 'Messages load when you are back online.' : 'Loading…';
  const blockButton = useRef<HTMLButtonElement>(null);

  // ---- Scroll position: stays at the same message, or at the end ----

  const onScroll = () => {
    const element = scroller.current;
    if (!element) return;
    const fromEnd = element.scrollHeight - element.scrollTop;
    const isAtEnd = fromEnd - element.clientHeight < END_DISTANCE;
    Object.assign(position.current, { isAtEnd, fromEnd });
    setIsAway(!isAtEnd);
    if (isAtEnd && document.visibilityState === 'visible') chat.markSeen(conversation);
    if (element.scrollTop < LOAD_DISTANCE) void chat.loadOlder(conversation);
  };
  const scrollToEnd = () => {
    if (scroller.current) scroller.current.scrollTop = scroller.current.scrollHeight;
    onScroll();
  };
  const first = conversation.messages[0]?.id ?? displayed[0]?.message.id;
  useLayoutEffect(() => {
    const element = scroller.current;
    const previous = position.current;
    if (!element) return;
    const last = displayed.at(-1);
    const hasSent = displayed.length > previous.count && previous.count > 0 && last?.message.sentAt === '';
    const unread = !hasScrolled.current && element.querySelector('.new-messages');
    hasScrolled.current ||= conversation.loaded;
    if (unread) element.scrollTop += unread.getBoundingClientRect().top - element.getBoundingClientRect().top;
    else if (previous.isAtEnd || hasSent) element.scrollTop = element.scrollHeight;
    else if (first !== previous.first) element.scrollTop = element.scrollHeight - previous.fromEnd;
    Object.assign(position.current, { first, count: displayed.length });
    onScroll();
  });
  useEffect(() => {
    const stayAtEnd = () => {
      if (position.current.isAtEnd && scroller.current) scroller.current.scrollTop = scroller.current.scrollHeight;
    };
    const observer = new ResizeObserver(stayAtEnd);
    if (scroller.current) observer.observe(scroller.current);
    if (list.current) observer.observe(list.current);
    document.addEventListener('visibilitychange', onScroll);
    if (matchMedia('(hover: hover)').matches) input.current?.focus();
    return () => {
      observer.disconnect();
      document.removeEventListener('visibilitychange', onScroll);
    };
  }, []);

  // Joining and leaving replace the button that had the focus.
  const wasOutside = useRef(isOutside);
  const joinButton = useRef<HTMLButtonElement>(null);
  useEffect(() => {
    const button = isOutside ? joinButton.current : input.current;
    if (wasOutside.current !== isOutside && document.activeElement === document.body) button?.focus();
    wasOutside.current = isOutside;
  }, [isOutside]);

  // ---- Actions ----

  const rowOf = (id: string) => list.current?.querySelector<HTMLElement>(`[data-id="${CSS.escape(id)}"]`);
  const actions = useMemo<MessageActions>(() => {
    const jump = async (id: string) => {
      for (let i = 0; !conversation.find(id) && conversation.more && i < MAX_SEARCH_PAGES; i += 1)
        await chat.loadOlder(conversation);
      // Wait until it is rendered.
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
        // The dialog restores the focus to this row.
        rowOf(id)?.focus();
        setMenu(undefined);
        setDeleting(id);
      },
      react: (message, emoji) => {
        setMenu(undefined);
        const mine = message.reactions.some(reaction => reaction.emoji === emoji && reaction.users.includes(chat.me));
        chat.react(peer, message.id, emoji, mine);
      },
      retry: id => {
        chat.retry(id);
        requestAnimationFrame(scrollToEnd);
      },
      discard: id => chat.discard(id),
      focus: setActive,
      send: ({ id, ephemeral }, content) => {
        // The server knows no ephemeral message to reply to.
        chat.send(peer, content, ephemeral ? undefined : id);
        requestAnimationFrame(scrollToEnd);
      },
    };
  }, [chat, conversation]);

  const isEditable = ({ message, delivery }: DisplayedMessage) => {
    const { content, from } = message;
    const isText = typeof content === 'string' || (content as { type?: string } | undefined)?.type === 'markdown';
    return canWrite && from === chat.me && isText && !message.ephemeral && delivery !== 'failed';
  };

  /** The list is a single tab stop; arrow keys move between messages. */
  const onKeyDown = (event: KeyboardEvent) => {
    const row = (event.target as HTMLElement).closest<HTMLElement>('[data-id]');
    if (!row || event.target !== row) return;
    const rows = [...(list.current?.querySelectorAll<HTMLElement>('[data-id]') ?? [])];
    const index = rows.indexOf(row);
    const next = { ArrowUp: index - 1, ArrowDown: index + 1, Home: 0, End: rows.length - 1 }[event.key];
    if (next !== undefined) {
      event.preventDefault();
      rows[next]?.focus();
      rows[next]?.scrollIntoView({ block: 'nearest' });
    } else if (event.key === 'Enter' || event.key === ' ' || event.key === 'ContextMenu') {
      event.preventDefault();
      // An unsent message has no menu. Without this check the menu would open once the message is stored.
      if (row.querySelector('.handle')) setMenu(row.dataset.id);
    } else if (event.key === 'Escape') {
      input.current?.focus();
    }
  };

  // ---- Rows ----

  const rows: JSX.Element[] = [];
  const byId = new Map(displayed.map(({ message }) => [message.id, message]));
  const tabStop = active !== undefined && byId.has(active) ? active : displayed.at(-1)?.message.id;
  const lastOwn = displayed.findLast(({ message }) => message.from === chat.me && message.deletedAt === undefined);
  let before: Message | undefined;
  let dayBefore = '';
  /** Adds a line with the day if it is a new one. */
  const startDay = (key: string, time: Date): boolean => {
    const isNewDay = time.toDateString() !== dayBefore;
    dayBefore = time.toDateString();
    if (isNewDay) {
      rows.push(
        <li key={`day ${key}`} class="day">
          <span>{formatDay(time)}</span>
        </li>,
      );
    }
    return isNewDay;
  };
  const { notices } = conversation;
  const addNotices = (id: string) => {
    for (const notice of notices.get(id) ?? []) {
      startDay(`${notice.seq}`, parseTime(notice.at));
      rows.push(<NoticeRow key={`notice ${notice.seq}`} notice={notice} me={chat.me} />);
      before = undefined;
    }
  };
  addNotices('');
  for (const { message, delivery, error, changing, until, readers = [] } of displayed) {
    const time = parseTime(message.sentAt);
    const isNewDay = startDay(message.id, time);
    const isFirstUnread = message.id === conversation.firstUnread;
    if (isFirstUnread) {
      rows.push(
        <li key="unread" class="day new-messages">
          <span>New messages</span>
        </li>,
      );
    }
    const isSoon = before !== undefined && Math.abs(time.getTime() - parseTime(before.sentAt).getTime()) < GROUP_MS;
    const follows =
      !isNewDay && !isFirstUnread && isSoon && before?.from === message.from && message.replyTo === undefined;
    const showDelivery = lastOwn?.message.id === message.id;
    rows.push(
      <MessageRow
        key={message.id}
        me={chat.me}
        message={message}
        delivery={delivery}
        error={error}
        changing={changing}
        until={until}
        follows={follows}
        named={room !== undefined && message.from !== chat.me && !follows}
        readers={room && showDelivery ? readersText(readers, room.size) : ''}
        original={message.replyTo === undefined ? undefined : byId.get(message.replyTo)}
        menu={menu === message.id}
        tabStop={tabStop === message.id}
        showDelivery={showDelivery}
        editable={isEditable({ message, delivery, changing })}
        canWrite={canWrite}
        canDelete={!isOutside}
        actions={actions}
      />,
    );
    before = message;
    addNotices(message.id);
  }

  const isEmpty = conversation.loaded && displayed.length === 0;
  const typing = typingText(conversation);
  const preposition = room ? 'in' : 'with';
  return (
    <section class="thread" aria-label={`Conversation ${preposition} ${peer}`}>
      <header>
        <IconButton icon="back" label="All conversations" class="back" onClick={onBack} />
        <Avatar user={peer} />
        <div class="title">
          <h2>{peer}</h2>
          <p class="dim" role="status">
            {typing}
          </p>
          {room && typing === '' && <RoomStatus chat={chat} room={room} />}
        </div>
        {room && !isOutside && (
          <RoomButtons chat={chat} conversation={conversation} room={room} onOpen={props.onOpen} />
        )}
        {canWrite && !room && peer !== chat.me && <BlockButton chat={chat} peer={peer} button={blockButton} />}
        <IconButton
          icon="frames"
          label="Frames on the wire"
          class="only-narrow"
          onClick={onToggleFrames}
          aria-pressed={showFrames}
        />
      </header>
      <section
        class="scroller"
        ref={scroller}
        onScroll={onScroll}
        aria-label={`Messages ${preposition} ${peer}`}
        aria-busy={conversation.loading !== undefined}
      >
        {isEmpty && <EmptyConversation chat={chat} peer={peer} hasToken={hasToken} />}
        {!conversation.loaded && !isOutside && displayed.length === 0 && chat.connection.status !== 'closed' && (
          <p class="dim hint">{loadingText}</p>
        )}
        {displayed.length > 0 && (
          <p class="dim hint beginning">
            {conversation.loading
              ? 'Loading…'
              : conversation.loaded && !conversation.more
                ? 'Beginning of the conversation'
                : ''}
          </p>
        )}
        <ol ref={list} onKeyDown={onKeyDown} aria-label="Messages">
          {rows}
        </ol>
      </section>
      {isAway && (
        <button type="button" class="to-end" onClick={scrollToEnd}>
          <Icon name="down" />
          {conversation.unread > 0 ? (
            `${conversation.unread} new`
          ) : (
            <span class="unseen">Scroll to the newest message</span>
          )}
        </button>
      )}
      {room && isOutside && <JoinStrip chat={chat} room={room} button={joinButton} />}
      {canWrite && (
        <>
          {!room && <BlockedStrip chat={chat} peer={peer} button={blockButton} />}
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
              const last = displayed.findLast(isEditable);
              if (last) setEditing(last.message);
            }}
            onSent={() => requestAnimationFrame(scrollToEnd)}
          />
        </>
      )}
      {isErased(peer) && (
        <p class="blocked">
          <Icon name="warning" /> This user was erased. You can read the conversation, but not write.
        </p>
      )}
      {deleting !== undefined && (
        <Confirm
          title="Delete the message?"
          action="Delete"
          onConfirm={() => chat.delete(peer, deleting)}
          onClose={() => setDeleting(undefined)}
        >
          <p>It is deleted for {room ? 'all members' : 'both users'}.</p>
        </Confirm>
      )}
    </section>
  );
}

/** Shown in a conversation without messages. */
function EmptyConversation(props: { chat: Chat; peer: string; hasToken: boolean }): JSX.Element {
  const { chat, peer, hasToken } = props;
  const { me } = chat;
  const isRoom = roomOf(peer) !== undefined;
  const other = isRoom ? (me === '6666' ? '8888' : '6666') : peer;
  return (
    <div class="empty-conversation">
      <Avatar user={peer} />
      <p>
        No messages {isRoom ? 'in' : 'with'} {peer} yet.
      </p>
      {!hasToken && other !== me && (
        <p>
          To try {isRoom ? 'it with several users' : 'both sides'},{' '}
          <a href={pageAddress(other, isRoom ? peer : me, chat.rooms.session)} target="_blank" rel="noopener">
            open a tab as {other}
          </a>
          .
        </p>
      )}
    </div>
  );
}
