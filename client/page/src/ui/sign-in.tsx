import type { JSX } from 'preact';
import { useId, useRef, useState } from 'preact/hooks';
import type { Destination } from '../address.js';
import { type Identity, identityOf, isUser } from '../identity.js';
import { peerOfRoom, roomOf } from '../peer.js';
import { Logo } from './logo.js';

const PATTERN = '(?!\\.{1,2}$)[A-Za-z0-9._~@:+\\-]{1,64}';
const RULE = '1 to 64 characters: A-Z a-z 0-9 . _ ~ @ : + -';

interface SignInProps {
  readonly suggested: string | undefined;
  readonly to: Destination | undefined;
  readonly error: string | undefined;
  readonly onSignIn: (identity: Identity, to: Destination | undefined) => void;
}

export function SignIn({ suggested, to, error, onSignIn }: SignInProps): JSX.Element {
  const id = useId();
  const room = to && roomOf(to.peer);
  const form = useRef<HTMLFormElement>(null);
  const [withToken, setWithToken] = useState(error !== undefined);
  const [problem, setProblem] = useState(
    error ?? (suggested === undefined || isUser(suggested) ? undefined : `A user name has ${RULE}`),
  );
  const onSubmit = (event: Event) => {
    event.preventDefault();
    const fields = new FormData(form.current ?? undefined);
    const text = (name: string) => String(fields.get(name) ?? '').trim() || undefined;
    const identity = withToken ? identityOf(undefined, text('token')) : identityOf(text('user'), undefined);
    const peer = text(room === undefined ? 'to' : 'room');
    const next = peer && (room === undefined ? { peer } : { peer: peerOfRoom(peer), membership: to?.membership });
    if (identity) onSignIn(identity, next || undefined);
    else setProblem(withToken ? 'Paste a token first.' : `A user name has ${RULE}`);
  };
  const name = {
    autocomplete: 'off',
    autocapitalize: 'none',
    spellcheck: false,
    pattern: PATTERN,
    title: RULE,
  } as const;
  return (
    <main class="sign-in">
      <form ref={form} onSubmit={onSubmit}>
        <h1>
          <Logo /> dmwire
        </h1>
        <p class="dim">Self-hosted direct messages</p>
        <div role="alert">{problem !== undefined && <p class="problem">{problem}</p>}</div>
        {withToken ? (
          <div class="field" key="token">
            <label for={`${id}t`}>Your token</label>
            <textarea id={`${id}t`} name="token" rows={4} required spellcheck={false} autocomplete="off" />
            <p class="dim">It identifies you and is stored in this tab only.</p>
          </div>
        ) : (
          <div class="field" key="user">
            <label for={`${id}u`}>User name</label>
            <input id={`${id}u`} name="user" required {...name} defaultValue={suggested ?? '8888'} />
          </div>
        )}
        <div class="field">
          <label for={`${id}p`}>{room === undefined ? 'Recipient (optional)' : 'Room (optional)'}</label>
          <input
            id={`${id}p`}
            name={room === undefined ? 'to' : 'room'}
            {...name}
            defaultValue={room ?? to?.peer ?? (withToken ? '' : '6666')}
          />
        </div>
        <button type="submit" class="primary">
          Start
        </button>
        <button type="button" class="plain" onClick={() => setWithToken(!withToken)}>
          {withToken ? 'Sign in without a token' : 'Sign in with a token'}
        </button>
      </form>
    </main>
  );
}
