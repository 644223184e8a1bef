import { cut } from '../text.js';
import { parseWebUrl, withoutPunctuation } from './links.js';

/** A block of parsed Markdown. The page creates elements from it and never inserts text as markup. */
export type Block =
  | { readonly kind: 'paragraph'; readonly inline: readonly Inline[] }
  | { readonly kind: 'heading'; readonly level: number; readonly inline: readonly Inline[] }
  | { readonly kind: 'code'; readonly text: string }
  | { readonly kind: 'quote'; readonly blocks: readonly Block[] }
  | { readonly kind: 'list'; readonly first: number | undefined; readonly items: readonly (readonly Block[])[] }
  | { readonly kind: 'rule' };

/** Inline content of a block. */
export type Inline =
  | string
  | { readonly kind: 'strong' | 'em' | 'del'; readonly inline: readonly Inline[] }
  | { readonly kind: 'code'; readonly text: string }
  | { readonly kind: 'link'; readonly url: URL; readonly inline: readonly Inline[] }
  | { readonly kind: 'break' };

/** Maximum nesting depth. */
const MAX_DEPTH = 8;

/**
 * Parses the subset of Markdown that is common in messages: paragraphs, headings, code, quotes, lists, rules; strong,
 * emphasis, strikethrough, code, links. HTML is plain text. Images become links, because the page loads nothing on its own.
 *
 * Parsing takes linear time: no pattern can match the same text in more than one way.
 */
export function parse(text: string, depth = 0): Block[] {
  const blocks: Block[] = [];
  const lines = text.replace(/\r\n?/g, '\n').split('\n');
  let paragraph: string[] = [];
  const endParagraph = () => {
    if (paragraph.length > 0) blocks.push({ kind: 'paragraph', inline: inline(paragraph.join('\n')) });
    paragraph = [];
  };
  for (let i = 0; i < lines.length; ) {
    const line = lines[i] ?? '';
    const fence = /^ {0,3}(```+|~~~+)/.exec(line)?.[1];
    const heading = /^ {0,3}(#{1,6})[ \t]/.exec(line);
    const bullet = listItem(line);
    if (fence !== undefined) {
      endParagraph();
      const isEnd = (other: string) => other.trim().startsWith(fence) && /^(`+|~+)$/.test(other.trim());
      const from = i + 1;
      for (i = from; i < lines.length && !isEnd(lines[i] ?? ''); ) i += 1;
      blocks.push({ kind: 'code', text: lines.slice(from, i).join('\n') });
      i += 1;
    } else if (heading) {
      endParagraph();
      blocks.push({
        kind: 'heading',
        level: heading[1]?.length ?? 1,
        inline: inline(headingText(line.slice(heading[0].length))),
      });
      i += 1;
    } else if (/^ {0,3}([-*_])( *\1){2,} *$/.test(line)) {
      endParagraph();
      blocks.push({ kind: 'rule' });
      i += 1;
    } else if (/^ {0,3}>/.test(line) && depth < MAX_DEPTH) {
      endParagraph();
      const inner: string[] = [];
      for (; i < lines.length && /^ {0,3}>/.test(lines[i] ?? ''); i += 1) {
        inner.push((lines[i] ?? '').replace(/^ {0,3}> ?/, ''));
      }
      blocks.push({ kind: 'quote', blocks: parse(inner.join('\n'), depth + 1) });
    } else if (
      bullet &&
      depth < MAX_DEPTH &&
      (paragraph.length === 0 || bullet.number === undefined || bullet.number === 1)
    ) {
      endParagraph();
      const items: Block[][] = [];
      for (let next = listItem(lines[i] ?? ''); next && next.mark === bullet.mark; next = listItem(lines[i] ?? '')) {
        const inner = [next.text];
        const { indent } = next;
        for (i += 1; i < lines.length && continues(lines[i] ?? '', indent); i += 1) {
          inner.push((lines[i] ?? '').slice(Math.min(indent, (lines[i] ?? '').search(/\S|$/))));
        }
        items.push(parse(inner.join('\n'), depth + 1));
        while (i + 1 < lines.length && lines[i]?.trim() === '' && listItem(lines[i + 1] ?? '')?.mark === bullet.mark)
          i += 1;
      }
      blocks.push({ kind: 'list', first: bullet.number, items });
    } else {
      if (line.trim() === '') endParagraph();
      else paragraph.push(line.trimStart());
      i += 1;
    }
  }
  endParagraph();
  return blocks;
}

/** Parses the first line of a list item. */
function listItem(
  line: string,
): { mark: string; number: number | undefined; indent: number; text: string } | undefined {
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

/** Returns the text of a heading without closing `#` characters. */
function headingText(line: string): string {
  const text = line.trim();
  let end = text.length;
  while (text[end - 1] === '#') end -= 1;
  return end === 0 || /\s/.test(text[end - 1] ?? '') ? text.slice(0, end).trimEnd() : text;
}

/** Whether a line continues the list item above, by its indentation. */
function continues(line: string, indent: number): boolean {
  return line.trim() !== '' && line.search(/\S/) >= Math.min(indent, 2);
}

const SPECIAL = /[\\`*_~[!<\n]|https?:\/\//gi;
const ESCAPED = /\\([!-/:-@[-`{-~])/y;
const TICKS = /`+/y;
const LINK =
  /!?\[((?:[^[\]\\\n]|\\.){0,500})\]\(\s*<?([^\s()<>]{1,2048}(?:\([^\s()<>]*\)[^\s()<>]*)?)>?(?:\s+"[^"\n]*")?\s*\)/y;
const URL_PATTERN = /<?(https?:\/\/[^\s<>"'`{}|\\^]+)>?/iy;
const STRONG_EM = /\*\*\*([^\s*](?:[^*\n]*[^\s*])?)\*\*\*/y;
const MARKS: readonly [string, 'strong' | 'em' | 'del'][] = [
  ['**', 'strong'],
  ['__', 'strong'],
  ['~~', 'del'],
  ['*', 'em'],
  ['_', 'em'],
];

/** Matches a pattern at or after an index; a sticky pattern only at the index. */
function matchAt(pattern: RegExp, text: string, index: number): RegExpExecArray | null {
  pattern.lastIndex = index;
  return pattern.exec(text);
}

/** Parses the text of a block. `depth` is the nesting depth. */
export function inline(text: string, depth = 0): Inline[] {
  const out: Inline[] = [];
  /** Marks without a closing mark in the rest of the text, so that each is searched once. This keeps the time linear. */
  const unclosed = new Set<string>();
  let plain = '';
  const add = (piece: Inline) => {
    if (plain !== '') out.push(plain);
    plain = '';
    out.push(piece);
  };
  for (let i = 0; i < text.length; ) {
    const special = depth > MAX_DEPTH ? text.length : (matchAt(SPECIAL, text, i)?.index ?? text.length);
    if (special > i) {
      plain += text.slice(i, special);
      i = special;
      continue;
    }
    const found = parseToken(text, i, depth, unclosed);
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

/** Parses the token at index `i`. Returns undefined for a plain character. */
function parseToken(
  text: string,
  i: number,
  depth: number,
  unclosed: Set<string>,
): { piece: Inline; length: number } | undefined {
  const before = text[i - 1] ?? ' ';
  const escaped = matchAt(ESCAPED, text, i);
  if (escaped) return { piece: escaped[1] ?? '', length: 2 };
  if (text[i] === '\n') return { piece: { kind: 'break' }, length: 1 };
  const ticks = matchAt(TICKS, text, i)?.[0];
  if (ticks !== undefined) {
    const from = i + ticks.length;
    const end = unclosed.has(ticks) ? -1 : closingTicks(text, from, ticks);
    if (end < 0) {
      unclosed.add(ticks);
      return { piece: ticks, length: ticks.length };
    }
    const code = text.slice(from, end).replace(/^ (.*) $/, '$1');
    return { piece: { kind: 'code', text: code }, length: end + ticks.length - i };
  }
  const link = matchAt(LINK, text, i);
  if (link) {
    const url = parseWebUrl(link[2]);
    if (url)
      return {
        piece: { kind: 'link', url, inline: inline(link[1] || url.href, MAX_DEPTH + 1) },
        length: link[0].length,
      };
    return undefined;
  }
  const bare = /\w/.test(before) ? null : matchAt(URL_PATTERN, text, i);
  if (bare) {
    const [whole, all = ''] = bare;
    const address = withoutPunctuation(all);
    const url = parseWebUrl(address);
    // Skip an invalid URL as a whole instead of searching within it.
    if (!url) return { piece: whole, length: whole.length };
    return { piece: { kind: 'link', url, inline: [address] }, length: text[i] === '<' ? whole.length : address.length };
  }
  const strongEm = matchAt(STRONG_EM, text, i);
  if (strongEm) {
    const em: Inline = { kind: 'em', inline: inline(strongEm[1] ?? '', depth + 2) };
    return { piece: { kind: 'strong', inline: [em] }, length: strongEm[0].length };
  }
  for (const [mark, kind] of MARKS) {
    const from = i + mark.length;
    if (!text.startsWith(mark, i) || unclosed.has(mark) || /\s/.test(text[from] ?? ' ')) continue;
    // Underscores within a word are plain text.
    if (mark[0] === '_' && /\w/.test(before)) return { piece: mark, length: mark.length };
    const end = closingMark(text, from, mark);
    if (end > 0) {
      const inner = inline(text.slice(from, end), depth + 1);
      return { piece: { kind, inline: inner }, length: end + mark.length - i };
    }
    unclosed.add(mark);
  }
  return undefined;
}

/** Returns the index of the closing mark: after a non-space character and, for underscores, at the end of a word. */
function closingMark(text: string, from: number, mark: string): number {
  for (let at = text.indexOf(mark, from + 1); at > 0; at = text.indexOf(mark, at + 1)) {
    const after = text[at + mark.length] ?? ' ';
    const isLonger = mark.length === 1 && (after === mark || text[at - 1] === mark);
    if (isLonger || /\s|\\/.test(text[at - 1] ?? ' ') || (mark[0] === '_' && /\w/.test(after))) continue;
    return at;
  }
  return -1;
}

/** Returns the index of the next run of exactly as many backticks. */
function closingTicks(text: string, from: number, ticks: string): number {
  for (let at = text.indexOf('`', from); at >= 0; ) {
    const { length } = matchAt(TICKS, text, at)?.[0] ?? '`';
    if (length === ticks.length) return at;
    at = text.indexOf('`', at + length);
  }
  return -1;
}

/** Returns the plain text of Markdown, for previews. */
export function plainText(text: string): string {
  return ofBlocks(parse(cut(text, 1000))).trim();
}

/** Returns the plain text of parsed Markdown. */
export function ofBlocks(blocks: readonly Block[]): string {
  return blocks
    .map(block => {
      if (block.kind === 'rule') return '';
      if (block.kind === 'code') return block.text;
      if (block.kind === 'quote') return ofBlocks(block.blocks);
      if (block.kind === 'list') return block.items.map(ofBlocks).join(', ');
      return ofInline(block.inline);
    })
    .join(' ');
}

function ofInline(pieces: readonly Inline[]): string {
  return pieces
    .map(piece => {
      if (typeof piece === 'string') return piece;
      if (piece.kind === 'break') return ' ';
      return piece.kind === 'code' ? piece.text : ofInline(piece.inline);
    })
    .join('');
}
