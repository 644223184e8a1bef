/** Runs the real server (`DMWIRE_BIN`) on a free port with its data in a temporary folder. */

import { type ChildProcess, spawn } from 'node:child_process';
import { once } from 'node:events';
import { existsSync } from 'node:fs';
import { mkdtemp, readdir, readFile, rm, writeFile } from 'node:fs/promises';
import { tmpdir } from 'node:os';
import { join, resolve } from 'node:path';
import { createInterface } from 'node:readline';

/** Timeout in milliseconds, generous so that tests do not fail on a busy machine. */
export const DEADLINE = 30_000;

const BINARY = process.env.DMWIRE_BIN ?? '';
// Fails the whole test file, instead of skipping its tests.
if (!existsSync(BINARY)) {
  throw new Error(
    `these tests need a server binary: set DMWIRE_BIN (${BINARY ? `${BINARY} does not exist` : 'it is not set'}). ` +
      '`cargo build` creates target/debug/dmwire.',
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

  /** Kills the server without a shutdown. */
  async kill(): Promise<void> {
    const child = this.#child;
    this.#child = undefined;
    if (!child) return;
    const exited = once(child, 'exit');
    child.kill('SIGKILL');
    await exited;
  }

  /** Starts the server with the same data and, except for the first time, on the same port. */
  async restart(): Promise<void> {
    await this.kill();
    const environment = Object.entries(process.env).filter(([name]) => !name.startsWith('DMWIRE_'));
    const child = spawn(
      resolve(BINARY),
      ['--listen', `127.0.0.1:${this.#port}`, '--ops-listen', 'off', ...this.flags],
      {
        cwd: this.folder,
        env: Object.fromEntries(environment),
        stdio: ['ignore', 'ignore', 'pipe'],
      },
    );
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
    throw new Error(`the server did not start:\n${log.join('\n')}`);
  }

  /** Restarts the server and returns a copy of its database from between the two runs. */
  async snapshot(): Promise<Buffer> {
    await this.#terminate();
    const copy = await readFile(join(this.folder, 'dmwire.db'));
    await this.restart();
    return copy;
  }

  /** Restarts the server with an earlier copy of its database, as after a rollback of the whole volume. */
  async rollBack(snapshot: Buffer): Promise<void> {
    await this.#terminate();
    for (const file of await readdir(this.folder)) {
      if (file.startsWith('dmwire.db-')) await rm(join(this.folder, file));
    }
    await writeFile(join(this.folder, 'dmwire.db'), snapshot);
    await this.restart();
  }

  /** Shuts the server down, and waits until its data is in the database file. */
  async #terminate(): Promise<void> {
    const child = this.#child;
    if (!child) return;
    const exited = once(child, 'exit');
    child.kill('SIGTERM');
    await exited;
    this.#child = undefined;
  }

  async stop(): Promise<void> {
    await this.kill();
    await rm(this.folder, { recursive: true, force: true });
  }
}
