import type { JSX } from 'preact';
import type { Api, Webhook } from '../api.js';
import { date, duration, formatCount } from '../format.js';
import { useCall } from '../use-call.js';
import { Fact, Failure } from './table.js';

const REFRESH = 5_000;

export function Webhooks({ api }: { api: Api }): JSX.Element {
  const { value, error } = useCall('webhooks', () => api.webhooks(), REFRESH);
  return (
    <>
      {error && (
        <div class="panel">
          <Failure error={error} />
        </div>
      )}
      {value?.webhooks.length === 0 && (
        <div class="panel">
          <p class="dim none">
            No webhooks are configured (<code>--webhook</code>).
          </p>
        </div>
      )}
      {value?.webhooks.map(webhook => (
        <Receiver key={webhook.url} webhook={webhook} />
      ))}
    </>
  );
}

const STATES: Readonly<Record<string, string>> = { active: 'Active', failing: 'Failing', paused: 'Paused' };

function Receiver({ webhook }: { webhook: Webhook }): JSX.Element {
  const { url, state, lag_seconds: lag, last_error: error, last_error_at: failedAt } = webhook;
  const known = STATES[state];
  return (
    <section class="panel" aria-label={url}>
      <header>
        <h3 class="name">{url}</h3>
        <p class={`status ${known === undefined ? '' : state}`}>{known ?? state}</p>
      </header>
      {state === 'paused' && (
        <p class="dim">The receiver has answered with 410. It gets events again after SIGHUP or a restart.</p>
      )}
      <dl class="facts">
        <Fact title="Lag">{duration(lag)}</Fact>
        <Fact title="In flight">{formatCount(webhook.in_flight)}</Fact>
        <Fact title="Delivered">{formatCount(webhook.delivered)}</Fact>
        <Fact title="Retried">{formatCount(webhook.retried)}</Fact>
        <Fact title="Dropped">{formatCount(webhook.dropped)}</Fact>
        <Fact title="Last delivery">
          {webhook.last_delivered_at === undefined ? 'none since the start' : date(webhook.last_delivered_at)}
        </Fact>
      </dl>
      <dl class="facts wide">
        <Fact title="Events">{webhook.events.join(', ')}</Fact>
        {error !== undefined && (
          <Fact title={failedAt === undefined ? 'Last error' : `Last error, ${date(failedAt)}`}>{error}</Fact>
        )}
      </dl>
    </section>
  );
}
