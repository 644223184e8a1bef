/** An address that may be followed or loaded: http or https, nothing else. Normalised, so that what is shown is where it leads. */
export function webUrl(text: unknown): URL | undefined {
  if (typeof text !== 'string') return undefined;
  try {
    const url = new URL(text.trim());
    // A name before an `@` is there to be mistaken for the host.
    if (!/^https?:$/.test(url.protocol) || url.username !== '' || url.password !== '') return undefined;
    return url;
  } catch {
    return undefined;
  }
}

/** What the page itself may load when it is asked to, by its content security policy. */
export function isLoadable(url: URL): boolean {
  return url.protocol === 'https:';
}

export interface Piece {
  readonly text: string;
  readonly url?: URL;
}

const ADDRESS = /\bhttps?:\/\/[^\s<>"'`{}|\\^]+/gi;

/** Text, with the addresses in it found. */
export function pieces(text: string): Piece[] {
  const found: Piece[] = [];
  let end = 0;
  for (const match of text.matchAll(ADDRESS)) {
    const address = trimmed(match[0]);
    const url = webUrl(address);
    if (!url) continue;
    if (match.index > end) found.push({ text: text.slice(end, match.index) });
    found.push({ text: address, url });
    end = match.index + address.length;
  }
  if (end < text.length) found.push({ text: text.slice(end) });
  return found;
}

/** Without what is more likely to belong to the sentence: its marks, and brackets that were not opened in the address. */
export function trimmed(address: string): string {
  let unopened = address.split(')').length - address.split('(').length;
  let end = address.length;
  for (; end > 0; end -= 1) {
    const last = address[end - 1] ?? '';
    if (last === ')' && unopened > 0) unopened -= 1;
    else if (!'.,:;!?*_~'.includes(last)) break;
  }
  return address.slice(0, end);
}

/** Marks that turn the direction of what follows: in a name they make one ending look like another. */
const TURNS = /[\u061c\u200e\u200f\u202a-\u202e\u2066-\u2069]/g;

/** A name as it is, whatever it wants to look like. */
export function plainName(name: string): string {
  return name.replace(TURNS, '\ufffd');
}
