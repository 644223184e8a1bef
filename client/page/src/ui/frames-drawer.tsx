import type { JSX } from 'preact';
import { useId, useLayoutEffect, useRef, useState } from 'preact/hooks';
import type { Chat } from '../chat.js';
import { type Frame, pretty } from '../frames.js';
import { roomOf } from '../peer.js';
import { shorten } from '../text.js';
import { IconButton, memo } from './parts.js';

/** Maximum length of a frame in the one-line view. */
const LINE_LENGTH = 300;

/** Example frames. One is invalid, to show the server's error. */
function templates(peer: string): Record<string, string> {
  const room = roomOf(peer);
  const target = room === undefined ? `"target_user":"${peer}"` : `"target_room":"${room}"`;
  return {
    Message: `{"message":"hello",${target}}`,
    Image: `{"message":{"type":"image","url":"https://example.org/cat.png","alt":"A cat"},${target},"ref":"m1"}`,
    'Ephemeral message': `{"message":"hi",${target},"ephemeral":true}`,
    Typing: `{"type":"typing",${target}}`,
    History: `{"type":"history",${target},"limit":5}`,
    Conversations: '{"type":"conversations","limit":5}',
    Ping: '{"type":"ping","ref":"p1"}',
    'Join a room': `{"type":"join","room":"${room ?? 'lobby'}","ref":"j1"}`,
    Members: `{"type":"members","room":"${room ?? 'lobby'}","limit":5}`,
    'Invalid frame': `{"type":"message",${target},"ref":"e1"}`,
  };
}

/** Shows all frames in both directions, and sends frames written by hand. */
export function FramesDrawer({ chat, onClose }: { chat: Chat; onClose: () => void }): JSX.Element {
  const id = useId();
  const all = templates(chat.current?.peer ?? '6666');
  const [text, setText] = useState(all.Message ?? '');
  const [, rerender] = useState(0);
  const scroller = useRef<HTMLElement>(null);
  const isAtEnd = useRef(true);
  useLayoutEffect(() => {
    const element = scroller.current;
    if (element && isAtEnd.current) element.scrollTop = element.scrollHeight;
  });
  const send = (event: Event) => {
    event.preventDefault();
    isAtEnd.current = true;
    chat.sendRaw(text);
  };
  const { frames } = chat;
  return (
    <aside class="frames" aria-label="Frames on the wire">
      <header>
        <h2>Frames</h2>
        <button
          type="button"
          aria-pressed={frames.paused}
          onClick={() => {
            frames.paused = !frames.paused;
            rerender(n => n + 1);
          }}
        >
          Pause
        </button>
        <button
          type="button"
          onClick={() => {
            frames.clear();
            rerender(n => n + 1);
          }}
        >
          Clear
        </button>
        <IconButton icon="close" label="Close frames" onClick={onClose} />
      </header>
      <p class="dim">
        All frames sent to the server (↑) and received from it (↓).{' '}
        <a href={`${location.pathname.replace(/\/+$/, '')}/schema`} target="_blank" rel="noopener">
          Schemas
        </a>
      </p>
      <section
        class="wire"
        ref={scroller}
        tabIndex={0}
        aria-label="Frames, newest last"
        onScroll={event => {
          const { scrollHeight, scrollTop, clientHeight } = event.currentTarget;
          isAtEnd.current = scrollHeight - scrollTop - clientHeight < 40;
        }}
      >
        <ol>
          {frames.all.map(frame => (
            <FrameRow key={frame.number} frame={frame} />
          ))}
        </ol>
      </section>
      <form onSubmit={send}>
        <div class="field">
          <label for={`${id}t`}>Send a frame</label>
          <select
            id={`${id}t`}
            onChange={event => {
              setText(all[event.currentTarget.value] ?? '');
            }}
          >
            {Object.keys(all).map(name => (
              <option key={name}>{name}</option>
            ))}
          </select>
        </div>
        <label class="unseen" for={`${id}f`}>
          Frame
        </label>
        <textarea
          id={`${id}f`}
          rows={3}
          value={text}
          spellcheck={false}
          onInput={event => setText(event.currentTarget.value)}
        />
        <button type="submit" class="primary" disabled={chat.connection.status !== 'open' || text.trim() === ''}>
          Send frame
        </button>
      </form>
    </aside>
  );
}

const FrameRow = memo(({ frame }: { frame: Frame }): JSX.Element => {
  const [open, setOpen] = useState(false);
  const { direction, text, type, at } = frame;
  return (
    <li class={`${direction} ${type === 'error' || type === 'goodbye' ? 'bad' : ''}`}>
      <details onToggle={event => setOpen(event.currentTarget.open)}>
        <summary>
          <span class="direction" aria-hidden="true">
            {direction === 'in' ? '↓' : '↑'}
          </span>
          <span class="unseen">{direction === 'in' ? 'received' : 'sent'} </span>
          <time>{at.toISOString().slice(11, 23)}</time> <b>{type}</b>
          <code>{shorten(text, LINE_LENGTH)}</code>
        </summary>
        {open && <pre tabIndex={0}>{pretty(text)}</pre>}
      </details>
    </li>
  );
});
