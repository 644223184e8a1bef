import assert from 'node:assert/strict';
import { once } from 'node:events';
import { describe, it } from 'node:test';
import { Worker } from 'node:worker_threads';
import { linkify, parseWebUrl, safeName } from '../src/content/links.js';
import { type Block, type Inline, parse, plainText } from '../src/content/markdown.js';

/** Renders parsed Markdown as HTML-like text for comparison. */
function render(blocks: readonly Block[]): string {
  return blocks
    .map(block => {
      switch (block.kind) {
        case 'paragraph':
          return `<p>${renderInline(block.inline)}</p>`;
        case 'heading':
          return `<h${block.level}>${renderInline(block.inline)}</h${block.level}>`;
        case 'code':
          return `<pre>${block.text}</pre>`;
        case 'quote':
          return `<q>${render(block.blocks)}</q>`;
        case 'rule':
          return '<hr>';
        case 'list':
          return `<${block.first ?? 'ul'}>${block.items.map(item => `<li>${render(item)}</li>`).join('')}`;
      }
    })
    .join('');
}
function renderInline(all: readonly Inline[]): string {
  return all
    .map(piece => {
      if (typeof piece === 'string') return piece;
      if (piece.kind === 'code') return `<code>${piece.text}</code>`;
      if (piece.kind === 'break') return '<br>';
      if (piece.kind === 'link') return `<a ${piece.url.href}>${renderInline(piece.inline)}</a>`;
      return `<${piece.kind}>${renderInline(piece.inline)}</${piece.kind}>`;
    })
    .join('');
}

describe('markdown', () => {
  const cases: [string, string][] = [
    ['one\ntwo\n\nthree', '<p>one<br>two</p><p>three</p>'],
    ['# C# \t\n# ##\n#\n#\ta ## b ##  ', '<h1>C#</h1><h1></h1><p>#</p><h1>a ## b</h1>'],
    ['# a *b* #\n###### c\n####### d', '<h1>a <em>b</em></h1><h6>c</h6><p>####### d</p>'],
    [
      '**a** __b__ *c* _d_ ~~e~~ `f`',
      '<p><strong>a</strong> <strong>b</strong> <em>c</em> <em>d</em> <del>e</del> <code>f</code></p>',
    ],
    ['***a b*** c', '<p><strong><em>a b</em></strong> c</p>'],
    ['**a *b* c**', '<p><strong>a <em>b</em> c</strong></p>'],
    ['2 * 3 * 4, snake_case_name, a ** b', '<p>2 * 3 * 4, snake_case_name, a ** b</p>'],
    ['\\*a\\* \\<b>', '<p>*a* <b></p>'],
    ['`` a`b `` and `*c*`', '<p><code>a`b</code> and <code>*c*</code></p>'],
    ['```js\nlet a = *1*;\n\n# no\n```\nafter', '<pre>let a = *1*;\n\n# no</pre><p>after</p>'],
    ['```\nopen', '<pre>open</pre>'],
    ['> a\n> > b\n\nc', '<q><p>a</p><q><p>b</p></q></q><p>c</p>'],
    ['- a\n- b\n  - c\n\n- d', '<ul><li><p>a</p></li><li><p>b</p><ul><li><p>c</p></li></li><li><p>d</p></li>'],
    ['3. a\n4. b', '<3><li><p>a</p></li><li><p>b</p></li>'],
    ['in\n1986. A year', '<p>in<br>1986. A year</p>'],
    ['---\n- - -\n***', '<hr><hr><hr>'],
    [
      '<https://[*x*> **https://x.org/(a)**) b',
      '<p><https://[*x*> <strong><a https://x.org/(a)>https://x.org/(a)</a></strong>) b</p>',
    ],
    ['[a *b*](https://x.org/y "t")', '<p><a https://x.org/y>a *b*</a></p>'],
    ['![cat](https://x.org/c.png)', '<p><a https://x.org/c.png>cat</a></p>'],
    ['[w](https://x.org/a_(b))', '<p><a https://x.org/a_(b)>w</a></p>'],
    [
      'see https://x.org/a_b_c. Or <https://y.org>',
      '<p>see <a https://x.org/a_b_c>https://x.org/a_b_c</a>. Or <a https://y.org/>https://y.org</a></p>',
    ],
    ['[a](javascript:alert(1)) [b](//x.org) [c](/d)', '<p>[a](javascript:alert(1)) [b](//x.org) [c](/d)</p>'],
    ['[https://x.org](https://y.org)', '<p><a https://y.org/>https://x.org</a></p>'],
    ['[a](https://me@x.org/)', '<p>[a](https://me@x.org/)</p>'],
    ['<b>a</b> &lt; <script>', '<p><b>a</b> &lt; <script></p>'],
    ['a\r\nb', '<p>a<br>b</p>'],
    ['', ''],
  ];
  for (const [text, expected] of cases) {
    it(JSON.stringify(text), () => assert.equal(render(parse(text)), expected));
  }

  it('is parsed in linear time', async () => {
    // A message of the maximum length takes milliseconds. More than seconds means superlinear time.
    const maxLength = 16_000;
    const fill = (piece: string, length = maxLength) => piece.repeat(Math.ceil(length / piece.length)).slice(0, length);
    const marks = [
      '*',
      '**',
      '***',
      '_',
      '__a',
      '~~',
      '`',
      '``a',
      '`a``b```c',
      '\\',
      '<',
      '[',
      '![',
      ']',
      '(',
      ')',
      '"',
    ];
    const lines = [
      '#',
      '# ',
      '>',
      '> ',
      '-',
      '- ',
      '- - ',
      '1. ',
      '1) a\n',
      '* a\n',
      '- a\n  - b\n',
      '> - ',
      '~~~\n',
      '\n',
    ];
    const parts = ['*a', '*a _b ', '**a *b ', '***a', '_a_b_ ', 'a*b_c~', '[a](', '[a](b', '[\\a', '[x](http://a "'];
    const addresses = ['http://', 'https://a.b/(', 'http://a)))', 'http://[', 'http://[a*', 'http://a..."', 'http://.'];
    const spaces = [' ', '\t', '\u00a0', '\u2028', '  a'];
    const all = [...marks, ...lines, ...parts, ...addresses, ...spaces];
    const hardTexts = [
      ...all.map(piece => fill(piece)),
      // Combinations of two.
      ...all.flatMap(one => all.map(other => fill(one + other))),
      ...all.flatMap(one => marks.map(end => `${one}${fill(' ')}${end}x`.slice(-maxLength))),
      ...all.flatMap(one => ['#', '.', ')', '-', ' '].map(many => `${one}a${fill(many, maxLength - 10)}x`)),
      // Two adjacent runs, which a pattern could split in several ways.
      ...['# ', '- ', '[a](', '[a](x "', 'http://a', '***a', '- - '].flatMap(one =>
        ['#', '.', ' a', ')', '- ', '\u2028'].map(
          many => `${one}${fill(many, maxLength / 2)}${fill(' ', maxLength / 2 - 20)}x`,
        ),
      ),
      `# a${fill(' ', maxLength - 5)}#x`,
      // Unclosed runs of backticks of every length.
      Array.from({ length: 170 }, (_, i) => '`'.repeat(i + 1)).join(' '),
      Array.from({ length: 170 }, (_, i) => '`'.repeat(170 - i)).join(' '),
    ];
    const worker = new Worker(new URL('support/parse-worker.js', import.meta.url));
    try {
      for (const text of hardTexts) {
        worker.postMessage(text);
        const description = `${JSON.stringify(text.slice(0, 30))} of ${text.length}, ending in ${JSON.stringify(text.slice(-10))}`;
        await once(worker, 'message', { signal: AbortSignal.timeout(5000) }).catch(() =>
          assert.fail(`hangs: ${description}`),
        );
      }
    } finally {
      await worker.terminate();
    }
  });

  it('keeps all words of random input', () => {
    let seed = 7;
    const next = (below: number) => {
      seed = (seed * 1103515245 + 12345) % 2147483648;
      return seed % below;
    };
    const parts = [
      '*',
      '_',
      '`',
      '~~',
      '[',
      ']',
      '(',
      ')',
      'https://x.org',
      '\n',
      '\n\n',
      '- ',
      '> ',
      '# ',
      '1. ',
      'word',
      ' ',
      '\\',
      '!',
      '```',
      '<',
    ];
    for (let round = 0; round < 3000; round += 1) {
      const text = Array.from({ length: next(25) }, () => parts[next(parts.length)]).join('');
      const count = (all: string) => all.split('word').length;
      // A bare URL appears twice, as the target and as the text.
      const kept = count(render(parse(text)).replace(/<a [^>]*>/g, ''));
      // The word after ``` is the language name.
      if (!text.includes('```')) assert.equal(kept, count(text), JSON.stringify(text));
    }
  });

  it('is converted to plain text for previews', () => {
    assert.equal(plainText('# Title\n\n**bold** and\n[link](https://x.org)\n\n- a\n- b'), 'Title bold and link a, b');
  });
});

describe('links', () => {
  it('are http and https URLs without user names', () => {
    for (const text of [
      'javascript:alert(1)',
      'data:text/html,x',
      ' java\nscript:x',
      'blob:https://x.org/1',
      '//x.org',
      'x.org',
      '',
      7,
      null,
      'https://',
      'https://a@x.org/',
      'file:///etc/passwd',
    ]) {
      assert.equal(parseWebUrl(text), undefined, String(text));
    }
    assert.equal(parseWebUrl(' HTTPS://X.org/a"b<c ')?.href, 'https://x.org/a%22b%3Cc');
  });

  it('are found in text without trailing punctuation', () => {
    const found = (text: string) => linkify(text).map(({ text, url }) => (url ? `<${text}>` : text));
    assert.deepEqual(found('see (https://x.org/a), and http://y.org?b=1!'), [
      'see (',
      '<https://x.org/a>',
      '), and ',
      '<http://y.org?b=1>',
      '!',
    ]);
    assert.deepEqual(found('https://x.org/a_(b)'), ['<https://x.org/a_(b)>']);
    assert.deepEqual(found('javascript:alert(1) ftp://x.org'), ['javascript:alert(1) ftp://x.org']);
    assert.deepEqual(found(''), []);
  });

  it('have names without bidirectional control characters', () => {
    assert.equal(safeName('a\u202Egnp.exe'), 'a\ufffdgnp.exe');
  });
});
