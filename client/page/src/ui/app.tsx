import type { JSX } from 'preact';
import { useEffect, useState } from 'preact/hooks';
import { Chat, storage } from '../chat.js';
import { preview } from '../content/content.js';
import { type Arrival, arriveAgain, asked, here, type Identity, remember, server } from '../identity.js';
import { Banner } from './banner.js';
import { FramesDrawer } from './frames-drawer.js';
import { Dialog, useChanges } from './parts.js';
import { Sidebar } from './sidebar.js';
import { SignIn } from './sign-in.js';
import { Thread } from './thread.js';

/** Announcements that a screen reader may still have to read. */
const ANNOUNCED = 5;

export function App({ arrival }: { arrival: Arrival }): JSX.Element {
  const [identity, setIdentity] = useState(arrival.identity);
  const [to, setTo] = useState(arrival.to);
  const [error, setError] = useState<string>();
  const enter = (next: Identity, peer: string | undefined) => {
    remember(next);
    setTo(peer);
    setError(undefined);
    setIdentity(next);
  };
  useEffect(() => {
    const again = () => {
      const next = arriveAgain();
      if (next) enter(next.identity, next.to);
    };
    addEventListener('hashchange', again);
    return () => removeEventListener('hashchange', again);
  }, []);
  if (!identity) {
    return <SignIn suggested={arrival.suggested} to={to} error={error} onEnter={enter} />;
  }
  const leave = (why?: string) => {
    remember(undefined);
    history.replaceState(null, '', here(undefined, undefined));
    setError(why);
    setTo(undefined);
    setIdentity(undefined);
  };
  return <Talk key={identity} identity={identity} to={to} onLeave={leave} />;
}

interface TalkProps {
  readonly identity: Identity;
  readonly to: string | undefined;
  readonly onLeave: (why?: string) => void;
}

function Talk({ identity, to, onLeave }: TalkProps): JSX.Element {
  const [chat] = useState(() => {
    const made = new Chat({ url: server(), identity, storage: storage() });
    if (to !== undefined) made.open(to);
    return made;
  });
  const [frames, showFrames] = useState(false);
  const [announced, announce] = useState<readonly { id: string; text: string }[]>([]);
  useChanges(changed => chat.onChange(changed));
  useChanges(changed => {
    addEventListener('online', changed);
    addEventListener('offline', changed);
    return () => {
      removeEventListener('online', changed);
      removeEventListener('offline', changed);
    };
  });

  useEffect(() => {
    const off = chat.onArrival(({ peer }, { id, content }) => {
      // A replay is not read out.
      if (chat.line.is !== 'open') return;
      announce(before => [...before.slice(1 - ANNOUNCED), { id, text: `${peer}: ${preview(content)}` }]);
    });
    const back = () => {
      const { to } = asked();
      // It may be from when this tab was another user's.
      history.replaceState(history.state, '', here(chat.me || undefined, to) + location.hash);
      if (to === undefined) chat.leave();
      else chat.open(to);
    };
    const shared = ({ key }: StorageEvent) => chat.shared(key);
    addEventListener('popstate', back);
    addEventListener('storage', shared);
    return () => {
      off();
      removeEventListener('popstate', back);
      removeEventListener('storage', shared);
      void chat.close();
    };
  }, [chat]);

  const peer = chat.current?.peer;
  const user = chat.me || undefined;
  useEffect(() => {
    const address = here(user, peer);
    if (address !== location.search) history.replaceState(history.state, '', address);
  }, [user, peer]);
  const { unread } = chat;
  useEffect(() => {
    document.title = `${unread > 0 ? `(${unread}) ` : ''}${peer ?? user ?? 'dmwire'} · dmwire`;
  }, [unread, peer, user]);

  const open = (next: string) => {
    // On a phone the way back is the browser's.
    if (peer === undefined) history.pushState({ list: true }, '', here(user, next));
    chat.open(next);
  };
  const back = () => {
    if ((history.state as { list?: boolean } | null)?.list) history.back();
    else chat.leave();
  };
  const [leaving, setLeaving] = useState(false);
  const forget = () => {
    chat.forget();
    onLeave();
  };
  const leave = () => (chat.unsent.length > 0 ? setLeaving(true) : forget());
  const toggle = () => showFrames(!frames);

  return (
    <div class={`app ${peer === undefined ? '' : 'talking'} ${frames ? 'with-frames' : ''}`}>
      <main>
        <h1 class="unseen">dmwire</h1>
        <Banner chat={chat} hasToken={identity.token !== undefined} onLeave={leave} onRefused={onLeave} />
        <Sidebar chat={chat} frames={frames} onOpen={open} onLeave={leave} onFrames={toggle} />
        {chat.current ? (
          <Thread
            key={chat.current}
            chat={chat}
            conversation={chat.current}
            hasToken={identity.token !== undefined}
            frames={frames}
            onBack={back}
            onFrames={toggle}
          />
        ) : (
          <section class="thread nobody" aria-label="Conversation">
            <p>Choose a conversation, or write to somebody new.</p>
          </section>
        )}
      </main>
      {frames && <FramesDrawer chat={chat} onClose={() => showFrames(false)} />}
      {leaving && (
        <Dialog label="Change user?" onClose={() => setLeaving(false)}>
          <form method="dialog">
            <h2>Change user?</h2>
            {chat.unsent.map(text => (
              <p key={text}>{text}</p>
            ))}
            <p class="buttons">
              <button type="submit">Stay</button>
              <button type="button" class="danger" onClick={forget}>
                Change user
              </button>
            </p>
          </form>
        </Dialog>
      )}
      <div class="unseen" role="log" aria-label="New messages">
        {announced.map(({ id, text }) => (
          <p key={id}>{text}</p>
        ))}
      </div>
    </div>
  );
}
