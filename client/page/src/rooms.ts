import type { Client, ConnectOptions, DmwireError, OutFrame, RoomAck, ServerRoom } from '../../src/index.js';
import type { Conversation } from './conversation.js';
import type { Conversations } from './conversations.js';
import { errorText } from './display.js';
import { MemberLoader } from './member-loader.js';
import { peerOfRoom } from './peer.js';
import type { Notice } from './room.js';

/** What {@link Rooms} needs of a chat. */
export interface RoomEvents {
  client(): Client;
  readonly conversations: Conversations;
  onChange(): void;
  /** Sends a frame; its outcome arrives as an event of the client. */
  track(promise: Promise<unknown>): void;
  /** Loads the list of conversations again, and the open conversation unless it is loaded. */
  refresh(): void;
  onNotice(conversation: Conversation, notice: Notice): void;
  /** Reports a failed query to the user. */
  onError(summary: string, error: unknown): void;
}

/** The rooms of a user: joins and leaves them, and loads their members. */
export class Rooms {
  /** The room that each connection joins for as long as it lasts. */
  session: string | undefined;
  readonly #events: RoomEvents;
  readonly #members: MemberLoader;

  constructor(session: string | undefined, events: RoomEvents) {
    this.session = session;
    this.#events = events;
    this.#members = new MemberLoader({
      client: events.client,
      onChange: events.onChange,
      onError: ({ room, peer }, error) => {
        if (!room || !this.isRejected(room.name, error))
          events.onError(`Members of ${peer} could not be loaded`, error);
      },
    });
  }

  /** Options of the connection. */
  get options(): Pick<ConnectOptions, 'rooms' | 'membership'> {
    return this.session === undefined ? {} : { rooms: [this.session], membership: 'session' };
  }

  /** Joins a room until the user leaves it. The first user who joins creates it. */
  join(name: string): void {
    this.#change(name, this.#events.client().join(name));
  }

  leave(name: string): void {
    this.#change(name, this.#events.client().leave(name));
  }

  /** Loads the first members, and who of them has read what. */
  async loadMembers(conversation: Conversation): Promise<void> {
    await this.#members.loadFirst(conversation);
  }

  async loadMoreMembers(conversation: Conversation): Promise<void> {
    await this.#members.loadMore(conversation);
  }

  /** A user has joined or left a room, or this user on another device. */
  onRoom(frame: ServerRoom): void {
    this.#onEvent(frame, frame.members);
  }

  /** The user has joined or left a room. */
  onSent({ type, room }: OutFrame, { seq, sent_at: at, duplicate }: RoomAck): void {
    const hasJoined = type === 'join';
    const state = this.#events.conversations.with(peerOfRoom(String(room))).room;
    if (seq === undefined || duplicate) {
      // Nothing has changed, so there is no event.
      if (state) Object.assign(state, { isMember: hasJoined, problem: undefined });
      return this.#events.refresh();
    }
    const size = state?.size === undefined ? undefined : state.size + (hasJoined ? 1 : -1);
    const user = this.#events.conversations.me;
    this.#onEvent({ room: String(room), event: hasJoined ? 'joined' : 'left', user, seq, at }, size);
  }

  /** The server has refused to let the user join or leave a room. */
  onFailed({ type, room }: OutFrame, { code, message }: DmwireError): void {
    const state = this.#events.conversations.with(peerOfRoom(String(room))).room;
    if (!state) return;
    // The details of the server begin with a small letter.
    const text = errorText('', code, message);
    state.problem = `${text.charAt(0).toUpperCase()}${text.slice(1)}`;
    if (type === 'join' && code !== 'closed') state.isMember = false;
    else state.isMember ??= false;
  }

  /** Whether a query failed because the user is not a member. The page shows that in the conversation. */
  isRejected(name: string, error: unknown): boolean {
    const { code, message } = error as DmwireError;
    const state = this.#events.conversations.get(peerOfRoom(name))?.room;
    if (!state || (code !== 'not_member' && code !== 'unknown_room')) return false;
    state.isMember = false;
    if (code === 'unknown_room') state.problem = errorText('', code, message);
    return true;
  }

  #change(name: string, sent: Promise<unknown>): void {
    // The client no longer joins it by itself.
    if (this.session === name) this.session = undefined;
    const { room } = this.#events.conversations.with(peerOfRoom(name));
    if (room) room.problem = undefined;
    this.#events.track(sent);
  }

  #onEvent(frame: Omit<ServerRoom, 'type' | 'members'>, size: number | undefined): void {
    const { conversations } = this.#events;
    const { conversation, notice } = conversations.onRoom(frame, size);
    if (notice) this.#events.onNotice(conversation, notice);
    // The list has the number of members and of unread messages.
    if (notice?.user === conversations.me) this.#events.refresh();
    this.#events.onChange();
  }
}
