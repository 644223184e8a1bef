/** A thread that takes apart what it is given, so that who gave it can end it. */

import { parentPort } from 'node:worker_threads';
import { pieces } from '../../src/content/links.js';
import { parse, words } from '../../src/content/markdown.js';

parentPort?.on('message', (text: string) => {
  parse(text);
  pieces(text);
  words(text);
  parentPort?.postMessage(undefined);
});
