/**
 * Runs the code blocks of a document. The first word after the three backticks is the language, the second one the role:
 *
 * | block | what happens |
 * |---|---|
 * | `sh server` | starts the server with the flags of its last command, `dmwire ...`, after the commands before it. It replaces the server that runs. If the first section has no such block, the server has default settings |
 * | `LANGUAGE file` | is written to the file that its first line, a comment, names |
 * | `sh start` | runs in the background until the end of the section; the next block runs when port 8000 accepts connections |
 * | `nginx` | the content of nginx's `http` block; the next block runs when port 8088 accepts connections |
 * | `sh`, `python`, `js` | runs, and prints what the block `text output` after it contains; without this block nothing |
 * | `LANGUAGE send` | a frame of user 8888 |
 * | `json answer` | the next frame to user 8888 |
 * | `json delivered` | the next frame to user 6666 |
 *
 * The blocks find the files of earlier ones. The ports 8080 (server), 8081 (operations), 8000 (application), 8088 (nginx) and 6379 (Redis) are replaced by free ones, and a
 * Redis server runs if the port of Redis occurs. Programs find the server's process id in `SERVER_PID`.
 */

import assert from 'node:assert/strict';
import { type ChildProcess, execFile, spawn } from 'node:child_process';
import { once } from 'node:events';
import { existsSync } from 'node:fs';
import { chmod, mkdir, mkdtemp, rm, symlink, writeFile } from 'node:fs/promises';
import { connect as connectTcp, createServer } from 'node:net';
import { tmpdir } from 'node:os';
import { delimiter, join, resolve } from 'node:path';
import { promisify } from 'node:util';
import { WebSocket } from 'ws';
import type { InFrame } from '../../src/index.js';
import { Queue } from './fake.js';
import { PYTHON_BIN } from './python.js';
import { DEADLINE, Server } from './server.js';

const run = promisify(execFile);
const client = new URL('../../..', import.meta.url).pathname;
const [PUBLIC, OPS, APPLICATION, NGINX, REDIS] = ['8080', '8081', '8000', '8088', '6379'] as const;

export interface Block {
  readonly language: string;
  readonly role: string;
  readonly text: string;
  readonly line: number;
}

export interface Section {
  readonly title: string;
  readonly blocks: readonly Block[];
}

/** Returns the sections with code. With `whole`, the document is one section. */
export function sections(markdown: string, whole = ''): Section[] {
  const found: { title: string; blocks: Block[] }[] = [{ title: whole, blocks: [] }];
  const lines = markdown.split('\n');
  for (let i = 0; i < lines.length; i += 1) {
    const line = lines[i] ?? '';
    if (line.startsWith('## ') && !whole) found.push({ title: line.slice(3), blocks: [] });
    if (!line.startsWith('```')) continue;
    const [language = '', role = ''] = line.slice(3).split(' ');
    const end = lines.indexOf('```', i + 1);
    assert.ok(end > i, `the block in line ${i + 1} has no end`);
    found.at(-1)?.blocks.push({ language, role, text: lines.slice(i + 1, end).join('\n'), line: i + 1 });
    i = end;
  }
  return found.filter(({ blocks }) => blocks.length > 0);
}

/** Replaces ids, times and tokens, which differ in each run. */
export function normalize(text: string): string {
  return text
    .trimEnd()
    .replace(/[\da-f]{8}-[\da-f-]{27}/g, 'ID')
    .replace(/\d{4}-\d\d-\d\dT[\d:.]+Z/g, 'TIME')
    .replace(/eyJ[\w-]+\.[\w-]+\.[\w-]+/g, 'TOKEN');
}

/** Runs a section with a server and a folder of its own. */
export async function runSection(section: Section): Promise<void> {
  const guide = await Guide.start();
  try {
    await guide.run(section);
  } finally {
    await guide.stop();
  }
}

interface User {
  readonly socket: WebSocket;
  readonly frames: Queue<InFrame>;
}

/** A folder, in which the blocks of sections run one after the other. */
export class Guide {
  readonly #ports = new Map<string, string>();
  readonly #files = new Map<string, string>();
  readonly #users = new Map<string, User>();
  /** The programs in the background, by the port that they listen on. */
  readonly #background = new Map<string, ChildProcess>();
  #server: Server | undefined;

  private constructor(readonly folder: string) {}

  static async start(): Promise<Guide> {
    const guide = new Guide(await mkdtemp(join(tmpdir(), 'dmwire-guide-')));
    const modules = join(guide.folder, 'node_modules');
    await mkdir(modules);
    await symlink(client, join(modules, 'dmwire'), 'dir');
    await symlink(join(client, 'node_modules/ws'), join(modules, 'ws'), 'dir');
    await mkdir(join(guide.folder, 'bin'));
    await symlink(resolve(process.env.DMWIRE_BIN ?? ''), join(guide.folder, 'bin/dmwire'));
    return guide;
  }

  async run({ blocks }: Section): Promise<void> {
    for (const port of [APPLICATION, NGINX, REDIS]) {
      if (!this.#ports.has(port) && blocks.some(({ text }) => text.includes(port))) {
        this.#ports.set(port, await freePort());
        if (port === REDIS) await this.#startRedis();
      }
    }
    if (!this.#server && !blocks.some(({ role }) => role === 'server')) await this.#startServer('dmwire');
    for (const [i, block] of blocks.entries()) {
      if (block.role === 'output') continue;
      const next = blocks[i + 1];
      try {
        await this.#runBlock(block, next?.role === 'output' ? next.text : '');
      } catch (error) {
        throw new Error(`the block in line ${block.line}: ${error}`);
      }
    }
    await this.#endApplication();
  }

  async stop(): Promise<void> {
    this.#disconnect();
    await Promise.all([...this.#background.values()].map(end));
    await this.#server?.stop();
    await rm(this.folder, { recursive: true, force: true });
  }

  async #runBlock({ language, role, text }: Block, output: string): Promise<void> {
    switch (role || language) {
      case 'server':
        return this.#startServer(text);
      case 'file': {
        const name = /^(?:#|\/\/) ([\w.-]+)/.exec(text)?.[1] ?? assert.fail('the first line names no file');
        this.#files.set(name, text);
        return this.#writeFiles();
      }
      case 'start':
        await this.#endApplication();
        return this.#startInBackground('bash', ['-c', `exec ${this.#toReal(text)}`], APPLICATION);
      case 'nginx':
        return this.#startNginx(text);
      case 'sh':
        return this.#expectOutput('bash', ['-euc', this.#toReal(text)], output);
      case 'python':
        return this.#expectOutput('python3', ['-c', this.#toReal(text)], output);
      case 'js': {
        const program = join(this.folder, 'program.mjs');
        await writeFile(program, this.#toReal(text));
        return this.#expectOutput(process.execPath, [program], output);
      }
      case 'send':
        await this.#user('6666');
        return (await this.#user('8888')).socket.send(text);
      case 'answer':
        return assertFrame(await this.#nextFrame('8888'), text);
      case 'delivered':
        return assertFrame(await this.#nextFrame('6666'), text);
      default:
        assert.fail(`unknown kind of block: ${language} ${role}`);
    }
  }

  async #startServer(text: string): Promise<void> {
    const command = /^((?:.*\n)*?)dmwire( (?:.|\\\n)*)?$/.exec(text) ?? assert.fail('the last command is not dmwire');
    if (command[1]) await this.#expectOutput('bash', ['-euc', this.#toReal(command[1])], '');
    const flags = this.#toReal(command[2] ?? '')
      .split(/[\s\\]+/)
      .filter(flag => flag !== '');
    this.#disconnect();
    await this.#server?.terminate();
    this.#server = await Server.startIn(this.folder, '--ops-listen', '127.0.0.1:0', ...flags);
    this.#ports.set(PUBLIC, new URL(this.#server.url).port);
    this.#ports.set(OPS, (await this.#server.logged(/operations port on \w+:\/\/[^ ]*:(\d+)/))[1] ?? '');
    // They may name the ports of the server.
    await this.#writeFiles();
    // Redis keeps nothing for an absent subscriber.
    if (flags.includes('--notify')) await this.#server.logged(/subscribed to notifications/);
  }

  async #writeFiles(): Promise<void> {
    for (const [name, text] of this.#files) await writeFile(join(this.folder, name), this.#toReal(text));
  }

  async #startRedis(): Promise<void> {
    const port = this.#ports.get(REDIS) ?? '';
    const program = join(this.folder, 'bin/redis-cli');
    await writeFile(program, `#!/bin/sh\nexec ${await which('redis-cli')} -p ${port} "$@"\n`);
    await chmod(program, 0o755);
    const flags = ['--port', port, '--bind', '127.0.0.1', '--save', '', '--appendonly', 'no'];
    await this.#startInBackground('redis-server', flags, REDIS);
  }

  async #startNginx(text: string): Promise<void> {
    const temporary = ['client_body', 'proxy', 'fastcgi', 'uwsgi', 'scgi'];
    const config = [
      // The worker runs as the current user, who may read the folder.
      process.getuid?.() === 0 ? 'user root;' : '',
      'worker_processes 1; daemon off; pid nginx.pid; error_log stderr; events {}',
      'http {',
      'access_log off;',
      ...temporary.map(kind => `${kind}_temp_path ${kind};`),
      this.#toReal(text),
      '}',
    ];
    const path = join(this.folder, 'nginx.conf');
    await writeFile(path, config.join('\n'));
    const program = existsSync('/usr/sbin/nginx') ? '/usr/sbin/nginx' : 'nginx';
    await this.#startInBackground(program, ['-p', this.folder, '-e', 'stderr', '-c', path], NGINX);
  }

  /** Starts a program, and waits until it accepts connections. */
  async #startInBackground(command: string, args: string[], port: string): Promise<void> {
    const child = spawn(command, args, { ...this.#surroundings(), stdio: ['ignore', 'ignore', 'pipe'] });
    const errors: string[] = [];
    child.stderr.setEncoding('utf8').on('data', (text: string) => errors.push(text));
    this.#background.set(port, child);
    const real = Number(this.#ports.get(port));
    while (!(await accepts(real))) {
      if (child.exitCode !== null || child.signalCode !== null) throw new Error(`${command} ended: ${errors.join('')}`);
      await new Promise(resolve => setTimeout(resolve, 10));
    }
  }

  async #endApplication(): Promise<void> {
    const application = this.#background.get(APPLICATION);
    if (application) await end(application);
  }

  async #expectOutput(command: string, args: string[], expected: string): Promise<void> {
    const { stdout, stderr } = await run(command, args, {
      ...this.#surroundings(),
      timeout: DEADLINE,
      killSignal: 'SIGKILL',
    });
    assert.equal(normalize(this.#toDocumented(stdout)), normalize(expected), stderr);
  }

  /** Returns the folder and the environment of a program. */
  #surroundings(): { cwd: string; env: NodeJS.ProcessEnv } {
    const environment = Object.entries(process.env).filter(([name]) => !name.startsWith('DMWIRE_'));
    const path = [join(this.folder, 'bin'), PYTHON_BIN, process.env.PATH].join(delimiter);
    const pid = this.#server ? String(this.#server.pid) : '';
    return { cwd: this.folder, env: { ...Object.fromEntries(environment), PATH: path, SERVER_PID: pid } };
  }

  async #user(name: string): Promise<User> {
    const known = this.#users.get(name);
    if (known) return known;
    const socket = new WebSocket(`${this.#server?.url.replace('http', 'ws')}/ws/${name}`);
    const user = { socket, frames: new Queue<InFrame>() };
    this.#users.set(name, user);
    socket.on('message', data => user.frames.push(JSON.parse(String(data))));
    while ((await user.frames.shift()).type !== 'synced');
    return user;
  }

  #disconnect(): void {
    for (const { socket } of this.#users.values()) socket.terminate();
    this.#users.clear();
  }

  async #nextFrame(user: string): Promise<InFrame> {
    const { frames } = await this.#user(user);
    let frame = await frames.shift();
    while (frame.type === 'receipt') frame = await frames.shift();
    return frame;
  }

  /** Replaces the ports of the document. */
  #toReal(text: string): string {
    const ports = [...this.#ports.keys()].join('|');
    if (ports === '') return text;
    const real = text.replace(new RegExp(`\\b(?:${ports})\\b`, 'g'), port => this.#ports.get(port) ?? '');
    return real.replaceAll('localhost', '127.0.0.1');
  }

  /** Replaces the ports of this run by those of the document. */
  #toDocumented(text: string): string {
    let result = text.replaceAll('127.0.0.1:', 'localhost:');
    for (const [port, real] of this.#ports) result = result.replaceAll(`localhost:${real}`, `localhost:${port}`);
    return result;
  }
}

function assertFrame(frame: InFrame, expected: string): void {
  assert.deepEqual(JSON.parse(normalize(JSON.stringify(frame))), JSON.parse(normalize(expected)));
}

/** Ends a process. */
async function end(child: ChildProcess): Promise<void> {
  if (child.pid === undefined || child.exitCode !== null || child.signalCode !== null) return;
  const exited = once(child, 'exit');
  // nginx stops its worker on SIGTERM.
  child.kill('SIGTERM');
  await exited;
}

/** Returns a port below those that the system assigns by itself, so that no other test gets it in the meantime. */
async function freePort(): Promise<string> {
  for (;;) {
    const port = 10_000 + Math.floor(Math.random() * 20_000);
    const probe = createServer();
    const bound = await new Promise<boolean>(resolve => {
      probe.once('error', () => resolve(false)).listen(port, '127.0.0.1', () => resolve(true));
    });
    if (!bound) continue;
    await promisify(probe.close.bind(probe))();
    return String(port);
  }
}

function accepts(port: number): Promise<boolean> {
  return new Promise(resolve => {
    const socket = connectTcp(port, '127.0.0.1');
    socket.once('error', () => resolve(false)).once('connect', () => resolve(true));
    socket.once('connect', () => socket.destroy());
  });
}

async function which(program: string): Promise<string> {
  return (await run('sh', ['-c', `command -v ${program}`])).stdout.trim();
}
