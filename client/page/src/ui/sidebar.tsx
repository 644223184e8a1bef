import type { JSX } from 'preact';
import { useId, useRef, useState } from 'preact/hooks';
import type { Chat } from '../chat.js';
import { preview } from '../content/content.js';
import type { Conversation } from '../conversation.js';
import { isUser } from '../identity.js';
import { Icon } from './icons.js';
import { Logo } from './logo.js';
import { Avatar, timeOf, when } from './parts.js';

/** How near to the end of the list the next part of it is fetched, in pixels. */
const NEAR = 400;

interface SidebarProps {
  readonly chat: Chat;
  readonly frames: boolean;
  readonly onOpen: (peer: string) => void;
  readonly onLeave: () => void;
  readonly onFrames: () => void;
}

export function Sidebar({ chat, frames, onOpen, onLeave, onFrames }: SidebarProps): JSX.Element {
  const conversations = chat.inOrder;
  const list = useRef<HTMLUListElement>(null);
  const more = useRef<HTMLButtonElement>(null);
  const next = async () => {
    const known = conversations.length;
    const isFocused = document.activeElement === more.current;
    await chat.list();
    // Whoever has pressed the button goes on where the list does.
    if (isFocused) requestAnimationFrame(() => entries(list.current)[known]?.focus());
  };
  const look = () => {
    const element = list.current;
    if (element && element.scrollHeight - element.scrollTop - element.clientHeight < NEAR) void next();
  };
  return (
    <section class="sidebar" aria-label="Conversations">
      <header>
        <h2>
          <Logo /> dmwire
        </h2>
        <button type="button" class="round" onClick={onFrames} aria-pressed={frames} title="Frames on the wire">
          <Icon name="frames" />
          <span class="unseen">Frames on the wire</span>
        </button>
        <button type="button" class="round" onClick={onLeave} title="Change user">
          <Icon name="out" />
          <span class="unseen">Change user</span>
        </button>
      </header>
      <div class="me">
        <Avatar user={chat.me} />
        <div>
          <strong>{chat.me}</strong>
          <LineStatus chat={chat} />
        </div>
      </div>
      <NewConversation onOpen={onOpen} />
      {conversations.length === 0 && chat.listed && (
        <div class="hint empty">
          <Icon name="talk" />
          <p>No conversations yet.</p>
          <p class="dim">Write to somebody by their name, above. They need not be here now.</p>
        </div>
      )}
      <ul class="conversations" ref={list} onScroll={look} aria-busy={chat.listing}>
        {conversations.map(conversation => (
          <li key={conversation.peer}>
            <Entry chat={chat} conversation={conversation} onOpen={onOpen} />
          </li>
        ))}
        {chat.hasMore && (
          <li key=" more">
            <button type="button" class="plain more" ref={more} onClick={() => void next()}>
              {chat.listing ? 'Loading…' : 'Show older conversations'}
            </button>
          </li>
        )}
      </ul>
    </section>
  );
}

function entries(list: HTMLElement | null): HTMLElement[] {
  return [...(list?.querySelectorAll<HTMLElement>('.conversation') ?? [])];
}

function LineStatus({ chat }: { chat: Chat }): JSX.Element {
  const words = {
    connecting: 'Connecting…',
    'catching up': 'Catching up…',
    open: 'Connected',
    waiting: 'No connection',
    closed: 'Disconnected',
  };
  const { is } = chat.line;
  return (
    <span class={`line ${is.replace(' ', '-')}`} role="status">
      {words[is]}
    </span>
  );
}

function Entry(props: { chat: Chat; conversation: Conversation; onOpen: (peer: string) => void }): JSX.Element {
  const { chat, conversation, onOpen } = props;
  const { peer, unread, typing, newest } = conversation;
  const shown = chat.shown(conversation).at(-1);
  const last = shown?.message ?? newest;
  const isCurrent = chat.current === conversation;
  return (
    <button
      type="button"
      class="conversation"
      aria-current={isCurrent ? 'true' : undefined}
      onClick={() => onOpen(peer)}
    >
      <Avatar user={peer} />
      <span class="who">
        {peer === chat.me ? `${peer} (you)` : peer}
        {chat.isBlocked(peer) && (
          <>
            {' '}
            <Icon name="block" />
            <span class="unseen">, blocked</span>
          </>
        )}
      </span>
      {last?.sentAt && (
        <time class="when" dateTime={last.sentAt}>
          {when(timeOf(last.sentAt))}
        </time>
      )}
      <span class="what" dir="auto">
        {shown?.delivery === 'failed' && <strong>Not sent: </strong>}
        {typing ? (
          <em>is typing…</em>
        ) : (
          last && `${last.from === chat.me && peer !== chat.me ? 'You: ' : ''}${preview(last.content).slice(0, 120)}`
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

function NewConversation({ onOpen }: { onOpen: (peer: string) => void }): JSX.Element {
  const id = useId();
  const [text, setText] = useState('');
  const [wrong, setWrong] = useState(false);
  const start = (event: Event) => {
    event.preventDefault();
    const peer = text.trim();
    setWrong(peer !== '' && !isUser(peer));
    if (!isUser(peer)) return;
    setText('');
    onOpen(peer);
  };
  return (
    <form class="new" onSubmit={start}>
      <label class="unseen" for={id}>
        Write to
      </label>
      <input
        id={id}
        value={text}
        placeholder="Write to…"
        maxLength={64}
        autocomplete="off"
        autocapitalize="none"
        spellcheck={false}
        aria-invalid={wrong}
        aria-describedby={wrong ? `${id}e` : undefined}
        onInput={event => {
          setText(event.currentTarget.value);
          setWrong(false);
        }}
      />
      <button type="submit" class="round" title="Start the conversation">
        <Icon name="plus" />
        <span class="unseen">Start the conversation</span>
      </button>
      <p class="problem" role="alert" id={`${id}e`}>
        {wrong && 'A name is 1 to 64 of A-Z a-z 0-9 . _ ~ @ : + -'}
      </p>
    </form>
  );
}
