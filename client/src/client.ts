import { address, subject, target } from './address.js';
import { Connection } from './connection.js';
import { Emitter } from './emitter.js';
import { DmwireError } from './errors.js';
import type {
  ClientFrame,
  Content,
  Conversation,
  PastMessage,
  ServerAck,
  ServerError,
  ServerGoodbye,
  ServerMessage,
  ServerTruncated,
  ServerWelcome,
} from './frames.generated.js';
import { newId } from './ids.js';
import { Inbox, type Item } from './inbox.js';
import type { ConnectOptions, Events, HistoryOptions, RequestFrame, SendOptions, Target } from './options.js';
import { type InFrame, Outbox, type OutFrame } from './outbox.js';
import { conversations, history } from './pages.js';
import type { State } from './state.js';
import { type Hold, Saver } from './storage/storage.js';

/** Entries that may wait for the application; what is beyond is asked for again once it has caught up. */
const WAITING_ENTRIES = 1_000;
/** While much is handled, the server is told how far it is once in so long. */
const ACKNOWLEDGE_MS = 50;

/** The epoch of a place that the application has named without one; the first session's is meant. */
const UNKNOWN = '';

/** Connects to a server, and stays connected until {@link Client.close}. */
export function connect<App = never>(options: ConnectOptions): Client<App> {
  return new Client<App>(options);
}

/**
 * One user's connection, made anew whenever it breaks.
 *
 * - What {@link Client.send} is given goes out once and in order, now or when there is a line again.
 * - What comes is given to handlers and iterators in the order of the user's log, one entry after the other, each once; it
 *   is acknowledged when they have handled it.
 * - With a storage both hold beyond the end of the program, a crash included. Then what was being handled at the end comes
 *   again: at least once, and `id` tells that it is the same.
 *
 * @typeParam App The application's own content types, as `npx dmwire types` writes them.
 */
export class Client<App = never> {
  readonly #options: ConnectOptions;
  readonly #events = new Emitter();
  readonly #inbox: Inbox;
  readonly #outbox: Outbox;
  readonly #connection: Connection;
  /** Entries came that there was no room for. */
  #behind = false;
  #acknowledged = 0;
  #soon: ReturnType<typeof setTimeout> | undefined;
  readonly #opening: Promise<Hold | undefined>;
  /** Tells whose storage is to be opened; the first word counts. */
  #name!: (user: string | undefined) => void;
  #saver: Saver | undefined;
  #device: string | undefined;
  /** The user that the storage is of. */
  #user: string | undefined;
  /** Wakes iterators that wait. */
  readonly #wake = new Set<() => void>();

  /** Use {@link connect}. */
  constructor(options: ConnectOptions) {
    this.#options = options;
    this.#device = options.device;
    this.#inbox = new Inbox(
      {
        // A message waits for somebody to take it; nobody need listen for anything else.
        taken: item => item.type !== 'message' || this.#events.has('message'),
        deliver: item => this.#deliver(item),
        failed: (item, error) => this.#fault(item, error),
        moved: () => this.#moved(),
        idle: () => this.#idle(),
      },
      WAITING_ENTRIES,
    );
    this.#outbox = new Outbox({
      send: text => this.#connection.send(text),
      come: () => this.#inbox.come?.seq,
      save: () => this.#saver?.save(),
      failed: (frame, error) => this.#events.emit('failed', { frame, error }),
    });
    const named = new Promise<string | undefined>(resolve => {
      this.#name = resolve;
    });
    this.#connection = new Connection(options, {
      ready: token => this.#ready(token),
      address: () => this.#address(),
      state: state => this.#events.emit('state', state),
      wire: (direction, text) => this.#events.emit('wire', { direction, text }),
      frame: frame => this.#receive(frame),
      down: () => this.#outbox.down(),
      failed: error => this.#fail(error),
    });
    this.#opening = this.#open(named);
    this.#opening.catch(() => {});
    if (options.storage) this.#saver = new Saver(async () => this.#save(await this.#opening));
    queueMicrotask(() => void this.#connection.connect());
  }

  /** What the connection is doing. The event `state` tells of each change. */
  get state(): State {
    return this.#connection.state;
  }

  /** What was given to be sent and is not answered yet, in order; with a storage also by earlier runs. */
  get pending(): ClientFrame<App>[] {
    return this.#outbox.waiting() as ClientFrame<App>[];
  }

  /**
   * Handles events of a type: a frame's `type`, or one of {@link Events}. An entry of the log (`message`, `edited`,
   * `deleted`, `reacted`) counts as handled when the handler has returned, or the promise that it returned is fulfilled;
   * the next one is given then, so a handler must not wait for another event (for the answer to something that it sends it
   * may). Where a handler fails, that entry and what follows come again in the next run.
   *
   * Messages that nobody takes, by a handler or by {@link Client.messages}, wait.
   *
   * @returns The function that removes the handler.
   */
  on<Type extends keyof Events<App>>(type: Type, handler: (event: Events<App>[Type]) => unknown): () => void {
    const off = this.#events.on(type as string, handler);
    void this.#inbox.pump();
    return off;
  }

  /**
   * The messages that others send, as they come; with `own`, also those that this user sends on other devices. One counts
   * as handled when the next is asked for, by this loop or by a later one. Ends with {@link Client.close}; throws if the
   * client is closed for another reason.
   */
  async *messages(options: { own?: boolean } = {}): AsyncGenerator<ServerMessage<App>, void, undefined> {
    let given: { message: ServerMessage<App>; handled: () => void } | undefined;
    let wake = () => {};
    const rouse = () => wake();
    this.#wake.add(rouse);
    this.#inbox.release();
    const off = this.on('message' as keyof Events<App>, event => {
      const message = event as ServerMessage<App>;
      if (message.from_user === this.#user && !options.own) return undefined;
      return new Promise<void>(handled => {
        given = { message, handled };
        wake();
      });
    });
    try {
      for (;;) {
        while (!given) {
          const { state } = this;
          if (state.status === 'closed') {
            if (state.error) throw state.error;
            return;
          }
          await new Promise<void>(resolve => {
            wake = resolve;
          });
        }
        const { message, handled } = given;
        given = undefined;
        let wentOn = false;
        try {
          yield message;
          wentOn = true;
        } finally {
          if (!wentOn && message.seq !== undefined) this.#inbox.hold(message.seq);
          handled();
        }
      }
    } finally {
      off();
      this.#wake.delete(rouse);
    }
  }

  /**
   * Sends a message. Resolves with its ack when it is stored; fails with a {@link DmwireError} when it is refused. Given
   * while there is no line, it waits for one.
   */
  async send(to: Target, content: Content<App>, options: SendOptions = {}): Promise<ServerAck> {
    const id = (options.id ?? newId()).toLowerCase();
    const frame: OutFrame = {
      type: 'message',
      ...target(to),
      message: content,
      id,
      ...(options.replyTo !== undefined && { reply_to: options.replyTo }),
      ...(options.ephemeral && { ephemeral: true }),
    };
    if (!options.ephemeral) return this.#durable(frame);
    if (!this.#connection.session) throw new DmwireError('disconnected', 'there is no line', { retryable: true });
    return (await this.#outbox.add(frame, 'once')) as unknown as ServerAck;
  }

  /** Replaces the content of one's own message. Treated as {@link Client.send} treats messages. */
  async edit(to: Target, id: string, content: Content<App>): Promise<ServerAck> {
    return this.#durable({ type: 'edit', ...target(to), id: id.toLowerCase(), message: content });
  }

  /** Removes the content of one's own message. */
  async delete(to: Target, id: string): Promise<ServerAck> {
    return this.#durable({ type: 'delete', ...target(to), id: id.toLowerCase() });
  }

  /** Adds a reaction to a message, or removes it. */
  async react(to: Target, id: string, emoji: string, options: { remove?: boolean } = {}): Promise<ServerAck> {
    const frame = { type: 'react', ...target(to), id: id.toLowerCase(), emoji };
    return this.#durable({ ...frame, ...(options.remove && { remove: true }) });
  }

  /** Says that the user has read a conversation up to a message. Resolves when the server knows. */
  async markRead(to: Target, id: string): Promise<void> {
    const frame = { type: 'read', ...target(to), id: id.toLowerCase() };
    // Which of two marks is further, the server knows; so it is told of both.
    await (this.#outbox.same(frame) ?? this.#durable(frame));
  }

  /** Says that the user is typing, or has stopped. Not worth waiting for: without a line nothing is said. */
  typing(to: Target, active = true): void {
    this.#outbox.offer({ type: 'typing', ...target(to), active });
  }

  /** Takes no more direct messages from a user. */
  async block(user: string): Promise<void> {
    await this.request({ type: 'block', user });
  }

  /** Takes direct messages from a user again. */
  async unblock(user: string): Promise<void> {
    await this.request({ type: 'unblock', user });
  }

  /**
   * The messages of a conversation, page by page behind the scenes: from the newest (or from `before`) back in time, or
   * from `after` forward.
   */
  history(to: Target, options: HistoryOptions = {}): AsyncGenerator<PastMessage<App>, void, undefined> {
    return history<App>(frame => this.request(frame as RequestFrame<App>), to, options);
  }

  /** The user's conversations, those with the newest messages first. */
  conversations(options: { pageSize?: number } = {}): AsyncGenerator<Conversation<App>, void, undefined> {
    return conversations<App>(frame => this.request(frame as RequestFrame<App>), options.pageSize);
  }

  /**
   * Sends any frame that has a direct reply, and gives the reply. It is sent again when the line breaks before that: for
   * questions, and for what has no second effect.
   */
  async request<Reply = InFrame>(frame: RequestFrame<App>): Promise<Reply> {
    this.#mustBeOpen();
    return (await this.#outbox.add(frame as OutFrame, 'retried')) as Reply;
  }

  /**
   * Puts a text on the line as it is, to try the protocol out: it is not checked, kept, paced or sent again, and what
   * answers it comes as an event (`ack`, `error`, ...). False if there is no line.
   */
  sendRaw(text: string): boolean {
    if (this.state.status !== 'open') return false;
    this.#connection.send(text);
    return true;
  }

  /** While there is no line: tries now, also where an attempt is under way already. */
  reconnect(): void {
    this.#connection.retry();
  }

  /**
   * Ends the connection for good and lets go of the storage. What is not sent by then fails with `closed`; with a storage
   * it is kept there, and goes out in the next run.
   */
  async close(): Promise<void> {
    this.#acknowledge();
    await this.#end();
  }

  // ---- The connection ----

  async #ready(token: string | undefined): Promise<void> {
    this.#name(this.#options.user ?? subject(token));
    try {
      await this.#opening;
    } catch (cause) {
      if (cause instanceof DmwireError) throw cause;
      throw new DmwireError('storage', `the storage cannot be opened: ${cause}`, { cause });
    }
  }

  /**
   * Takes over what the storage holds. Until that is done, nothing is written to it.
   * @param named Whose it is to be: one user's messages must never go out as another's.
   */
  async #open(named: Promise<string | undefined>): Promise<Hold | undefined> {
    const { storage, url, since } = this.#options;
    const scope = address(url, undefined);
    const user = storage && (this.#options.user ?? (await named));
    const hold = this.#connection.closed ? undefined : await storage?.open(`${user ?? ''}@${scope}`, user);
    const saved = hold?.saved;
    if (saved?.epoch !== undefined && saved.seq !== undefined) {
      this.#inbox.restore({ epoch: saved.epoch, seq: saved.seq });
    } else if (since !== undefined) {
      this.#inbox.restore({ epoch: UNKNOWN, seq: since });
    }
    this.#user = saved?.user ?? user;
    this.#device ??= saved?.device ?? (hold && `d-${newId().slice(-12)}`);
    this.#outbox.restore(saved?.outbox ?? []);
    return hold;
  }

  #address(): string {
    const url = new URL(address(this.#options.url, this.#options.user ?? null));
    const query = url.searchParams;
    query.set('ack', 'manual');
    if (this.#device !== undefined) query.set('device', this.#device);
    const come = this.#inbox.come;
    if (come) {
      query.set('since', String(come.seq));
      if (come.epoch !== UNKNOWN) query.set('epoch', come.epoch);
    }
    // By `+` a space is meant here, which is a plus to the server.
    url.search = url.search.replaceAll('+', '%20');
    return url.href;
  }

  #fail(error: DmwireError): void {
    void this.#end(error);
  }

  async #end(error?: DmwireError): Promise<void> {
    if (this.#connection.closed) return;
    clearTimeout(this.#soon);
    const saved = this.#saver?.save();
    this.#saver = undefined;
    this.#inbox.stop();
    this.#connection.end(error);
    this.#outbox.close(error ?? new DmwireError('closed', 'the client was closed'));
    for (const wake of [...this.#wake]) wake();
    this.#name(undefined);
    await saved?.catch(() => {});
    await (await this.#opening.catch(() => undefined))?.close();
  }

  #mustBeOpen(): void {
    const { state } = this;
    if (state.status === 'closed') throw state.error ?? new DmwireError('closed', 'the client was closed');
  }

  // ---- What comes ----

  #receive(frame: InFrame): void {
    switch (frame.type) {
      case 'welcome':
        this.#welcomed(frame as unknown as ServerWelcome);
        break;
      case 'synced': {
        const { session } = this.#connection;
        // Without a place of ours the server begins after what this device has acknowledged: if nothing has come, that is
        // all there was. Another program of the same device may acknowledge what we miss while we are away.
        if (session && !this.#behind) this.#inbox.begin({ epoch: session.epoch, seq: session.seq });
        this.#connection.synced();
        this.#outbox.synced();
        break;
      }
      case 'truncated':
        return this.#truncated(frame as unknown as ServerTruncated);
      case 'ack':
        this.#acked(frame);
        break;
      case 'error':
        if (this.#outbox.refused(frame as unknown as ServerError)) return;
        break;
      case 'goodbye': {
        const goodbye = frame as unknown as ServerGoodbye;
        this.#events.emit('goodbye', goodbye);
        return this.#connection.lost(goodbye.detail, goodbye.code, goodbye);
      }
      default:
        if (frame.ref !== undefined && this.#outbox.answered(frame)) this.#outbox.flush();
        if (typeof frame.seq === 'number') return this.#entry(frame, frame.seq);
    }
    // An ephemeral message keeps its place among the others.
    if (frame.type === 'message') {
      if (this.#events.has('message')) this.#inbox.add('message', frame);
    } else this.#events.emit(frame.type, frame);
  }

  #welcomed(session: ServerWelcome): void {
    if (this.#user !== undefined && this.#user !== session.user_id) {
      const detail = `the storage is of ${this.#user}, the session of ${session.user_id}`;
      return this.#fail(new DmwireError('wrong_user', detail));
    }
    const come = this.#inbox.come;
    if (come?.epoch === UNKNOWN) this.#inbox.restore({ epoch: session.epoch, seq: come.seq });
    this.#user = session.user_id;
    this.#behind = false;
    this.#acknowledged = 0;
    this.#connection.welcomed(session);
    if (!this.#connection.session) return;
    this.#acknowledge();
    this.#outbox.welcome(session.limits);
  }

  #truncated(frame: ServerTruncated): void {
    const { session } = this.#connection;
    if (!session || this.#behind) return;
    this.#inbox.jump({ epoch: session.epoch, seq: frame.oldest_seq - 1 }, 'truncated', frame);
  }

  #acked(frame: InFrame): void {
    const owed = this.#outbox.answered(frame);
    const sent = owed?.frame;
    const event = sent && { frame: sent, ack: frame };
    const seq = typeof frame.seq === 'number' && !frame.duplicate ? frame.seq : undefined;
    // To oneself, the message itself follows, at the same place: the log moves with that.
    if (seq === undefined || sent?.target_user === this.#user) {
      if (owed?.care === 'durable') owed.told = this.#inbox.add('sent', event);
      const handled = this.#inbox.handled;
      this.#outbox.forget(handled ? handled.seq : Number.POSITIVE_INFINITY);
      void this.#saver?.save().catch(() => {});
    } else if (this.#offer(seq, 'sent', event) && owed) {
      owed.told = true;
    }
    this.#outbox.flush();
  }

  #entry(frame: InFrame, seq: number): void {
    const own = frame.from_user === this.#user && frame.target_user !== this.#user && this.#outbox.findEntry(frame);
    if (!own) return void this.#offer(seq, frame.type, frame);
    // It was stored, and the line broke before the ack, or the ack came ahead of its place. This is what it stands for.
    const { id } = frame;
    const sent_at = frame.sent_at ?? frame.edited_at ?? frame.deleted_at ?? '';
    const ack: InFrame = { type: 'ack', id, ...(!own.hidden && { seq }), status: 'stored', sent_at, ref: own.ref };
    if (!own.settled) this.#outbox.settle(own, ack);
    const event = own.told ? undefined : { frame: own.frame, ack };
    if (own.hidden) {
      // What came after it, and stands here, is news.
      own.told = this.#inbox.add('sent', event);
      this.#offer(seq, frame.type, frame);
    } else if (this.#offer(seq, 'sent', event)) own.told = true;
  }

  /** Gives an entry to the application. False if there is no room for it, or it is not the next one. */
  #offer(seq: number, type: string, event: unknown): boolean {
    const { session } = this.#connection;
    if (!session || this.#behind) return false;
    const offer = this.#inbox.offer({ epoch: session.epoch, seq }, type, event);
    if (offer === 'full') this.#behind = true;
    if (offer === 'gap') this.#connection.lost('an entry is missing');
    return offer === 'taken';
  }

  async #deliver(item: Item): Promise<void> {
    if (item.event !== undefined) await this.#events.deliver(item.type, item.event);
    if (item.type === 'truncated' && (item.event as ServerTruncated).reason === 'reset') {
      this.#outbox.forget(Number.POSITIVE_INFINITY);
    }
  }

  #fault({ type, event }: Item, error: unknown): void {
    if (this.#events.has('fault')) this.#events.emit('fault', { error, type, event });
    // Where nobody cares, it goes where the errors of promises go that nobody cares about.
    else void Promise.reject(error);
  }

  // ---- What was handled ----

  #moved(): void {
    const handled = this.#inbox.handled;
    if (handled) this.#outbox.forget(handled.seq);
    void this.#saver?.save().catch(() => {});
    if (this.#soon !== undefined) return;
    this.#acknowledge();
    this.#soon = setTimeout(() => {
      this.#soon = undefined;
      this.#acknowledge();
    }, ACKNOWLEDGE_MS);
  }

  #idle(): void {
    // What there was no room for is asked for again.
    if (this.#behind && this.#connection.session && this.#inbox.empty) void this.#connection.connect();
  }

  /** Tells the server how far the log is handled. */
  #acknowledge(): void {
    const handled = this.#inbox.handled;
    const { session } = this.#connection;
    if (!session || !handled || this.#inbox.jumping || handled.epoch !== session.epoch) return;
    if (handled.seq <= this.#acknowledged) return;
    this.#acknowledged = handled.seq;
    this.#connection.send(JSON.stringify({ type: 'received', seq: handled.seq }));
  }

  async #durable(frame: OutFrame): Promise<ServerAck> {
    this.#mustBeOpen();
    return (await this.#outbox.add(frame, 'durable')) as unknown as ServerAck;
  }

  #save(hold: Hold | undefined): Promise<void> | void {
    const handled = this.#inbox.handled;
    return hold?.save({
      v: 1,
      ...(this.#device !== undefined && { device: this.#device }),
      ...(this.#user !== undefined && { user: this.#user }),
      ...(handled && handled.epoch !== UNKNOWN && { epoch: handled.epoch, seq: handled.seq }),
      outbox: this.#outbox.kept(),
    });
  }
}
