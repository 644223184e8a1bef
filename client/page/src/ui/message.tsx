import type { JSX } from 'preact';
import { useLayoutEffect, useRef } from 'preact/hooks';
import type { Delivery } from '../chat.js';
import { ContentView, preview } from '../content/content.js';
import type { Message } from '../conversation.js';
import { Icon, type IconName } from './icons.js';
import { clock, Guard, memo, timeOf } from './parts.js';

const EMOJI = ['👍', '❤️', '😂', '🎉', '😮', '😢', '🙏', '👀'];

/** What may be done with messages. */
export interface Deeds {
  menu(id: string | undefined): void;
  jump(id: string): void;
  reply(message: Message): void;
  edit(message: Message): void;
  delete(message: Message): void;
  react(message: Message, emoji: string): void;
  retry(id: string): void;
  discard(id: string): void;
  focus(id: string): void;
}

interface RowProps {
  readonly me: string;
  readonly message: Message;
  readonly delivery: Delivery;
  readonly error: string | undefined;
  readonly changing: boolean;
  /** It stands together with the one before it. */
  readonly follows: boolean;
  /** The message that it answers, if that is here. */
  readonly original: Message | undefined;
  readonly menu: boolean;
  /** The Tab key stops here. */
  readonly stop: boolean;
  /** How far it is stands below it in words. */
  readonly spellOut: boolean;
  readonly editable: boolean;
  readonly deeds: Deeds;
}

export const MessageRow = memo(Row);

function Row(props: RowProps): JSX.Element {
  const { me, message, delivery, error, changing, original, menu, deeds } = props;
  const { id, from, content, replyTo, reactions } = message;
  const isMine = from === me;
  const row = useRef<HTMLLIElement>(null);
  const isStored = !['offline', 'sending', 'failed', 'relayed'].includes(delivery) && !message.ephemeral;
  const gone = content === undefined ? 'gone' : '';
  const classes = `message ${isMine ? 'mine' : 'theirs'} ${props.follows ? 'follows' : ''} ${delivery} ${gone}`;
  const close = () => {
    deeds.menu(undefined);
    row.current?.focus();
  };
  return (
    <li ref={row} class={classes} data-id={id} tabIndex={props.stop ? 0 : -1} onFocus={() => deeds.focus(id)}>
      <div class="bubble">
        <span class="unseen">{isMine ? 'You' : from}: </span>
        {replyTo !== undefined && (
          <button type="button" class="original" onClick={() => deeds.jump(replyTo)}>
            <span class="unseen">In answer to </span>
            <strong>{original ? (original.from === me ? 'You' : original.from) : 'An earlier message'}</strong>
            <span dir="auto">{original && preview(original.content).slice(0, 160)}</span>
          </button>
        )}
        {content === undefined ? (
          <p class="deleted">This message was deleted.</p>
        ) : (
          <Guard instead="This message cannot be shown.">
            <ContentView content={content} />
          </Guard>
        )}
        <span class="meta">
          {message.editedAt !== undefined && content !== undefined && <span>edited </span>}
          {message.ephemeral && <span>not kept </span>}
          {message.sentAt !== '' && <time dateTime={message.sentAt}>{clock(timeOf(message.sentAt))}</time>}
          {isMine && content !== undefined && <Ticks delivery={delivery} changing={changing} hidden={props.spellOut} />}
        </span>
      </div>
      {isStored && content !== undefined && (
        <button
          type="button"
          class="round handle"
          tabIndex={props.stop ? 0 : -1}
          aria-haspopup="menu"
          aria-expanded={menu}
          onClick={() => deeds.menu(menu ? undefined : id)}
          title="React, reply and more"
        >
          <Icon name="more" />
          <span class="unseen">More about the message: {preview(content).slice(0, 40)}</span>
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
                onClick={() => deeds.react(message, emoji)}
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
          <button type="button" onClick={() => deeds.retry(id)}>
            <Icon name="retry" /> Try again
          </button>
          <button type="button" onClick={() => deeds.discard(id)}>
            Discard
          </button>
        </div>
      ) : (
        isMine && props.spellOut && <p class="delivery">{WORDS[delivery]}</p>
      )}
    </li>
  );
}

const WORDS: Record<Delivery, string> = {
  offline: 'Waiting for the connection',
  sending: 'Sending…',
  failed: 'Not sent',
  relayed: 'Not kept by the server',
  stored: 'Stored',
  received: 'Received',
  read: 'Read',
  theirs: '',
};
const ICONS: Record<Delivery, IconName | undefined> = {
  offline: 'clock',
  sending: 'clock',
  failed: 'warn',
  relayed: undefined,
  stored: 'one',
  received: 'two',
  read: 'two',
  theirs: undefined,
};

function Ticks(props: { delivery: Delivery; changing: boolean; hidden: boolean }): JSX.Element | null {
  const icon = props.changing ? 'clock' : ICONS[props.delivery];
  const words = props.changing ? 'Sending the change…' : WORDS[props.delivery];
  if (!icon) return null;
  return (
    <span class={`ticks ${props.delivery}`} title={words}>
      <Icon name={icon} />
      {!props.hidden && <span class="unseen"> {words}</span>}
    </span>
  );
}

/** What may be done with one message. Arrows go through it, Escape leaves it. */
function Menu({ me, message, editable, deeds, onClose }: RowProps & { onClose: () => void }): JSX.Element {
  const menu = useRef<HTMLDivElement>(null);
  useLayoutEffect(() => {
    const element = menu.current;
    const around = element?.closest('.scroller')?.getBoundingClientRect();
    if (element && around && element.getBoundingClientRect().bottom > around.bottom) element.classList.add('up');
    element?.querySelector('button')?.focus();
    const outside = (event: Event) => {
      if (!element?.parentElement?.contains(event.target as Node)) deeds.menu(undefined);
    };
    document.addEventListener('pointerdown', outside);
    return () => document.removeEventListener('pointerdown', outside);
  }, []);
  const keys = (event: KeyboardEvent) => {
    const items = [...(menu.current?.querySelectorAll<HTMLElement>('button') ?? [])];
    const at = items.indexOf(event.target as HTMLElement);
    const to: Record<string, number> = {
      ArrowDown: at + 1,
      ArrowRight: at + 1,
      ArrowUp: at - 1,
      ArrowLeft: at - 1,
      Home: 0,
      End: items.length - 1,
    };
    const next = to[event.key];
    if (next !== undefined) {
      event.preventDefault();
      items[(next + items.length) % items.length]?.focus();
    } else if (event.key === 'Escape' || event.key === 'Tab') {
      event.preventDefault();
      onClose();
    }
    event.stopPropagation();
  };
  // Not where the focus goes nowhere: a browser may do so to buttons that are clicked.
  const left = ({ currentTarget, relatedTarget }: FocusEvent) => {
    if (relatedTarget && !(currentTarget as Node).parentElement?.contains(relatedTarget as Node)) deeds.menu(undefined);
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
    <div class="menu" role="menu" ref={menu} aria-label="Message" tabIndex={-1} onKeyDown={keys} onFocusOut={left}>
      {/* biome-ignore lint/a11y/useSemanticElements: a part of a menu is no set of fields */}
      <div class="emoji" role="group" aria-label="React">
        {EMOJI.map(emoji => (
          <button
            key={emoji}
            type="button"
            role="menuitem"
            onClick={() => {
              onClose();
              deeds.react(message, emoji);
            }}
          >
            {emoji}
          </button>
        ))}
      </div>
      <Item icon="reply" onClick={() => deeds.reply(message)}>
        Reply
      </Item>
      {navigator.clipboard && (
        <Item icon="copy" onClick={copy}>
          Copy
        </Item>
      )}
      {editable && (
        <Item icon="edit" onClick={() => deeds.edit(message)}>
          Edit
        </Item>
      )}
      {isMine && (
        <Item icon="trash" onClick={() => deeds.delete(message)}>
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
