// A terminal chat that loses no message when it or the server is killed:
// node chat.mjs 8888 6666 [http://localhost:8080]

import { createInterface } from 'node:readline';
import { connect } from 'dmwire';
import { fileStorage } from 'dmwire/node';

const [, , user, peer, url = 'http://localhost:8080'] = process.argv;
if (!user || !peer) {
  console.error('usage: node chat.mjs USER PEER [http://localhost:8080]');
  process.exit(2);
}
const client = connect({ url, user, storage: fileStorage(`chat-${user}.json`) });

client.on('state', ({ status, reason }) => console.error(`(${status}${reason ? `: ${reason}` : ''})`));
client.on('failed', ({ frame, error }) => console.error(`not sent: ${JSON.stringify(frame.message)}: ${error.message}`));

createInterface({ input: process.stdin }).on('line', line => {
  client.send(peer, line).catch(() => {}); // reported by `failed`
});

try {
  for await (const { from_user, message } of client.messages()) {
    console.log(`${from_user}: ${typeof message === 'string' ? message : JSON.stringify(message)}`);
  }
} catch (error) {
  // The server rejected the user, or another process uses the file.
  console.error(error.message);
  process.exit(1);
}
