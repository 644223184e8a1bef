/**
 * A proxy in front of the server. HTTP requests always pass; WebSockets pass while it is open. It can also act as a server
 * itself, possibly a hostile one.
 */

import { createServer, type Server as HttpServer, type IncomingMessage, request } from 'node:http';
import { type AddressInfo, connect, type Socket } from 'node:net';
import type { Duplex } from 'node:stream';
import { type WebSocket, WebSocketServer } from 'ws';

type SocketHandler = (socket: WebSocket, request: IncomingMessage) => void;

export class Gate {
  readonly #http: HttpServer;
  readonly #sockets = new Set<Duplex>();
  readonly #ws = new WebSocketServer({ noServer: true });
  #open = true;
  #handler: SocketHandler | undefined;
  /** Paths of all upgrade requests. */
  readonly requests: string[] = [];
  /** Connections to the server for open sockets. */
  readonly #upstreams = new Set<Socket>();

  private constructor(readonly target: URL) {
    this.#http = createServer((incoming, outgoing) => {
      const { method, url, headers } = incoming;
      const upstream = request(new URL(url ?? '/', target), { method, headers }, response => {
        outgoing.writeHead(response.statusCode ?? 500, response.headers);
        response.pipe(outgoing);
      });
      upstream.on('error', () => outgoing.destroy());
      incoming.pipe(upstream);
    });
    this.#http.on('upgrade', (incoming, socket, head) => this.#upgrade(incoming, socket, head));
  }

  static async inFrontOf(url: string): Promise<Gate> {
    const gate = new Gate(new URL(url));
    await new Promise<void>(resolve => gate.#http.listen(0, '127.0.0.1', resolve));
    return gate;
  }

  get url(): string {
    return `http://127.0.0.1:${(this.#http.address() as AddressInfo).port}`;
  }

  /** Drops all sockets and rejects new ones. */
  shut(): void {
    this.#open = false;
    for (const socket of this.#sockets) socket.destroy();
  }

  open(): void {
    this.#open = true;
  }

  /** Drops further data from the server on open sockets. Data from the pages still passes. */
  muteServer(): void {
    for (const server of this.#upstreams) server.unpipe().resume();
  }

  /** Handles all further sockets with `handler` instead of the server. */
  play(handler: SocketHandler): void {
    this.#handler = handler;
  }

  async close(): Promise<void> {
    this.shut();
    this.#http.closeAllConnections();
    await new Promise(resolve => this.#http.close(resolve));
  }

  #upgrade(incoming: IncomingMessage, socket: Duplex, head: Buffer): void {
    this.requests.push(incoming.url ?? '');
    if (!this.#open) return void socket.destroy();
    this.#sockets.add(socket);
    socket.on('close', () => this.#sockets.delete(socket));
    socket.on('error', () => {});
    if (this.#handler) {
      this.#ws.handleUpgrade(incoming, socket, head, client => this.#handler?.(client, incoming));
      return;
    }
    const server: Socket = connect(Number(this.target.port), this.target.hostname, () => {
      const lines = [`${incoming.method} ${incoming.url} HTTP/1.1`];
      const { rawHeaders } = incoming;
      for (let i = 0; i < rawHeaders.length; i += 2) lines.push(`${rawHeaders[i]}: ${rawHeaders[i + 1]}`);
      server.write(`${lines.join('\r\n')}\r\n\r\n`);
      server.write(head);
      socket.pipe(server).pipe(socket);
    });
    this.#upstreams.add(server);
    server.on('error', () => socket.destroy());
    server.on('close', () => {
      this.#upstreams.delete(server);
      socket.destroy();
    });
    socket.on('close', () => server.destroy());
  }
}

/** Returns a handler that acts as a server with the given messages in the conversation with `peer`. */
export function fakeServer(
  user: string,
  peer: string,
  history: readonly Record<string, unknown>[],
  onFrame: (frame: Record<string, unknown>, send: (frame: object) => void) => void = () => {},
): SocketHandler {
  return socket => {
    const send = (frame: object) => socket.send(JSON.stringify(frame));
    send({
      type: 'welcome',
      protocol: 'dmwire.v1',
      session_id: '00000000-0000-4000-8000-000000000000',
      user_id: user,
      device: 'd',
      epoch: '00000000-0000-4000-8000-000000000001',
      seq: 0,
      server_time: new Date().toISOString(),
      schema: '0000000000000000',
      heartbeat_seconds: 30,
      limits: { max_frame_bytes: 65536, messages_per_second: 50 },
    });
    send({ type: 'synced', seq: 0 });
    socket.on('message', data => {
      const frame = JSON.parse(String(data)) as Record<string, unknown>;
      const { ref } = frame;
      if (frame.type === 'conversations') {
        const last = history.at(-1);
        send({ type: 'conversations', items: last ? [{ target_user: peer, last, unread: 1 }] : [], ref });
      } else if (frame.type === 'history') {
        send({ type: 'history', target_user: frame.target_user, messages: history, more: false, ref });
      } else if (frame.type === 'ping') {
        send({ type: 'pong', server_time: new Date().toISOString(), ref });
      } else onFrame(frame, send);
    });
  };
}
