import assert from 'node:assert/strict';
import { createHash } from 'node:crypto';
import { afterEach, beforeEach, describe, it } from 'node:test';
import type { InFrame } from '../../src/index.js';
import { FakeServer, type FakeSocket, flushMicrotasks, waitUntil } from '../../test/support/fake.js';
import { Chat } from '../src/chat.js';

const AT = '2026-01-01T00:00:00.000Z';
const RENAMED = 'erased.0123456789abcdef0123456789abcdef';

describe('a chat with a user who is erased', { timeout: 60_000 }, () => {
  let server: FakeServer;
  let chat: Chat;
  let socket: FakeSocket;
  /** The name of the user as the server tells it. */
  let name: string;

  beforeEach(async () => {
    name = 'zoe';
    server = new FakeServer();
    chat = new Chat({ url: 'http://host', identity: { user: 'me' }, WebSocket: server.WebSocket });
    socket = await server.accept();
    socket.onFrame = frame => queueMicrotask(() => answer(frame));
    socket.welcome();
    socket.frame({ type: 'synced', seq: 0 });
    await waitUntil(() => chat.list.loaded);
  });
  afterEach(() => chat.close());

  function answer(frame: InFrame): void {
    const { type, ref, target_user } = frame;
    const last = { type: 'message', id: '00000000-0000-0000-0000-000000000001', from_user: name, target_user: 'me' };
    const message = { ...last, sent_at: AT, ...(name === 'zoe' ? { message: 'a secret' } : { deleted_at: AT }) };
    if (type === 'conversations') socket.frame({ type, items: [{ target_user: name, last: message, unread: 0 }], ref });
    else if (type === 'history') {
      socket.frame({ type, target_user, messages: target_user === name ? [message] : [], more: false, ref });
    } else if (type === 'message') socket.reject(frame, 'blocked');
  }

  async function erase(): Promise<void> {
    name = RENAMED;
    const user_hash = createHash('sha256').update('e1:zoe').digest('hex');
    socket.frame({ type: 'erased', as: RENAMED, user_hash, seq: 1, at: AT });
    await waitUntil(() => chat.conversations.get(RENAMED)?.loaded === true);
  }

  it('continues under the new name, without what the user has written', async () => {
    chat.open('zoe');
    await waitUntil(() => chat.current?.loaded === true);
    assert.equal(JSON.stringify(chat.current?.messages).includes('a secret'), true);
    await erase();
    assert.equal(chat.current?.peer, RENAMED);
    assert.deepEqual(
      chat.sortedConversations.map(({ peer }) => peer),
      [RENAMED],
    );
    assert.equal(JSON.stringify(chat.current?.messages).includes('a secret'), false);
    assert.equal(JSON.stringify([...chat.conversations]).includes('zoe'), false);
  });

  it('has no drafts, rejected messages and blocks for the former name', async () => {
    chat.open('zoe');
    chat.unsent.setDraft('zoe', 'a draft');
    chat.unsent.setDraft('ann', 'another');
    chat.send('zoe', 'rejected');
    await waitUntil(() => chat.unsent.failed.length === 1);
    chat.blocks.set('zoe', true);
    chat.blocks.set('ann', true);
    await erase();
    await flushMicrotasks();
    assert.deepEqual([chat.unsent.draft('zoe'), chat.unsent.draft('ann')], ['', 'another']);
    assert.deepEqual(chat.unsent.failed, []);
    assert.deepEqual([chat.blocks.has('zoe'), chat.blocks.has('ann')], [false, true]);
  });
});
