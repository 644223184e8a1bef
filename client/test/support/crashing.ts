/**
 * A program that a test kills at arbitrary points and restarts. It sends c0, c1, ... and logs the messages that it receives.
 * The client's storage holds the unsent messages.
 */

import { appendFileSync, existsSync, readFileSync, writeFileSync } from 'node:fs';
import { join } from 'node:path';
import { connect } from '../../src/index.js';
import { fileStorage } from '../../src/node.js';

const [, , url = '', folder = '', countArgument] = process.argv;
const count = Number(countArgument);
const next = join(folder, 'next');
const log = join(folder, 'log');

const client = connect({
  url,
  user: 'crash',
  since: 0,
  storage: fileStorage(join(folder, 'crash.json')),
  backoff: { base: 20, max: 200 },
});

const received = new Set(existsSync(log) ? readFileSync(log, 'utf8').trim().split('\n') : []);
const receivedAll = new Promise<void>(resolve => {
  if (received.size === count) resolve();
  client.on('message', message => {
    appendFileSync(log, `${message.message}\n`);
    received.add(String(message.message));
    if (received.size === count) resolve();
  });
});

/** Returns the same id in every run, so that a message sent twice around a crash counts once. */
const id = (i: number) => `00000000-0000-4000-8000-${String(i).padStart(12, '0')}`;
for (let i = existsSync(next) ? Number(readFileSync(next, 'utf8')) : 0; i < count; i += 1) {
  await client.send('peer', `c${i}`, { id: id(i) });
  writeFileSync(next, String(i + 1));
}
await receivedAll;
while (client.pending.length > 0) await new Promise(resolve => client.on('sent', resolve));
await client.close();
