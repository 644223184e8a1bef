import type { Conversation } from './conversation.js';
import { shorten } from './text.js';

/** Interval of `typing` frames. */
const INTERVAL_MS = 3000;
/** How long a peer counts as typing, because the frame that ends it may be lost. */
const TIMEOUT_MS = 5000;

/** Maximum length of the names of typing users, so that the text fits on a phone. */
const MAX_NAMES = 24;

/** Decides when the page reports that the user is typing. */
export class TypingReporter {
  /** Time of the last report by `performance.now()`; undefined if nothing is being typed. */
  #lastReport: number | undefined;

  /** Returns the state to report after the text has changed; undefined if nothing needs to be reported. */
  next(text: string): boolean | undefined {
    if (text === '') {
      const wasTyping = this.#lastReport !== undefined;
      this.#lastReport = undefined;
      return wasTyping ? false : undefined;
    }
    const now = performance.now();
    if (this.#lastReport !== undefined && now - this.#lastReport <= INTERVAL_MS) return undefined;
    this.#lastReport = now;
    return true;
  }

  /** A message was sent or another conversation opened: nothing is being typed. */
  reset(): void {
    this.#lastReport = undefined;
  }
}

/** Sets whether a user is typing in a conversation, until the timeout. */
export function setTyping(conversation: Conversation, user: string, active: boolean, onChange: () => void): void {
  const { typing } = conversation;
  clearTimeout(typing.get(user));
  if (active)
    typing.set(
      user,
      setTimeout(() => setTyping(conversation, user, false, onChange), TIMEOUT_MS),
    );
  else typing.delete(user);
  onChange();
}

/** Returns who is typing, as a text for the user; empty if nobody is. */
export function typingText({ room, typing }: Conversation): string {
  const users = [...typing.keys()];
  if (users.length === 0) return '';
  if (!room) return 'is typing…';
  const names = users.join(' and ');
  if (users.length === 1) return `${shorten(names, MAX_NAMES)} is typing…`;
  return `${users.length > 2 || names.length > MAX_NAMES ? `${users.length} members` : names} are typing…`;
}
