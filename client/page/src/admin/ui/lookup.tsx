import type { JSX, TargetedSubmitEvent } from 'preact';
import { useId, useState } from 'preact/hooks';
import { isName, placeHash } from '../place.js';

const RULE = 'A name has 1 to 64 characters: A-Z a-z 0-9 . _ ~ @ : + -';

interface LookupProps {
  readonly view: 'users' | 'rooms';
  readonly label: string;
  readonly name: string | undefined;
}

/** A field for the name of a user or a room, which opens it. */
export function Lookup({ view, label, name }: LookupProps): JSX.Element {
  const id = useId();
  const [problem, setProblem] = useState<string>();
  const onSubmit = (event: TargetedSubmitEvent<HTMLFormElement>) => {
    event.preventDefault();
    const text = String(new FormData(event.currentTarget).get('name') ?? '').trim();
    if (!isName(text)) return setProblem(RULE);
    setProblem(undefined);
    location.hash = placeHash({ view, name: text });
  };
  return (
    <form class="lookup" onSubmit={onSubmit}>
      <label for={id}>{label}</label>
      <div>
        <input
          id={id}
          name="name"
          required
          defaultValue={name ?? ''}
          autocomplete="off"
          autocapitalize="none"
          spellcheck={false}
          aria-describedby={`${id}-problem`}
        />
        <button type="submit" class="primary">
          Look up
        </button>
      </div>
      <p id={`${id}-problem`} class="problem" role="alert">
        {problem}
      </p>
    </form>
  );
}
