import { type Identity, identityOf, isUser, lastUser, rememberedToken, rememberToken, subjectOf } from './identity.js';
import { peerOfRoom, roomOf } from './peer.js';

/** The conversation that an address selects. */
export interface Destination {
  /** The other user, or `#` and the name of the room. */
  readonly peer: string;
  /** How the page joins the room. Absent if the user has to ask for that, and for users. */
  readonly membership?: Membership | undefined;
}

/** `session`: for as long as the page is connected. */
export type Membership = 'lasting' | 'session';

/** What an entry of the browser's history keeps, over reloads. */
export interface PageState {
  /** The entry before it is the list of conversations. */
  readonly list?: boolean;
  /** The room that the page joins for as long as it is connected. */
  readonly session?: string | undefined;
}

/** User and conversation that the address of the page selects. */
export interface InitialAddress {
  readonly identity: Identity | undefined;
  readonly to: Destination | undefined;
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
  readonly to: Destination | undefined;
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
  // The writer of a link without a token must not decide which rooms the owner of a token joins.
  const isAsked = stored !== undefined && pageState() === undefined;
  const destination = to && isAsked ? { peer: to.peer } : to;
  return { identity, to: link ? undefined : destination, suggested: link ? last : user, link };
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

/** Reads the query parameters `user`, and `room` or `to`. */
export function readQuery(): { user: string | undefined; to: Destination | undefined } {
  const query = new URLSearchParams(location.search);
  const room = query.get('room') ?? '';
  const to = query.get('to') ?? '';
  const user = query.get('user') ?? undefined;
  if (!isUser(room)) return { user, to: isUser(to) ? { peer: to } : undefined };
  const state = pageState();
  let membership: Membership | undefined = query.get('membership') === 'session' ? 'session' : 'lasting';
  // After a reload, or a return to it: the user may have left the room since the page has joined it.
  if (state && state.session !== room) membership = undefined;
  return { user, to: { peer: peerOfRoom(room), membership } };
}

/** Returns the state of the current history entry; undefined if the page has not been there before. */
export function pageState(): PageState | undefined {
  return (history.state as PageState | null) ?? undefined;
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

/**
 * Returns the address of the page for a user and a conversation.
 *
 * @param session The room that the page joins for as long as it is connected.
 */
export function pageAddress(user: string | undefined, peer: string | undefined, session?: string): string {
  const room = roomOf(peer ?? '');
  const query = new URLSearchParams({
    ...(user !== undefined && { user }),
    ...(room === undefined ? peer !== undefined && { to: peer } : { room }),
    ...(room !== undefined && room === session && { membership: 'session' }),
  });
  return query.size > 0 ? `?${query}` : location.pathname;
}
