import type { JSX } from 'preact';
import { useState } from 'preact/hooks';
import type { Api } from '../api.js';
import { formatCount } from '../format.js';
import { Action, describeCounts } from './action.js';

type Asking = 'disconnect' | 'revoke' | 'lift' | 'erase';

interface UserActionsProps {
  readonly api: Api;
  readonly user: string;
  /** The number of open sessions, if it is known. */
  readonly sessions: number | undefined;
  /** Whether tokens of the user are revoked, if it is known. */
  readonly isRevoked: boolean | undefined;
  /** Called after an action. */
  readonly onDone: () => void;
}

/** What an operator can do about a user. Each action needs the scope `admin`. */
export function UserActions({ api, user, sessions, isRevoked, onDone }: UserActionsProps): JSX.Element {
  const [asking, setAsking] = useState<Asking>();
  const [result, setResult] = useState('');
  const ask = (next: Asking) => {
    setResult('');
    setAsking(next);
  };
  const common = {
    onClose: () => setAsking(undefined),
    onDone: (text: string) => {
      setResult(text);
      onDone();
    },
  };
  const name = <bdi class="name">{user}</bdi>;
  const open =
    sessions === undefined ? 'All sessions' : sessions === 1 ? 'One session' : `${formatCount(sessions)} sessions`;
  return (
    <>
      <div class="actions">
        <button type="button" onClick={() => ask('disconnect')}>
          Disconnect
        </button>
        <button type="button" onClick={() => ask('revoke')}>
          {isRevoked ? 'Revoke newer tokens' : 'Revoke tokens'}
        </button>
        {isRevoked !== false && (
          <button type="button" onClick={() => ask('lift')}>
            Lift revocation
          </button>
        )}
        <button type="button" class="danger" onClick={() => ask('erase')}>
          Erase user
        </button>
      </div>
      <p class="result" role="status">
        {result}
      </p>
      {asking === 'disconnect' && (
        <Action
          {...common}
          title="Disconnect the user?"
          action="Disconnect"
          run={async () => `${closedText((await api.disconnect(user)).closed)}.`}
        >
          <p>
            {open} of {name} {sessions === 1 ? 'is' : 'are'} closed. Clients do not reconnect by themselves, but the
            user can sign in again.
          </p>
        </Action>
      )}
      {asking === 'revoke' && (
        <Action
          {...common}
          title="Revoke the tokens of the user?"
          action="Revoke tokens"
          run={async () => `Tokens revoked, ${closedText((await api.disconnect(user, true)).closed)}.`}
        >
          <p>
            {open} of {name} {sessions === 1 ? 'is' : 'are'} closed. Tokens that were issued until now are rejected from
            then on. Tokens without a time of issue are rejected until the revocation is lifted.
          </p>
        </Action>
      )}
      {asking === 'lift' && (
        <Action
          {...common}
          title="Lift the revocation?"
          action="Lift revocation"
          run={async () =>
            (await api.liftRevocation(user)).lifted ? 'Revocation lifted.' : 'The tokens of this user were not revoked.'
          }
        >
          <p>Tokens of {name} that were revoked and have not expired are accepted again.</p>
        </Action>
      )}
      {asking === 'erase' && (
        <Action
          {...common}
          title="Erase the user?"
          action="Erase user"
          typed={user}
          run={async () => {
            const counts = describeCounts(await api.erase(user));
            return `User erased${counts && `: ${counts}`}.`;
          }}
        >
          <p>
            All sessions of {name} are closed, the tokens are revoked, and the user's messages are deleted for everyone.
            This cannot be undone.
          </p>
        </Action>
      )}
    </>
  );
}

function closedText(closed: number): string {
  return closed === 1 ? '1 session closed' : `${formatCount(closed)} sessions closed`;
}
