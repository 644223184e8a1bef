import { DmwireError } from './errors.js';
import type { ChosenStatus, ServerPresence } from './frames.generated.js';
import type { InFrame, OutFrame } from './outbox.js';

/** Limits of users per frame and per session (docs/protocol.md sections 4 and 8). */
const MAX_PER_FRAME = 100;
const MAX_WATCHED = 1000;

/** Callbacks of a {@link Presence}. */
export interface PresenceEvents {
  /** Sends a frame until it is answered, also on later connections. */
  request(frame: OutFrame): Promise<InFrame>;
  /** The server has refused to watch users again. */
  onFailed(frame: OutFrame, error: DmwireError): void;
}

/** A call of the application that waits until the server has done what it asks for. */
interface Call {
  readonly type: 'watch' | 'unwatch' | 'status';
  /** The users, or the status. */
  readonly subjects: readonly string[];
  resolve(): void;
  reject(error: DmwireError): void;
}

/**
 * The users to watch and the status to set. The list of watched users ends with the session, so each session is told what it lacks: one
 * frame at a time, because the server may reject one for now and accept the next one, which would reorder them.
 */
export class Presence {
  readonly #events: PresenceEvents;
  /** Users to watch, each with the call that added the user. */
  readonly #wanted = new Map<string, Call>();
  /** Users that the session watches, each with the latest presence. */
  readonly #watched = new Map<string, ServerPresence>();
  /** Status to set. */
  #status: ChosenStatus | undefined;
  readonly #calls = new Set<Call>();
  /** The frame that waits for its answer. */
  #frame: OutFrame | undefined;
  #isUp = false;
  #isRunning = false;

  constructor(events: PresenceEvents) {
    this.#events = events;
  }

  /** Watches users. Resolves with their presence, without users that are unwatched before the answer. */
  async watch(users: readonly string[]): Promise<ServerPresence[]> {
    const list = [...new Set(users)];
    // Otherwise the server would refuse a whole frame, with the users of other calls.
    if (this.#wanted.size + list.filter(user => !this.#wanted.has(user)).length > MAX_WATCHED) {
      throw new DmwireError('forbidden', `a session watches at most ${MAX_WATCHED} users`, { path: '/users' });
    }
    return this.#call('watch', list, () => list.flatMap(user => this.#watched.get(user) ?? []));
  }

  /** Ends the watching of users. */
  async unwatch(users: readonly string[]): Promise<void> {
    for (const user of users) this.#wanted.delete(user);
    return this.#call('unwatch', [...users], () => {});
  }

  /** Sets the user's status. Of several calls that wait to be sent, only the newest status is sent. */
  async setStatus(status: ChosenStatus): Promise<void> {
    this.#status = status;
    return this.#call('status', [status], () => {});
  }

  /** A session has begun. It watches nobody. */
  up(): void {
    this.#isUp = true;
    void this.#run();
  }

  /** The session, if there was one, has ended. */
  down(): void {
    this.#isUp = false;
    this.#watched.clear();
  }

  /** A user was erased, whose name `is` recognises: ends the watching of the user. */
  forget(is: (user: string) => boolean): void {
    for (const user of [...this.#wanted.keys()].filter(is)) this.#wanted.delete(user);
    void this.#run();
  }

  /** Takes a `presence` frame. */
  update(frame: ServerPresence): void {
    const { user, ref } = frame;
    // A notification does not tell that a user is watched: it may have been sent before the end of that.
    const asked = this.#frame?.type === 'watch' ? (this.#frame.users as string[]) : [];
    if ((ref && asked.includes(user)) || this.#watched.has(user)) this.#watched.set(user, frame);
  }

  /** Rejects all calls. There is no further session. */
  close(error: DmwireError): void {
    for (const call of this.#calls) call.reject(error);
  }

  #call<Result>(type: Call['type'], subjects: readonly string[], result: () => Result): Promise<Result> {
    return new Promise((resolve, reject) => {
      const call: Call = { type, subjects, resolve: () => resolve(result()), reject };
      if (type === 'watch') {
        for (const user of subjects) {
          const owner = this.#wanted.get(user);
          // If the call that added the user fails, this one does not.
          if (!owner || this.#calls.has(owner)) this.#wanted.set(user, call);
        }
      }
      this.#calls.add(call);
      void this.#run();
    });
  }

  /** Sends frames until there is nothing to do. */
  async #run(): Promise<void> {
    if (this.#isRunning) return;
    this.#isRunning = true;
    // Calls of the same task share frames.
    await Promise.resolve();
    for (;;) {
      for (const call of this.#calls) {
        if (this.#isDone(call)) {
          this.#calls.delete(call);
          call.resolve();
        }
      }
      const frame = this.#next();
      this.#frame = frame;
      if (!frame) break;
      try {
        await this.#events.request(frame);
        if (this.#status === frame.status) this.#status = undefined;
      } catch (error) {
        // Without a session, the next one is asked again.
        if (this.#isUp) this.#refused(frame, error as DmwireError);
      }
    }
    this.#isRunning = false;
  }

  /** Returns the next frame to send. */
  #next(): OutFrame | undefined {
    if (!this.#isUp) return undefined;
    if (this.#status) return { type: 'status', status: this.#status };
    const [wanted, watched] = [this.#wanted, this.#watched];
    const ended = [...watched.keys()].filter(user => !wanted.has(user)).slice(0, MAX_PER_FRAME);
    for (const user of ended) watched.delete(user);
    if (ended.length > 0) return { type: 'unwatch', users: ended };
    const users = [...wanted.keys()].filter(user => !watched.has(user)).slice(0, MAX_PER_FRAME);
    return users.length > 0 ? { type: 'watch', users } : undefined;
  }

  /** Whether a call is done. No frame is waiting for its answer. */
  #isDone({ type, subjects }: Call): boolean {
    if (type === 'status') return this.#status === undefined;
    const isWatch = type === 'watch';
    return subjects.every(user => this.#watched.has(user) === isWatch || this.#wanted.has(user) !== isWatch);
  }

  /** The server has refused a frame, because of one user, if the path tells which, or of all. */
  #refused(frame: OutFrame, error: DmwireError): void {
    const all = (frame.users ?? [frame.status]) as string[];
    const one = all[Number(/^\/users\/(\d+)$/.exec(error.path ?? '')?.[1])];
    const refused = one === undefined ? all : [one];
    const calls = [...this.#calls].filter(({ type, subjects }) => {
      return type === frame.type && subjects.some(subject => refused.includes(subject));
    });
    for (const call of calls) {
      this.#calls.delete(call);
      call.reject(error);
      for (const user of call.subjects) if (this.#wanted.get(user) === call) this.#wanted.delete(user);
    }
    if (this.#status === frame.status) this.#status = undefined;
    if (frame.type !== 'watch') return;
    for (const user of refused) this.#wanted.delete(user);
    const users = refused.filter(user => !calls.some(({ subjects }) => subjects.includes(user)));
    if (users.length > 0) this.#events.onFailed({ type: 'watch', users }, error);
  }
}
