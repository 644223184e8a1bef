import assert from 'node:assert/strict';
import { type ChildProcess, execFile, spawn } from 'node:child_process';
import { once } from 'node:events';
import { existsSync } from 'node:fs';
import { mkdir, mkdtemp, readFile, rm, symlink, writeFile } from 'node:fs/promises';
import { createServer } from 'node:http';
import type { AddressInfo } from 'node:net';
import { tmpdir } from 'node:os';
import { extname, join } from 'node:path';
import { after, afterEach, before, describe, it } from 'node:test';
import { promisify } from 'node:util';
import { runInNewContext } from 'node:vm';
import { transform } from 'esbuild';
import { WebSocket } from 'ws';
import { type Client, connect } from '../src/index.js';
import { waitUntil } from './support/fake.js';
import { installPython, PYTHON_BIN } from './support/python.js';
import { DEADLINE, Server } from './support/server.js';

/** The content types of the order example, as far as its test uses them. */
type OrderContent =
  | { type: 'order.updated'; order: { id: string; status: string }; actions?: string[] }
  | { type: 'order.action'; order_id: string; action: 'pay' | 'cancel' };

const run = promisify(execFile);
const client = new URL('../..', import.meta.url).pathname;
const examples = join(client, '../examples');

/** A program with a line-based standard input and output. */
class Program {
  readonly lines: string[] = [];
  readonly #child: ChildProcess;

  constructor(command: string, args: string[], folder: string, variables: Record<string, string>) {
    const env = { ...process.env, ...variables };
    this.#child = spawn(command, args, { cwd: folder, env, stdio: ['pipe', 'pipe', 'inherit'] });
    let rest = '';
    this.#child.stdout?.setEncoding('utf8').on('data', (text: string) => {
      const lines = (rest + text).split('\n');
      rest = lines.pop() ?? '';
      this.lines.push(...lines);
    });
  }

  writeLine(line: string): void {
    this.#child.stdin?.write(`${line}\n`);
  }

  async kill(): Promise<void> {
    if (this.#child.exitCode !== null || this.#child.signalCode !== null) return;
    const exited = once(this.#child, 'exit');
    this.#child.kill('SIGKILL');
    await exited;
  }
}

describe('the examples', { timeout: 6 * DEADLINE }, () => {
  let server: Server;
  let folder: string;
  const programs: Program[] = [];
  const clients: Client[] = [];

  before(async () => {
    folder = await mkdtemp(join(tmpdir(), 'dmwire-examples-'));
    server = await Server.start();
  });
  afterEach(async () => {
    await Promise.all(programs.splice(0).map(program => program.kill()));
    await Promise.all(clients.splice(0).map(made => made.close()));
  });
  after(async () => {
    await server.stop();
    await rm(folder, { recursive: true, force: true });
  });

  function start(command: string, args: string[], variables: Record<string, string> = {}): Program {
    const program = new Program(command, args, folder, variables);
    programs.push(program);
    return program;
  }
  /** Connects the other user of the conversation. */
  function connectPeer(user: string): { user: Client; received: unknown[] } {
    const made = connect({ url: server.url, user, since: 0, backoff: { base: 20, max: 200 } });
    clients.push(made);
    const received: unknown[] = [];
    made.on('message', ({ from_user, message }) => from_user !== user && void received.push(message));
    return { user: made, received };
  }

  /** Installs the requirements of the Python example. Returns the interpreter and the example. */
  async function pythonExample(): Promise<[python: string, chat: string]> {
    await installPython();
    return [join(PYTHON_BIN, 'python'), join(examples, 'python/chat.py')];
  }

  it('Python: exchanges messages and reconnects after the server was killed', async () => {
    const [python, chat] = await pythonExample();
    const { user, received } = connectPeer('py-peer');
    const program = start(python, [chat, 'py', 'py-peer', server.url.replace('http', 'ws')]);
    program.writeLine('hello');
    await waitUntil(() => received.length === 1);
    await user.send('py', 'hello yourself');
    await waitUntil(() => program.lines.includes('py-peer: hello yourself'));
    await server.kill();
    program.writeLine('are you there?');
    const sending = user.send('py', 'again');
    await server.restart();
    await sending;
    await waitUntil(
      () => received.length === 2 && program.lines.includes('py-peer: again'),
      'both have reconnected',
      2 * DEADLINE,
    );
    assert.deepEqual(received, ['hello', 'are you there?']);
  });

  it('Python: receives while a limit delays a message for hours', async () => {
    const [python, chat] = await pythonExample();
    const strict = await Server.start('--user-bytes-per-day', '100');
    try {
      const peer = connect({ url: strict.url, user: 'py-peer', since: 0 });
      clients.push(peer);
      const received: unknown[] = [];
      peer.on('message', ({ from_user, message }) => from_user === 'py' && void received.push(message));
      const program = start(python, [chat, 'py', 'py-peer', strict.url.replace('http', 'ws')]);
      program.writeLine('stored');
      await waitUntil(() => received.length === 1);
      program.writeLine('delayed');
      program.writeLine('delayed, too');
      await peer.send('py', 'an answer');
      await waitUntil(() => program.lines.includes('py-peer: an answer'));
      assert.deepEqual(received, ['stored']);
    } finally {
      await strict.stop();
    }
  });

  it('Python: sends rate-limited messages again', async () => {
    const [python, chat] = await pythonExample();
    const busy = await Server.start('--messages-per-second', '2', '--burst', '2');
    try {
      const peer = connect({ url: busy.url, user: 'py-peer', since: 0, backoff: { base: 20, max: 200 } });
      clients.push(peer);
      const received = new Set<unknown>();
      peer.on('message', ({ message }) => void received.add(message));
      const program = start(python, [chat, 'py', 'py-peer', busy.url.replace('http', 'ws')]);
      for (let i = 0; i < 5; i += 1) program.writeLine(String(i));
      await waitUntil(() => received.size === 5);
      assert.deepEqual(
        program.lines.filter(line => line.startsWith('rejected')),
        [],
      );
    } finally {
      await busy.stop();
    }
  });

  it('Python: exchanges messages over TLS', async () => {
    const [python, chat] = await pythonExample();
    const [cert, key] = [join(folder, 'cert.pem'), join(folder, 'key.pem')];
    const command = 'req -x509 -newkey ec -pkeyopt ec_paramgen_curve:prime256v1 -nodes -days 2 -subj /CN=localhost';
    const names = ['-addext', 'subjectAltName=DNS:localhost,IP:127.0.0.1'];
    await run('openssl', [...command.split(' '), ...names, '-keyout', key, '-out', cert]);
    const secure = await Server.start('--tls-cert', cert, '--tls-key', key);
    try {
      const url = secure.url.replace('https:', 'wss:');
      assert.match(url, /^wss:/);
      // OpenSSL reads its trusted certificates from this file.
      const trust = { SSL_CERT_FILE: cert };
      const [one, two] = [
        start(python, [chat, 'one', 'two', url], trust),
        start(python, [chat, 'two', 'one', url], trust),
      ];
      one.writeLine('hello');
      await waitUntil(() => two.lines.includes('one: hello'));
      two.writeLine('hello yourself');
      await waitUntil(() => one.lines.includes('two: hello yourself'));
    } finally {
      await secure.stop();
    }
  });

  it('Node: exchanges messages and loses none when the server and the program are killed', async () => {
    const modules = join(examples, 'node/node_modules');
    await mkdir(modules, { recursive: true });
    if (!existsSync(join(modules, 'dmwire'))) await symlink(client, join(modules, 'dmwire'), 'dir');
    const args = [join(examples, 'node/chat.mjs'), 'node', 'node-peer', server.url];
    const { user, received } = connectPeer('node-peer');
    const first = start(process.execPath, args);
    first.writeLine('one');
    await waitUntil(() => received.length === 1);
    await user.send('node', 'a');
    await waitUntil(() => first.lines.length === 1);
    await server.kill();
    first.writeLine('two');
    // The message is in the file soon after it was sent; from then on a crash does not lose it.
    const state = join(folder, 'chat-node.json');
    await waitUntil(() => existsSync(state));
    for (let text = ''; !text.includes('two'); text = await readFile(state, 'utf8')) await new Promise(setImmediate);
    await first.kill();
    const sending = user.send('node', 'b');
    await server.restart();
    await sending;
    const second = start(process.execPath, args);
    await waitUntil(
      () => received.length === 2 && second.lines.includes('node-peer: b'),
      'both have reconnected',
      2 * DEADLINE,
    );
    assert.deepEqual(received, ['one', 'two']);
  });

  it('React: compiles, and so does the example in the README, while close() as a cleanup does not', async () => {
    const modules = join(examples, 'react/node_modules');
    await mkdir(modules, { recursive: true });
    for (const [name, path] of [
      ['dmwire', client],
      ['@types', join(client, 'node_modules/@types')],
    ] as const) {
      if (!existsSync(join(modules, name))) await symlink(path, join(modules, name), 'dir');
    }
    const readme = await readFile(join(client, 'README.md'), 'utf8');
    const effect = /```tsx\n(.*?)```/s.exec(readme)?.[1] ?? assert.fail('the README has no example');
    const imports = `
      import { connect, type ServerMessage, webStorage } from 'dmwire';
      import { useEffect, useState } from 'react';
    `;
    const component = `
      export function Component({ user }: { user: string }) {
        const [messages, setMessages] = useState<ServerMessage[]>([]);
        ${effect}
        return messages.length;
      }
    `;
    const snippet = join(examples, 'react/node_modules/readme.tsx');
    const wrong = join(examples, 'react/node_modules/wrong.tsx');
    await writeFile(snippet, imports + component);
    await writeFile(wrong, imports + component.replace('client.dispose()', 'client.close()'));
    const compile = (file: string) => {
      const options = '--noEmit --strict --jsx react-jsx --target es2022 --module esnext --moduleResolution bundler';
      const tsc = join(client, 'node_modules/typescript/bin/tsc');
      return run(process.execPath, [tsc, ...options.split(' '), '--ignoreConfig', file], { cwd: folder });
    };
    await compile(join(examples, 'react/chat.tsx'));
    await compile(snippet);
    await assert.rejects(compile(wrong), ({ stdout }: { stdout: string }) => stdout.includes('Promise<void>'));
  });

  it('push: notifies users who are offline', async () => {
    const pushed: unknown[] = [];
    let fails = true;
    const service = createServer((request, response) => {
      let body = '';
      request.setEncoding('utf8').on('data', (text: string) => {
        body += text;
      });
      request.on('end', () => {
        if (!fails) pushed.push(JSON.parse(body));
        // The first attempt fails: the server posts the event again.
        response.writeHead(fails ? 500 : 200).end();
        fails = false;
      });
    });
    service.listen(0, '127.0.0.1');
    await once(service, 'listening');
    const secret = join(folder, 'webhook-secret');
    await writeFile(secret, `whsec_${Buffer.alloc(32, 7).toString('base64')}\n`);
    const { port } = service.address() as AddressInfo;
    const program = start('python3', [join(examples, 'push/push.py'), '0', secret, `http://127.0.0.1:${port}/`]);
    await waitUntil(() => program.lines.length === 1);
    const url = program.lines[0]?.replace('listening on ', '') ?? '';
    const flags = ['--webhook-events', 'message.waiting', '--webhook-waiting-seconds', '1', '--webhook-allow-private'];
    const posting = await Server.start('--webhook', url, '--webhook-secret-file', secret, ...flags);
    try {
      const shop = connect({ url: posting.url, user: 'shop', since: 0 });
      clients.push(shop);
      await shop.send('customer', 'hello');
      await waitUntil(() => pushed.length === 1);
      assert.deepEqual(pushed, [{ user: 'customer', title: 'shop', body: 'hello' }]);
      const unsigned = await fetch(url, {
        method: 'POST',
        headers: {
          'webhook-id': 'evt_1',
          'webhook-timestamp': `${(Date.now() / 1000) | 0}`,
          'webhook-signature': 'v1,AAAA',
        },
        body: '{"type":"message.waiting","data":{"from_user":"shop","users":["customer"]}}',
      });
      assert.equal(unsigned.status, 401);
      assert.equal(pushed.length, 1);
    } finally {
      await posting.stop();
      service.close();
    }
  });

  describe('order', () => {
    const order = join(examples, 'order');
    const typesCommand = 'npx dmwire types content-types -o content.ts';
    const tsc = join(client, 'node_modules/typescript/bin/tsc');
    before(async () => {
      const modules = join(order, 'node_modules');
      await mkdir(modules, { recursive: true });
      for (const [name, path] of [
        ['dmwire', client],
        ['@types', join(client, 'node_modules/@types')],
      ] as const) {
        if (!existsSync(join(modules, name))) await symlink(path, join(modules, name), 'dir');
      }
    });

    it('has the types of its schemas', async () => {
      const args = [join(client, 'build/src/cli.js'), ...typesCommand.split(' ').slice(2), '--check'];
      // The error names the command that updates the file.
      await run(process.execPath, args, { cwd: order });
      assert.ok((await readFile(join(examples, 'README.md'), 'utf8')).includes(typesCommand));
    });

    it('compiles, and a wrong field in the shop or in the renderers is an error', async () => {
      const compile = (folder: string) => run(process.execPath, [tsc, '-p', folder]);
      await compile(order);
      const modules = join(order, 'node_modules');
      for (const [file, right, wrong, error] of [
        ['shop.ts', "status: 'placed'", "status: 'shipped'", '"shipped"'],
        ['shop.ts', 'message.order_id', 'message.order', "'order'"],
        ['renderers/order.js', 'order.status', 'order.state', "'state'"],
        ['renderers/order.js', 'order_id: order.id', 'order_id: order.lines', "'order_id'"],
      ] as const) {
        const text = await readFile(join(order, file), 'utf8');
        assert.ok(text.includes(right), `${right} is not in ${file}`);
        // A file at the same depth as the renderers, so that it finds the types.
        const changed = `wrong${extname(file)}`;
        await writeFile(
          join(modules, changed),
          text.replace(right, wrong).replace("'./content.js'", "'../content.js'"),
        );
        const config = { extends: '../tsconfig.json', files: [changed], include: [] };
        await writeFile(join(modules, 'tsconfig.json'), JSON.stringify(config));
        await assert.rejects(compile(modules), ({ stdout }: { stdout: string }) => stdout.includes(error));
      }
    });

    it('sends an order, and changes it when the customer acts', async () => {
      const { code } = await transform(await readFile(join(order, 'shop.ts'), 'utf8'), { loader: 'ts', format: 'esm' });
      const program = join(order, 'node_modules/shop.mjs');
      await writeFile(program, code);
      const custom = await Server.start('--content-types', join(order, 'content-types'));
      try {
        const customer = connect<OrderContent>({ url: custom.url, user: 'customer', since: 0 });
        clients.push(customer as unknown as Client);
        const states: unknown[] = [];
        customer.on('message', async ({ id, message }) => {
          if (typeof message === 'string' || message.type !== 'order.updated') return;
          states.push([message.order.status, message.actions]);
          const action = { type: 'order.action', order_id: message.order.id, action: 'pay' } as const;
          await customer.send('shop', { ...action, order_id: 'A-0' }, { replyTo: id });
          await customer.send('shop', action, { replyTo: id });
          await customer.send('shop', action, { replyTo: id });
          await assert.rejects(
            customer.send('shop', { ...action, action: 'eat' as 'pay' }),
            ({ code, path }: { code: string; path: string }) =>
              code === 'invalid_content' && path === '/message/action',
          );
        });
        customer.on('edited', ({ message }) => {
          if (typeof message !== 'string' && message.type === 'order.updated')
            states.push([message.order.status, message.actions]);
        });
        const shop = start(process.execPath, [program, 'customer', custom.url]);
        await waitUntil(() => states.length === 2 && shop.lines.length === 2);
        assert.deepEqual(states, [
          ['placed', ['pay', 'cancel']],
          ['paid', undefined],
        ]);
        assert.match(shop.lines.join(), /^A-\d+: placed,A-\d+: paid$/);
      } finally {
        await custom.stop();
      }
    });
  });

  it('page without a build: exchanges messages', async () => {
    const html = await readFile(join(examples, 'browser/index.html'), 'utf8');
    assert.doesNotMatch(html.replace(/<!--.*?-->/s, ''), /https?:\/\//, 'it loads nothing from other hosts');
    const script = /<script type="module">(.*)<\/script>/s.exec(html)?.[1] ?? '';
    const node = (): Record<string, unknown> => ({ textContent: '', value: '', children: [], append });
    function append(this: { children: unknown[] }, child: unknown) {
      this.children.push(child);
    }
    const elements = new Map(['status', 'messages', 'form', 'text'].map(id => [id, node()]));
    const search = `?user=page&to=page-peer&server=${server.url.replace('http', 'ws')}`;
    const document = { getElementById: (id: string) => elements.get(id), createElement: node };
    runInNewContext(script, { document, location: { search }, URLSearchParams, WebSocket, JSON, Object });
    const element = (id: string) => elements.get(id) ?? {};
    const shown = () => (element('messages').children as { textContent: string }[]).map(line => line.textContent);
    const { user, received } = connectPeer('page-peer');
    await waitUntil(() => element('status').textContent === 'Connected as page');
    Object.assign(element('text'), { value: 'hello' });
    (element('form').onsubmit as (event: object) => void)({ preventDefault() {} });
    await waitUntil(() => received.length === 1);
    await user.send('page', '<b>hello yourself');
    await waitUntil(() => shown().length === 2);
    assert.deepEqual(shown().sort(), ['me: hello (stored)', 'page-peer: <b>hello yourself']);
  });
});
