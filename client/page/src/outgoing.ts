import type { Client, OutFrame } from '../../src/index.js';
import { peerOf, peerOfRoom } from './peer.js';

/** Frames of the user without an ack. */
export class Outgoing {
  frames: readonly OutFrame[] = [];
  /** When the client sends frames again that a limit of the server delays, by `ref`. Times of `performance.now()`. */
  readonly delayed = new Map<unknown, number>();

  /** Updates the frames from the client. */
  update(client: Client): void {
    this.frames = client.pending.filter(frame => frame.type !== 'read') as OutFrame[];
  }

  /** A frame has its answer. */
  settle({ ref }: OutFrame): void {
    this.frames = this.frames.filter(frame => frame.ref !== ref);
    this.delayed.delete(ref);
  }

  /** A message is stored. */
  onStored(message: string): void {
    this.frames = this.frames.filter(({ type, id }) => type !== 'message' || id !== message);
  }

  /** Peers to which frames are being sent. */
  get peers(): ReadonlySet<unknown> {
    return new Set(this.frames.map(peerOf));
  }

  /** Returns the last change of the user's membership of a room that is being sent. */
  membership(room: string): 'join' | 'leave' | undefined {
    const last = this.frames.findLast(frame => frame.room !== undefined && peerOf(frame) === peerOfRoom(room));
    return last?.type as 'join' | 'leave' | undefined;
  }
}
