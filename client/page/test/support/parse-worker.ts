/** A worker that parses the texts it receives, so that the test can terminate a parser that hangs. */

import { parentPort } from 'node:worker_threads';
import { linkify } from '../../src/content/links.js';
import { parse, plainText } from '../../src/content/markdown.js';

parentPort?.on('message', (text: string) => {
  parse(text);
  linkify(text);
  plainText(text);
  parentPort?.postMessage(undefined);
});
