import assert from 'node:assert/strict';
import { describe, it } from 'node:test';
import { type Metrics, Samples, WINDOW_SECONDS } from '../../src/admin/samples.js';

const START = Date.parse('2026-11-20T11:00:00.000Z') / 1000;

function metrics(at: number, more: Partial<Metrics> = {}): Metrics {
  return {
    timestamp: new Date((START + at) * 1000).toISOString(),
    sessions: 1,
    users: 1,
    messages_per_second: at,
    deliveries_per_second: 0,
    queue: 0,
    rejected_per_second: {},
    ...more,
  };
}

/** The messages of each second: pairs of time and value. */
function messages(samples: Samples): [number, number | null][] {
  const [times, values = []] = samples.columns([each => each.messages_per_second]);
  return times.map((at, index) => [at - START, values[index] ?? null]);
}

describe('samples', () => {
  it('a pause is a gap, and a late sample is none', () => {
    const samples = new Samples();
    for (const at of [1, 2, 4, 5, 12, 13]) samples.add(metrics(at), 0);
    assert.deepEqual(messages(samples), [
      [1, 1],
      [2, 2],
      [4, 4],
      [5, 5],
      [6, null],
      [12, 12],
      [13, 13],
    ]);
  });

  it('ten minutes are kept', () => {
    const samples = new Samples();
    for (let at = 0; at < 2 * WINDOW_SECONDS; at += 1) samples.add(metrics(at), 0);
    const found = messages(samples);
    assert.deepEqual(found.at(-1), [1199, 1199]);
    assert.deepEqual(found[0], [598, 598]);
  });

  it('times ascend also if the clock of the server is set back', () => {
    const samples = new Samples();
    for (const at of [10, 11, 12, 13]) samples.add(metrics(at), 0);
    samples.add(metrics(12, { messages_per_second: 7 }), 0);
    assert.deepEqual(messages(samples), [
      [10, 10],
      [11, 11],
      [12, 7],
    ]);
    samples.add(metrics(1), 0);
    assert.deepEqual(messages(samples), [[1, 1]]);
  });

  it('a value that was not measured is a gap of its line', () => {
    const samples = new Samples();
    samples.add(metrics(1), 0);
    samples.add(metrics(2, { commit_p50_ms: 3 }), 0);
    assert.deepEqual(samples.columns([each => each.commit_p50_ms])[1], [null, 3]);
  });

  it('time goes on without samples', () => {
    const samples = new Samples();
    samples.add(metrics(1), 5_000);
    assert.equal(samples.time(7_500) - START, 3.5);
    assert.equal(samples.window(7_500), 60);
    assert.equal(samples.window(70_000), 120);
    assert.equal(samples.window(10_000_000), WINDOW_SECONDS);
  });

  it('lists the codes of rejections', () => {
    const samples = new Samples();
    samples.add(metrics(1, { rejected_per_second: { rate_limited: 1 } }), 0);
    samples.add(metrics(2, { rejected_per_second: { forbidden: 2, rate_limited: 1 } }), 0);
    assert.deepEqual(samples.rejectedCodes, ['forbidden', 'rate_limited']);
  });
});
