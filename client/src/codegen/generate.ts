/**
 * Generates TypeScript types from JSON Schemas (draft 2020-12).
 *
 * Written for the schemas of this protocol, because general generators do not handle two of its features: `oneOf` branches
 * that only require a field ("exactly one of `target_user` and `target_room`"), and one definition that applications extend.
 * Constraints without a TypeScript equivalent (patterns, bounds) are left to the server; unsupported keywords become
 * `unknown`.
 */

/** A JSON Schema. */
export type Schema = boolean | SchemaObject;
/** A JSON Schema that is an object. */
export interface SchemaObject {
  readonly [keyword: string]: unknown;
}

/** Input of {@link generate}. */
export interface GenerateOptions {
  /** Definitions by their name in `$defs`. */
  readonly definitions: ReadonlyMap<string, Schema>;
  /** Further types by name; they come before the definitions in the file. */
  readonly roots: ReadonlyMap<string, Schema>;
  /** Definition that applications extend. It and all types that contain it get the type parameter `App`. */
  readonly extensible?: string;
}

/** Returns the text of a TypeScript module with all types. */
export function generate(options: GenerateOptions): string {
  return new Generator(options).module();
}

/** Returns the TypeScript name for a definition, a title or a file name: `OrderUpdated` for `order.updated`. */
export function typeName(name: string): string {
  const words = name.replace(/\.schema\.json$/, '').split(/[^A-Za-z0-9]+/);
  const joined = words.map(word => word.slice(0, 1).toUpperCase() + word.slice(1)).join('');
  return /^[A-Za-z]/.test(joined) ? joined : `T${joined}`;
}

/** Returns the name of the definition that a `$ref` within the document points to. */
export function definitionOf(ref: unknown): string | undefined {
  const match = typeof ref === 'string' ? /#\/(?:\$defs|definitions)\/([^/]+)$/.exec(ref) : null;
  return match?.[1] === undefined
    ? undefined
    : decodeURIComponent(match[1]).replaceAll('~1', '/').replaceAll('~0', '~');
}

/** Returns all `$ref`s in a schema, at any depth. */
export function references(schema: unknown): string[] {
  if (typeof schema !== 'object' || schema === null) return [];
  return Object.entries(schema).flatMap(([key, value]) =>
    key === '$ref' && typeof value === 'string'
      ? [value]
      : ['const', 'enum', 'examples', 'default'].includes(key)
        ? []
        : references(value),
  );
}

class Generator {
  /** Definitions that contain the extensible one, and so are generic. */
  readonly #generic: Set<string>;
  readonly #options: GenerateOptions;

  constructor(options: GenerateOptions) {
    this.#options = options;
    this.#generic = new Set(options.extensible === undefined ? [] : [options.extensible]);
    for (let before = -1; before !== this.#generic.size; ) {
      before = this.#generic.size;
      for (const [name, schema] of options.definitions) if (this.#isGeneric(schema)) this.#generic.add(name);
    }
  }

  module(): string {
    const all = [...this.#options.roots, ...this.#options.definitions];
    return all.map(([name, schema]) => this.#declaration(name, schema)).join('\n');
  }

  #isGeneric(schema: Schema): boolean {
    return references(schema).some(ref => this.#generic.has(definitionOf(ref) ?? ''));
  }

  #declaration(name: string, schema: Schema): string {
    const generic = this.#generic.has(name) || this.#isGeneric(schema);
    const head = `${typeName(name)}${generic ? '<App = never>' : ''}`;
    const parts = isObject(schema) ? this.#parts(schema, '') : [this.#type(schema, '')];
    const [body] = parts;
    if (parts.length === 1 && body?.startsWith('{')) return `${doc(schema, '')}export interface ${head} ${body}\n`;
    const extension = name === this.#options.extensible ? ' | App' : '';
    const type = parts.length === 1 ? body : parts.map(inParentheses).join(' & ');
    return `${doc(schema, '')}export type ${head} = ${type}${extension};\n`;
  }

  #type(schema: Schema, indent: string): string {
    if (!isObject(schema)) return schema ? 'unknown' : 'never';
    return this.#parts(schema, indent).map(inParentheses).join(' & ');
  }

  /** Returns the types whose intersection is the type of the schema. */
  #parts(schema: SchemaObject, indent: string): string[] {
    const parts: string[] = [];
    const ref = schema.$ref;
    if (ref !== undefined) {
      const name = definitionOf(ref);
      parts.push(
        name !== undefined && this.#options.definitions.has(name)
          ? typeName(name) + (this.#generic.has(name) ? '<App>' : '')
          : 'unknown',
      );
    }
    if ('const' in schema) parts.push(literal(schema.const));
    else if (Array.isArray(schema.enum)) parts.push(union(schema.enum.map(literal)));
    else if (schema.type !== undefined || isObject(schema.properties)) parts.push(this.#typed(schema, indent));
    for (const part of schemas(schema.allOf)) parts.push(this.#type(part, indent));
    for (const keyword of ['oneOf', 'anyOf']) {
      const branches = schemas(schema[keyword]);
      if (branches.length === 0) continue;
      const required = branches.map(onlyRequired);
      if (required.every(names => names !== undefined)) {
        parts.push(this.#presence(schema, required, keyword === 'oneOf', indent));
      } else {
        parts.push(union(branches.map(branch => this.#type(branch, indent))));
      }
    }
    const not = isObject(schema.not) ? onlyRequired(schema.not) : undefined;
    if (not !== undefined) parts.push(union(not.map(name => `{ ${key(name)}?: never }`)));
    const known = parts.filter(part => part !== 'unknown');
    return known.length > 0 ? known : ['unknown'];
  }

  #typed(schema: SchemaObject, indent: string): string {
    const names = Array.isArray(schema.type) ? schema.type : [schema.type ?? 'object'];
    return union(
      names.map(name => {
        switch (name) {
          case 'string':
          case 'boolean':
          case 'null':
            return name;
          case 'number':
          case 'integer':
            return 'number';
          case 'array':
            return this.#array(schema, indent);
          case 'object':
            return this.#object(schema, indent);
          default:
            return 'unknown';
        }
      }),
    );
  }

  #array(schema: SchemaObject, indent: string): string {
    const rest = schema.items === undefined ? 'unknown' : this.#type(schema.items as Schema, indent);
    const first = schemas(schema.prefixItems).map(item => this.#type(item, indent));
    if (first.length === 0) return `${inParentheses(rest)}[]`;
    return `[${first.join(', ')}${rest === 'never' ? '' : `, ...${inParentheses(rest)}[]`}]`;
  }

  #object(schema: SchemaObject, indent: string): string {
    const properties = isObject(schema.properties) ? Object.entries(schema.properties) : [];
    const required = new Set(Array.isArray(schema.required) ? schema.required : []);
    const deeper = `${indent}  `;
    const extra = schema.additionalProperties;
    const others = isObject(extra) ? this.#type(extra, deeper) : 'unknown';
    // TypeScript requires that the index signature includes the types of all fields.
    const any = [others];
    const lines = properties.map(([name, property]) => {
      const type = this.#type(property as Schema, deeper);
      any.push(type, ...(required.has(name) ? [] : ['undefined']));
      return `${doc(property as Schema, deeper)}${deeper}${key(name)}${required.has(name) ? '' : '?'}: ${type};\n`;
    });
    for (const name of required) {
      if (typeof name === 'string' && !properties.some(([known]) => known === name)) {
        lines.push(`${deeper}${key(name)}: ${others};\n`);
      }
    }
    if (isObject(extra)) lines.push(`${deeper}[key: string]: ${any.includes('unknown') ? 'unknown' : union(any)};\n`);
    if (lines.length === 0) return extra === false ? 'Record<string, never>' : 'Record<string, unknown>';
    return `{\n${lines.join('')}${indent}}`;
  }

  /** Returns the type of branches that only require fields. With `exclusive`, a branch forbids the fields of the others. */
  #presence(schema: SchemaObject, branches: string[][], exclusive: boolean, indent: string): string {
    const properties = isObject(schema.properties) ? schema.properties : {};
    const all = [...new Set(branches.flat())];
    return union(
      branches.map(names => {
        const present = names.map(name => `${key(name)}: ${this.#type((properties[name] ?? true) as Schema, indent)}`);
        const absent = exclusive ? all.filter(name => !names.includes(name)).map(name => `${key(name)}?: never`) : [];
        return `{ ${[...present, ...absent].join('; ')} }`;
      }),
    );
  }
}

function isObject(value: unknown): value is SchemaObject {
  return typeof value === 'object' && value !== null && !Array.isArray(value);
}

function schemas(value: unknown): Schema[] {
  return Array.isArray(value) ? value : [];
}

/** Returns the field names of a schema that consists of `{"required": [...]}` only. */
function onlyRequired(schema: Schema): string[] | undefined {
  if (!isObject(schema) || !Array.isArray(schema.required)) return undefined;
  const others = Object.keys(schema).filter(keyword => !['required', 'type', 'title', 'description'].includes(keyword));
  return others.length === 0 ? schema.required : undefined;
}

function literal(value: unknown): string {
  if (Array.isArray(value)) return `[${value.map(literal).join(', ')}]`;
  if (!isObject(value)) return JSON.stringify(value);
  return `{ ${Object.entries(value)
    .map(([name, field]) => `${key(name)}: ${literal(field)}`)
    .join('; ')} }`;
}

function key(name: string): string {
  return /^[A-Za-z_$][\w$]*$/.test(name) ? name : JSON.stringify(name);
}

function union(types: string[]): string {
  return [...new Set(types)].map(type => (type.includes(' & ') ? inParentheses(type) : type)).join(' | ') || 'never';
}

/** Adds parentheses to a union or an intersection, unless it is inside braces or brackets. */
function inParentheses(type: string): string {
  let depth = 0;
  for (const character of type) {
    if ('{[(<'.includes(character)) depth += 1;
    else if ('}])>'.includes(character)) depth -= 1;
    else if (depth === 0 && (character === '|' || character === '&')) return `(${type})`;
  }
  return type;
}

function doc(schema: Schema, indent: string): string {
  const text = isObject(schema) ? (schema.description ?? schema.title) : undefined;
  if (typeof text !== 'string') return '';
  const lines = text.replaceAll('*/', '*\u200b/').split('\n');
  if (lines.length === 1) return `${indent}/** ${lines[0]} */\n`;
  return `${indent}/**\n${lines.map(line => `${indent} * ${line}\n`).join('')}${indent} */\n`;
}
