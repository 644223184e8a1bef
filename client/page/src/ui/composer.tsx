import type { JSX, RefObject } from 'preact';
import { useId, useLayoutEffect, useState } from 'preact/hooks';
import type { Chat } from '../chat.js';
import { preview } from '../content/content.js';
import type { Conversation, Message } from '../conversation.js';
import { ComposeDialog } from './compose-dialog.js';
import { Icon } from './icons.js';

const LONGEST = 16_000;

interface ComposerProps {
  readonly chat: Chat;
  readonly conversation: Conversation;
  readonly input: RefObject<HTMLTextAreaElement | null>;
  readonly replying: Message | undefined;
  readonly editing: Message | undefined;
  readonly onDone: () => void;
  readonly onEditLast: () => void;
  readonly onSent: () => void;
}

/** Where messages are written. What is not sent yet is kept for this tab. */
export function Composer(props: ComposerProps): JSX.Element {
  const { chat, conversation, input, replying, editing, onDone } = props;
  const { peer } = conversation;
  const id = useId();
  const [text, setText] = useState(() => chat.draft(peer));
  const [markdown, setMarkdown] = useState(false);
  const [more, setMore] = useState(false);

  // Before anything else can be typed.
  useLayoutEffect(() => {
    if (!editing) return;
    const { content } = editing;
    setText(typeof content === 'string' ? content : String((content as { text?: string }).text ?? ''));
    setMarkdown(typeof content !== 'string');
  }, [editing]);

  const change = (next: string) => {
    setText(next);
    if (editing) return;
    chat.keepDraft(peer, next);
    chat.typed(conversation, next);
  };
  // Where the browser does not fit the field to its text by itself.
  useLayoutEffect(() => {
    const field = input.current;
    if (!field || CSS.supports('field-sizing', 'content')) return;
    field.style.height = 'auto';
    field.style.height = `${field.scrollHeight + 2}px`;
  }, [text]);

  const cancel = () => {
    if (editing) {
      setText(chat.draft(peer));
      setMarkdown(false);
    }
    onDone();
    input.current?.focus();
  };
  const isClosed = chat.line.is === 'closed';
  const length = [...text].length;
  const isTooLong = length > LONGEST;
  const send = (event: Event) => {
    event.preventDefault();
    if (text.trim() === '' || isClosed || isTooLong) return;
    const content = markdown ? ({ type: 'markdown', text } as const) : text;
    if (editing) {
      chat.edit(peer, editing.id, content);
      setText(chat.draft(peer));
      setMarkdown(false);
    } else {
      chat.send(peer, content, replying?.id);
      setText('');
      chat.keepDraft(peer, '');
      props.onSent();
    }
    onDone();
    input.current?.focus();
  };
  const keys = (event: KeyboardEvent) => {
    // Enter inside an input method's composition chooses a word; it sends nothing. On a phone it starts a line.
    if (event.key === 'Enter' && !event.shiftKey && !event.isComposing && !matchMedia('(pointer: coarse)').matches)
      send(event);
    else if (event.key === 'Escape' && (editing || replying)) cancel();
    else if (event.key === 'ArrowUp' && text === '' && !editing) {
      event.preventDefault();
      props.onEditLast();
    }
  };

  const about = editing ?? replying;
  return (
    <form class="composer" onSubmit={send}>
      {about && (
        <div class="about">
          <Icon name={editing ? 'edit' : 'reply'} />
          <p>
            <strong>{editing ? 'Editing' : `Answering ${about.from === chat.me ? 'yourself' : about.from}`}</strong>
            <span dir="auto">{preview(about.content).slice(0, 160)}</span>
          </p>
          <button type="button" class="round" onClick={cancel} title="Cancel">
            <Icon name="close" />
            <span class="unseen">Cancel</span>
          </button>
        </div>
      )}
      <div class="row">
        <button
          type="button"
          class="round"
          onClick={() => setMore(true)}
          disabled={isClosed}
          title="Send something else"
        >
          <Icon name="plus" />
          <span class="unseen">Send something else</span>
        </button>
        <button
          type="button"
          class="round"
          aria-pressed={markdown}
          onClick={() => setMarkdown(!markdown)}
          title="Markdown"
        >
          <Icon name="markdown" />
          <span class="unseen">Markdown</span>
        </button>
        <label class="unseen" for={id}>
          Message
        </label>
        <textarea
          id={id}
          ref={input}
          rows={1}
          value={text}
          placeholder={markdown ? 'Message in Markdown' : 'Message'}
          enterkeyhint="enter"
          disabled={isClosed}
          onInput={event => change(event.currentTarget.value)}
          onKeyDown={keys}
          onBlur={() => chat.typed(conversation, '')}
        />
        <button type="submit" class="round primary" disabled={text.trim() === '' || isClosed || isTooLong} title="Send">
          <Icon name="send" />
          <span class="unseen">{editing ? 'Save' : 'Send'}</span>
        </button>
      </div>
      {isTooLong && (
        <p class="problem" role="alert">
          {length - LONGEST} characters too long
        </p>
      )}
      {more && (
        <ComposeDialog
          onClose={() => setMore(false)}
          onSend={content => {
            chat.send(peer, content, replying?.id);
            onDone();
            props.onSent();
          }}
        />
      )}
    </form>
  );
}
