#!/usr/bin/env node
import { readdir, readFile, stat, writeFile } from 'node:fs/promises';
import { join } from 'node:path';
import { contentModule, type Load } from './codegen/content.js';
import { folderSchema, SCHEMA_FILE } from './codegen/folder.js';
import type { SchemaObject } from './codegen/generate.js';

const USAGE = `Usage: dmwire types <schema> [-o FILE [--check]]

Generates TypeScript types for the custom content types of a server.

  <schema>   URL of the server's schema (http://host/schema), or a folder: the server's --content-types, with files
             NAME.schema.json, or one with the files of its schema
  -o FILE    output file; default: standard output
  --check    writes nothing, and fails if the file is out of date`;

async function main(args: readonly string[]): Promise<void> {
  const [command, ...rest] = args;
  if (command === '--help' || command === '-h') return console.log(USAGE);
  const index = rest.findIndex(arg => arg === '-o' || arg === '--output');
  const output = index < 0 ? undefined : rest.splice(index, 2)[1];
  const checkIndex = rest.indexOf('--check');
  const isCheck = checkIndex >= 0 && rest.splice(checkIndex, 1).length > 0;
  const [source] = rest;
  const isInvalid = (index >= 0 || isCheck) && output === undefined;
  if (command !== 'types' || source === undefined || rest.length > 1 || isInvalid) {
    console.error(USAGE);
    process.exitCode = 2;
    return;
  }
  const text = await generated(source);
  if (output === undefined) process.stdout.write(text);
  else if (!isCheck) await writeFile(output, text);
  else if ((await readFile(output, 'utf8').catch(() => '')) !== text) {
    throw new Error(`${output} is out of date. Update it with: npx dmwire types ${source} -o ${output}`);
  }
}

async function generated(source: string): Promise<string> {
  if (source.endsWith('.json')) return contentModule(source, load);
  if (/^https?:/.test(source)) return contentModule(`${source.replace(/\/+$/, '')}/${SCHEMA_FILE}`, load);
  if (!(await stat(source)).isDirectory()) return contentModule(source, load);
  const location = join(source, SCHEMA_FILE);
  if ((await readdir(source)).includes(SCHEMA_FILE)) return contentModule(location, load);
  const schema = await folderSchema(source, load);
  return contentModule(location, async file => (file === location ? schema : load(file)));
}

const load: Load = async location => {
  if (!/^https?:/.test(location)) return JSON.parse(await readFile(location, 'utf8')) as SchemaObject;
  const response = await fetch(location);
  if (!response.ok) throw new Error(`${location} answered with status ${response.status}`);
  return (await response.json()) as SchemaObject;
};

main(process.argv.slice(2)).catch((error: unknown) => {
  console.error(`dmwire: ${error instanceof Error ? [error.message, error.cause].filter(Boolean).join(': ') : error}`);
  process.exitCode = 1;
});
