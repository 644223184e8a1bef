import type { JSX } from 'preact';
import { useState } from 'preact/hooks';
import type { PastMessage } from '../../../../src/frames.generated.js';
import type { Api } from '../api.js';
import { date, formatCount } from '../format.js';
import { useCall } from '../use-call.js';
import { Action, describeCounts } from './action.js';
import { Lookup } from './lookup.js';
import { Failure, RoomLink, Table, UserLink } from './table.js';

const REFRESH = 5_000;
const PART = 100;
/** The most rooms or members that the server lists at once. */
const MOST = 1000;
const MESSAGES = 20;

interface RoomsProps {
  readonly api: Api;
  readonly room: string | undefined;
}

export function Rooms({ api, room }: RoomsProps): JSX.Element {
  return (
    <>
      <div class="panel">
        <Lookup view="rooms" label="Room" name={room} />
      </div>
      {room === undefined ? <RoomTable api={api} /> : <RoomDetails api={api} room={room} />}
    </>
  );
}

function RoomTable({ api }: { api: Api }): JSX.Element {
  const [limit, setLimit] = useState(PART);
  const { value, error } = useCall(`${limit}`, () => api.rooms(limit), REFRESH);
  return (
    <section class="panel" aria-labelledby="rooms">
      <header>
        <h3 id="rooms">All rooms</h3>
        <p class="dim">
          {value && `${value.cursor === undefined ? '' : 'the first '}${formatCount(value.rooms.length)}, by name`}
        </p>
      </header>
      <Failure error={error} />
      {value && (
        <Table
          label="Rooms"
          rows={value.rooms}
          id={({ room }) => room}
          empty="There are no rooms."
          columns={[
            { title: 'Room', cell: ({ room }) => <RoomLink room={room} /> },
            { title: 'Members', isNumber: true, cell: ({ members }) => formatCount(members) },
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

function RoomDetails({ api, room }: { api: Api; room: string }): JSX.Element {
  const [limit, setLimit] = useState(PART);
  const [isAsking, setIsAsking] = useState(false);
  const [result, setResult] = useState('');
  const members = useCall(`members ${limit}`, () => api.room(room, limit), REFRESH);
  const history = useCall('history', () => api.roomHistory(room, MESSAGES), REFRESH);
  const { value } = members;
  return (
    <>
      <section class="panel" aria-labelledby="room">
        <header>
          <h3 id="room">
            <bdi class="name">{room}</bdi>
          </h3>
          <p class="dim">{value && `${formatCount(value.total)} members`}</p>
        </header>
        <Failure error={members.error} />
        {value && (
          <Table
            label="Members"
            rows={value.users}
            id={({ user }) => user}
            empty="The room has no members."
            columns={[
              { title: 'Member', cell: ({ user }) => <UserLink user={user} /> },
              { title: 'Since', cell: ({ joined_at }) => date(joined_at) },
            ]}
          />
        )}
        {value?.cursor !== undefined && limit < MOST && (
          <button type="button" onClick={() => setLimit(Math.min(MOST, limit + PART))}>
            Show more
          </button>
        )}
        <div class="actions">
          <button
            type="button"
            class="danger"
            onClick={() => {
              setResult('');
              setIsAsking(true);
            }}
          >
            Delete room
          </button>
        </div>
        <p class="result" role="status">
          {result}
        </p>
        {isAsking && (
          <Action
            title="Delete the room?"
            action="Delete room"
            typed={room}
            run={async () => {
              const counts = describeCounts(await api.deleteRoom(room));
              return `Room deleted${counts && `: ${counts}`}.`;
            }}
            onDone={text => {
              setResult(text);
              members.reload();
              history.reload();
            }}
            onClose={() => setIsAsking(false)}
          >
            <p>
              All memberships of <bdi class="name">{room}</bdi> end, and its messages are deleted for everyone. This
              cannot be undone.
            </p>
          </Action>
        )}
      </section>
      {/* Without the room there are no messages either. */}
      {value && (
        <section class="panel" aria-labelledby="messages">
          <header>
            <h3 id="messages">Messages</h3>
            <p class="dim">{history.value?.more ? `the newest ${MESSAGES}` : 'oldest first'}</p>
          </header>
          <Failure error={history.error} />
          {history.value && (
            <Table
              label="Messages"
              rows={history.value.messages}
              id={({ id }) => id}
              empty="The room has no messages."
              columns={[
                { title: 'Sent', cell: ({ sent_at }) => date(sent_at) },
                { title: 'From', cell: ({ from_user }) => <UserLink user={from_user} /> },
                { title: 'Content', cell: message => <Content message={message} /> },
              ]}
            />
          )}
        </section>
      )}
    </>
  );
}

/** The content as text. Nothing of it is loaded or interpreted. */
function Content({ message: { message } }: { message: PastMessage }): JSX.Element {
  if (message === undefined) return <span class="dim">deleted</span>;
  if (typeof message === 'string') return <span class="content">{message}</span>;
  const { type, ...rest } = message as { type: string; text?: unknown };
  const text = type === 'markdown' && typeof rest.text === 'string' ? rest.text : JSON.stringify(rest);
  return (
    <span class="content">
      <span class="dim">{type}</span> {text}
    </span>
  );
}
