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

/** Sets whether the peer is typing, until the timeout. */
export function setTyping(conversation: Conversation, active: boolean, onChange: () => void): void {
  clearTimeout(conversation.typingTimer);
  conversation.typing = active;
  if (active) conversation.typingTimer = setTimeout(() => setTyping(conversation, false, onChange), TIMEOUT_MS);
  onChange();
}
