import type { JSX } from 'preact';
import { useEffect, useState } from 'preact/hooks';
import type { Chat, LineState } from '../chat.js';
import { Icon } from './icons.js';

interface BannerProps {
  readonly chat: Chat;
  readonly hasToken: boolean;
  readonly onLeave: () => void;
  /** The server does not take the user: another name or token is to be given. */
  readonly onRefused: (why: string) => void;
}

/** What the line is doing, where it is not what it should be; and what has gone wrong. */
export function Banner({ chat, hasToken, onLeave, onRefused }: BannerProps): JSX.Element {
  const { line } = chat;
  const reconnect = () => chat.reconnect();
  const isLocked = line.is === 'closed' && line.code === 4401;
  // What the server says of headers is for who writes programs.
  const why = isLocked && !hasToken ? 'It wants a token: open the link that you were given, or paste it.' : undefined;
  // A browser may be wrong about that; over an open line it is.
  const isDown = !['open', 'closed'].includes(line.is) && (chat.down || !navigator.onLine);
  return (
    <div class="banners">
      <div role="status">
        {isDown && (
          <div class="banner">
            <Icon name="warn" />
            <p>
              <strong>{navigator.onLine ? 'No connection to the server.' : 'This device is offline.'}</strong> What you
              write is kept and sent later. {line.is === 'waiting' && <Countdown key={line.until} until={line.until} />}
            </p>
            <button type="button" onClick={reconnect} disabled={line.is !== 'waiting'}>
              Try now
            </button>
          </div>
        )}
      </div>
      <div role="alert">
        {line.is === 'closed' && (
          <div class="banner bad">
            <Icon name="warn" />
            <p>
              <strong>{title(line)}</strong> {why ?? line.reason}
            </p>
            {!wrongName(line) && (
              <button type="button" onClick={reconnect}>
                Connect again
              </button>
            )}
            <button type="button" onClick={() => (wrongName(line) ? onRefused(why ?? line.reason) : onLeave())}>
              {isLocked ? 'Enter a token' : 'Change user'}
            </button>
          </div>
        )}
        {chat.notice !== undefined && (
          <div class="banner bad">
            <Icon name="warn" />
            <p>{chat.notice}</p>
            <button type="button" onClick={() => chat.dismiss()}>
              Close
            </button>
          </div>
        )}
      </div>
    </div>
  );
}

type Closed = LineState & { is: 'closed' };

function wrongName({ code }: Closed): boolean {
  return [4400, 4401, 4403, 'wrong_user', 'invalid_request'].includes(code);
}

function title(line: Closed): string {
  switch (line.code) {
    case 4401:
    case 4403:
      return 'The server does not let you in.';
    case 4408:
      return 'Another window has taken over.';
    default:
      return 'The connection was closed.';
  }
}

/** Seconds until the next attempt. Not read out: it would never end. */
function Countdown({ until }: { until: number }): JSX.Element {
  const left = () => Math.max(0, Math.ceil((until - Date.now()) / 1000));
  const [seconds, set] = useState(left);
  useEffect(() => {
    const timer = setInterval(() => set(left()), 250);
    return () => clearInterval(timer);
  }, []);
  return (
    <span class="countdown" aria-hidden="true">
      {seconds > 0 ? `Next attempt in ${seconds} s.` : ''}
    </span>
  );
}
