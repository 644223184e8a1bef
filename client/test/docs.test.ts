import assert from 'node:assert/strict';
import { readFile } from 'node:fs/promises';
import { describe, it } from 'node:test';
import { WebSocket } from 'ws';
import type { InFrame } from '../src/index.js';
import { Queue } from './support/fake.js';
import { DEADLINE, Server } from './support/server.js';

describe('docs/postman.md', { timeout: 2 * DEADLINE }, () => {
  it('shows the answers of the server', async () => {
    const text = await readFile(new URL('../../../docs/postman.md', import.meta.url), 'utf8');
    const steps = [...text.matchAll(/```json send\n(.*)\n```\n```json answer\n(.*)\n```/g)];
    assert.ok(steps.length >= 7);
    const server = await Server.start();
    const open = async (user: string) => {
      const socket = new WebSocket(`${server.url.replace('http', 'ws')}/ws/${user}`);
      const frames = new Queue<InFrame>();
      socket.on('message', data => frames.push(JSON.parse(String(data))));
      for (let frame = await frames.shift(); frame.type !== 'synced'; ) frame = await frames.shift();
      return { socket, frames };
    };
    const [one, two] = [await open('8888'), await open('6666')];
    for (const [, request = '', answer = ''] of steps) {
      one.socket.send(request);
      let frame = await one.frames.shift();
      while (frame.type === 'receipt') frame = await one.frames.shift();
      assert.deepEqual(normalize(frame), normalize(JSON.parse(answer)));
    }
    one.socket.close();
    two.socket.close();
    await server.stop();
  });
});

/** Replaces ids and times, which differ in each run. */
function normalize(frame: unknown): unknown {
  const text = JSON.stringify(frame);
  return JSON.parse(text.replace(/[\da-f]{8}-[\da-f-]{27}/g, 'ID').replace(/\d{4}-\d\d-\d\dT[\d:.]+Z/g, 'TIME'));
}
