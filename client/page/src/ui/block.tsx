import type { JSX, RefObject } from 'preact';
import { useState } from 'preact/hooks';
import type { Chat } from '../chat.js';
import { Icon } from './icons.js';
import { Confirm } from './parts.js';

interface BlockProps {
  readonly chat: Chat;
  readonly peer: string;
  /** The block button in the header. It gets the focus when the strip with the unblock button disappears. */
  readonly button: RefObject<HTMLButtonElement | null>;
}

/** Whether the peer can be blocked or unblocked now. The buttons use `aria-disabled`, as `disabled` would drop the focus. */
function isEnabled({ chat, peer }: BlockProps): boolean {
  return chat.connection.status === 'open' && !chat.blocks.pending.has(peer);
}

/** Blocks the peer after a confirmation, or unblocks the peer. */
export function BlockButton(props: BlockProps): JSX.Element {
  const { chat, peer, button } = props;
  const [isConfirming, setIsConfirming] = useState(false);
  const isBlocked = chat.blocks.has(peer);
  const press = () => {
    if (!isEnabled(props)) return;
    if (isBlocked) void chat.block(peer, false);
    else setIsConfirming(true);
  };
  const label = `${isBlocked ? 'Unblock' : 'Block'} ${peer}`;
  return (
    <>
      <button
        type="button"
        ref={button}
        class={`round ${isBlocked ? 'on' : ''}`}
        aria-disabled={!isEnabled(props)}
        aria-haspopup={isBlocked ? undefined : 'dialog'}
        onClick={press}
        title={label}
      >
        <Icon name="block" />
        <span class="unseen">{label}</span>
      </button>
      {isConfirming && (
        <Confirm
          title={`Block ${peer}?`}
          action="Block"
          onConfirm={() => void chat.block(peer, true)}
          onClose={() => setIsConfirming(false)}
        >
          <p>
            Messages from {peer} are rejected, and {peer} is notified. You can still write to {peer}. Existing messages
            stay.
          </p>
          <p class="dim">
            This browser remembers blocked users, because the server does not list them. To unblock on another device,
            block there first.
          </p>
        </Confirm>
      )}
    </>
  );
}

/** Notice above the composer that the peer is blocked. */
export function BlockedStrip(props: BlockProps): JSX.Element {
  const { chat, peer, button } = props;
  const unblock = () => {
    if (!isEnabled(props)) return;
    button.current?.focus();
    void chat.block(peer, false);
  };
  return (
    <div role="status">
      {chat.blocks.has(peer) && (
        <div class="blocked">
          <Icon name="block" />
          <p>
            <strong>You have blocked {peer}.</strong> You can write, but {peer} cannot reply.
          </p>
          <button type="button" aria-disabled={!isEnabled(props)} onClick={unblock}>
            Unblock
          </button>
        </div>
      )}
    </div>
  );
}
