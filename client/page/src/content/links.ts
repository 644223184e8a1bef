/** Parses a URL that may be followed or loaded: http or https only. Normalised, so that the page shows the actual target. */
export function parseWebUrl(text: unknown): URL | undefined {
  if (typeof text !== 'string') return undefined;
  try {
    const url = new URL(text.trim());
    // A user name before an `@` can be mistaken for the host.
    if (!/^https?:$/.test(url.protocol) || url.username !== '' || url.password !== '') return undefined;
    return url;
  } catch {
    return undefined;
  }
}

/** Whether the content security policy of the page allows to load the URL. */
export function isLoadable(url: URL): boolean {
  return url.protocol === 'https:';
}

/** A part of a text: plain text, or a link. */
export interface TextPart {
  readonly text: string;
  readonly url?: URL;
}

const URL_PATTERN = /\bhttps?:\/\/[^\s<>"'`{}|\\^]+/gi;

/** Splits a text into plain text and links. */
export function linkify(text: string): TextPart[] {
  const parts: TextPart[] = [];
  let end = 0;
  for (const match of text.matchAll(URL_PATTERN)) {
    const address = withoutPunctuation(match[0]);
    const url = parseWebUrl(address);
    if (!url) continue;
    if (match.index > end) parts.push({ text: text.slice(end, match.index) });
    parts.push({ text: address, url });
    end = match.index + address.length;
  }
  if (end < text.length) parts.push({ text: text.slice(end) });
  return parts;
}

/** Removes trailing characters that belong to the sentence: punctuation, and brackets without an opening one in the URL. */
export function withoutPunctuation(address: string): string {
  let unmatched = address.split(')').length - address.split('(').length;
  let end = address.length;
  for (; end > 0; end -= 1) {
    const last = address[end - 1] ?? '';
    if (last === ')' && unmatched > 0) unmatched -= 1;
    else if (!'.,:;!?*_~'.includes(last)) break;
  }
  return address.slice(0, end);
}

/** Bidirectional control characters. They can disguise the extension of a file name. */
const BIDI_CONTROLS = /[\u061c\u200e\u200f\u202a-\u202e\u2066-\u2069]/g;

/** Replaces bidirectional control characters in a name. */
export function safeName(name: string): string {
  return name.replace(BIDI_CONTROLS, '\ufffd');
}
