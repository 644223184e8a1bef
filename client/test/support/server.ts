/** The real server, from `DMWIRE_BIN`, on a free port and with data in a folder of its own. */

import { type ChildProcess, spawn } from 'node:child_process';
import { once } from 'node:events';
import { existsSync } from 'node:fs';
import { mkdtemp, rm } from 'node:fs/promises';
import { tmpdir } from 'node:os';
import { join, resolve } from 'node:path';
import { createInterface } from 'node:readline';

/** Far longer than anything takes, so that a busy machine fails no test. */
export const DEADLINE = 30_000;

const BINARY = process.env.DMWIRE_BIN ?? '';
// Said once for each file of tests, and before any of them: what cannot be tested has not passed.
if (!existsSync(BINARY)) {
  throw new Error(
    `these tests need a server: DMWIRE_BIN must name one (${BINARY ? `there is no ${BINARY}` : 'it is not set'}). ` +
      '`cargo build` makes target/debug/dmwire.',
  );
}

export class Server {
  #child: ChildProcess | undefined;
  #port = 0;
  #scheme = '';

  private constructor(
    readonly folder: string,
    readonly flags: readonly string[],
  ) {}

  static async start(...flags: string[]): Promise<Server> {
    const server = new Server(await mkdtemp(join(tmpdir(), 'dmwire-client-')), flags);
    await server.restart();
    return server;
  }

  get url(): string {
    return `${this.#scheme}://127.0.0.1:${this.#port}`;
  }

  /** Ends it as a crash would. */
  async kill(): Promise<void> {
    const child = this.#child;
    this.#child = undefined;
    if (!child) return;
    const ended = once(child, 'exit');
    child.kill('SIGKILL');
    await ended;
  }

  /** Starts it on the same data and, but for the first time, on the same port. */
  async restart(): Promise<void> {
    await this.kill();
    const environment = Object.entries(process.env).filter(([name]) => !name.startsWith('DMWIRE_'));
    const child = spawn(resolve(BINARY), ['--listen', `127.0.0.1:${this.#port}`, ...this.flags], {
      cwd: this.folder,
      env: Object.fromEntries(environment),
      stdio: ['ignore', 'ignore', 'pipe'],
    });
    this.#child = child;
    const log: string[] = [];
    for await (const line of createInterface({ input: child.stderr as NodeJS.ReadableStream })) {
      log.push(line);
      const [, scheme, port] = /listening on (https?):\/\/[^ ]*:(\d+)/.exec(line) ?? [];
      if (!scheme) continue;
      this.#scheme = scheme;
      this.#port = Number(port);
      child.stderr?.resume();
      return;
    }
    throw new Error(`the server does not listen:\n${log.join('\n')}`);
  }

  async stop(): Promise<void> {
    await this.kill();
    await rm(this.folder, { recursive: true, force: true });
  }
}
