/** Absent in older browsers. */
const segmenter = Intl.Segmenter && new Intl.Segmenter();

/**
 * Returns the start of a text, at most `max` UTF-16 code units. A character as readers see it, such as an emoji of several code
 * points or a letter with marks, is kept or dropped as a whole; only one that alone exceeds `max` is cut, between code points.
 */
export function cut(text: string, max: number): string {
  if (text.length <= max) return text;
  let end = segmenter?.segment(text.slice(0, max + 2)).containing(max)?.index ?? max;
  if (!segmenter) while (isWithin(text, end)) end -= 1;
  return text.slice(0, end || (/^[\udc00-\udfff]/.test(text.slice(max)) ? max - 1 : max));
}

/** Cuts a text like {@link cut} and marks that something is missing. */
export function shorten(text: string, max: number): string {
  return text.length > max ? `${cut(text, max)}…` : text;
}

/** Whether a position is within a character, by its neighbours: it precedes a mark, or is next to a joiner. */
function isWithin(text: string, at: number): boolean {
  return /^(?:[\udc00-\udfff\p{M}\p{EMod}]|\u200d)/u.test(text.slice(at, at + 2)) || text[at - 1] === '\u200d';
}

const RIGHT_TO_LEFT = /[\u0590-\u08ff\ufb1d-\ufdff\ufe70-\ufefc\u{10800}-\u{10fff}\u{1e800}-\u{1efff}]/u;

/** Returns the direction of a text by its first letter, as `dir="auto"` determines it. */
export function direction(text: string): 'ltr' | 'rtl' {
  return RIGHT_TO_LEFT.test(/\p{L}/u.exec(text)?.[0] ?? '') ? 'rtl' : 'ltr';
}
