import assert from 'node:assert/strict';
import { describe, it } from 'node:test';
import { cut, direction, shorten } from '../src/text.js';

/** The same module as in a browser without `Intl.Segmenter`. */
async function withoutSegmenter(): Promise<typeof import('../src/text.js')> {
  const { Segmenter } = Intl;
  try {
    Object.assign(Intl, { Segmenter: undefined });
    const url = new URL('../src/text.js?without-segmenter', import.meta.url);
    return (await import(url.href)) as typeof import('../src/text.js');
  } finally {
    Object.assign(Intl, { Segmenter });
  }
}

describe('a text is cut', async () => {
  const older = await withoutSegmenter();
  const characters = {
    emoji: '🎉',
    'emoji with a variation selector': '❤️',
    'emoji with a skin tone': '👍🏽',
    'joined emoji': '👩🏽‍❤️‍💋‍👨🏻',
    keycap: '1️⃣',
    'letter with a mark': 'é',
    'letter with two marks': 'ế',
    'Thai with marks': 'กี่',
    'Hindi with marks': 'हि',
    'stacked marks': `Z${'\u0351\u0352'.repeat(10)}`,
  };

  for (const [name, character] of Object.entries(characters)) {
    it(`before or after a character: ${name}`, () => {
      for (let before = 0; before <= character.length; before += 1) {
        const max = 40;
        const text = `${'x'.repeat(max - before)}${character}${character}yz`;
        const fits = Math.floor(before / character.length);
        const expected = 'x'.repeat(max - before) + character.repeat(fits);
        assert.equal(cut(text, max), expected, `${before} units before the limit`);
        assert.equal(older.cut(text, max), expected, `${before} units before the limit, without Intl.Segmenter`);
      }
    });
  }

  it('between flags', () => {
    for (const max of [5, 6, 7, 8]) assert.equal(cut('x🇩🇪🇫🇷', max), 'x🇩🇪');
  });

  it('within a single character that exceeds the limit, but between code points', () => {
    const stack = `Z${'\u0351'.repeat(100)}`;
    for (const cutAny of [cut, older.cut]) {
      assert.equal(cutAny(stack, 40), stack.slice(0, 40));
      assert.equal(cutAny('👩‍👩‍👧‍👦', 3), '👩‍');
      assert.equal(cutAny('👩‍👩‍👧‍👦', 4), '👩‍');
    }
  });

  it('not at all if it is short enough', () => {
    assert.equal(shorten('👩‍👩‍👧‍👦', 11), '👩‍👩‍👧‍👦');
    assert.equal(shorten('', 1), '');
    assert.equal(shorten('abc', 3), 'abc');
    assert.equal(shorten('abcd', 3), 'abc…');
  });

  it('in constant time', () => {
    const start = performance.now();
    cut('\u0351'.repeat(5_000_000), 100);
    assert.ok(performance.now() - start < 1_000);
  });
});

describe('the direction of a text', () => {
  it('is that of its first letter', () => {
    for (const text of ['שלום', 'مرحبا, hello', '123 שלום', '«שלום»', '👍 مرحبا', 'ހެލޯ', '\u2068שלום'])
      assert.equal(direction(text), 'rtl', text);
    for (const text of ['', '123', '👍', 'hello שלום', 'ไทย', '1. a', 'Ελλάδα', '中文'])
      assert.equal(direction(text), 'ltr', text);
  });
});
