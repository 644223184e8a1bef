import { Component, type ComponentChildren, type ComponentType, type JSX } from 'preact';
import { useEffect, useReducer, useRef } from 'preact/hooks';

/** Renders again only when a property is another one. */
export function memo<P extends object>(Inner: ComponentType<P>): ComponentType<P> {
  return class extends Component<P> {
    override shouldComponentUpdate(next: Readonly<P>): boolean {
      const now = this.props as Record<string, unknown>;
      const keys = new Set([...Object.keys(now), ...Object.keys(next)]);
      return [...keys].some(key => now[key] !== (next as Record<string, unknown>)[key]);
    }

    override render(): JSX.Element {
      return <Inner {...(this.props as P)} />;
    }
  };
}

/** Shows something else where showing the children fails: one odd message is not to take the others with it. */
export class Guard extends Component<{ instead: string; children: ComponentChildren }, { failed: boolean }> {
  override state = { failed: false };

  override componentDidCatch(): void {
    this.setState({ failed: true });
  }

  override render(): ComponentChildren {
    return this.state.failed ? <p class="dim">{this.props.instead}</p> : this.props.children;
  }
}

/** Renders again when what is subscribed to changes. */
export function useChanges(subscribe: (changed: () => void) => () => void): void {
  const [, again] = useReducer<number, void>(n => n + 1, 0);
  useEffect(() => subscribe(() => again()), []);
}

/** A user's mark, in one of eight colours that goes with the name. */
export function Avatar({ user }: { user: string }): JSX.Element {
  let sum = 0;
  for (const character of user) sum = (sum * 31 + character.charCodeAt(0)) % 997;
  return (
    <span class={`avatar c${sum % 8}`} aria-hidden="true">
      {user.replace(/[^A-Za-z0-9]/g, '').slice(0, 2) || '?'}
    </span>
  );
}

/** A dialog over the page: the browser keeps the focus in it, and gives it back. */
export function Dialog(props: { label: string; onClose: () => void; children: ComponentChildren }): JSX.Element {
  const dialog = useRef<HTMLDialogElement>(null);
  useEffect(() => {
    dialog.current?.showModal();
  }, []);
  return (
    <dialog ref={dialog} aria-label={props.label} onClose={props.onClose}>
      {props.children}
    </dialog>
  );
}

const CLOCK = new Intl.DateTimeFormat([], { hour: 'numeric', minute: '2-digit' });
const DAY = new Intl.DateTimeFormat([], { weekday: 'long', day: 'numeric', month: 'long' });
const DATE = new Intl.DateTimeFormat([], { weekday: 'long', day: 'numeric', month: 'long', year: 'numeric' });
const SHORT = new Intl.DateTimeFormat([], { day: 'numeric', month: 'short' });

/** A server's time; now, if it is none, or if there is none yet. */
export function timeOf(text: string): Date {
  const time = new Date(text);
  return Number.isNaN(time.getTime()) ? new Date() : time;
}

export function clock(time: Date): string {
  return CLOCK.format(time);
}

/** A day in words. */
export function day(time: Date): string {
  const today = new Date();
  const yesterday = new Date(today);
  yesterday.setDate(today.getDate() - 1);
  if (time.toDateString() === today.toDateString()) return 'Today';
  if (time.toDateString() === yesterday.toDateString()) return 'Yesterday';
  return (time.getFullYear() === today.getFullYear() ? DAY : DATE).format(time);
}

/** The clock for today, else the day. */
export function when(time: Date): string {
  return time.toDateString() === new Date().toDateString() ? CLOCK.format(time) : SHORT.format(time);
}
