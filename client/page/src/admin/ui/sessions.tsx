import type { JSX } from 'preact';
import { useState } from 'preact/hooks';
import type { Api } from '../api.js';
import { date, duration, formatCount, rate, text } from '../format.js';
import { useCall } from '../use-call.js';
import { Failure, Table, UserLink } from './table.js';

const REFRESH = 5_000;
const PART = 100;
/** The most sessions that the server lists at once. */
const MOST = 1000;

interface SessionsProps {
  readonly api: Api;
  /** By the server's clock, in seconds since 1970. */
  readonly time: number;
}

export function Sessions({ api, time }: SessionsProps): JSX.Element {
  const [sort, setSort] = useState<'rate' | 'since'>('rate');
  const [limit, setLimit] = useState(PART);
  const { value, error } = useCall(`${sort} ${limit}`, () => api.sessions(sort, limit), REFRESH);
  return (
    <section class="panel" aria-label="Open sessions">
      <header>
        <p class="dim">
          {value &&
            `${formatCount(value.total)} open${value.sessions.length < value.total ? `, the first ${formatCount(value.sessions.length)} of them` : ''}`}
        </p>
        <label class="choice">
          Order
          <select value={sort} onChange={event => setSort(event.currentTarget.value === 'since' ? 'since' : 'rate')}>
            <option value="rate">Most frames first</option>
            <option value="since">Oldest first</option>
          </select>
        </label>
      </header>
      <Failure error={error} />
      {value && (
        <Table
          label="Open sessions"
          rows={value.sessions}
          id={session => session.session_id}
          empty="No sessions are open."
          columns={[
            { title: 'User', cell: ({ user }) => <UserLink user={user} /> },
            { title: 'Device', cell: ({ device }) => <bdi>{device}</bdi> },
            { title: 'Address', cell: ({ client_ip }) => client_ip ?? '–' },
            { title: 'Open for', cell: ({ since }) => <Age since={since} time={time} /> },
            { title: 'Frames', isNumber: true, cell: session => text(rate(session.frames_per_second)) },
          ]}
        />
      )}
      {value?.cursor !== undefined && limit < MOST && (
        <button type="button" onClick={() => setLimit(Math.min(MOST, limit + PART))}>
          Show more
        </button>
      )}
    </section>
  );
}

/** How long ago a time was. */
export function Age({ since, time }: { since: string; time: number }): JSX.Element {
  return (
    <time dateTime={since} title={date(since)}>
      {duration(time - Date.parse(since) / 1000)}
    </time>
  );
}
