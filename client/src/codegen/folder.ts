import { readdir } from 'node:fs/promises';
import { join } from 'node:path';
import type { Load } from './content.js';
import type { SchemaObject } from './generate.js';

const SUFFIX = '.schema.json';
/** The schema of client frames, as the server names it. */
export const SCHEMA_FILE = `client-frame${SUFFIX}`;

/**
 * Returns a schema like that of the server's client frames for a folder with content types (`--content-types`): each file
 * `NAME.schema.json` describes objects whose `type` is NAME.
 */
export async function folderSchema(folder: string, load: Load): Promise<SchemaObject> {
  const names = (await readdir(folder))
    .filter(file => file.endsWith(SUFFIX))
    .map(file => file.slice(0, -SUFFIX.length))
    .filter(name => /^[A-Za-z0-9._~@:+-]{1,64}$/.test(name) && name.includes('.'))
    .sort();
  if (names.length === 0) throw new Error(`${folder} has neither ${SCHEMA_FILE} nor files NAME${SUFFIX}`);
  const oneOf: SchemaObject[] = [];
  for (const name of names) {
    const reference = { $ref: `${name}${SUFFIX}` };
    const schema = await load(join(folder, reference.$ref));
    oneOf.push(
      statesType(schema, name)
        ? reference
        : { allOf: [{ type: 'object', properties: { type: { const: name } }, required: ['type'] }, reference] },
    );
  }
  return { $defs: { TypedContent: { oneOf } } };
}

/** Whether the schema itself says that it describes objects of this type. */
function statesType({ type, properties, required }: SchemaObject, name: string): boolean {
  const tag = (properties as Record<string, SchemaObject> | undefined)?.type?.const;
  return type === 'object' && tag === name && Array.isArray(required) && required.includes('type');
}
