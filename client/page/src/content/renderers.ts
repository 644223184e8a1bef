import type { Content } from '../../../src/index.js';
import type { Renderer } from '../../../src/page.js';
import { parseWebUrl } from './links.js';

/** A card whose fields are checked. */
export interface CheckedCard {
  readonly title: string;
  readonly details: readonly string[];
  readonly lines: readonly string[];
  readonly link: { readonly label: string; readonly url: URL } | undefined;
  readonly actions: readonly { readonly label: string; readonly send: Content }[];
}

/** The renderers by the type of the content that they show. */
const renderers = new Map<string, Renderer<unknown, unknown>>();
/** Types whose renderer has failed. */
const failed = new Set<string>();

/** Shows content of an application's type by a renderer. */
export function addRenderer<C, Send>(type: string, renderer: Renderer<C, Send>): void {
  if (typeof type !== 'string' || !type.includes('.') || typeof renderer !== 'function') {
    throw new TypeError('addRenderer needs a content type with a dot in its name, and a function');
  }
  renderers.set(type, renderer as Renderer<unknown, unknown>);
}

/** Returns the card of a content. `undefined`: its type has no renderer, or the renderer cannot show it. */
export function cardOf(content: { readonly type: string }, isMine: boolean): CheckedCard | undefined {
  const renderer = renderers.get(content.type);
  if (!renderer) return undefined;
  try {
    return checked(renderer(content, { isMine }));
  } catch (error) {
    // Once, because it is called each time that the message is displayed.
    if (!failed.has(content.type)) console.warn(`The renderer of ${content.type} has failed:`, error);
    failed.add(content.type);
    return undefined;
  }
}

/** Checks the types of all fields: content that is older than its schema may make a renderer return others. */
function checked(card: ReturnType<Renderer<unknown, unknown>>): CheckedCard {
  const { title, details = [], lines = [], link, actions = [] } = card;
  const url = link && parseWebUrl(link.url);
  return {
    title: text(title),
    details: details.map(text),
    lines: lines.map(text),
    link: link && url && { label: text(link.label), url },
    actions: actions.map(({ label, send }) => ({ label: text(label), send: send as Content })),
  };
}

function text(value: unknown): string {
  if (typeof value !== 'string') throw new TypeError('a card consists of strings');
  return value;
}
