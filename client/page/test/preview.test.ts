import assert from 'node:assert/strict';
import { it } from 'node:test';
import type { Content } from '../../src/index.js';
import { preview } from '../src/content/content.js';
import { addRenderer } from '../src/content/renderers.js';

it('a preview of a card depends on whether it is one of the own messages', () => {
  addRenderer('order.placed', (_, { isMine }) => ({ title: isMine ? 'You have ordered' : 'A new order' }));
  const content = { type: 'order.placed' } as unknown as Content;
  assert.deepEqual(
    [true, false].map(isMine => preview(content, isMine)),
    ['You have ordered', 'A new order'],
  );
});
