/** Runs the real server (`DMWIRE_BIN`) on a free port with its data in a temporary folder. */

import assert from 'node:assert/strict';
import { type ChildProcess, spawn } from 'node:child_process';
import { once } from 'node:events';
import { existsSync } from 'node:fs';
import { mkdtemp, readdir, readFile, rm, writeFile } from 'node:fs/promises';
import { tmpdir } from 'node:os';
import { join, resolve } from 'node:path';
import { createInterface } from 'node:readline';
import type { Readable } from 'node:stream';

/** Timeout in milliseconds, generous so that tests do not fail on a busy machine. */
export const DEADLINE = 30_000;

/** A free port, which the server then keeps over its restarts. */
export const ANY_PORT = '127.0.0.1:0';

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
  #log = new ServerLog();
  #port = 0;
  #opsPort = 0;
  #scheme = '';

  private constructor(
    readonly folder: string,
    readonly flags: readonly string[],
  ) {}

  static async start(...flags: string[]): Promise<Server> {
    return Server.startIn(await mkdtemp(join(tmpdir(), 'dmwire-client-')), ...flags);
  }

  /** Starts a server in a folder, which {@link stop} removes. */
  static async startIn(folder: string, ...flags: string[]): Promise<Server> {
    const server = new Server(folder, flags);
    await server.restart();
    return server;
  }

  get url(): string {
    return `${this.#scheme}://127.0.0.1:${this.#port}`;
  }

  /** The URL of the operations port, if the flag `--ops-listen` is the address `127.0.0.1:0`. */
  get opsUrl(): string {
    return `http://127.0.0.1:${this.#opsPort}`;
  }

  get pid(): number {
    return this.#child?.pid ?? assert.fail('the server does not run');
  }

  /** Waits for a line of the log of this run. */
  logged(pattern: RegExp): Promise<RegExpExecArray> {
    return this.#log.find(pattern);
  }

  /** Kills the server without a shutdown. */
  async kill(): Promise<void> {
    const child = this.#child;
    this.#child = undefined;
    if (!child || child.exitCode !== null || child.signalCode !== null) return;
    const exited = once(child, 'exit');
    child.kill('SIGKILL');
    await exited;
  }

  /** Starts the server with the same data and, except for the first time, on the same ports. */
  async restart(): Promise<void> {
    await this.kill();
    const environment = Object.entries(process.env).filter(([name]) => !name.startsWith('DMWIRE_'));
    const hasOps = this.flags.includes(ANY_PORT);
    const ops = this.flags.includes('--ops-listen') ? [] : ['--ops-listen', 'off'];
    const flags = this.flags.map(flag => (flag === ANY_PORT ? `127.0.0.1:${this.#opsPort}` : flag));
    const child = spawn(resolve(BINARY), ['--listen', `127.0.0.1:${this.#port}`, ...ops, ...flags], {
      cwd: this.folder,
      env: Object.fromEntries(environment),
      stdio: ['ignore', 'ignore', 'pipe'],
    });
    this.#child = child;
    this.#log = new ServerLog(child.stderr);
    const [, scheme = '', port] = await this.#log.find(/listening on (https?):\/\/[^ ]*:(\d+)/);
    this.#scheme = scheme;
    this.#port = Number(port);
    if (hasOps) this.#opsPort = Number((await this.#log.find(/operations port on http:\/\/[^ ]*:(\d+)/))[1]);
  }

  /** Restarts the server and returns a copy of its database from between the two runs. */
  async snapshot(): Promise<Buffer> {
    await this.terminate();
    const copy = await readFile(join(this.folder, 'dmwire.db'));
    await this.restart();
    return copy;
  }

  /** Restarts the server with an earlier copy of its database, as after a rollback of the whole volume. */
  async rollBack(snapshot: Buffer): Promise<void> {
    await this.terminate();
    for (const file of await readdir(this.folder)) {
      if (file.startsWith('dmwire.db-')) await rm(join(this.folder, file));
    }
    await writeFile(join(this.folder, 'dmwire.db'), snapshot);
    await this.restart();
  }

  /** Shuts the server down, and waits until its data is in the database file. */
  async terminate(): Promise<void> {
    const child = this.#child;
    if (!child || child.exitCode !== null || child.signalCode !== null) return;
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

/** The log of one run. */
class ServerLog {
  readonly #lines: string[] = [];
  #ended = false;
  #wake: (() => void)[] = [];

  constructor(stream?: Readable) {
    if (!stream) return;
    const changed = () => {
      for (const wake of this.#wake.splice(0)) wake();
    };
    createInterface({ input: stream })
      .on('line', line => {
        this.#lines.push(line);
        changed();
      })
      .on('close', () => {
        this.#ended = true;
        changed();
      });
  }

  async find(pattern: RegExp): Promise<RegExpExecArray> {
    for (let i = 0; ; i += 1) {
      while (i >= this.#lines.length) {
        if (this.#ended) throw new Error(`the server ended without ${pattern} in its log:\n${this.#lines.join('\n')}`);
        await new Promise<void>(resolve => this.#wake.push(resolve));
      }
      const match = pattern.exec(this.#lines[i] ?? '');
      if (match) return match;
    }
  }
}
