import type { JSX } from 'preact';
import { useId, useRef, useState } from 'preact/hooks';
import type { Chat } from '../chat.js';
import { preview } from '../content/content.js';
import type { Conversation } from '../conversation.js';
import { isUser } from '../identity.js';
import type { Room } from '../room.js';
import { typingText } from '../typing.js';
import { Icon } from './icons.js';
import { Logo } from './logo.js';
import { Avatar, formatShort, IconButton, parseTime } from './parts.js';
import { formatMembers, JoinDialog, NameRule } from './room.js';

/** Distance to the end of the list at which the next page is loaded, in pixels. */
const LOAD_DISTANCE = 400;

interface SidebarProps {
  readonly chat: Chat;
  readonly showFrames: boolean;
  readonly onOpen: (peer: string) => void;
  readonly onJoin: (room: string) => void;
  readonly onSignOut: () => void;
  readonly onToggleFrames: () => void;
}

export function Sidebar({ chat, showFrames, onOpen, onJoin, onSignOut, onToggleFrames }: SidebarProps): JSX.Element {
  const conversations = chat.sortedConversations;
  const list = useRef<HTMLUListElement>(null);
  const more = useRef<HTMLButtonElement>(null);
  const loadMore = async () => {
    const known = conversations.length;
    const isFocused = document.activeElement === more.current;
    await chat.loadMoreConversations();
    // The button was pressed: move the focus to the first new conversation.
    if (isFocused) requestAnimationFrame(() => items(list.current)[known]?.focus());
  };
  const onScroll = () => {
    const element = list.current;
    if (element && element.scrollHeight - element.scrollTop - element.clientHeight < LOAD_DISTANCE) void loadMore();
  };
  return (
    <section class="sidebar" aria-label="Conversations">
      <header>
        <h2>
          <Logo /> dmwire
        </h2>
        <IconButton icon="frames" label="Frames on the wire" onClick={onToggleFrames} aria-pressed={showFrames} />
        <IconButton icon="sign-out" label="Change user" onClick={onSignOut} />
      </header>
      <div class="me">
        <Avatar user={chat.me} />
        <div>
          <strong>{chat.me}</strong>
          <ConnectionStatus chat={chat} />
        </div>
      </div>
      <NewConversation onOpen={onOpen} onJoin={onJoin} />
      {conversations.length === 0 && chat.list.loaded && (
        <div class="hint empty">
          <Icon name="chat" />
          <p>No conversations yet.</p>
          <p class="dim">Enter a user name above to start one, or join a room. The user need not be online.</p>
        </div>
      )}
      <ul class="conversations" ref={list} onScroll={onScroll} aria-busy={chat.list.loading}>
        {conversations.map(conversation => (
          <li key={conversation.peer}>
            <ConversationButton chat={chat} conversation={conversation} onOpen={onOpen} />
          </li>
        ))}
        {chat.list.hasMore && (
          <li key=" more">
            <button type="button" class="plain more" ref={more} onClick={() => void loadMore()}>
              {chat.list.loading ? 'Loading…' : 'Show older conversations'}
            </button>
          </li>
        )}
      </ul>
    </section>
  );
}

function items(list: HTMLElement | null): HTMLElement[] {
  return [...(list?.querySelectorAll<HTMLElement>('.conversation') ?? [])];
}

function ConnectionStatus({ chat }: { chat: Chat }): JSX.Element {
  const texts = {
    connecting: 'Connecting…',
    'catching up': 'Catching up…',
    open: 'Connected',
    waiting: 'No connection',
    closed: 'Disconnected',
  };
  const { status } = chat.connection;
  return (
    <span class={`connection ${status.replace(' ', '-')}`} role="status">
      {texts[status]}
    </span>
  );
}

function ConversationButton(props: {
  chat: Chat;
  conversation: Conversation;
  onOpen: (peer: string) => void;
}): JSX.Element {
  const { chat, conversation, onOpen } = props;
  const { peer, room, unread, newest } = conversation;
  const typing = typingText(conversation);
  const displayed = chat.displayed(conversation).at(-1);
  const last = displayed?.message ?? newest;
  const isCurrent = chat.current === conversation;
  return (
    <button
      type="button"
      class="conversation"
      aria-current={isCurrent ? 'true' : undefined}
      onClick={() => onOpen(peer)}
    >
      <Avatar user={peer} />
      <span class="peer">
        {peer === chat.me ? `${peer} (you)` : peer}
        {chat.blocks.has(peer) && (
          <>
            {' '}
            <Icon name="block" />
            <span class="unseen">, blocked</span>
          </>
        )}
      </span>
      {last?.sentAt && (
        <time class="time" dateTime={last.sentAt}>
          {formatShort(parseTime(last.sentAt))}
        </time>
      )}
      <span class="preview" dir="auto">
        {displayed?.delivery === 'failed' && (
          <>
            <bdi>
              <strong>Not sent:</strong>
            </bdi>{' '}
          </>
        )}
        {typing ? (
          <em>{typing}</em>
        ) : last ? (
          <>
            {last.from === chat.me ? peer !== chat.me && <bdi>You:</bdi> : room && <bdi>{last.from}:</bdi>}{' '}
            {preview(last.content, last.from === chat.me)}
          </>
        ) : (
          room && <>{roomPreview(chat, room)}</>
        )}
      </span>
      {unread > 0 && (
        <span class="count">
          {unread > 99 ? '99+' : unread}
          <span class="unseen"> unread</span>
        </span>
      )}
    </button>
  );
}

/** Shown for a room without messages. */
function roomPreview(chat: Chat, room: Room): string {
  if (chat.pendingMembership(room.name) === 'join') return 'Joining…';
  return room.size === undefined ? '' : formatMembers(room.size);
}

function NewConversation(props: Pick<SidebarProps, 'onOpen' | 'onJoin'>): JSX.Element {
  const id = useId();
  const [text, setText] = useState('');
  const [isInvalid, setIsInvalid] = useState(false);
  const [isJoining, setIsJoining] = useState(false);
  const start = (event: Event) => {
    event.preventDefault();
    const peer = text.trim();
    setIsInvalid(peer !== '' && !isUser(peer));
    if (!isUser(peer)) return;
    setText('');
    props.onOpen(peer);
  };
  return (
    <>
      <form class="new" onSubmit={start}>
        <label class="unseen" for={id}>
          Write to
        </label>
        <input
          id={id}
          value={text}
          placeholder="Write to…"
          autocomplete="off"
          autocapitalize="none"
          spellcheck={false}
          aria-invalid={isInvalid}
          aria-describedby={isInvalid ? `${id}e` : undefined}
          onInput={event => {
            setText(event.currentTarget.value);
            setIsInvalid(false);
          }}
        />
        <IconButton type="submit" icon="plus" label="Start the conversation" />
        <IconButton icon="room" label="Join a room" aria-haspopup="dialog" onClick={() => setIsJoining(true)} />
        <p class="problem" role="alert" id={`${id}e`}>
          {isInvalid && <NameRule of="user" />}
        </p>
      </form>
      {isJoining && <JoinDialog onJoin={props.onJoin} onClose={() => setIsJoining(false)} />}
    </>
  );
}
