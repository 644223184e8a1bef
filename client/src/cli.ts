#!/usr/bin/env node
import { readFile, stat, writeFile } from 'node:fs/promises';
import { join } from 'node:path';
import { contentModule } from './codegen/content.js';
import type { SchemaObject } from './codegen/generate.js';

const USAGE = `Usage: dmwire types <schema> [-o FILE]

Writes TypeScript types for the content types of a deployment.

  <schema>   the server's schema: http://host/schema, or a folder with the files of it
  -o FILE    where to write; without it, to the standard output`;

const FILE = 'client-frame.schema.json';

async function main(words: readonly string[]): Promise<void> {
  const [command, ...rest] = words;
  if (command === '--help' || command === '-h') return console.log(USAGE);
  const at = rest.findIndex(word => word === '-o' || word === '--output');
  const output = at < 0 ? undefined : rest.splice(at, 2)[1];
  const [source] = rest;
  if (command !== 'types' || source === undefined || rest.length > 1 || (at >= 0 && output === undefined)) {
    console.error(USAGE);
    process.exitCode = 2;
    return;
  }
  const text = await contentModule(await schemaAddress(source), load);
  if (output === undefined) process.stdout.write(text);
  else await writeFile(output, text);
}

async function schemaAddress(source: string): Promise<string> {
  if (source.endsWith('.json')) return source;
  if (/^https?:/.test(source)) return `${source.replace(/\/+$/, '')}/${FILE}`;
  return (await stat(source)).isDirectory() ? join(source, FILE) : source;
}

async function load(address: string): Promise<SchemaObject> {
  if (!/^https?:/.test(address)) return JSON.parse(await readFile(address, 'utf8'));
  const answer = await fetch(address);
  if (!answer.ok) throw new Error(`${address} answered ${answer.status}`);
  return (await answer.json()) as SchemaObject;
}

main(process.argv.slice(2)).catch((error: unknown) => {
  console.error(`dmwire: ${error instanceof Error ? [error.message, error.cause].filter(Boolean).join(': ') : error}`);
  process.exitCode = 1;
});
