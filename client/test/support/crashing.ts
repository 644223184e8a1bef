/**
 * A program that is killed at any point and started again: it sends c0, c1, ... and logs what it receives. What it has
 * given to the client to send it takes from the client's own storage.
 */

import { appendFileSync, existsSync, readFileSync, writeFileSync } from 'node:fs';
import { join } from 'node:path';
import { connect } from '../../src/index.js';
import { fileStorage } from '../../src/node.js';

const [, , url = '', folder = '', words] = process.argv;
const count = Number(words);
const next = join(folder, 'next');
const log = join(folder, 'log');

const client = connect({
  url,
  user: 'crash',
  since: 0,
  storage: fileStorage(join(folder, 'crash.json')),
  backoff: { base: 20, max: 200 },
});

const heard = new Set(existsSync(log) ? readFileSync(log, 'utf8').trim().split('\n') : []);
const everything = new Promise<void>(resolve => {
  if (heard.size === count) resolve();
  client.on('message', message => {
    appendFileSync(log, `${message.message}\n`);
    heard.add(String(message.message));
    if (heard.size === count) resolve();
  });
});

/** An id that is the same in every run, so that a message given twice, around a crash, is one. */
const id = (i: number) => `00000000-0000-4000-8000-${String(i).padStart(12, '0')}`;
for (let i = existsSync(next) ? Number(readFileSync(next, 'utf8')) : 0; i < count; i += 1) {
  await client.send('peer', `c${i}`, { id: id(i) });
  writeFileSync(next, String(i + 1));
}
await everything;
while (client.pending.length > 0) await new Promise(resolve => client.on('sent', resolve));
await client.close();
