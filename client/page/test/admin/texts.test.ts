import assert from 'node:assert/strict';
import { describe, it } from 'node:test';
import { bytes, duration, milliseconds, rate, text } from '../../src/admin/format.js';
import { isSendable } from '../../src/admin/key.js';
import { placeHash, readPlace } from '../../src/admin/place.js';

describe('texts', () => {
  it('numbers have a unit and few digits', () => {
    assert.deepEqual(
      [0, 0.25, 12.34, 123.4].map(value => text(rate(value))),
      ['0/s', '0.25/s', '12.3/s', '123/s'],
    );
    assert.deepEqual(
      [0.123, 3.5, 999.4, 1500].map(value => text(milliseconds(value))),
      ['0.12 ms', '3.5 ms', '999 ms', '1.5 s'],
    );
    assert.deepEqual(
      [0, 1023, 1536, 52_428_800, 2 ** 41].map(value => text(bytes(value))),
      ['0 B', '1,023 B', '1.5 KiB', '50 MiB', '2 TiB'],
    );
  });

  it('durations have their two largest units', () => {
    assert.deepEqual([-1, 0, 59, 60, 3_599, 3_600, 90_000].map(duration), [
      '0 s',
      '0 s',
      '59 s',
      '1 min',
      '59 min',
      '1 h 0 min',
      '1 d 1 h',
    ]);
  });
});

describe('places', () => {
  it('an address names a view and possibly a user or a room', () => {
    for (const place of [
      { view: 'overview' },
      { view: 'users', name: 'anna@example.org' },
      { view: 'rooms', name: 'a+b~c:d' },
    ] as const) {
      assert.deepEqual(readPlace(placeHash(place)), place);
    }
  });

  it('an address that names nothing leads to the overview', () => {
    for (const hash of ['', '#', '#/', '#/nothing', '#users', '#/users/a/b']) {
      assert.deepEqual(readPlace(hash), { view: 'overview' }, hash);
    }
    for (const name of ['..', '%', '%3Cb%3E', 'x'.repeat(65), '']) {
      assert.deepEqual(readPlace(`#/users/${name}`), { view: 'users' }, name);
    }
    assert.deepEqual(readPlace('#/sessions/a'), { view: 'sessions' });
  });
});

describe('keys', () => {
  it('a key that a browser cannot send is recognised', () => {
    assert.ok(isSendable('pL0hZ3v8rG1tYk5uQ2xW9sD4fJ7aB6cN0mE1iO3gHv-_'));
    for (const key of ['', 'a b', 'a,b', 'ä', 'a"b']) assert.ok(!isSendable(key), key);
  });
});
