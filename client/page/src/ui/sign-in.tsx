import type { JSX } from 'preact';
import { useId, useRef, useState } from 'preact/hooks';
import { type Identity, identify, isUser } from '../identity.js';
import { Logo } from './logo.js';

const PATTERN = '(?!\\.{1,2}$)[A-Za-z0-9._~@:+\\-]{1,64}';
const RULE = '1 to 64 of A-Z a-z 0-9 . _ ~ @ : + -';

interface SignInProps {
  readonly suggested: string | undefined;
  readonly to: string | undefined;
  readonly error: string | undefined;
  readonly onEnter: (identity: Identity, to: string | undefined) => void;
}

export function SignIn({ suggested, to, error, onEnter }: SignInProps): JSX.Element {
  const id = useId();
  const form = useRef<HTMLFormElement>(null);
  const [withToken, setWithToken] = useState(error !== undefined);
  const [problem, setProblem] = useState(
    error ?? (suggested === undefined || isUser(suggested) ? undefined : `A name is ${RULE}.`),
  );
  const enter = (event: Event) => {
    event.preventDefault();
    const fields = new FormData(form.current ?? undefined);
    const text = (name: string) => String(fields.get(name) ?? '').trim() || undefined;
    const identity = withToken ? identify(undefined, text('token')) : identify(text('user'), undefined);
    if (identity) onEnter(identity, text('to'));
    else setProblem(withToken ? 'Paste a token first.' : `A name is ${RULE}.`);
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
      <form ref={form} onSubmit={enter}>
        <h1>
          <Logo /> dmwire
        </h1>
        <p class="dim">Direct messages on a server of your own.</p>
        <div role="alert">{problem !== undefined && <p class="problem">{problem}</p>}</div>
        {withToken ? (
          <div class="field" key="token">
            <label for={`${id}t`}>Your token</label>
            <textarea id={`${id}t`} name="token" rows={4} required spellcheck={false} autocomplete="off" />
            <p class="dim">It says who you are, and is kept for this tab alone.</p>
          </div>
        ) : (
          <div class="field" key="user">
            <label for={`${id}u`}>I am</label>
            <input id={`${id}u`} name="user" required {...name} defaultValue={suggested ?? '8888'} />
          </div>
        )}
        <div class="field">
          <label for={`${id}p`}>Writing to (may be left empty)</label>
          <input id={`${id}p`} name="to" {...name} defaultValue={to ?? (withToken ? '' : '6666')} />
        </div>
        <button type="submit" class="primary">
          Start
        </button>
        <button type="button" class="plain" onClick={() => setWithToken(!withToken)}>
          {withToken ? 'Without a token' : 'I have a token'}
        </button>
      </form>
    </main>
  );
}
