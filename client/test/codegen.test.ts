import assert from 'node:assert/strict';
import { execFile } from 'node:child_process';
import { once } from 'node:events';
import { existsSync } from 'node:fs';
import { mkdir, mkdtemp, readdir, readFile, rm, writeFile } from 'node:fs/promises';
import { createServer } from 'node:http';
import { createRequire } from 'node:module';
import type { AddressInfo } from 'node:net';
import { dirname, join } from 'node:path';
import { after, before, describe, it } from 'node:test';
import { promisify } from 'node:util';
import { generate, type Schema } from '../src/codegen/generate.js';
import { Server } from './support/server.js';

const run = promisify(execFile);
/** The folder of the package, relative to build/test/. */
const root = new URL('../..', import.meta.url).pathname;
const tsc = join(dirname(createRequire(import.meta.url).resolve('typescript/package.json')), 'bin/tsc');
const cli = join(root, 'build/src/cli.js');

const generateOne = (schema: Schema) => generate({ roots: new Map([['T', schema]]), definitions: new Map() }).trim();

describe('generated types', { timeout: 120_000 }, () => {
  it('match the schema', () => {
    const cases: [Schema, string][] = [
      [true, 'export type T = unknown;'],
      [false, 'export type T = never;'],
      [{ type: 'string', minLength: 1 }, 'export type T = string;'],
      [{ type: ['integer', 'null'] }, 'export type T = number | null;'],
      [{ const: 'a' }, 'export type T = "a";'],
      [{ enum: ['a', 1, null] }, 'export type T = "a" | 1 | null;'],
      [{ type: 'array', items: { enum: [1, 2] } }, 'export type T = (1 | 2)[];'],
      [{ type: 'array', prefixItems: [{ type: 'string' }], items: false }, 'export type T = [string];'],
      [{ type: 'object' }, 'export type T = Record<string, unknown>;'],
      [
        { type: 'object', additionalProperties: { type: 'number' } },
        'export interface T {\n  [key: string]: number;\n}',
      ],
      [
        {
          type: 'object',
          required: ['type', 'sum'],
          properties: { type: { const: 'a.b' }, note: { type: 'string' } },
          additionalProperties: { type: 'number' },
        },
        'export interface T {\n  type: "a.b";\n  note?: string;\n  sum: number;\n  [key: string]: number | "a.b" | string | undefined;\n}',
      ],
      [{ anyOf: [{ type: 'string' }, { type: 'number' }] }, 'export type T = string | number;'],
      [{ allOf: [{ type: 'string' }, { const: 'a' }] }, 'export type T = string & "a";'],
      [
        {
          description: 'Ends */ early.',
          type: 'object',
          required: ['a-b', 'z'],
          properties: { 'a-b': { type: 'null' } },
        },
        '/** Ends *\u200b/ early. */\nexport interface T {\n  "a-b": null;\n  z: unknown;\n}',
      ],
      [{ $ref: 'elsewhere.json' }, 'export type T = unknown;'],
    ];
    for (const [schema, text] of cases) assert.equal(generateOne(schema), text);
  });

  it('express oneOf, anyOf and not with required fields', () => {
    const properties = { a: { type: 'string' }, b: { type: 'number' } };
    const branches = [{ required: ['a'] }, { required: ['b'] }];
    const object = 'export type T = {\n  a?: string;\n  b?: number;\n} & ';
    assert.equal(
      generateOne({ properties, oneOf: branches }),
      `${object}({ a: string; b?: never } | { b: number; a?: never });`,
    );
    assert.equal(generateOne({ properties, anyOf: branches }), `${object}({ a: string } | { b: number });`);
    assert.equal(
      generateOne({ properties, not: { required: ['a', 'b'] } }),
      `${object}({ a?: never } | { b?: never });`,
    );
  });

  it('accept every frame that the server accepts', async () => {
    const folder = new URL('../tests/frames/valid/', `file://${root}`).pathname;
    const names = await readdir(folder);
    const frames: string[] = [];
    for (const name of names) {
      const text = await readFile(join(folder, name), 'utf8');
      // Skip long texts, which types cannot limit.
      if (text.length < 10_000)
        frames.push(`export const f${frames.length}: ClientFrame = ${JSON.stringify(JSON.parse(text))};`);
    }
    assert.ok(frames.length > 50);
    await compile(
      'frames',
      `import type { ClientFrame } from '../../src/frames.generated.js';\n${frames.join('\n')}\n`,
    );
  });

  it('reject invalid frames', async () => {
    const wrong = [
      `{ type: 'message', message: 'x' }`,
      `{ type: 'message', message: 'x', target_user: 'a', target_room: 'b' }`,
      `{ type: 'message', message: 1, target_user: 'a' }`,
      `{ type: 'message', message: { type: 'image' }, target_user: 'a' }`,
      `{ type: 'message', message: { type: 'order.updated' }, target_user: 'a' }`,
      `{ type: 'received' }`,
      `{ type: 'nonsense' }`,
      `{ type: 'history', target_user: 'a', before: 'x', after: 'y' }`,
    ];
    // The compiler reports a `@ts-expect-error` without an error.
    const lines = wrong.map((frame, i) => `// @ts-expect-error\nexport const f${i}: ClientFrame = ${frame};`);
    await compile('wrong', `import type { ClientFrame } from '../../src/frames.generated.js';\n${lines.join('\n')}\n`);
  });

  describe('for custom content types', () => {
    let folder: string;
    before(async () => {
      folder = await mkdtemp(join(root, 'build/content-'));
      const schema = JSON.parse(
        await readFile(new URL('../schema/client-frame.schema.json', `file://${root}`), 'utf8'),
      );
      schema.$defs.TypedContent.oneOf.push({ $ref: '#/$defs/order.updated' }, { $ref: 'poll.asked.schema.json' });
      schema.$defs['order.updated'] = {
        type: 'object',
        required: ['type', 'order'],
        properties: { type: { const: 'order.updated' }, order: { $ref: '#/$defs/Order' } },
      };
      schema.$defs.Order = { type: 'object', required: ['id'], properties: { id: { type: 'integer' } } };
      // Two recursive schemas: a separate file, and a part of the document with its own `$id`.
      schema.$defs.TypedContent.oneOf.push({ $ref: '#/$defs/tree.grown' }, { $ref: 'bush.grown.schema.json' });
      const grown = (type: string) => ({
        type: 'object',
        required: ['type'],
        properties: { type: { const: type }, branches: { type: 'array', items: { $ref: '#' } } },
        additionalProperties: { type: 'number' },
      });
      schema.$defs['tree.grown'] = { $id: 'tree.grown.schema.json', ...grown('tree.grown') };
      await writeFile(join(folder, 'bush.grown.schema.json'), JSON.stringify(grown('bush.grown')));
      const poll = {
        allOf: [{ properties: { type: { const: 'poll.asked' } } }, { $ref: '#/$defs/Rest' }],
        type: 'object',
        required: ['type', 'question'],
        $defs: { Rest: { type: 'object', properties: { question: { type: 'string' }, order: { type: 'string' } } } },
      };
      await writeFile(join(folder, 'client-frame.schema.json'), JSON.stringify(schema));
      await writeFile(join(folder, 'poll.asked.schema.json'), JSON.stringify(poll));
    });
    after(() => rm(folder, { recursive: true, force: true }));

    it('are generated from a server or a folder and typed in connect()', async () => {
      const files = createServer(async (request, response) => {
        const name = request.url?.replace('/schema/', '') ?? '';
        response.end(await readFile(join(folder, name)).catch(() => response.writeHead(404) && ''));
      });
      await once(files.listen(0, '127.0.0.1'), 'listening');
      const url = `http://127.0.0.1:${(files.address() as AddressInfo).port}/schema`;
      const { stdout } = await run(process.execPath, [cli, 'types', url]);
      files.close();
      files.closeAllConnections();
      await run(process.execPath, [cli, 'types', folder, '-o', join(folder, 'content.ts')]);
      assert.equal(await readFile(join(folder, 'content.ts'), 'utf8'), stdout);
      await compile(
        'content',
        `import { connect } from '../../src/index.js';
${stdout.replace(/^import .*$/m, '')}
const client = connect<AppContent>({ url: 'ws://host', user: 'me' });
void client.send('you', { type: 'order.updated', order: { id: 1 } });
void client.send('you', { type: 'markdown', text: 'x' });
// @ts-expect-error
void client.send('you', { type: 'order.updated', order: { id: 'one' } });
// @ts-expect-error
void client.send('you', { type: 'order.deleted' });
void client.send('you', { type: 'tree.grown', height: 2, branches: [{ type: 'tree.grown' }] });
// @ts-expect-error
void client.send('you', { type: 'tree.grown', height: 'two' as string | boolean });
// @ts-expect-error
void client.send('you', { type: 'tree.grown', branches: [{ type: 'bush.grown' }] });
void client.send('you', { type: 'bush.grown', branches: [{ type: 'bush.grown', branches: [] }] });
// @ts-expect-error
void client.send('you', { type: 'bush.grown', branches: ['a'] });
client.on('message', ({ message }) => {
  if (typeof message !== 'string' && message.type === 'order.updated') message.order.id.toFixed();
  if (typeof message !== 'string' && message.type === 'poll.asked') message.question;
  // @ts-expect-error
  message.order;
});
client.on('receipt', receipt => receipt.kind === 'read');
client.on('state', state => state.status === 'waiting' && state.retryInMs.toFixed());
// @ts-expect-error
client.on('nonsense', () => {});
void client.request({ type: 'history', target_user: 'you', limit: 5 });
// @ts-expect-error
void client.request({ type: 'hsitory', target_user: 'you' });
// @ts-expect-error
void client.request({ type: 'history', target_user: 'you', limt: 5 });
// @ts-expect-error
void client.request({ type: 'read', target_user: 'you', id: 'x' });
// @ts-expect-error
void client.send({ user: 'you', room: 'all' }, 'x');
`,
      );
    });

    it('are never if the server has no custom content types', async () => {
      const { stdout } = await run(process.execPath, [cli, 'types', join(root, '../schema')]);
      assert.match(stdout, /export type AppContent = never;\n$/);
    });

    it('are generated from the folder of content types as from the server, and checked', async () => {
      const types = await mkdtemp(join(folder, 'types-'));
      // One schema states its type, and the other one leaves it to the name of the file.
      const order = {
        type: 'object',
        required: ['type', 'lines'],
        properties: {
          type: { const: 'order.updated' },
          lines: { type: 'array', items: { $ref: '#/$defs/line' } },
          before: { $ref: '#' },
        },
        $defs: { line: { type: 'object', required: ['sku'], properties: { sku: { type: 'string' } } } },
      };
      const poll = {
        $schema: 'https://json-schema.org/draft/2020-12/schema',
        properties: { question: { type: 'string' } },
      };
      await writeFile(join(types, 'order.updated.schema.json'), JSON.stringify(order));
      await writeFile(join(types, 'poll.asked.schema.json'), JSON.stringify(poll));
      await writeFile(join(types, 'other.json'), 'not JSON');
      const server = await Server.start('--content-types', types);
      const { stdout } = await run(process.execPath, [cli, 'types', `${server.url}/schema`]).finally(() =>
        server.stop(),
      );
      assert.match(stdout, /AppContent = OrderUpdated \| PollAsked;/);
      const file = join(types, 'content.ts');
      const args = [cli, 'types', types, '-o', file];
      await assert.rejects(run(process.execPath, [...args, '--check']), {
        code: 1,
        stderr: `dmwire: ${file} is out of date. Update it with: npx dmwire types ${types} -o ${file}\n`,
      });
      assert.equal(existsSync(file), false);
      await run(process.execPath, args);
      assert.equal(await readFile(file, 'utf8'), stdout);
      await run(process.execPath, [...args, '--check']);
      await writeFile(join(types, 'poll.closed.schema.json'), '{}');
      await assert.rejects(run(process.execPath, [...args, '--check']), { code: 1 });
      const empty = await mkdtemp(join(folder, 'empty-'));
      await assert.rejects(run(process.execPath, [cli, 'types', empty]), { code: 1, stderr: /NAME\.schema\.json/ });
    });

    it('report usage, file and network errors', async () => {
      await assert.rejects(run(process.execPath, [cli, 'types', folder, '--check']), { code: 2 });
      await assert.rejects(run(process.execPath, [cli, 'types']), { code: 2, stderr: /Usage: dmwire types/ });
      await assert.rejects(run(process.execPath, [cli, 'types', '/not/there']), { code: 1, stderr: /^dmwire: ENOENT/ });
      await assert.rejects(run(process.execPath, [cli, 'types', 'http://127.0.0.1:1/schema']), {
        code: 1,
        stderr: /^dmwire: fetch failed/,
      });
    });
  });
});

/** Fails if the text, as a module in the build folder, has type errors. */
async function compile(name: string, text: string): Promise<void> {
  const folder = join(root, 'build/types', name);
  await mkdir(folder, { recursive: true });
  const base = `'${join(root, 'src')}/`;
  await writeFile(join(folder, `${name}.ts`), text.replaceAll(`'../../src/`, base));
  const compilerOptions = { noEmit: true, rootDir: root, noUnusedLocals: false };
  const config = { extends: join(root, 'tsconfig.json'), compilerOptions, include: [`${name}.ts`], exclude: [] };
  await writeFile(join(folder, 'tsconfig.json'), JSON.stringify(config));
  await run(process.execPath, [tsc, '-p', folder]).catch(error => assert.fail(error.stdout));
}
