import type { JSX, RefObject } from 'preact';
import { useId, useLayoutEffect, useState } from 'preact/hooks';
import type { Chat } from '../chat.js';
import { preview } from '../content/content.js';
import type { Conversation, Message } from '../conversation.js';
import { ComposeDialog } from './compose-dialog.js';
import { Icon } from './icons.js';
import { IconButton } from './parts.js';

/** Maximum length of a text, in code points (docs/protocol.md section 3). */
const MAX_LENGTH = 16_000;

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

/** The field for messages. Its text is kept as a draft in this tab. */
export function Composer(props: ComposerProps): JSX.Element {
  const { chat, conversation, input, replying, editing, onDone } = props;
  const { peer } = conversation;
  const id = useId();
  const [text, setText] = useState(() => chat.unsent.draft(peer));
  const [markdown, setMarkdown] = useState(false);
  const [showDialog, setShowDialog] = useState(false);

  // A layout effect, so that no key press is lost in between.
  useLayoutEffect(() => {
    if (!editing) return;
    const { content } = editing;
    setText(typeof content === 'string' ? content : String((content as { text?: string }).text ?? ''));
    setMarkdown(typeof content !== 'string');
  }, [editing]);

  const change = (next: string) => {
    setText(next);
    if (editing) return;
    chat.unsent.setDraft(peer, next);
    chat.onInput(conversation, next);
  };
  // Fits the height of the field to its text in browsers without `field-sizing`.
  useLayoutEffect(() => {
    const field = input.current;
    if (!field || CSS.supports('field-sizing', 'content')) return;
    field.style.height = 'auto';
    field.style.height = `${field.scrollHeight + 2}px`;
  }, [text]);

  const cancel = () => {
    if (editing) {
      setText(chat.unsent.draft(peer));
      setMarkdown(false);
    }
    onDone();
    input.current?.focus();
  };
  const isClosed = chat.connection.status === 'closed';
  const length = [...text].length;
  const isTooLong = length > MAX_LENGTH;
  const send = (event: Event) => {
    event.preventDefault();
    if (text.trim() === '' || isClosed || isTooLong) return;
    // The server rejects half of a surrogate pair, which a program that writes into the field may leave.
    const sent = text.replace(/[\ud800-\udfff]/gu, '\ufffd');
    const content = markdown ? ({ type: 'markdown', text: sent } as const) : sent;
    if (editing) {
      chat.edit(peer, editing.id, content);
      setText(chat.unsent.draft(peer));
      setMarkdown(false);
    } else {
      chat.send(peer, content, replying?.id);
      setText('');
      chat.unsent.setDraft(peer, '');
      props.onSent();
    }
    onDone();
    input.current?.focus();
  };
  const onKeyDown = (event: KeyboardEvent) => {
    // Enter starts a new line on touch screens.
    if (event.key === 'Enter' && !event.shiftKey && !matchMedia('(pointer: coarse)').matches) send(event);
    else if (event.key === 'Escape' && (editing || replying)) cancel();
    else if (event.key === 'ArrowUp' && text === '' && !editing) {
      event.preventDefault();
      props.onEditLast();
    }
  };

  const context = editing ?? replying;
  return (
    <form class="composer" onSubmit={send}>
      {context && (
        <div class="context">
          <Icon name={editing ? 'edit' : 'reply'} />
          <p>
            <strong>
              {editing ? 'Editing' : `Replying to ${context.from === chat.me ? 'yourself' : context.from}`}
            </strong>
            <span dir="auto">{preview(context.content, context.from === chat.me)}</span>
          </p>
          <IconButton icon="close" label="Cancel" onClick={cancel} />
        </div>
      )}
      <div class="row">
        <IconButton icon="plus" label="Send media or data" onClick={() => setShowDialog(true)} disabled={isClosed} />
        <IconButton icon="markdown" label="Markdown" aria-pressed={markdown} onClick={() => setMarkdown(!markdown)} />
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
          dir="auto"
          onInput={event => change(event.currentTarget.value)}
          onKeyDown={onKeyDown}
          onBlur={() => chat.onInput(conversation, '')}
        />
        <button type="submit" class="round primary" disabled={text.trim() === '' || isClosed || isTooLong} title="Send">
          <Icon name="send" />
          <span class="unseen">{editing ? 'Save' : 'Send'}</span>
        </button>
      </div>
      {isTooLong && (
        <p class="problem" role="alert">
          {length - MAX_LENGTH} characters too long
        </p>
      )}
      {showDialog && (
        <ComposeDialog
          onClose={() => setShowDialog(false)}
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
