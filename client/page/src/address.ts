import { type Identity, identityOf, isUser, lastUser, rememberedToken, rememberToken, subjectOf } from './identity.js';

/** User and conversation that the address of the page selects. */
export interface InitialAddress {
  readonly identity: Identity | undefined;
  readonly to: string | undefined;
  /** User name for the sign-in form, if there is no identity. */
  readonly suggested: string | undefined;
  /** Link of a user other than the one who is signed in: the page asks before it changes the user. */
  readonly link?: TokenLink | undefined;
  /** Who was signed in before a link with a new token of the same user, which the server may reject. */
  readonly before?: Identity | undefined;
}

/** A link with a token. */
export interface TokenLink {
  readonly identity: Identity;
  readonly to: string | undefined;
}

/** Reads the address when the page is opened. */
export function readAddress(): InitialAddress {
  const { user, to } = readQuery();
  const stored = rememberedToken();
  const last = lastUser();
  const link = takeLink(stored === undefined ? last : (subjectOf(stored) ?? last ?? ''));
  if (link && !link.asks) {
    rememberToken(link.identity);
    return { ...link, suggested: undefined, before: identityOf(undefined, stored) };
  }
  // A reload must not do without a question what the link asks for.
  if (link) history.replaceState(history.state, '', location.pathname);
  // The user and the recipient in the address of such a link are not meant for the user who is signed in.
  const identity = identityOf(link ? undefined : user, stored);
  return { identity, to: link ? undefined : to, suggested: link ? last : user, link };
}

/**
 * Takes the token of a link from the address. The user of the token takes precedence over the one in the address, who may be
 * the previous one and counts only if nobody is signed in.
 *
 * @param current The user who is signed in, if any; an empty string if the name is not known.
 * @returns The link, and whether it is not one of this user. The writer of a link must not decide whose account the user of this
 * page writes with, so the page asks.
 */
export function takeLink(current: string | undefined): (TokenLink & { readonly asks: boolean }) | undefined {
  const token = takeToken();
  const { user = '', to } = readQuery();
  const isSignedIn = current !== undefined;
  const named = token && subjectOf(token);
  const identity = token && identityOf(named ?? (isUser(user) && !isSignedIn ? user : undefined), token);
  return identity ? { identity, to, asks: isSignedIn && current !== named } : undefined;
}

/** Reads the query parameters `user` and `to`. */
export function readQuery(): { user: string | undefined; to: string | undefined } {
  const query = new URLSearchParams(location.search);
  const to = query.get('to') ?? '';
  return { user: query.get('user') ?? undefined, to: isUser(to) ? to : undefined };
}

/**
 * Takes the token from the fragment of the address, which browsers do not send to servers. It is removed from the address at
 * once, because addresses are copied, displayed and kept in the history.
 */
function takeToken(): string | undefined {
  const token = new URLSearchParams(location.hash.slice(1)).get('token')?.trim();
  if (!token) return undefined;
  history.replaceState(history.state, '', location.pathname + location.search);
  return token;
}

/** Returns the address of the page for a user and a conversation. */
export function pageAddress(user: string | undefined, to: string | undefined): string {
  const query = new URLSearchParams({ ...(user !== undefined && { user }), ...(to !== undefined && { to }) });
  return query.size > 0 ? `?${query}` : location.pathname;
}
