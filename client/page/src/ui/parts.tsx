import { Component, type ComponentChildren, type ComponentType, type JSX } from 'preact';
import { useEffect, useReducer, useRef } from 'preact/hooks';
import { roomOf } from '../peer.js';
import { Icon, type IconName } from './icons.js';

/** Returns a component that renders again only when a property changes. */
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

/** Shows a fallback if rendering the children fails, so that one message cannot break the page. */
export class ErrorBoundary extends Component<{ fallback: string; children: ComponentChildren }, { failed: boolean }> {
  override state = { failed: false };

  override componentDidCatch(): void {
    this.setState({ failed: true });
  }

  override render(): ComponentChildren {
    return this.state.failed ? <p class="dim">{this.props.fallback}</p> : this.props.children;
  }
}

/** Renders the component again whenever the subscription calls `rerender`. */
export function useRerenderOn(subscribe: (rerender: () => void) => () => void): void {
  const [, rerender] = useReducer<number, void>(n => n + 1, 0);
  useEffect(() => subscribe(() => rerender()), []);
}

/** The initials of a user, or the sign of a room, in one of eight colours, chosen by the name. */
export function Avatar({ user }: { user: string }): JSX.Element {
  let sum = 0;
  const isRoom = roomOf(user) !== undefined;
  for (const character of user) sum = (sum * 31 + character.charCodeAt(0)) % 997;
  return (
    <span class={`avatar c${sum % 8} ${isRoom ? 'of-room' : ''}`} aria-hidden="true">
      {isRoom ? <Icon name="room" /> : user.replace(/[^A-Za-z0-9]/g, '').slice(0, 2) || '?'}
    </span>
  );
}

/** A round button with an icon. `label` is its name, also for screen readers. */
export function IconButton(props: JSX.IntrinsicElements['button'] & { icon: IconName; label: string }): JSX.Element {
  const { icon, label, class: more = '', ...attributes } = props;
  return (
    <button type="button" class={`round ${more}`} title={label} {...attributes}>
      <Icon name={icon} />
      <span class="unseen">{label}</span>
    </button>
  );
}

/** A modal dialog. The browser traps the focus in it and restores it afterwards. */
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

/** A dialog that asks before an action. */
export function Confirm(props: {
  title: string;
  action: string;
  onConfirm: () => void;
  onClose: () => void;
  children: ComponentChildren;
}): JSX.Element {
  return (
    <Dialog label={props.title} onClose={props.onClose}>
      <form method="dialog">
        <h2>{props.title}</h2>
        {props.children}
        <p class="buttons">
          <button type="submit">Cancel</button>
          <button
            type="button"
            class="danger"
            onClick={event => {
              event.currentTarget.closest('dialog')?.close();
              props.onConfirm();
            }}
          >
            {props.action}
          </button>
        </p>
      </form>
    </Dialog>
  );
}

const CLOCK = new Intl.DateTimeFormat([], { hour: 'numeric', minute: '2-digit' });
const DAY = new Intl.DateTimeFormat([], { weekday: 'long', day: 'numeric', month: 'long' });
const DATE = new Intl.DateTimeFormat([], { weekday: 'long', day: 'numeric', month: 'long', year: 'numeric' });
const DATE_AND_CLOCK = new Intl.DateTimeFormat([], {
  day: 'numeric',
  month: 'short',
  hour: 'numeric',
  minute: '2-digit',
});
const SHORT = new Intl.DateTimeFormat([], { day: 'numeric', month: 'short' });

/** Parses a time from the server. Returns the current time if it is missing or invalid. */
export function parseTime(text: string): Date {
  const time = new Date(text);
  return Number.isNaN(time.getTime()) ? new Date() : time;
}

export function formatClock(time: Date): string {
  return CLOCK.format(time);
}

export function formatDay(time: Date): string {
  const today = new Date();
  const yesterday = new Date(today);
  yesterday.setDate(today.getDate() - 1);
  if (time.toDateString() === today.toDateString()) return 'Today';
  if (time.toDateString() === yesterday.toDateString()) return 'Yesterday';
  return (time.getFullYear() === today.getFullYear() ? DAY : DATE).format(time);
}

/** Returns a time of `performance.now()` as a time of day, with the date unless it is today. */
export function formatTime(at: number): string {
  const time = new Date(Date.now() + at - performance.now());
  return (time.toDateString() === new Date().toDateString() ? CLOCK : DATE_AND_CLOCK).format(time);
}

/** Returns the time of day for today, otherwise the date. */
export function formatShort(time: Date): string {
  return time.toDateString() === new Date().toDateString() ? CLOCK.format(time) : SHORT.format(time);
}
