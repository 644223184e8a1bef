// A chat in the terminal, which loses nothing when it or the server is killed:
// node chat.mjs 8888 6666 [http://localhost:8080]

import { createInterface } from 'node:readline';
import { connect } from 'dmwire';
import { fileStorage } from 'dmwire/node';

const [, , user, peer, url = 'http://localhost:8080'] = process.argv;
const client = connect({ url, user, storage: fileStorage(`chat-${user}.json`) });

client.on('state', state => console.error(`(${state.status}${state.reason ? `: ${state.reason}` : ''})`));
client.on('failed', ({ frame, error }) => console.error(`not sent: ${JSON.stringify(frame.message)}: ${error.message}`));

createInterface({ input: process.stdin }).on('line', line => {
  client.send(peer, line).catch(() => {}); // `failed` has told it
});

for await (const { from_user, message } of client.messages()) {
  console.log(`${from_user}: ${typeof message === 'string' ? message : JSON.stringify(message)}`);
}
