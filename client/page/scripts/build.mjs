// Builds the pages that the server embeds: ../../assets/page.html and ../../assets/admin.html, each a single file with inline script
// and style. With --check, fails if one of them is out of date.
import { readFile, writeFile } from 'node:fs/promises';
import { createRequire } from 'node:module';
import { dirname, join } from 'node:path';
import { fileURLToPath } from 'node:url';
import { gzipSync } from 'node:zlib';
import { build } from 'vite';

const root = fileURLToPath(new URL('..', import.meta.url));
const check = process.argv.includes('--check');
const require = createRequire(import.meta.url);

/** `maxBytes` limits the compressed size, so that a page opens quickly on a slow connection. */
const PAGES = [
  {
    what: 'chat page',
    template: 'index.html',
    entry: '/src/main.tsx',
    target: 'page.html',
    maxBytes: 50_700,
    libraries: [{ name: 'Preact', package: 'preact' }],
  },
  {
    what: 'dashboard',
    template: 'admin.html',
    entry: '/src/admin/main.tsx',
    target: 'admin.html',
    maxBytes: 48_000,
    libraries: [
      { name: 'Preact', package: 'preact' },
      { name: 'uPlot', package: 'uplot' },
    ],
  },
];

for (const page of PAGES) {
  const html = await bundle(page);
  const size = gzipSync(html, { level: 9 }).length;
  console.log(`${page.target}: ${Buffer.byteLength(html)} bytes, ${size} compressed, limit ${page.maxBytes}`);
  if (size > page.maxBytes) process.exitCode = 1;
  const target = new URL(`../../../assets/${page.target}`, import.meta.url);
  if (!check) {
    await writeFile(target, html);
  } else if ((await readFile(target, 'utf8').catch(() => '')) !== html) {
    console.error(`assets/${page.target} is out of date. Update it with: cd client/page && npm ci && npm run build`);
    process.exitCode = 1;
  }
}

async function bundle({ what, template, entry, libraries }) {
  const { output } = await build({
    root,
    logLevel: 'warn',
    build: { write: false, rollupOptions: { input: join(root, template) } },
  });
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

  const licences = await Promise.all(
    libraries.map(async library => {
      const folder = dirname(require.resolve(`${library.package}/package.json`));
      const text = (await readFile(join(folder, 'LICENSE'), 'utf8')).trim();
      return `It contains ${library.name} under this licence:\n\n${text}`;
    }),
  );
  const notice = `<!--
The ${what} of dmwire, built from client/page by \`npm run build\`. Do not edit.

${licences.join('\n\n')}
-->`;

  const replaceOne = (text, search, replacement) => {
    if (text.split(search).length !== 2) throw new Error(`${template} must contain ${search} exactly once`);
    return text.replace(search, () => replacement);
  };
  let page = await readFile(join(root, template), 'utf8');
  page = replaceOne(page, '<html lang="en">', `<html lang="en">\n${notice}`);
  page = replaceOne(page, '</head>', `<style>${style}</style>\n</head>`);
  page = replaceOne(page, `<script type="module" src="${entry}"></script>`, `<script type="module">${script}</script>`);
  return page.replaceAll('\r\n', '\n');
}
