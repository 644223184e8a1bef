import type { OutFrame } from '../../src/index.js';
import { storageKey, tabStorage } from './identity.js';
import { peerOf } from './peer.js';

/** A rejected message, kept until the user sends it again or discards it. */
export interface FailedMessage {
  readonly frame: OutFrame;
  readonly code: string;
  readonly detail: string;
  /** The message that it follows, or an empty string if it is the first one. Absent while that is not known. */
  readonly after?: string | undefined;
}

/** Drafts and rejected messages of a user, in the storage of this tab. */
export class UnsentStore {
  readonly #server: string;
  readonly #user: string;
  /** Drafts by peer. The storage has no newer ones, and may be full. */
  readonly #drafts = new Map<string, string>();
  #failed: readonly FailedMessage[];

  constructor(user: string, server: string) {
    this.#user = user;
    this.#server = server;
    this.#failed = this.#readFailed();
  }

  get failed(): readonly FailedMessage[] {
    return this.#failed;
  }

  addFailed(message: FailedMessage): void {
    this.#setFailed([...this.#failed, message]);
  }

  findFailed(id: string): FailedMessage | undefined {
    return this.#failed.find(({ frame }) => frame.id === id);
  }

  removeFailed(id: string): void {
    const after = this.findFailed(id)?.after;
    const others = this.#failed.filter(({ frame }) => frame.id !== id);
    this.#setFailed(others.map(failed => (failed.after === id ? { ...failed, after } : failed)));
  }

  /** The newest messages of a peer are known: places the rejected ones after the last of them. */
  place(peer: string, after: string): void {
    const isUnplaced = ({ frame, after }: FailedMessage) => peerOf(frame) === peer && after === undefined;
    if (!this.#failed.some(isUnplaced)) return;
    this.#setFailed(this.#failed.map(failed => (isUnplaced(failed) ? { ...failed, after } : failed)));
  }

  draft(peer: string): string {
    return this.#drafts.get(peer) ?? tabStorage.get(this.#draftKey(peer)) ?? '';
  }

  setDraft(peer: string, text: string): void {
    this.#drafts.set(peer, text);
    tabStorage.set(this.#draftKey(peer), text || undefined);
  }

  /** Removes the drafts and rejected messages for the users whose name `is` recognises. */
  forget(is: (user: string) => boolean): void {
    this.#setFailed(this.#failed.filter(({ frame }) => !is(peerOf(frame) ?? '')));
    const [start = '', end = ''] = this.#draftKey(' ').split(' ');
    const stored = this.#draftKeys.map(key => key.slice(start.length, -end.length));
    for (const peer of [...this.#drafts.keys(), ...stored]) if (is(peer)) this.setDraft(peer, '');
  }

  /** Effects of {@link UnsentStore.clear}, as sentences for the user. */
  get warnings(): string[] {
    const warnings: string[] = [];
    if (this.#failed.length > 0) warnings.push('Rejected messages are deleted.');
    const hasDrafts = this.#draftKeys.length > 0 || [...this.#drafts.values()].some(text => text !== '');
    if (hasDrafts) warnings.push('Drafts are deleted.');
    return warnings;
  }

  /** Removes all drafts and rejected messages of the user. */
  clear(): void {
    this.#setFailed([]);
    this.#drafts.clear();
    for (const key of this.#draftKeys) tabStorage.set(key, undefined);
  }

  #draftKey(peer: string): string {
    return storageKey('draft', this.#server, this.#user, peer);
  }

  get #draftKeys(): string[] {
    // A space cannot occur in a user name.
    const [start = '', end = ''] = this.#draftKey(' ').split(' ');
    return tabStorage.keys.filter(key => key.startsWith(start) && key.endsWith(end));
  }

  get #failedKey(): string {
    return storageKey('failed', this.#server, this.#user);
  }

  #readFailed(): FailedMessage[] {
    try {
      return JSON.parse(tabStorage.get(this.#failedKey) ?? '[]') as FailedMessage[];
    } catch {
      return [];
    }
  }

  #setFailed(messages: readonly FailedMessage[]): void {
    this.#failed = messages;
    tabStorage.set(this.#failedKey, messages.length > 0 ? JSON.stringify(messages) : undefined);
  }
}
