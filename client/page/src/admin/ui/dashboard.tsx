import type { JSX } from 'preact';
import { useEffect, useReducer, useRef, useState } from 'preact/hooks';
import { Icon } from '../../ui/icons.js';
import { Logo } from '../../ui/logo.js';
import { Api } from '../api.js';
import { Monitor, type MonitorState } from '../monitor.js';
import { type Place, placeHash, readPlace, VIEWS, type View } from '../place.js';
import { Samples } from '../samples.js';
import { Reconnects } from '../use-call.js';
import { Overview } from './overview.js';
import { Rooms } from './rooms.js';
import { Sessions } from './sessions.js';
import { Users } from './users.js';
import { Webhooks } from './webhooks.js';

const TITLES: Readonly<Record<View, string>> = {
  overview: 'Overview',
  sessions: 'Sessions',
  users: 'Users',
  rooms: 'Rooms',
  webhooks: 'Webhooks',
};

interface DashboardProps {
  readonly apiKey: string | undefined;
  /** The server requires a key, or does not accept this one. */
  readonly onKeyRejected: (reason: string) => void;
  readonly onChangeKey: () => void;
}

export function Dashboard({ apiKey, onKeyRejected, onChangeKey }: DashboardProps): JSX.Element {
  const [, rerender] = useReducer<number, void>(n => n + 1, 0);
  const [samples] = useState(() => new Samples());
  const [api] = useState(() => new Api(new URL('.', location.href).href, apiKey, onKeyRejected));
  const [monitor] = useState(() => {
    const url = new URL('monitor', api.base);
    url.protocol = url.protocol === 'https:' ? 'wss:' : 'ws:';
    const onMetrics = (metrics: Parameters<Samples['add']>[0]) => {
      samples.add(metrics, performance.now());
      if (!document.hidden) rerender();
    };
    return new Monitor(url.href, apiKey, onMetrics, () => rerender());
  });
  const { state } = monitor;
  const { place, heading } = usePlace();
  const [reconnects, setReconnects] = useState(0);
  const wasLost = useRef(false);
  useEffect(() => {
    monitor.connect();
    const retry = () => monitor.retry();
    const onVisible = () => {
      if (document.hidden) return;
      rerender();
      retry();
    };
    addEventListener('online', retry);
    document.addEventListener('visibilitychange', onVisible);
    return () => {
      removeEventListener('online', retry);
      document.removeEventListener('visibilitychange', onVisible);
      monitor.stop();
    };
  }, [monitor]);
  useEffect(() => {
    if (state.status === 'rejected' && state.code === 'unauthorized') onKeyRejected(state.detail);
    if (state.status === 'waiting') wasLost.current = true;
    if (state.status === 'open') {
      if (wasLost.current) setReconnects(before => before + 1);
      wasLost.current = false;
      return;
    }
    // Time goes on in the plots and in the countdown.
    const timer = setInterval(() => document.hidden || rerender(), 1000);
    return () => clearInterval(timer);
  }, [state.status]);
  useEffect(() => {
    document.title = `${place.name ?? TITLES[place.view]} · dmwire dashboard`;
  }, [place.view, place.name]);
  return (
    <Reconnects.Provider value={reconnects}>
      <header class="top">
        <h1>
          <Logo /> dmwire <span class="unseen">dashboard</span>
        </h1>
        <nav aria-label="Views">
          {VIEWS.map(view => (
            <a key={view} href={placeHash({ view })} aria-current={view === place.view ? 'page' : undefined}>
              {TITLES[view]}
            </a>
          ))}
        </nav>
        <Connection state={state} />
        {apiKey !== undefined && (
          <button type="button" class="change-key" onClick={onChangeKey}>
            <Icon name="sign-out" />
            Change key
          </button>
        )}
      </header>
      <Problem state={state} onRetry={() => monitor.connect()} onChangeKey={onChangeKey} />
      <main>
        <h2 ref={heading} tabIndex={-1} class={place.view === 'overview' ? 'unseen' : ''}>
          {TITLES[place.view]}
        </h2>
        {place.view === 'overview' && <Overview api={api} samples={samples} isLive={state.status === 'open'} />}
        {place.view === 'sessions' && <Sessions api={api} time={samples.time(performance.now())} />}
        {place.view === 'users' && (
          <Users key={place.name} api={api} user={place.name} time={samples.time(performance.now())} />
        )}
        {place.view === 'rooms' && <Rooms key={place.name} api={api} room={place.name} />}
        {place.view === 'webhooks' && <Webhooks api={api} />}
      </main>
    </Reconnects.Provider>
  );
}

/** The place that the address names. When it changes, the heading gets the focus. */
function usePlace(): { place: Place; heading: { current: HTMLHeadingElement | null } } {
  const [place, setPlace] = useState(() => readPlace(location.hash));
  const heading = useRef<HTMLHeadingElement>(null);
  useEffect(() => {
    const onChange = () => {
      setPlace(readPlace(location.hash));
      heading.current?.focus();
      scrollTo(0, 0);
    };
    addEventListener('hashchange', onChange);
    return () => removeEventListener('hashchange', onChange);
  }, []);
  return { place, heading };
}

const STATES: Readonly<Record<MonitorState['status'], string>> = {
  connecting: 'Connecting',
  open: 'Live',
  waiting: 'Disconnected',
  rejected: 'Rejected',
};

function Connection({ state }: { state: MonitorState }): JSX.Element {
  return (
    <p class={`connection ${state.status}`} role="status">
      {STATES[state.status]}
    </p>
  );
}

function Problem(props: { state: MonitorState; onRetry: () => void; onChangeKey: () => void }): JSX.Element | null {
  const { state } = props;
  if (state.status === 'waiting') {
    const seconds = Math.max(0, Math.ceil((state.until - performance.now()) / 1000));
    return (
      <div class="banner" role="alert">
        <p>{state.reason}</p>
        {/* A screen reader would read every second. */}
        <span class="countdown" aria-hidden="true">
          Next attempt in {seconds} s
        </span>
        <button type="button" onClick={props.onRetry}>
          Connect now
        </button>
      </div>
    );
  }
  if (state.status === 'rejected') {
    return (
      <div class="banner bad" role="alert">
        <p>The server has rejected the monitor: {state.detail}</p>
        <button type="button" onClick={props.onRetry}>
          Try again
        </button>
        <button type="button" onClick={props.onChangeKey}>
          Change key
        </button>
      </div>
    );
  }
  return null;
}
