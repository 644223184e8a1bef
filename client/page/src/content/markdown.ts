import { webUrl } from './links.js';

/** Markdown, taken apart: what is shown is made from this, never from text that could be markup. */
export type Block =
  | { readonly is: 'paragraph'; readonly inline: readonly Inline[] }
  | { readonly is: 'heading'; readonly level: number; readonly inline: readonly Inline[] }
  | { readonly is: 'code'; readonly text: string }
  | { readonly is: 'quote'; readonly blocks: readonly Block[] }
  | { readonly is: 'list'; readonly first: number | undefined; readonly items: readonly (readonly Block[])[] }
  | { readonly is: 'rule' };

export type Inline =
  | string
  | { readonly is: 'strong' | 'em' | 'del'; readonly inline: readonly Inline[] }
  | { readonly is: 'code'; readonly text: string }
  | { readonly is: 'link'; readonly url: URL; readonly inline: readonly Inline[] }
  | { readonly is: 'break' };

/** Quotes and lists in one another, at most. */
const DEEPEST = 8;

/**
 * The part of Markdown that people write in messages: paragraphs, headings, code, quotes, lists, rules; strong, emphasis,
 * struck out, code, links. HTML is text. A picture is a link to it, as nothing is loaded unasked.
 */
export function parse(text: string, depth = 0): Block[] {
  const blocks: Block[] = [];
  const lines = text.replace(/\r\n?/g, '\n').split('\n');
  let paragraph: string[] = [];
  const endParagraph = () => {
    if (paragraph.length > 0) blocks.push({ is: 'paragraph', inline: inline(paragraph.join('\n')) });
    paragraph = [];
  };
  for (let i = 0; i < lines.length; ) {
    const line = lines[i] ?? '';
    const fence = /^ {0,3}(```+|~~~+)/.exec(line)?.[1];
    const heading = /^ {0,3}(#{1,6})\s+(.*?)\s*#*\s*$/.exec(line);
    const bullet = item(line);
    if (fence !== undefined) {
      endParagraph();
      const isEnd = (other: string) => other.trim().startsWith(fence) && /^(`+|~+)$/.test(other.trim());
      const from = i + 1;
      for (i = from; i < lines.length && !isEnd(lines[i] ?? ''); ) i += 1;
      blocks.push({ is: 'code', text: lines.slice(from, i).join('\n') });
      i += 1;
    } else if (heading) {
      endParagraph();
      blocks.push({ is: 'heading', level: heading[1]?.length ?? 1, inline: inline(heading[2] ?? '') });
      i += 1;
    } else if (/^ {0,3}([-*_])( *\1){2,} *$/.test(line)) {
      endParagraph();
      blocks.push({ is: 'rule' });
      i += 1;
    } else if (/^ {0,3}>/.test(line) && depth < DEEPEST) {
      endParagraph();
      const inner: string[] = [];
      for (; i < lines.length && /^ {0,3}>/.test(lines[i] ?? ''); i += 1) {
        inner.push((lines[i] ?? '').replace(/^ {0,3}> ?/, ''));
      }
      blocks.push({ is: 'quote', blocks: parse(inner.join('\n'), depth + 1) });
    } else if (
      bullet &&
      depth < DEEPEST &&
      (paragraph.length === 0 || bullet.number === undefined || bullet.number === 1)
    ) {
      endParagraph();
      const items: Block[][] = [];
      for (let next = item(lines[i] ?? ''); next && next.mark === bullet.mark; next = item(lines[i] ?? '')) {
        const inner = [next.text];
        const { indent } = next;
        for (i += 1; i < lines.length && continues(lines[i] ?? '', indent); i += 1) {
          inner.push((lines[i] ?? '').slice(Math.min(indent, (lines[i] ?? '').search(/\S|$/))));
        }
        items.push(parse(inner.join('\n'), depth + 1));
        while (i + 1 < lines.length && lines[i]?.trim() === '' && item(lines[i + 1] ?? '')?.mark === bullet.mark)
          i += 1;
      }
      blocks.push({ is: 'list', first: bullet.number, items });
    } else {
      if (line.trim() === '') endParagraph();
      else paragraph.push(line.trimStart());
      i += 1;
    }
  }
  endParagraph();
  return blocks;
}

function item(line: string): { mark: string; number: number | undefined; indent: number; text: string } | undefined {
  const match = /^( {0,3})([-*+]|(\d{1,9})[.)])( +)(\S.*)$/.exec(line);
  if (!match) return undefined;
  const [, before = '', mark = '', number, space = '', text = ''] = match;
  return {
    mark: mark.slice(-1),
    number: number === undefined ? undefined : Number(number),
    indent: before.length + mark.length + space.length,
    text,
  };
}

/** Whether a line belongs to the item above: it is indented, and not by too little. */
function continues(line: string, indent: number): boolean {
  return line.trim() !== '' && line.search(/\S/) >= Math.min(indent, 2);
}

const SPECIAL = /[\\`*_~[!<\n]|https?:\/\//i;
const MARKS: readonly [string, 'strong' | 'em' | 'del'][] = [
  ['**', 'strong'],
  ['__', 'strong'],
  ['~~', 'del'],
  ['*', 'em'],
  ['_', 'em'],
];

/** Text of one block. `depth` bounds what stands in one another. */
export function inline(text: string, depth = 0): Inline[] {
  const out: Inline[] = [];
  /** Marks that nothing closes any more: looked for once, however many open. */
  const open = new Set<string>();
  let plain = '';
  const add = (piece: Inline) => {
    if (plain !== '') out.push(plain);
    plain = '';
    out.push(piece);
  };
  for (let i = 0; i < text.length; ) {
    const rest = text.slice(i, i + 4096);
    const special = rest.search(SPECIAL);
    if (special !== 0 || depth > DEEPEST) {
      const length = special > 0 && depth <= DEEPEST ? special : rest.length;
      plain += rest.slice(0, length);
      i += length;
      continue;
    }
    const before = text[i - 1] ?? ' ';
    const found = token(rest, before, depth, open);
    if (found) {
      if (typeof found.piece === 'string') plain += found.piece;
      else add(found.piece);
      i += found.length;
    } else {
      plain += rest[0];
      i += 1;
    }
  }
  if (plain !== '') out.push(plain);
  return out;
}

function token(
  rest: string,
  before: string,
  depth: number,
  open: Set<string>,
): { piece: Inline; length: number } | undefined {
  const escaped = /^\\([!-/:-@[-`{-~])/.exec(rest);
  if (escaped) return { piece: escaped[1] ?? '', length: 2 };
  if (rest[0] === '\n') return { piece: { is: 'break' }, length: 1 };
  const code = /^(`+)(?!`)([\s\S]*?[^`])\1(?!`)/.exec(rest);
  if (code) return { piece: { is: 'code', text: (code[2] ?? '').replace(/^ (.*) $/, '$1') }, length: code[0].length };
  if (rest[0] === '`') return { piece: /^`+/.exec(rest)?.[0] ?? '`', length: /^`+/.exec(rest)?.[0].length ?? 1 };
  const link =
    /^!?\[((?:[^[\]\\\n]|\\.){0,500})\]\(\s*<?([^\s()<>]{1,2048}(?:\([^\s()<>]*\)[^\s()<>]*)?)>?(?:\s+"[^"\n]*")?\s*\)/.exec(
      rest,
    );
  if (link) {
    const url = webUrl(link[2]);
    if (url)
      return { piece: { is: 'link', url, inline: inline(link[1] || url.href, DEEPEST + 1) }, length: link[0].length };
    return undefined;
  }
  const bare = /^<?(https?:\/\/[^\s<>"'`{}|\\^]+)>?/i.exec(rest);
  if (bare && !/\w/.test(before)) {
    const address = (bare[1] ?? '').replace(/[.,:;!?*_~)]+$/, '');
    const url = webUrl(address);
    const length = rest[0] === '<' ? bare[0].length : address.length;
    if (url) return { piece: { is: 'link', url, inline: [address] }, length };
  }
  const both = /^\*\*\*([^\s*](?:[^*\n]*[^\s*])?)\*\*\*/.exec(rest);
  if (both) {
    const em: Inline = { is: 'em', inline: inline(both[1] ?? '', depth + 2) };
    return { piece: { is: 'strong', inline: [em] }, length: both[0].length };
  }
  for (const [mark, is] of MARKS) {
    if (!rest.startsWith(mark) || open.has(mark) || /\s/.test(rest[mark.length] ?? ' ')) continue;
    // An underscore within a word is part of it.
    if (mark[0] === '_' && /\w/.test(before)) return { piece: mark, length: mark.length };
    const end = closing(rest, mark);
    if (end > 0) {
      const inner = inline(rest.slice(mark.length, end), depth + 1);
      return { piece: { is, inline: inner }, length: end + mark.length };
    }
    open.add(mark);
  }
  return undefined;
}

/** Where a mark that opens at 0 closes: behind something, and, for underscores, at the end of a word. */
function closing(rest: string, mark: string): number {
  for (let at = rest.indexOf(mark, mark.length + 1); at > 0; at = rest.indexOf(mark, at + 1)) {
    const after = rest[at + mark.length] ?? ' ';
    const isLonger = mark.length === 1 && (after === mark || rest[at - 1] === mark);
    if (isLonger || /\s|\\/.test(rest[at - 1] ?? ' ') || (mark[0] === '_' && /\w/.test(after))) continue;
    return at;
  }
  return -1;
}

/** Only the words, for where there is no room for more. */
export function words(text: string): string {
  const of = (pieces: readonly Inline[]): string =>
    pieces
      .map(piece => {
        if (typeof piece === 'string') return piece;
        if (piece.is === 'break') return ' ';
        return piece.is === 'code' ? piece.text : of(piece.inline);
      })
      .join('');
  const ofBlocks = (blocks: readonly Block[]): string =>
    blocks
      .map(block => {
        if (block.is === 'rule') return '';
        if (block.is === 'code') return block.text;
        if (block.is === 'quote') return ofBlocks(block.blocks);
        if (block.is === 'list') return block.items.map(ofBlocks).join(', ');
        return of(block.inline);
      })
      .join(' ');
  return ofBlocks(parse(text.slice(0, 1000))).trim();
}
