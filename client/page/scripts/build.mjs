// Builds the page: ../../assets/page.html, one file with its script and style in it, which the server carries. With --check,
// only says whether it is what the sources give.
import { readFile, writeFile } from 'node:fs/promises';
import { createRequire } from 'node:module';
import { dirname, join } from 'node:path';
import { gzipSync } from 'node:zlib';
import { build } from 'vite';

const here = new URL('..', import.meta.url);
const target = new URL('../../assets/page.html', here);
/** The server's page is to open at once on a slow line, too. */
const MOST = 40_000;

const { output } = await build({ root: here.pathname, logLevel: 'warn', build: { write: false } });
const only = (what, fits) => {
  const found = output.filter(fits);
  if (found.length !== 1) throw new Error(`${found.length} files of ${what}, not one`);
  return found[0];
};
const script = only('script', file => file.type === 'chunk').code.trim();
const style = String(only('style', file => file.fileName.endsWith('.css')).source).trim();
// What would end the element before its end, or begin another kind of it.
for (const [text, bad] of [
  [script, /<\/script|<script|<!--/i],
  [style, /<\/style/i],
]) {
  if (bad.test(text)) throw new Error(`the page cannot carry ${bad.exec(text)[0]}`);
}

const preact = dirname(createRequire(import.meta.url).resolve('preact/package.json'));
const licence = (await readFile(join(preact, 'LICENSE'), 'utf8')).trim();
const notice = `<!--
The chat page of dmwire, built from client/page by \`npm run build\`. Not to be edited.

It contains Preact, under this licence:

${licence}
-->`;

const template = await readFile(new URL('index.html', here), 'utf8');
const once = (text, what, put) => {
  if (text.split(what).length !== 2) throw new Error(`index.html has not one ${what}`);
  return text.replace(what, () => put);
};
let page = once(template, '<html lang="en">', `<html lang="en">\n${notice}`);
page = once(page, '</head>', `<style>${style}</style>\n</head>`);
page = once(page, '<script type="module" src="/src/main.tsx"></script>', `<script type="module">${script}</script>`);
page = page.replaceAll('\r\n', '\n');

const size = gzipSync(page, { level: 9 }).length;
console.log(`page.html: ${Buffer.byteLength(page)} bytes, ${size} compressed, of ${MOST} allowed`);
if (size > MOST) process.exit(1);
if (process.argv.includes('--check')) {
  if ((await readFile(target, 'utf8').catch(() => '')) !== page) {
    console.error(
      'assets/page.html is not what client/page gives. To mend it: cd client/page && npm ci && npm run build',
    );
    process.exit(1);
  }
} else {
  await writeFile(target, page);
}
