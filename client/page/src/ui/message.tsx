import type { JSX } from 'preact';
import { useLayoutEffect, useRef } from 'preact/hooks';
import type { Content } from '../../../src/index.js';
import { ContentView, preview } from '../content/content.js';
import type { Message } from '../conversation.js';
import type { Delivery } from '../display.js';
import { direction } from '../text.js';
import { Icon, type IconName } from './icons.js';
import { Avatar, ErrorBoundary, formatClock, formatTime, memo, parseTime } from './parts.js';

const EMOJI = ['👍', '❤️', '😂', '🎉', '😮', '😢', '🙏', '👀'];

/** Actions on messages. */
export interface MessageActions {
  /** Opens the menu of a message, or closes it. */
  menu(id: string | undefined): void;
  /** Scrolls to a message and loads it if necessary. */
  jump(id: string): void;
  reply(message: Message): void;
  edit(message: Message): void;
  delete(message: Message): void;
  react(message: Message, emoji: string): void;
  retry(id: string): void;
  discard(id: string): void;
  focus(id: string): void;
  /** Sends content as a reply to a message. */
  send(message: Message, content: Content): void;
}

interface RowProps {
  readonly me: string;
  readonly message: Message;
  readonly delivery: Delivery;
  readonly error: string | undefined;
  readonly changing: boolean;
  /** A limit of the server delays it until this time of `performance.now()`. */
  readonly until: number | undefined;
  /** It is grouped with the previous message. */
  readonly follows: boolean;
  /** The message that it replies to, if that is loaded. */
  readonly original: Message | undefined;
  readonly menu: boolean;
  /** It is the tab stop of the list. */
  readonly tabStop: boolean;
  /** The delivery state is shown as text below it. */
  readonly showDelivery: boolean;
  readonly editable: boolean;
  /** The name of the author is shown above it. */
  readonly named: boolean;
  /** Who has read it, in a room. */
  readonly readers: string;
  /** The user may write in the conversation. */
  readonly canWrite: boolean;
  /** The user may delete messages in it. */
  readonly canDelete: boolean;
  readonly actions: MessageActions;
}

export const MessageRow = memo(Row);

function Row(props: RowProps): JSX.Element {
  const { me, message, delivery, error, changing, original, menu, actions } = props;
  const { id, from, content, replyTo, reactions } = message;
  const isMine = from === me;
  const row = useRef<HTMLLIElement>(null);
  const isSent = !['offline', 'sending', 'failed'].includes(delivery);
  const isStored = isSent && delivery !== 'relayed' && !message.ephemeral;
  const isDeleted = content === undefined;
  const classes = `message ${isMine ? 'mine' : 'theirs'} ${props.follows ? 'follows' : ''} ${delivery} ${
    isDeleted ? 'gone' : ''
  } ${props.named ? 'named' : ''}`;
  const close = () => {
    actions.menu(undefined);
    row.current?.focus();
  };
  return (
    <li ref={row} class={classes} data-id={id} tabIndex={props.tabStop ? 0 : -1} onFocus={() => actions.focus(id)}>
      {props.named && (
        <p class="sender">
          <Avatar user={from} /> <bdi>{from}</bdi>
        </p>
      )}
      <div class="bubble" dir={direction(preview(content, isMine, Number.POSITIVE_INFINITY))}>
        {!props.named && <span class="unseen">{isMine ? 'You' : from}: </span>}
        {replyTo !== undefined && (
          <button type="button" class="original" onClick={() => actions.jump(replyTo)}>
            <span class="unseen">In reply to </span>
            <strong>{original ? (original.from === me ? 'You' : original.from) : 'An earlier message'}</strong>
            <span dir="auto">{original && preview(original.content, original.from === me)}</span>
          </button>
        )}
        {content === undefined ? (
          <p class="deleted">This message was deleted.</p>
        ) : (
          <ErrorBoundary fallback="This message cannot be displayed.">
            <ContentView
              content={content}
              isMine={isMine}
              onAction={props.canWrite && isSent ? send => actions.send(message, send) : undefined}
            />
          </ErrorBoundary>
        )}
        <span class="meta">
          {message.editedAt !== undefined && content !== undefined && <span>edited </span>}
          {message.ephemeral && <span>not stored </span>}
          {message.sentAt !== '' && <time dateTime={message.sentAt}>{formatClock(parseTime(message.sentAt))}</time>}
          {isMine && content !== undefined && (
            <DeliveryIcon delivery={delivery} changing={changing} labelled={!props.showDelivery} />
          )}
        </span>
      </div>
      {isStored && content !== undefined && (
        <button
          type="button"
          class="round handle"
          tabIndex={props.tabStop ? 0 : -1}
          aria-haspopup="menu"
          aria-expanded={menu}
          onClick={() => actions.menu(menu ? undefined : id)}
          title="React, reply and more"
        >
          <Icon name="more" />
          <span class="unseen">More actions for the message: {preview(content, isMine, 40)}</span>
        </button>
      )}
      {menu && isStored && content !== undefined && <Menu {...props} onClose={close} />}
      {reactions.length > 0 && (
        <ul class="reactions" aria-label="Reactions">
          {reactions.map(({ emoji, users }) => (
            <li key={emoji}>
              <button
                type="button"
                aria-pressed={users.includes(me)}
                title={users.join(', ')}
                disabled={!props.canWrite}
                onClick={() => actions.react(message, emoji)}
              >
                <bdi>{emoji}</bdi> {users.length}
                <span class="unseen"> by {users.map(user => (user === me ? 'you' : user)).join(' and ')}</span>
              </button>
            </li>
          ))}
        </ul>
      )}
      {delivery === 'failed' ? (
        <div class="failure">
          <p>Not sent: {error}</p>
          <button type="button" onClick={() => actions.retry(id)}>
            <Icon name="retry" /> Try again
          </button>
          <button type="button" onClick={() => actions.discard(id)}>
            Discard
          </button>
        </div>
      ) : (
        isMine &&
        (props.showDelivery || props.until !== undefined) && (
          <p class="delivery">
            {props.until === undefined
              ? (delivery === 'read' && props.readers) || DELIVERY_TEXTS[delivery]
              : `Delayed by a limit of the server until ${formatTime(props.until)}`}
          </p>
        )
      )}
    </li>
  );
}

const DELIVERY_TEXTS: Record<Delivery, string> = {
  offline: 'Waiting for the connection',
  sending: 'Sending…',
  failed: 'Not sent',
  relayed: 'Not stored by the server',
  stored: 'Stored',
  received: 'Received',
  read: 'Read',
  theirs: '',
};
const DELIVERY_ICONS: Record<Delivery, IconName | undefined> = {
  offline: 'clock',
  sending: 'clock',
  failed: 'warning',
  relayed: undefined,
  stored: 'check',
  received: 'double-check',
  read: 'double-check',
  theirs: undefined,
};

function DeliveryIcon(props: { delivery: Delivery; changing: boolean; labelled: boolean }): JSX.Element | null {
  const icon = props.changing ? 'clock' : DELIVERY_ICONS[props.delivery];
  const text = props.changing ? 'Sending the change…' : DELIVERY_TEXTS[props.delivery];
  if (!icon) return null;
  return (
    <span class={`ticks ${props.delivery}`} title={text}>
      <Icon name={icon} />
      {props.labelled && <span class="unseen"> {text}</span>}
    </span>
  );
}

/** The menu of a message. Arrow keys move within it, Escape and Tab close it. */
function Menu(props: RowProps & { onClose: () => void }): JSX.Element {
  const { me, message, editable, canWrite, canDelete, actions, onClose } = props;
  const menu = useRef<HTMLDivElement>(null);
  useLayoutEffect(() => {
    const element = menu.current;
    const visible = element?.closest('.scroller')?.getBoundingClientRect();
    if (element && visible && element.getBoundingClientRect().bottom > visible.bottom) element.classList.add('up');
    element?.querySelector('button')?.focus();
    const onPointerDown = (event: Event) => {
      if (!element?.parentElement?.contains(event.target as Node)) actions.menu(undefined);
    };
    document.addEventListener('pointerdown', onPointerDown);
    return () => document.removeEventListener('pointerdown', onPointerDown);
  }, []);
  const onKeyDown = (event: KeyboardEvent) => {
    const items = [...(menu.current?.querySelectorAll<HTMLElement>('button') ?? [])];
    const index = items.indexOf(event.target as HTMLElement);
    const targets: Record<string, number> = {
      ArrowDown: index + 1,
      ArrowRight: index + 1,
      ArrowUp: index - 1,
      ArrowLeft: index - 1,
      Home: 0,
      End: items.length - 1,
    };
    const next = targets[event.key];
    if (next !== undefined) {
      event.preventDefault();
      items[(next + items.length) % items.length]?.focus();
    } else if (event.key === 'Escape' || event.key === 'Tab') {
      event.preventDefault();
      onClose();
    }
    event.stopPropagation();
  };
  // Some browsers do not focus a clicked button; then `relatedTarget` is null and the menu stays open.
  const onFocusOut = ({ currentTarget, relatedTarget }: FocusEvent) => {
    if (relatedTarget && !(currentTarget as Node).parentElement?.contains(relatedTarget as Node))
      actions.menu(undefined);
  };
  const { content } = message;
  const isMine = message.from === me;
  const text =
    typeof content === 'string'
      ? content
      : ((content as { text?: string } | undefined)?.text ?? JSON.stringify(content));
  const copy = () => {
    void navigator.clipboard?.writeText(text).catch(() => {});
    onClose();
  };
  return (
    <div
      class="menu"
      role="menu"
      ref={menu}
      aria-label="Message"
      tabIndex={-1}
      onKeyDown={onKeyDown}
      onFocusOut={onFocusOut}
    >
      {canWrite && (
        <>
          {/* biome-ignore lint/a11y/useSemanticElements: a group of menu items is not a fieldset */}
          <div class="emoji" role="group" aria-label="React">
            {EMOJI.map(emoji => (
              <button
                key={emoji}
                type="button"
                role="menuitem"
                onClick={() => {
                  onClose();
                  actions.react(message, emoji);
                }}
              >
                {emoji}
              </button>
            ))}
          </div>
          <Item icon="reply" onClick={() => actions.reply(message)}>
            Reply
          </Item>
        </>
      )}
      {navigator.clipboard && (
        <Item icon="copy" onClick={copy}>
          Copy
        </Item>
      )}
      {editable && (
        <Item icon="edit" onClick={() => actions.edit(message)}>
          Edit
        </Item>
      )}
      {isMine && canDelete && (
        <Item icon="trash" onClick={() => actions.delete(message)}>
          Delete
        </Item>
      )}
    </div>
  );
}

function Item(props: { icon: IconName; onClick: () => void; children: string }): JSX.Element {
  return (
    <button type="button" role="menuitem" onClick={props.onClick}>
      <Icon name={props.icon} /> {props.children}
    </button>
  );
}
