/** What the page shows, as the fragment of its address: `#/users/8888`. It never contains the key. */

import { isUser } from '../identity.js';

export const VIEWS = ['overview', 'sessions', 'users', 'rooms', 'webhooks'] as const;
export type View = (typeof VIEWS)[number];

export interface Place {
  readonly view: View;
  /** A user or a room. */
  readonly name?: string;
}

export function readPlace(hash: string): Place {
  const [, view, name, ...rest] = hash.replace(/^#/, '').split('/');
  const known = VIEWS.find(each => each === view);
  if (!known || rest.length > 0) return { view: 'overview' };
  const decoded = decode(name);
  return decoded !== undefined && isName(decoded) && hasNames(known) ? { view: known, name: decoded } : { view: known };
}

export function placeHash({ view, name }: Place): string {
  return name === undefined ? `#/${view}` : `#/${view}/${encodeURIComponent(name)}`;
}

/** Whether a text can be the name of a user or of a room, which have the same form. */
export const isName = isUser;

function hasNames(view: View): boolean {
  return view === 'users' || view === 'rooms';
}

function decode(text: string | undefined): string | undefined {
  try {
    return text === undefined ? undefined : decodeURIComponent(text);
  } catch {
    return undefined;
  }
}
