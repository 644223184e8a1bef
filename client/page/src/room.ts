import type { Member } from '../../src/index.js';

/** A user has joined or left a room. */
export interface Notice {
  readonly seq: number;
  readonly event: 'joined' | 'left';
  readonly user: string;
  readonly at: string;
  /** Position in the order of arrival, the same as that of messages. */
  readonly arrival: number;
}

/** Number of notices kept of a room. */
const MAX_NOTICES = 200;

/** What a conversation in a room has in addition: its members, and who has joined and left. */
export class Room {
  /** Whether the user is a member; undefined while that is not known. */
  isMember: boolean | undefined;
  /** Number of members, as far as known. */
  size: number | undefined;
  /** Why the user could not join, as a sentence for the user. */
  problem: string | undefined;
  /** In log order. */
  notices: readonly Notice[] = [];
  /** The newest message that each of the other members has read, as far as known. */
  readonly reads = new Map<string, string>();
  /** Members in the order of the server, as far as loaded. */
  members: readonly Member[] | undefined;
  /** Position after the last loaded member; undefined if all are loaded. */
  cursor: string | undefined;
  /** Members are being loaded. */
  loading = false;
  /** The members changed while they were being loaded. */
  isOutdated = false;
  /** Number of arrivals when the user joined, or when the room was last listed. */
  confirmedAt = 0;
  /** `seq` of the newest notice. */
  #newest = 0;

  constructor(readonly name: string) {}

  /**
   * Adds a notice; one that has arrived before gets the new position. `size` is the number of members after the event, if known.
   *
   * @returns Whether it is new.
   */
  add(notice: Notice, me: string, size: number | undefined): boolean {
    const { seq, user, event, at } = notice;
    const isNew = seq > this.#newest;
    this.notices = [...this.notices.filter(other => other.seq !== seq), notice].slice(-MAX_NOTICES);
    // After a reconnect, earlier ones may arrive again.
    if (!isNew) return false;
    this.#newest = seq;
    const hasJoined = event === 'joined';
    if (user === me) {
      this.isMember = hasJoined;
      this.problem = undefined;
      this.confirmedAt = notice.arrival;
    }
    if (size !== undefined) this.size = size;
    const { members, cursor } = this;
    if (this.loading) this.isOutdated = true;
    if (members) {
      const others = members.filter(member => member.user !== user);
      // The server orders them by bytes, which are characters in a name.
      let index = others.findIndex(member => member.user > user);
      if (index < 0) index = others.length;
      const isLoaded = cursor === undefined || index < others.length;
      this.members = hasJoined && isLoaded ? others.toSpliced(index, 0, { user, joined_at: at }) : others;
    }
    if (!hasJoined) this.reads.delete(user);
    return true;
  }

  /** Drops notices that arrived before a message, because those before it are no longer loaded. */
  dropBefore(arrival: number | undefined): void {
    if (arrival !== undefined) this.notices = this.notices.filter(notice => notice.arrival > arrival);
  }

  /** The user is no longer a member, or the room is closed after that: forgets what only members may see. */
  forget(): void {
    this.members = this.cursor = undefined;
    this.reads.clear();
  }
}
