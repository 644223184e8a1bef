import { DmwireError } from './errors.js';
import type { Target } from './options.js';

/** Returns the frame fields that address `to`. */
export function targetFields(to: Target): { target_user: string } | { target_room: string } {
  if (typeof to === 'string') return { target_user: to };
  return to.user !== undefined ? { target_user: to.user } : { target_room: to.room };
}

/** Returns the `sub` claim of a token. The signature is not checked here; the server checks it. */
export function subjectOf(token: string | undefined): string | undefined {
  try {
    const [, claims = ''] = token?.split('.') ?? [];
    const { sub } = JSON.parse(atob(claims.replaceAll('-', '+').replaceAll('_', '/')));
    return typeof sub === 'string' ? sub : undefined;
  } catch {
    return undefined;
  }
}

/**
 * Returns the WebSocket URL of a user. With `null` the token names the user; with `undefined` the URL is that of the server
 * itself.
 */
export function socketUrl(server: string | URL, user: string | null | undefined): string {
  let url: URL;
  try {
    url = new URL(server, (globalThis as { location?: Location }).location?.href);
  } catch (cause) {
    throw new DmwireError('invalid_request', `invalid URL: ${server}`, { cause });
  }
  url.protocol = url.protocol.replace('http', 'ws');
  if (!/^wss?:$/.test(url.protocol)) throw new DmwireError('invalid_request', `not an http or ws URL: ${server}`);
  url.search = url.hash = '';
  // URL turns an empty path into a slash.
  const base = url.pathname.replace(/\/+$/, '');
  url.pathname = base;
  if (user === undefined) return url.href;
  // URL parsers remove these two path segments.
  if (user === '.' || user === '..') throw new DmwireError('invalid_request', `invalid user name: ${user}`);
  url.pathname = user === null ? `${base}/ws` : `${base}/ws/${encodeURIComponent(user)}`;
  return url.href;
}
