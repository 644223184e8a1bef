#!/usr/bin/env node
import { readFile, stat, writeFile } from 'node:fs/promises';
import { join } from 'node:path';
import { contentModule } from './codegen/content.js';
import type { SchemaObject } from './codegen/generate.js';

const USAGE = `Usage: dmwire types <schema> [-o FILE]

Generates TypeScript types for the custom content types of a server.

  <schema>   URL of the server's schema (http://host/schema), or a folder with its files
  -o FILE    output file; default: standard output`;

const SCHEMA_FILE = 'client-frame.schema.json';

async function main(args: readonly string[]): Promise<void> {
  const [command, ...rest] = args;
  if (command === '--help' || command === '-h') return console.log(USAGE);
  const index = rest.findIndex(arg => arg === '-o' || arg === '--output');
  const output = index < 0 ? undefined : rest.splice(index, 2)[1];
  const [source] = rest;
  if (command !== 'types' || source === undefined || rest.length > 1 || (index >= 0 && output === undefined)) {
    console.error(USAGE);
    process.exitCode = 2;
    return;
  }
  const text = await contentModule(await schemaLocation(source), load);
  if (output === undefined) process.stdout.write(text);
  else await writeFile(output, text);
}

async function schemaLocation(source: string): Promise<string> {
  if (source.endsWith('.json')) return source;
  if (/^https?:/.test(source)) return `${source.replace(/\/+$/, '')}/${SCHEMA_FILE}`;
  return (await stat(source)).isDirectory() ? join(source, SCHEMA_FILE) : source;
}

async function load(location: string): Promise<SchemaObject> {
  if (!/^https?:/.test(location)) return JSON.parse(await readFile(location, 'utf8'));
  const response = await fetch(location);
  if (!response.ok) throw new Error(`${location} answered with status ${response.status}`);
  return (await response.json()) as SchemaObject;
}

main(process.argv.slice(2)).catch((error: unknown) => {
  console.error(`dmwire: ${error instanceof Error ? [error.message, error.cause].filter(Boolean).join(': ') : error}`);
  process.exitCode = 1;
});
