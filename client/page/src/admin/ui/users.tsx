import type { JSX } from 'preact';
import { useState } from 'preact/hooks';
import type { Conversation } from '../../../../src/frames.generated.js';
import type { Api, User } from '../api.js';
import { date, duration, formatCount } from '../format.js';
import { useCall } from '../use-call.js';
import { Lookup } from './lookup.js';
import { Age } from './sessions.js';
import { Fact, Failure, RoomLink, Table, UserLink } from './table.js';
import { UserActions } from './user-actions.js';

const REFRESH = 5_000;
const CONVERSATIONS = 50;
/** The most conversations that the server lists at once. */
const MOST_CONVERSATIONS = 200;

interface UsersProps {
  readonly api: Api;
  readonly user: string | undefined;
  /** By the server's clock, in seconds since 1970. */
  readonly time: number;
}

export function Users({ api, user, time }: UsersProps): JSX.Element {
  return (
    <>
      <div class="panel">
        <Lookup view="users" label="User" name={user} />
      </div>
      {user !== undefined && <UserDetails api={api} user={user} time={time} />}
    </>
  );
}

function UserDetails({ api, user, time }: { api: Api; user: string; time: number }): JSX.Element {
  const [limit, setLimit] = useState(CONVERSATIONS);
  const info = useCall('user', () => api.user(user), REFRESH);
  const sessions = useCall('sessions', () => api.userSessions(user), REFRESH);
  const conversations = useCall(`conversations ${limit}`, () => api.conversations(user, limit), REFRESH);
  const onDone = () => {
    for (const call of [info, sessions, conversations]) call.reload();
  };
  const open = sessions.value?.sessions;
  return (
    <>
      <section class="panel" aria-labelledby="user">
        <header>
          <h3 id="user">
            <bdi class="name">{user}</bdi>
          </h3>
          {info.value && <Status status={info.value.status} />}
        </header>
        {/* Without this call, the others still tell of the user. */}
        {!info.error?.isUnsupported && <Failure error={info.error} />}
        {info.value && <Facts user={info.value} time={time} />}
        <UserActions
          api={api}
          user={user}
          sessions={open?.length}
          isRevoked={info.value && info.value.revoked === true}
          onDone={onDone}
        />
      </section>
      <section class="panel" aria-labelledby="user-sessions">
        <header>
          <h3 id="user-sessions">Sessions</h3>
          <p class="dim">{open && `${formatCount(open.length)} open`}</p>
        </header>
        <Failure error={sessions.error} />
        {open && (
          <Table
            label="Sessions"
            rows={open}
            id={session => session.session_id}
            empty="The user has no open session."
            columns={[
              { title: 'Device', cell: ({ device }) => <bdi>{device}</bdi> },
              { title: 'Address', cell: ({ client_ip }) => client_ip ?? '–' },
              { title: 'Open for', cell: ({ since }) => <Age since={since} time={time} /> },
              { title: 'Session', cell: ({ session_id }) => <code>{session_id}</code> },
            ]}
          />
        )}
      </section>
      <section class="panel" aria-labelledby="conversations">
        <header>
          <h3 id="conversations">Conversations</h3>
          <p class="dim">{conversations.value && 'newest first'}</p>
        </header>
        <Failure error={conversations.error} />
        {conversations.value && (
          <Table
            label="Conversations"
            rows={conversations.value.items}
            id={({ target_user, target_room }) => (target_room === undefined ? `@${target_user}` : `#${target_room}`)}
            empty="The user has no conversations."
            columns={[
              { title: 'With', cell: conversation => <Peer conversation={conversation} /> },
              { title: 'Unread', isNumber: true, cell: ({ unread }) => formatCount(unread) },
              { title: 'Last message', cell: ({ last }) => (last ? date(last.sent_at) : '–') },
              { title: 'From', cell: ({ last }) => (last ? <UserLink user={last.from_user} /> : '–') },
            ]}
          />
        )}
        {conversations.value?.cursor !== undefined && limit < MOST_CONVERSATIONS && (
          <button type="button" onClick={() => setLimit(MOST_CONVERSATIONS)}>
            Show more
          </button>
        )}
      </section>
    </>
  );
}

const STATUS_TEXTS: Readonly<Record<string, string>> = {
  online: 'Online',
  away: 'Away',
  busy: 'Busy',
  invisible: 'Invisible',
  offline: 'Offline',
};

function Status({ status }: { status: string }): JSX.Element {
  const known = STATUS_TEXTS[status];
  return <p class={`status ${known === undefined ? '' : status}`}>{known ?? status}</p>;
}

function Facts({ user, time }: { user: User; time: number }): JSX.Element {
  return (
    <dl class="facts">
      {user.last_seen !== undefined && (
        <Fact title="Last seen">
          {date(user.last_seen)} ({duration(time - Date.parse(user.last_seen) / 1000)} ago)
        </Fact>
      )}
      {user.first_seen !== undefined && <Fact title="First seen">{date(user.first_seen)}</Fact>}
      {user.revoked && <Fact title="Tokens">revoked</Fact>}
      <Fact title="Unread messages">{formatCount(user.unread)}</Fact>
      <Fact title="Rooms">
        {user.rooms.length === 0 ? (
          'none'
        ) : (
          <ul class="names">
            {user.rooms.map(room => (
              <li key={room}>
                <RoomLink room={room} />
              </li>
            ))}
          </ul>
        )}
      </Fact>
    </dl>
  );
}

function Peer({ conversation }: { conversation: Conversation }): JSX.Element {
  return conversation.target_room === undefined ? (
    <UserLink user={conversation.target_user} />
  ) : (
    <>
      room <RoomLink room={conversation.target_room} />
    </>
  );
}
