import type { JSX, TargetedSubmitEvent } from 'preact';
import { useId, useState } from 'preact/hooks';
import { Logo } from '../../ui/logo.js';
import { isSendable } from '../key.js';

interface KeyFormProps {
  /** Why the last key was not accepted. */
  readonly problem: string | undefined;
  readonly onKey: (key: string | undefined) => void;
}

export function KeyForm({ problem: rejected, onKey }: KeyFormProps): JSX.Element {
  const id = useId();
  const [problem, setProblem] = useState(rejected);
  const onSubmit = (event: TargetedSubmitEvent<HTMLFormElement>) => {
    event.preventDefault();
    const key = String(new FormData(event.currentTarget).get('key') ?? '').trim();
    if (key === '') onKey(undefined);
    else if (isSendable(key)) onKey(key);
    else setProblem('A browser cannot send this key: it has characters that HTTP does not allow here.');
  };
  return (
    <main class="sign-in">
      <form onSubmit={onSubmit}>
        <h1>
          <Logo /> dmwire dashboard
        </h1>
        <div role="alert">{problem !== undefined && <p class="problem">{problem}</p>}</div>
        <div class="field">
          <label for={id}>API key</label>
          <input
            id={id}
            name="key"
            type="password"
            required
            autocomplete="off"
            spellcheck={false}
            aria-describedby={`${id}-hint`}
            ref={input => input?.focus()}
          />
          <p class="dim" id={`${id}-hint`}>
            This server requires a key. The scope <code>read</code> shows the state of the server; <code>admin</code> is
            needed to act on users and rooms. The key is kept in this tab only.
          </p>
        </div>
        <button type="submit" class="primary">
          Continue
        </button>
      </form>
    </main>
  );
}
