// Builds ../../assets/page.html, a single file with inline script and style that the server embeds. With --check, fails if
// the file is out of date.
import { readFile, writeFile } from 'node:fs/promises';
import { createRequire } from 'node:module';
import { dirname, join } from 'node:path';
import { gzipSync } from 'node:zlib';
import { build } from 'vite';

const here = new URL('..', import.meta.url);
const target = new URL('../../assets/page.html', here);
/** Limit of the compressed size in bytes, so that the page opens quickly on a slow connection. */
const MAX_BYTES = 49_500;

const { output } = await build({ root: here.pathname, logLevel: 'warn', build: { write: false } });
const findOne = (kind, matches) => {
  const found = output.filter(matches);
  if (found.length !== 1) throw new Error(`expected one ${kind} file, found ${found.length}`);
  return found[0];
};
const script = findOne('script', file => file.type === 'chunk').code.trim();
const style = String(findOne('style', file => file.fileName.endsWith('.css')).source).trim();
// Text that would end the element early, or put the HTML parser into another state.
for (const [text, forbidden] of [
  [script, /<\/script|<script|<!--/i],
  [style, /<\/style/i],
]) {
  if (forbidden.test(text)) throw new Error(`the page must not contain ${forbidden.exec(text)[0]}`);
}

const preact = dirname(createRequire(import.meta.url).resolve('preact/package.json'));
const licence = (await readFile(join(preact, 'LICENSE'), 'utf8')).trim();
const notice = `<!--
The chat page of dmwire, built from client/page by \`npm run build\`. Do not edit.

It contains Preact under this licence:

${licence}
-->`;

const template = await readFile(new URL('index.html', here), 'utf8');
const replaceOne = (text, search, replacement) => {
  if (text.split(search).length !== 2) throw new Error(`index.html must contain ${search} exactly once`);
  return text.replace(search, () => replacement);
};
let page = replaceOne(template, '<html lang="en">', `<html lang="en">\n${notice}`);
page = replaceOne(page, '</head>', `<style>${style}</style>\n</head>`);
page = replaceOne(
  page,
  '<script type="module" src="/src/main.tsx"></script>',
  `<script type="module">${script}</script>`,
);
page = page.replaceAll('\r\n', '\n');

const size = gzipSync(page, { level: 9 }).length;
console.log(`page.html: ${Buffer.byteLength(page)} bytes, ${size} compressed, limit ${MAX_BYTES}`);
if (size > MAX_BYTES) process.exit(1);
if (process.argv.includes('--check')) {
  if ((await readFile(target, 'utf8').catch(() => '')) !== page) {
    console.error('assets/page.html is out of date. Update it with: cd client/page && npm ci && npm run build');
    process.exit(1);
  }
} else {
  await writeFile(target, page);
}
