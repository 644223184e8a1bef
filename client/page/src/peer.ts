import type { OutFrame, Target } from '../../src/index.js';

/*
 * A conversation is identified by its peer: the name of the other user, or `#` and the name of the room. No user name
 * contains `#`.
 */

/** Fields by which a frame names its conversation. */
interface Addressed {
  readonly target_user?: unknown;
  readonly target_room?: unknown;
  readonly room?: unknown;
}

/** Returns the peer for a room. */
export function peerOfRoom(room: string): string {
  return `#${room}`;
}

/** Returns the name of the room; undefined if the peer is a user. */
export function roomOf(peer: string): string | undefined {
  return peer.startsWith('#') ? peer.slice(1) : undefined;
}

/** Returns the peer of a frame of the user; undefined if it names none. */
export function peerOf({ target_user, target_room, room = target_room }: Addressed | OutFrame): string | undefined {
  if (typeof room === 'string') return peerOfRoom(room);
  return typeof target_user === 'string' ? target_user : undefined;
}

/** Returns the target for methods of the client. */
export function targetOf(peer: string): Target {
  const room = roomOf(peer);
  return room === undefined ? peer : { room };
}

/** Returns the fields of a frame to the peer. */
export function targetFields(peer: string): { target_user: string } | { target_room: string } {
  const room = roomOf(peer);
  return room === undefined ? { target_user: peer } : { target_room: room };
}
