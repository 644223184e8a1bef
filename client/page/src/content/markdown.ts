import { trimmed, webUrl } from './links.js';

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
 *
 * Whatever it is given it takes a time that goes with the length: no pattern here can match the same text in several ways.
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
    const heading = /^ {0,3}(#{1,6})[ \t]/.exec(line);
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
      blocks.push({
        is: 'heading',
        level: heading[1]?.length ?? 1,
        inline: inline(title(line.slice(heading[0].length))),
      });
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
  const match = /^ {0,3}([-*+]|(\d{1,9})[.)]) +(?=\S)/.exec(line);
  if (!match) return undefined;
  const [{ length: indent }, mark = '', number] = match;
  return {
    mark: mark.slice(-1),
    number: number === undefined ? undefined : Number(number),
    indent,
    text: line.slice(indent),
  };
}

/** A heading without the marks that may close it. */
function title(line: string): string {
  const text = line.trim();
  let end = text.length;
  while (text[end - 1] === '#') end -= 1;
  return end === 0 || /\s/.test(text[end - 1] ?? '') ? text.slice(0, end).trimEnd() : text;
}

/** Whether a line belongs to the item above: it is indented, and not by too little. */
function continues(line: string, indent: number): boolean {
  return line.trim() !== '' && line.search(/\S/) >= Math.min(indent, 2);
}

const SPECIAL = /[\\`*_~[!<\n]|https?:\/\//gi;
const ESCAPED = /\\([!-/:-@[-`{-~])/y;
const TICKS = /`+/y;
const LINK =
  /!?\[((?:[^[\]\\\n]|\\.){0,500})\]\(\s*<?([^\s()<>]{1,2048}(?:\([^\s()<>]*\)[^\s()<>]*)?)>?(?:\s+"[^"\n]*")?\s*\)/y;
const ADDRESS = /<?(https?:\/\/[^\s<>"'`{}|\\^]+)>?/iy;
const BOTH = /\*\*\*([^\s*](?:[^*\n]*[^\s*])?)\*\*\*/y;
const MARKS: readonly [string, 'strong' | 'em' | 'del'][] = [
  ['**', 'strong'],
  ['__', 'strong'],
  ['~~', 'del'],
  ['*', 'em'],
  ['_', 'em'],
];

/** What a pattern finds from a place on, or, if it is sticky, at it. */
function find(pattern: RegExp, text: string, at: number): RegExpExecArray | null {
  pattern.lastIndex = at;
  return pattern.exec(text);
}

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
    const special = depth > DEEPEST ? text.length : (find(SPECIAL, text, i)?.index ?? text.length);
    if (special > i) {
      plain += text.slice(i, special);
      i = special;
      continue;
    }
    const found = token(text, i, depth, open);
    if (found) {
      if (typeof found.piece === 'string') plain += found.piece;
      else add(found.piece);
      i += found.length;
    } else {
      plain += text[i];
      i += 1;
    }
  }
  if (plain !== '') out.push(plain);
  return out;
}

function token(
  text: string,
  i: number,
  depth: number,
  open: Set<string>,
): { piece: Inline; length: number } | undefined {
  const before = text[i - 1] ?? ' ';
  const escaped = find(ESCAPED, text, i);
  if (escaped) return { piece: escaped[1] ?? '', length: 2 };
  if (text[i] === '\n') return { piece: { is: 'break' }, length: 1 };
  const ticks = find(TICKS, text, i)?.[0];
  if (ticks !== undefined) {
    const from = i + ticks.length;
    const end = open.has(ticks) ? -1 : closingTicks(text, from, ticks);
    if (end < 0) {
      open.add(ticks);
      return { piece: ticks, length: ticks.length };
    }
    const code = text.slice(from, end).replace(/^ (.*) $/, '$1');
    return { piece: { is: 'code', text: code }, length: end + ticks.length - i };
  }
  const link = find(LINK, text, i);
  if (link) {
    const url = webUrl(link[2]);
    if (url)
      return { piece: { is: 'link', url, inline: inline(link[1] || url.href, DEEPEST + 1) }, length: link[0].length };
    return undefined;
  }
  const bare = /\w/.test(before) ? null : find(ADDRESS, text, i);
  if (bare) {
    const [whole, all = ''] = bare;
    const address = trimmed(all);
    const url = webUrl(address);
    // What is no address after all is not looked through for another one.
    if (!url) return { piece: whole, length: whole.length };
    return { piece: { is: 'link', url, inline: [address] }, length: text[i] === '<' ? whole.length : address.length };
  }
  const both = find(BOTH, text, i);
  if (both) {
    const em: Inline = { is: 'em', inline: inline(both[1] ?? '', depth + 2) };
    return { piece: { is: 'strong', inline: [em] }, length: both[0].length };
  }
  for (const [mark, is] of MARKS) {
    const from = i + mark.length;
    if (!text.startsWith(mark, i) || open.has(mark) || /\s/.test(text[from] ?? ' ')) continue;
    // An underscore within a word is part of it.
    if (mark[0] === '_' && /\w/.test(before)) return { piece: mark, length: mark.length };
    const end = closing(text, from, mark);
    if (end > 0) {
      const inner = inline(text.slice(from, end), depth + 1);
      return { piece: { is, inline: inner }, length: end + mark.length - i };
    }
    open.add(mark);
  }
  return undefined;
}

/** Where a mark that was opened before `from` closes: behind something, and, for underscores, at the end of a word. */
function closing(text: string, from: number, mark: string): number {
  for (let at = text.indexOf(mark, from + 1); at > 0; at = text.indexOf(mark, at + 1)) {
    const after = text[at + mark.length] ?? ' ';
    const isLonger = mark.length === 1 && (after === mark || text[at - 1] === mark);
    if (isLonger || /\s|\\/.test(text[at - 1] ?? ' ') || (mark[0] === '_' && /\w/.test(after))) continue;
    return at;
  }
  return -1;
}

/** Where as many backticks stand next, no more and no fewer. */
function closingTicks(text: string, from: number, ticks: string): number {
  for (let at = text.indexOf('`', from); at >= 0; ) {
    const { length } = find(TICKS, text, at)?.[0] ?? '`';
    if (length === ticks.length) return at;
    at = text.indexOf('`', at + length);
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
