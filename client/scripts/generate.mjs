// Generates src/frames.generated.ts from ../schema. With --check, fails if the file is out of date.
import { readFile, writeFile } from 'node:fs/promises';
import { build } from 'esbuild';

const here = new URL('..', import.meta.url);
const target = new URL('src/frames.generated.ts', here);

const bundle = await build({
  entryPoints: [new URL('src/codegen/generate.ts', here).pathname],
  bundle: true,
  format: 'esm',
  write: false,
});
const code = Buffer.from(bundle.outputFiles[0].contents).toString('base64');
const { generate } = await import(`data:text/javascript;base64,${code}`);

const roots = new Map();
const definitions = new Map();
for (const [name, file] of [
  ['ClientFrame', 'client-frame.schema.json'],
  ['ServerFrame', 'server-frame.schema.json'],
]) {
  const { $defs, ...root } = JSON.parse(await readFile(new URL(`../schema/${file}`, here), 'utf8'));
  roots.set(name, root);
  // Content of an application's types is the type parameter `App`.
  if ($defs.CustomContent) {
    delete $defs.CustomContent;
    $defs.TypedContent.oneOf = $defs.TypedContent.oneOf.filter(({ $ref }) => $ref !== '#/$defs/CustomContent');
  }
  for (const [definition, schema] of Object.entries($defs)) {
    const known = definitions.get(definition);
    if (known && JSON.stringify(known) !== JSON.stringify(schema)) {
      throw new Error(`${definition} differs between the two schemas: the generated types need two names`);
    }
    definitions.set(definition, schema);
  }
}

const text = `// Generated from schema/ by \`npm run generate\`. Do not edit.\n\n${generate({ roots, definitions, extensible: 'TypedContent' })}`;

if (process.argv.includes('--check')) {
  if ((await readFile(target, 'utf8').catch(() => '')) !== text) {
    console.error('src/frames.generated.ts is out of date. Update it with: cd client && npm run generate');
    process.exit(1);
  }
} else {
  await writeFile(target, text);
}
