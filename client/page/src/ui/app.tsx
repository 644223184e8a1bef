import type { JSX } from 'preact';
import { useEffect, useState } from 'preact/hooks';
import {
  type Destination,
  type InitialAddress,
  type PageState,
  pageAddress,
  pageState,
  readQuery,
  type TokenLink,
  takeLink,
} from '../address.js';
import { Chat } from '../chat.js';
import { preview } from '../content/content.js';
import { noticeText } from '../display.js';
import { type Identity, lastUser, rememberToken, rememberUser, serverUrl, storage } from '../identity.js';
import { peerOfRoom, roomOf } from '../peer.js';
import { Banner, isUserRejected } from './banner.js';
import { FramesDrawer } from './frames-drawer.js';
import { Confirm, useRerenderOn } from './parts.js';
import { Sidebar } from './sidebar.js';
import { SignIn } from './sign-in.js';
import { Thread } from './thread.js';

/** Number of announcements kept for screen readers. */
const MAX_ANNOUNCEMENTS = 5;

export function App({ initial }: { initial: InitialAddress }): JSX.Element {
  const [identity, setIdentity] = useState(initial.identity);
  const [to, setTo] = useState(initial.to);
  const [error, setError] = useState<string>();
  /** A link of another user, until the user of this page has decided. */
  const [link, setLink] = useState<TokenLink | undefined>(initial.link);
  /** Who was signed in before a link, until the server has accepted its token. */
  const [before, setBefore] = useState(initial.before);
  const [notice, setNotice] = useState<string>();
  const signIn = (next: Identity, to: Destination | undefined, replaced?: Identity, text?: string) => {
    rememberToken(next);
    // Its rooms are those of the user before.
    if (next.user !== identity?.user) history.replaceState(null, '', location.href);
    setBefore(replaced);
    setNotice(text);
    setTo(to);
    setError(undefined);
    setIdentity(next);
  };
  useEffect(() => {
    const onHashChange = () => {
      // The address names the user as soon as the name is known.
      const next = takeLink(identity ? (readQuery().user ?? '') : lastUser());
      // The address is that of the user who is signed in.
      if (next?.asks) setLink({ ...next, to: next.to && { peer: next.to.peer } });
      else if (next) signIn(next.identity, next.to, identity);
    };
    addEventListener('hashchange', onHashChange);
    return () => removeEventListener('hashchange', onHashChange);
  }, [identity]);
  const signOut = (reason?: string) => {
    rememberToken(undefined);
    rememberUser(undefined);
    history.replaceState(null, '', pageAddress(undefined, undefined));
    setError(reason);
    setTo(undefined);
    setIdentity(undefined);
  };
  const current = identity?.user ?? lastUser();
  return (
    <>
      {identity ? (
        <ChatView
          key={identity}
          identity={identity}
          to={to}
          notice={notice}
          onAccepted={() => setBefore(undefined)}
          onRejected={before && (reason => signIn(before, undefined, undefined, `The link is not valid: ${reason}`))}
          onSignOut={signOut}
        />
      ) : (
        <SignIn suggested={initial.suggested} to={to} error={error} onSignIn={(next, to) => signIn(next, to)} />
      )}
      {link && (
        <Confirm
          title="Change user?"
          action="Change user"
          onConfirm={() => signIn(link.identity, link.to, identity)}
          onClose={() => setLink(undefined)}
        >
          <p>
            This link signs you in as <bdi>{link.identity.user ?? 'another user'}</bdi>. Use it only if you know who
            sent it.
          </p>
          {current !== undefined && (
            <p>
              Unsent messages of {current} {storage() ? 'stay in this browser' : 'are lost'}.
            </p>
          )}
        </Confirm>
      )}
    </>
  );
}

interface ChatViewProps {
  readonly identity: Identity;
  readonly to: Destination | undefined;
  /** Shown at first. */
  readonly notice: string | undefined;
  /** The server has accepted the user. */
  readonly onAccepted: () => void;
  /** The server has rejected the user. Absent if the user is to be asked for another one. */
  readonly onRejected: ((reason: string) => void) | undefined;
  readonly onSignOut: (reason?: string) => void;
}

function ChatView({ identity, to, notice, onAccepted, onRejected, onSignOut }: ChatViewProps): JSX.Element {
  const [chat] = useState(() => {
    const room = roomOf(to?.peer ?? '');
    // It may have been joined in another conversation.
    const session = to?.membership === 'session' ? room : pageState()?.session;
    const created = new Chat({ url: serverUrl(), identity, storage: storage(), sessionRoom: session });
    created.notice = notice;
    if (room !== undefined && to?.membership === 'lasting') created.rooms.join(room);
    if (to) created.open(to.peer);
    return created;
  });
  const [showFrames, setShowFrames] = useState(false);
  const [announcements, setAnnouncements] = useState<readonly { id: string; text: string }[]>([]);
  useRerenderOn(rerender => chat.onChange(rerender));
  useRerenderOn(rerender => {
    addEventListener('online', rerender);
    addEventListener('offline', rerender);
    return () => {
      removeEventListener('online', rerender);
      removeEventListener('offline', rerender);
    };
  });

  useEffect(() => {
    const off = chat.onArrival((conversation, arrival) => {
      const { peer, room } = conversation;
      // Replayed messages are not announced, and joins only in the open room.
      if (chat.connection.status !== 'open' || (!('from' in arrival) && conversation !== chat.current)) return;
      const id = `${'from' in arrival ? arrival.id : arrival.seq}`;
      const text =
        'from' in arrival
          ? `${room ? `${arrival.from} in ` : ''}${peer}: ${preview(arrival.content, arrival.from === chat.me, 1000)}`
          : noticeText(arrival, chat.me);
      setAnnouncements(before => [...before.slice(1 - MAX_ANNOUNCEMENTS), { id, text }]);
    });
    const onPopState = () => {
      const { to } = readQuery();
      // The history entry may name an earlier user of this tab.
      const { session } = chat.rooms;
      const address = pageAddress(chat.me || undefined, to?.peer, session);
      history.replaceState({ ...pageState(), session }, '', address + location.hash);
      if (to) chat.open(to.peer);
      else chat.closeCurrent();
    };
    const onStorage = ({ key }: StorageEvent) => chat.onStorageChange(key);
    addEventListener('popstate', onPopState);
    addEventListener('storage', onStorage);
    return () => {
      off();
      removeEventListener('popstate', onPopState);
      removeEventListener('storage', onStorage);
      void chat.close();
    };
  }, [chat]);

  const peer = chat.current?.peer;
  const user = chat.me || undefined;
  const { session } = chat.rooms;
  const { connection } = chat;
  const isOpen = connection.status === 'open';
  useEffect(() => {
    if (!isOpen) return;
    rememberUser(user);
    onAccepted();
  }, [user, isOpen]);
  const rejection = connection.status === 'closed' && isUserRejected(connection) ? connection.reason : undefined;
  useEffect(() => {
    if (rejection !== undefined) onRejected?.(rejection);
  }, [rejection]);
  useEffect(() => {
    // The state tells after a reload that the page has been here, and which room it has joined.
    history.replaceState({ ...pageState(), session }, '', pageAddress(user, peer, session));
  }, [user, peer, session]);
  const { unread } = chat.conversations;
  useEffect(() => {
    document.title = `${unread > 0 ? `(${unread}) ` : ''}${peer ?? user ?? 'dmwire'} · dmwire`;
  }, [unread, peer, user]);

  const open = (next: string) => {
    // Add a history entry, so that the back button of a phone returns to the list.
    const state: PageState = { list: true, session };
    if (peer === undefined) history.pushState(state, '', pageAddress(user, next, session));
    chat.open(next);
  };
  const join = (room: string) => {
    // Before it is opened, which otherwise would load it.
    chat.rooms.join(room);
    open(peerOfRoom(room));
  };
  const back = () => {
    if (pageState()?.list) history.back();
    else chat.closeCurrent();
  };
  const [isConfirming, setIsConfirming] = useState(false);
  const signOut = () => {
    chat.unsent.clear();
    onSignOut();
  };
  const confirmSignOut = () => (chat.signOutWarnings.length > 0 ? setIsConfirming(true) : signOut());
  const toggleFrames = () => setShowFrames(!showFrames);

  return (
    <div class={`app ${peer === undefined ? '' : 'in-conversation'} ${showFrames ? 'with-frames' : ''}`}>
      <main>
        <h1 class="unseen">dmwire</h1>
        <Banner chat={chat} hasToken={identity.token !== undefined} onSignOut={confirmSignOut} onRejected={onSignOut} />
        <Sidebar
          chat={chat}
          showFrames={showFrames}
          onOpen={open}
          onJoin={join}
          onSignOut={confirmSignOut}
          onToggleFrames={toggleFrames}
        />
        {chat.current ? (
          <Thread
            key={chat.current}
            chat={chat}
            conversation={chat.current}
            hasToken={identity.token !== undefined}
            showFrames={showFrames}
            onOpen={open}
            onBack={back}
            onToggleFrames={toggleFrames}
          />
        ) : (
          <section class="thread none" aria-label="Conversation">
            <p>Select a conversation or start a new one.</p>
          </section>
        )}
      </main>
      {showFrames && <FramesDrawer chat={chat} onClose={() => setShowFrames(false)} />}
      {isConfirming && (
        <Confirm title="Change user?" action="Change user" onConfirm={signOut} onClose={() => setIsConfirming(false)}>
          {chat.signOutWarnings.map(text => (
            <p key={text}>{text}</p>
          ))}
        </Confirm>
      )}
      <div class="unseen" role="log" aria-label="New messages">
        {announcements.map(({ id, text }) => (
          <p key={id}>{text}</p>
        ))}
      </div>
    </div>
  );
}
