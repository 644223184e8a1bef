import { DmwireError } from './errors.js';
import type { Target } from './options.js';

/** The fields that address a frame. */
export function target(to: Target): { target_user: string } | { target_room: string } {
  if (typeof to === 'string') return { target_user: to };
  return to.user !== undefined ? { target_user: to.user } : { target_room: to.room };
}

/** Whom a token names: not checked, that is the server's part. */
export function subject(token: string | undefined): string | undefined {
  try {
    const [, claims = ''] = token?.split('.') ?? [];
    const { sub } = JSON.parse(atob(claims.replaceAll('-', '+').replaceAll('_', '/')));
    return typeof sub === 'string' ? sub : undefined;
  } catch {
    return undefined;
  }
}

/** The address of a user's socket; `null` where the token names the user, `undefined` for the server's own address. */
export function address(server: string | URL, user: string | null | undefined): string {
  let url: URL;
  try {
    url = new URL(server, (globalThis as { location?: Location }).location?.href);
  } catch (cause) {
    throw new DmwireError('invalid_request', `not an address: ${server}`, { cause });
  }
  url.protocol = url.protocol.replace('http', 'ws');
  if (!/^wss?:$/.test(url.protocol)) throw new DmwireError('invalid_request', `not an http or ws address: ${server}`);
  url.search = url.hash = '';
  // A path of nothing is a slash to URLs.
  const base = url.pathname.replace(/\/+$/, '');
  url.pathname = base;
  if (user === undefined) return url.href;
  // These two would be taken out of the address on the way.
  if (user === '.' || user === '..') throw new DmwireError('invalid_request', `nobody can be ${user}`);
  url.pathname = user === null ? `${base}/ws` : `${base}/ws/${encodeURIComponent(user)}`;
  return url.href;
}
