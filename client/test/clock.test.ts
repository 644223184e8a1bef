/** The wall clock may be set at any time, so the client and the page measure time by `performance.now()` only. */

import assert from 'node:assert/strict';
import { readdir, readFile } from 'node:fs/promises';
import { join } from 'node:path';
import { describe, it } from 'node:test';

/** The sources of the client and of the page. The tests run in `build/test`. */
const FOLDERS = ['../../src', '../../page/src'].map(path => new URL(path, import.meta.url).pathname);

/** Files that may read the wall clock, with the reason. */
const ALLOWED: Record<string, string> = {
  'src/ids.ts': 'the time in a UUID version 7; the random part makes it unique',
  'page/src/admin/samples.ts': 'the time is displayed until the first sample has arrived',
  'page/src/frames.ts': 'the time of a frame is displayed',
  'page/src/ui/parts.tsx': 'the day of a message is displayed relative to today',
};

/** Reading the wall clock. */
const READS = /\bDate\.now\b|\bnew Date\(\)|\bDate\(\)/;
/** Comparing times of the server, which may run backwards; `seq` and the order of arrival determine the order. */
const COMPARES =
  /(sent_?at|edited_?at|deleted_?at|changed_?at)\)?\s*[<>]|[<>]=?\s*[\w.]*(sent_?at|edited_?at|deleted_?at)\b(?!:)/i;

async function sources(): Promise<[name: string, text: string][]> {
  const found: [string, string][] = [];
  for (const folder of FOLDERS) {
    const prefix = folder.endsWith('page/src') ? 'page/src' : 'src';
    for (const name of await readdir(folder, { recursive: true })) {
      if (!/\.tsx?$/.test(name)) continue;
      found.push([`${prefix}/${name}`, await readFile(join(folder, name), 'utf8')]);
    }
  }
  return found;
}

describe('the sources', () => {
  it('read the wall clock only where that is listed', async () => {
    const all = await sources();
    assert.ok(all.length > 40, `${all.length} files`);
    const reading = all.filter(([, text]) => READS.test(text)).map(([name]) => name);
    assert.deepEqual(reading.sort(), Object.keys(ALLOWED).sort());
  });

  it('do not order anything by the times of messages', async () => {
    for (const [name, text] of await sources()) {
      const line = text.split('\n').find(line => COMPARES.test(line));
      assert.equal(line, undefined, name);
    }
  });
});
