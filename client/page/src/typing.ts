import type { Conversation } from './conversation.js';

/** Interval of `typing` frames. */
const INTERVAL_MS = 3000;
/** How long a peer counts as typing, because the frame that ends it may be lost. */
const TIMEOUT_MS = 5000;

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
  if (users.length > 2) return `${users.length} members are typing…`;
  return `${users.join(' and ')} ${users.length > 1 ? 'are' : 'is'} typing…`;
}
