import type { ComponentChildren, JSX, RefObject } from 'preact';
import { useEffect, useId, useRef, useState } from 'preact/hooks';
import type { Chat } from '../chat.js';
import type { Conversation } from '../conversation.js';
import { noticeText } from '../display.js';
import { isUser } from '../identity.js';
import type { Notice, Room } from '../room.js';
import { Icon } from './icons.js';
import { Avatar, Confirm, Dialog, formatClock, formatShort, IconButton, parseTime } from './parts.js';

/** Distance to the end of the members at which the next page is loaded, in pixels. */
const LOAD_DISTANCE = 200;

interface RoomProps {
  readonly chat: Chat;
  readonly conversation: Conversation;
  readonly room: Room;
  readonly onOpen: (peer: string) => void;
}

export function formatMembers(size: number): string {
  return `${size} ${size === 1 ? 'member' : 'members'}`;
}

/** The state of the user's membership, or the number of members. */
export function RoomStatus({ chat, room }: { chat: Chat; room: Room }): JSX.Element {
  const pending = chat.pendingMembership(room.name);
  if (pending) return <p class="dim">{pending === 'join' ? 'Joining…' : 'Leaving…'}</p>;
  return <p class="dim">{room.isMember && room.size !== undefined ? formatMembers(room.size) : ''}</p>;
}

/** Buttons of a room in the header: its members, and leaving it. */
export function RoomButtons(props: RoomProps): JSX.Element {
  const { chat, room } = props;
  const [dialog, setDialog] = useState<'members' | 'leave'>();
  const close = () => setDialog(undefined);
  return (
    <>
      <IconButton icon="members" label="Members" aria-haspopup="dialog" onClick={() => setDialog('members')} />
      <IconButton
        icon="leave"
        label={`Leave #${room.name}`}
        aria-haspopup="dialog"
        aria-disabled={chat.connection.status === 'closed'}
        onClick={() => chat.connection.status !== 'closed' && setDialog('leave')}
      />
      {dialog === 'members' && <MembersDialog {...props} onClose={close} />}
      {dialog === 'leave' && (
        <Confirm
          title={`Leave #${room.name}?`}
          action="Leave"
          onConfirm={() => chat.rooms.leave(room.name)}
          onClose={close}
        >
          <p>You no longer get its messages. You can join again.</p>
        </Confirm>
      )}
    </>
  );
}

function MembersDialog({
  chat,
  conversation,
  room,
  onOpen,
  onClose,
}: RoomProps & { onClose: () => void }): JSX.Element {
  const list = useRef<HTMLUListElement>(null);
  useEffect(() => void chat.rooms.loadMembers(conversation), []);
  const loadMore = async () => {
    const known = room.members?.length ?? 0;
    const isFocused = document.activeElement?.matches('.more');
    await chat.rooms.loadMoreMembers(conversation);
    if (isFocused) requestAnimationFrame(() => list.current?.querySelectorAll<HTMLElement>('.member')[known]?.focus());
  };
  const onScroll = () => {
    const element = list.current;
    if (element && element.scrollHeight - element.scrollTop - element.clientHeight < LOAD_DISTANCE) void loadMore();
  };
  const { members, cursor, size, loading } = room;
  return (
    <Dialog label={`Members of #${room.name}`} onClose={onClose}>
      <form method="dialog">
        <h2>Members of #{room.name}</h2>
        <p class="dim" role="status">
          {size === undefined ? 'Loading…' : formatMembers(size)}
        </p>
        <ul class="members" ref={list} onScroll={onScroll} aria-busy={loading}>
          {members?.map(({ user, joined_at }) => (
            <li key={user}>
              <button
                type="button"
                class="member"
                title={`Write to ${user}`}
                onClick={event => {
                  event.currentTarget.closest('dialog')?.close();
                  onOpen(user);
                }}
              >
                <Avatar user={user} />
                <span class="peer">{user === chat.me ? `${user} (you)` : user}</span>
                <span class="dim">
                  since <time dateTime={joined_at}>{formatShort(parseTime(joined_at))}</time>
                </span>
              </button>
            </li>
          ))}
          {cursor !== undefined && (
            <li key=" more">
              <button type="button" class="plain more" onClick={() => void loadMore()}>
                {loading ? 'Loading…' : 'Show more members'}
              </button>
            </li>
          )}
        </ul>
        <p class="buttons">
          <button type="submit">Close</button>
        </p>
      </form>
    </Dialog>
  );
}

/** Takes the place of the composer for a user who is not a member. */
export function JoinStrip(props: { chat: Chat; room: Room; button: RefObject<HTMLButtonElement | null> }): JSX.Element {
  const { chat, room, button } = props;
  const isClosed = chat.connection.status === 'closed';
  return (
    <div role="status">
      <div class={`blocked ${room.problem === undefined ? 'outside' : ''}`}>
        <Icon name={room.problem === undefined ? 'members' : 'warning'} />
        <p>{room.problem ?? 'You are not a member of this room.'}</p>
        <button
          type="button"
          ref={button}
          class="primary"
          aria-disabled={isClosed}
          onClick={() => !isClosed && chat.rooms.join(room.name)}
        >
          {room.problem === undefined ? 'Join' : 'Try again'}
        </button>
      </div>
    </div>
  );
}

/** Tells in the thread that a user has joined or left. */
export function NoticeRow({ notice, me }: { notice: Notice; me: string }): JSX.Element {
  return (
    <li class="notice">
      <bdi>{noticeText(notice, me)}</bdi> <time dateTime={notice.at}>{formatClock(parseTime(notice.at))}</time>
    </li>
  );
}

/** Asks for the name of a room to join or to create. */
export function JoinDialog(props: { onJoin: (room: string) => void; onClose: () => void }): JSX.Element {
  const id = useId();
  const [isInvalid, setIsInvalid] = useState(false);
  const join = (event: SubmitEvent) => {
    event.preventDefault();
    const form = event.currentTarget as HTMLFormElement;
    const room = String(new FormData(form).get('room')).trim().replace(/^#/, '');
    setIsInvalid(!isUser(room));
    if (!isUser(room)) return;
    form.closest('dialog')?.close();
    props.onJoin(room);
  };
  return (
    <Dialog label="Join a room" onClose={props.onClose}>
      <form onSubmit={join}>
        <h2>Join a room</h2>
        <p>Members of a room get all of its messages. A room that does not exist is created.</p>
        <div class="field">
          <label for={id}>Name of the room</label>
          <input
            id={id}
            name="room"
            required
            placeholder="lobby"
            autocomplete="off"
            autocapitalize="none"
            spellcheck={false}
            aria-invalid={isInvalid}
            aria-describedby={isInvalid ? `${id}e` : undefined}
            onInput={() => setIsInvalid(false)}
          />
        </div>
        <p class="problem" role="alert" id={`${id}e`}>
          {isInvalid && <NameRule of="room" />}
        </p>
        <p class="buttons">
          <button type="button" onClick={event => event.currentTarget.closest('dialog')?.close()}>
            Cancel
          </button>
          <button type="submit" class="primary">
            Join
          </button>
        </p>
      </form>
    </Dialog>
  );
}

/** The characters of a name. */
export function NameRule(props: { of: 'user' | 'room' }): ComponentChildren {
  return `A ${props.of} name has 1 to 64 characters: A-Z a-z 0-9 . _ ~ @ : + -`;
}
