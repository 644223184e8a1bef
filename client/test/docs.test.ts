import assert from 'node:assert/strict';
import { readdir, readFile } from 'node:fs/promises';
import { after, before, describe, it } from 'node:test';
import { Guide, runSection, sections } from './support/guide.js';
import { installPython } from './support/python.js';
import { DEADLINE } from './support/server.js';

const root = new URL('../../../', import.meta.url);
const docs = new URL('docs/', root);
const [fromFastapi, integrating, postman] = await Promise.all(
  ['from-fastapi.md', 'integrating.md', 'postman.md'].map(name => readFile(new URL(name, docs), 'utf8')),
);

describe('docs/postman.md', { timeout: 2 * DEADLINE }, () => {
  it('shows the answers of the server', async () => {
    const [whole] = sections(postman ?? '', 'docs/postman.md');
    const blocks = whole?.blocks.filter(({ role }) => role !== '') ?? [];
    await runSection({ title: 'docs/postman.md', blocks });
  });
});

describe('docs/from-fastapi.md', { timeout: 20 * DEADLINE }, () => {
  before(installPython);
  for (const section of sections(fromFastapi ?? '')) {
    it(section.title, () => runSection(section));
  }
});

describe('docs/integrating.md', { timeout: 20 * DEADLINE }, () => {
  // Later sections use the files and the messages of earlier ones.
  let guide: Guide;
  before(async () => {
    await installPython();
    guide = await Guide.start();
  });
  after(() => guide.stop());
  for (const section of sections(integrating ?? '')) {
    it(section.title, () => guide.run(section));
  }
});

describe('the documents', () => {
  it('refer to files and headings that exist', async () => {
    const folder = (await readdir(docs)).map(name => `docs/${name}`);
    const names = [...folder, 'README.md', 'CONTRIBUTING.md', 'SECURITY.md', 'client/README.md', 'examples/README.md'];
    const wrong: string[] = [];
    for (const name of names) {
      const from = new URL(name, root);
      const text = await readFile(from, 'utf8');
      for (const [, link = ''] of text.replace(/^```.*?^```/gms, '').matchAll(/\]\(([^)\s]+)\)/g)) {
        const to = new URL(link, from);
        if (to.protocol !== 'file:') continue;
        const anchor = to.hash.slice(1);
        to.hash = '';
        const target = to.href === from.href ? text : await read(to);
        if (target === undefined || (anchor && !anchors(target).includes(anchor))) wrong.push(`${name}: ${link}`);
      }
    }
    assert.deepEqual(wrong, []);
  });
});

/** Returns the text of a file, an empty one for a folder, or nothing if there is no such file. */
async function read(url: URL): Promise<string | undefined> {
  try {
    return await readFile(url, 'utf8');
  } catch (error) {
    return (error as NodeJS.ErrnoException).code === 'EISDIR' ? '' : undefined;
  }
}

/** Returns the anchors of the headings, as GitHub makes them, and those that the document sets. */
function anchors(markdown: string): string[] {
  const text = markdown.replace(/^```.*?^```/gms, '');
  const set = [...text.matchAll(/<a id="([^"]+)">/g)].map(([, id = '']) => id);
  const made = [...text.matchAll(/^#+ (.*)$/gm)].map(([, heading = '']) =>
    heading
      .replace(/<[^>]*>/g, '')
      .replace(/\[([^\]]*)\]\([^)]*\)/g, '$1')
      .toLowerCase()
      .replace(/[^\p{L}\p{N} _-]/gu, '')
      .replaceAll(' ', '-'),
  );
  return [...set, ...made];
}
