import type { JSX } from 'preact';
import { useMemo } from 'preact/hooks';
import type { Api } from '../api.js';
import {
  bytes,
  count,
  formatCount,
  formatNumber,
  milliseconds,
  NO_VALUE,
  percent,
  type Quantity,
  rate,
  text,
} from '../format.js';
import type { Metrics, Samples } from '../samples.js';
import { useCall } from '../use-call.js';
import { type Line, Plot, type Scale } from './plot.js';
import { Failure, Table, UserLink } from './table.js';

/** Time between two calls for the top senders, in milliseconds. */
const REFRESH = 5_000;
const TOP_SENDERS = 6;
const MEBIBYTE = 2 ** 20;

const RATE: Scale = { quantity: rate, least: 1 };
const LATENCY: Scale = { quantity: milliseconds, least: 1 };
const COUNT: Scale = { quantity: count, least: 4 };
const MEMORY: Scale = { quantity: value => bytes(value * MEBIBYTE), least: 20 };

const TRAFFIC: readonly Line[] = [
  { label: 'Messages', color: 1, value: metrics => metrics.messages_per_second },
  { label: 'Deliveries', color: 2, value: metrics => metrics.deliveries_per_second },
];
const COMMIT: readonly Line[] = [
  { label: 'p50', color: 1, value: metrics => metrics.commit_p50_ms },
  { label: 'p99', color: 3, value: metrics => metrics.commit_p99_ms },
];
const DELIVERY: readonly Line[] = [
  { label: 'p50', color: 1, value: metrics => metrics.delivery_p50_ms },
  { label: 'p99', color: 3, value: metrics => metrics.delivery_p99_ms },
];
const SESSIONS: readonly Line[] = [
  { label: 'Sessions', color: 1, value: metrics => metrics.sessions },
  { label: 'Users', color: 2, value: metrics => metrics.users },
];
const PROCESS_MEMORY: readonly Line[] = [
  {
    label: 'Memory',
    color: 4,
    value: ({ memory_bytes }) => memory_bytes && memory_bytes / MEBIBYTE,
    isFilled: true,
  },
];
const QUEUE: readonly Line[] = [{ label: 'Writes', color: 5, value: metrics => metrics.queue, isFilled: true }];

interface OverviewProps {
  readonly api: Api;
  readonly samples: Samples;
  /** Whether samples arrive. */
  readonly isLive: boolean;
}

export function Overview({ api, samples, isLive }: OverviewProps): JSX.Element {
  const { rejectedCodes } = samples;
  const rejections = useMemo(
    () =>
      rejectedCodes.map((code, index): Line => {
        return { label: code, color: index + 1, value: metrics => metrics.rejected_per_second[code] ?? 0 };
      }),
    [rejectedCodes.join()],
  );
  return (
    <>
      <Tiles metrics={samples.newest} isLive={isLive} />
      <div class="grid">
        <Plot title="Traffic" detail="per second" scale={RATE} lines={TRAFFIC} samples={samples} />
        <Plot title="Sessions" detail="open, and users with one" scale={COUNT} lines={SESSIONS} samples={samples} />
        <Plot title="Commit latency" detail="ms" scale={LATENCY} lines={COMMIT} samples={samples} />
        <Plot title="Delivery latency" detail="ms" scale={LATENCY} lines={DELIVERY} samples={samples} />
        <Plot title="Queue" detail="writes that wait for a commit" scale={COUNT} lines={QUEUE} samples={samples} />
        <Plot title="Memory" detail="of the process, MiB" scale={MEMORY} lines={PROCESS_MEMORY} samples={samples} />
        <Plot
          title="Rejections"
          detail="per second, by error code"
          scale={RATE}
          lines={rejections}
          samples={samples}
          empty="Nothing was rejected in the last ten minutes."
        />
        <TopSenders api={api} />
      </div>
    </>
  );
}

function Tiles({ metrics, isLive }: { metrics: Metrics | undefined; isLive: boolean }): JSX.Element {
  const of = (value: number | undefined, quantity: (value: number) => Quantity) =>
    value === undefined ? NO_VALUE : quantity(value);
  const m: Partial<Metrics> = metrics ?? {};
  const half = (value: number | undefined) => `p50 ${text(of(value, milliseconds))}`;
  const rejected = Object.entries(m.rejected_per_second ?? {}).sort(([, a], [, b]) => b - a);
  const sum = rejected.reduce((before, [, value]) => before + value, 0);
  const most = rejected[0]?.[0];
  return (
    <dl class={`tiles ${isLive ? '' : 'stale'}`}>
      <Tile label="Sessions" value={of(m.sessions, count)} more={`${text(of(m.users, count))} users`} />
      <Tile label="Messages" value={of(m.messages_per_second, rate)} more="of all sources" />
      <Tile label="Deliveries" value={of(m.deliveries_per_second, rate)} more="to sessions" />
      <Tile label="Rejected" value={metrics ? rate(sum) : NO_VALUE} more={most ?? 'frames and calls'} warns={sum > 0} />
      <Tile label="Commit p99" value={of(m.commit_p99_ms, milliseconds)} more={half(m.commit_p50_ms)} />
      <Tile label="Delivery p99" value={of(m.delivery_p99_ms, milliseconds)} more={half(m.delivery_p50_ms)} />
      <Tile label="Queue" value={of(m.queue, count)} more="waiting writes" />
      <Tile
        label="Memory"
        value={of(m.memory_bytes, bytes)}
        more={
          m.memory_percent === undefined
            ? 'of the process'
            : `machine ${text(percent(m.memory_percent))}${m.cpu_load === undefined ? '' : `, load ${formatNumber(m.cpu_load)}`}`
        }
      />
    </dl>
  );
}

function Tile(props: { label: string; value: Quantity; more: string; warns?: boolean }): JSX.Element {
  const { label, value, more, warns = false } = props;
  return (
    <div class={`tile ${warns ? 'warns' : ''}`}>
      <dt>{label}</dt>
      <dd class="value">
        {value.number}
        {value.unit !== '' && <span class="unit"> {value.unit}</span>}
      </dd>
      <dd class="more">{more}</dd>
    </div>
  );
}

function TopSenders({ api }: { api: Api }): JSX.Element {
  const { value, error } = useCall('rate', () => api.sessions('rate', TOP_SENDERS), REFRESH);
  return (
    <section class="panel" aria-labelledby="senders">
      <header>
        <h3 id="senders">Top senders</h3>
        <p class="dim">frames per second of a session{value && `, of ${formatCount(value.total)} sessions`}</p>
      </header>
      <Failure error={error} />
      {value && (
        <Table
          label="Top senders"
          rows={value.sessions}
          id={session => session.session_id}
          empty="No sessions are open."
          columns={[
            { title: 'User', cell: ({ user }) => <UserLink user={user} /> },
            { title: 'Device', cell: ({ device }) => <bdi>{device}</bdi> },
            { title: 'Frames', isNumber: true, cell: session => text(rate(session.frames_per_second)) },
          ]}
        />
      )}
    </section>
  );
}
