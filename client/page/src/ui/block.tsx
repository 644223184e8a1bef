import type { JSX, RefObject } from 'preact';
import { useState } from 'preact/hooks';
import type { Chat } from '../chat.js';
import { Icon } from './icons.js';
import { Dialog } from './parts.js';

interface BlockProps {
  readonly chat: Chat;
  readonly peer: string;
  /** The button in the header, which keeps the focus whatever is said below. */
  readonly button: RefObject<HTMLButtonElement | null>;
}

/** Not `disabled` while it cannot be: that would take the focus away from whoever has just pressed it. */
function isIdle({ chat, peer }: BlockProps): boolean {
  return chat.line.is === 'open' && !chat.isBlocking(peer);
}

/** Blocks the other side, or ends that. Blocking is asked about first: it concerns somebody else, who is not asked. */
export function BlockButton(props: BlockProps): JSX.Element {
  const { chat, peer, button } = props;
  const [asking, ask] = useState(false);
  const isBlocked = chat.isBlocked(peer);
  const press = () => {
    if (!isIdle(props)) return;
    if (isBlocked) void chat.block(peer, false);
    else ask(true);
  };
  const words = `${isBlocked ? 'Unblock' : 'Block'} ${peer}`;
  return (
    <>
      <button
        type="button"
        ref={button}
        class={`round ${isBlocked ? 'on' : ''}`}
        aria-disabled={!isIdle(props)}
        aria-haspopup={isBlocked ? undefined : 'dialog'}
        onClick={press}
        title={words}
      >
        <Icon name="block" />
        <span class="unseen">{words}</span>
      </button>
      {asking && (
        <Dialog label={`Block ${peer}?`} onClose={() => ask(false)}>
          <form method="dialog">
            <h2>Block {peer}?</h2>
            <p>
              What {peer} writes to you is refused, and {peer} sees that. You may still write, and both of you keep what
              was said.
            </p>
            <p class="dim">
              The server does not list whom you have blocked. This browser remembers it; on another device, block once
              more to be able to unblock.
            </p>
            <p class="buttons">
              <button type="submit">Cancel</button>
              <button type="submit" class="danger" onClick={() => void chat.block(peer, true)}>
                Block
              </button>
            </p>
          </form>
        </Dialog>
      )}
    </>
  );
}

/** Says that the other side is blocked, where one would write to them. */
export function BlockedStrip(props: BlockProps): JSX.Element {
  const { chat, peer, button } = props;
  const unblock = () => {
    if (!isIdle(props)) return;
    button.current?.focus();
    void chat.block(peer, false);
  };
  return (
    <div role="status">
      {chat.isBlocked(peer) && (
        <div class="blocked">
          <Icon name="block" />
          <p>
            <strong>You have blocked {peer}.</strong> You may write, but {peer} cannot answer.
          </p>
          <button type="button" aria-disabled={!isIdle(props)} onClick={unblock}>
            Unblock
          </button>
        </div>
      )}
    </div>
  );
}
