import type { JSX } from 'preact';
import { useEffect, useState } from 'preact/hooks';
import type { Chat } from '../chat.js';
import type { ConnectionState } from '../connection-state.js';
import { Icon } from './icons.js';

interface BannerProps {
  readonly chat: Chat;
  readonly hasToken: boolean;
  readonly onSignOut: () => void;
  /** The server rejected the user; the sign-in form shows the reason. */
  readonly onRejected: (reason: string) => void;
}

/** Shows problems of the connection, and notices. */
export function Banner({ chat, hasToken, onSignOut, onRejected }: BannerProps): JSX.Element {
  const { connection } = chat;
  const reconnect = () => chat.reconnect();
  const needsToken = connection.status === 'closed' && connection.code === 4401;
  // The server's text for a missing token addresses developers.
  const hint = needsToken && !hasToken ? 'Open your invitation link or paste a token.' : undefined;
  // `navigator.onLine` may be wrong; an open connection proves that the device is online.
  const isDown = !['open', 'closed'].includes(connection.status) && (chat.isDown || !navigator.onLine);
  return (
    <div class="banners">
      <div role="status">
        {isDown && (
          <div class="banner">
            <Icon name="warning" />
            <p>
              <strong>{navigator.onLine ? 'No connection to the server.' : 'This device is offline.'}</strong> Your
              messages are sent when you are back online.{' '}
              {connection.status === 'waiting' && <Countdown key={connection.until} until={connection.until} />}
            </p>
            <button type="button" onClick={reconnect} disabled={connection.status !== 'waiting'}>
              Retry now
            </button>
          </div>
        )}
      </div>
      <div role="alert">
        {connection.status === 'closed' && (
          <div class="banner bad">
            <Icon name="warning" />
            <p>
              <strong>{title(connection, hasToken)}</strong> {hint ?? connection.reason}
            </p>
            {!isUserRejected(connection) && (
              <button type="button" onClick={reconnect}>
                Reconnect
              </button>
            )}
            <button
              type="button"
              onClick={() => (isUserRejected(connection) ? onRejected(hint ?? connection.reason) : onSignOut())}
            >
              {needsToken ? 'Enter a token' : 'Change user'}
            </button>
          </div>
        )}
        {chat.notice !== undefined && (
          <div class="banner bad">
            <Icon name="warning" />
            <p>{chat.notice}</p>
            <button type="button" onClick={() => chat.dismissNotice()}>
              Close
            </button>
          </div>
        )}
      </div>
    </div>
  );
}

type Closed = ConnectionState & { status: 'closed' };

/** Whether the server rejects the user, so that another one or another token is needed. */
export function isUserRejected({ code }: Closed): boolean {
  return [4400, 4401, 4403, 'wrong_user', 'invalid_request'].includes(code);
}

function title({ code }: Closed, hasToken: boolean): string {
  switch (code) {
    case 4401:
      return hasToken ? 'Sign-in failed.' : 'Sign-in required.';
    case 4403:
      return 'Access denied.';
    case 4408:
      return 'Too many open sessions.';
    default:
      return 'The connection was closed.';
  }
}

/** Seconds until the next attempt, at `until` of `performance.now()`. Hidden from screen readers, which would read every change. */
function Countdown({ until }: { until: number }): JSX.Element {
  const left = () => Math.max(0, Math.ceil((until - performance.now()) / 1000));
  const [seconds, setSeconds] = useState(left);
  useEffect(() => {
    const timer = setInterval(() => setSeconds(left()), 250);
    return () => clearInterval(timer);
  }, []);
  return (
    <span class="countdown" aria-hidden="true">
      {seconds > 0 ? `Next attempt in ${seconds} s.` : ''}
    </span>
  );
}
