import type { ComponentChildren, JSX, TargetedSubmitEvent } from 'preact';
import { useId, useState } from 'preact/hooks';
import { Dialog } from '../../ui/parts.js';
import { CallError } from '../api.js';

interface ActionProps {
  readonly title: string;
  /** The text of the button that acts. */
  readonly action: string;
  /** What the operator must type before the action is possible. */
  readonly typed?: string;
  /** Acts, and returns what was done. */
  readonly run: () => Promise<string>;
  readonly onDone: (result: string) => void;
  readonly onClose: () => void;
  readonly children: ComponentChildren;
}

/** A dialog that asks before a call. It stays open if the call fails. */
export function Action({ title, action, typed, run, onDone, onClose, children }: ActionProps): JSX.Element {
  const id = useId();
  const [text, setText] = useState('');
  const [isRunning, setIsRunning] = useState(false);
  const [error, setError] = useState<string>();
  const isAllowed = !isRunning && (typed === undefined || text === typed);
  const onSubmit = async (event: TargetedSubmitEvent<HTMLFormElement>) => {
    event.preventDefault();
    if (!isAllowed) return;
    const dialog = event.currentTarget.closest('dialog');
    setIsRunning(true);
    setError(undefined);
    try {
      const result = await run();
      dialog?.close();
      onDone(result);
    } catch (thrown) {
      setIsRunning(false);
      setError(describe(thrown));
    }
  };
  return (
    <Dialog label={title} onClose={onClose}>
      <form onSubmit={onSubmit}>
        <h2>{title}</h2>
        {children}
        {typed !== undefined && (
          <div class="field">
            <label for={id}>
              Type <bdi class="name">{typed}</bdi> to confirm
            </label>
            <input
              id={id}
              value={text}
              onInput={event => setText(event.currentTarget.value)}
              autocomplete="off"
              autocapitalize="none"
              spellcheck={false}
            />
          </div>
        )}
        <p class="dim" role="status" hidden={!isRunning}>
          {isRunning && 'Waiting for the server. This can take a while.'}
        </p>
        <div role="alert">{error !== undefined && <p class="problem">{error}</p>}</div>
        <p class="buttons">
          <button type="button" onClick={event => event.currentTarget.closest('dialog')?.close()}>
            Cancel
          </button>
          <button type="submit" class="danger" disabled={!isAllowed}>
            {action}
          </button>
        </p>
      </form>
    </Dialog>
  );
}

function describe(thrown: unknown): string {
  if (!(thrown instanceof CallError)) return String(thrown);
  return thrown.isUnsupported ? 'This server does not support this call.' : thrown.message;
}

const COUNTS: Readonly<Record<string, string>> = {
  closed: 'closed sessions',
  entries: 'inbox entries',
  notified: 'notified users',
  members: 'ended memberships',
};

/** The numbers of an answer as a text. */
export function describeCounts(answer: Readonly<Record<string, unknown>>): string {
  const counts = Object.entries(answer).filter(([, value]) => typeof value === 'number');
  return counts.map(([name, value]) => `${COUNTS[name] ?? name.replaceAll('_', ' ')}: ${value}`).join(', ');
}
