-- Changes the tables. `migrations/counted.rs` then copies the messages to the new table, and fills what is new, in parts: the size
-- of a store must not matter to a statement of this file.


-- Devices and quotas.

-- Whether a session of the user has ever been opened.
ALTER TABLE users ADD COLUMN connected INTEGER NOT NULL DEFAULT 0;

-- Finds out whether a user is blocked by anybody.
CREATE INDEX blocks_by_blocked ON blocks (blocked);

-- The bytes that users have stored lately, as of a time: see `byte_use`.
CREATE TABLE byte_use (user INTEGER PRIMARY KEY, used REAL NOT NULL, at INTEGER NOT NULL) STRICT;


-- Superseded changes.

-- The number of entries with `kind` 5 in the user's inbox.
ALTER TABLE users ADD COLUMN superseded INTEGER NOT NULL DEFAULT 0;
-- `kind` 5: a change that a later one has superseded. Such an entry keeps its number, `at`, `conversation` and `message`.


-- Lists of conversations.

-- `low_wrote`, `high_wrote`: there are messages of the user with the lower and with the higher number.
ALTER TABLE conversations ADD COLUMN low_wrote INTEGER NOT NULL DEFAULT 0;
ALTER TABLE conversations ADD COLUMN high_wrote INTEGER NOT NULL DEFAULT 0;

-- `low_count`, `high_count`: the number of messages of each of the two users up to this one, also deleted and removed ones, not from
-- zero if earlier ones were removed. `behind`: by how much an earlier message has a later time. `hash`: a keyed hash of long content.
-- `content` is NULL also if it is in `contents`.
ALTER TABLE messages RENAME TO messages_6;
CREATE TABLE messages (
    conversation INTEGER NOT NULL, n INTEGER NOT NULL, id BLOB NOT NULL,
    sender INTEGER NOT NULL, recipient INTEGER NOT NULL, from_seq INTEGER NOT NULL, to_seq INTEGER NOT NULL,
    low_count INTEGER NOT NULL, high_count INTEGER NOT NULL, behind INTEGER NOT NULL,
    sent_at INTEGER NOT NULL, edited_at INTEGER, deleted_at INTEGER, change_seq INTEGER, reply_to BLOB, first BLOB, hash BLOB,
    content TEXT,
    PRIMARY KEY (conversation, n)
) STRICT, WITHOUT ROWID;

CREATE UNIQUE INDEX messages_by_id ON messages (conversation, id);

-- Content that is too long for the row of its message `n`: see `long_contents`.
CREATE TABLE contents (n INTEGER PRIMARY KEY, content TEXT NOT NULL) STRICT;

-- A tree of sums of the messages of a user that the counts of later messages include, but that were deleted, or removed while an
-- earlier message was kept: see `uncounted`.
CREATE TABLE uncounted (
    conversation INTEGER NOT NULL, user INTEGER NOT NULL, level INTEGER NOT NULL, block INTEGER NOT NULL,
    deleted INTEGER NOT NULL, removed INTEGER NOT NULL,
    PRIMARY KEY (conversation, user, level, block)
) STRICT, WITHOUT ROWID;

-- The conversations of a user. `newest`: the number of the newest message that there was. `reach`: the latest time of the messages
-- of this and of all the user's conversations with an earlier newest message. `users.listed`: the entry of the user's inbox up to
-- which the list is complete.
CREATE TABLE listed (
    user INTEGER NOT NULL, conversation INTEGER NOT NULL, newest INTEGER NOT NULL, reach INTEGER NOT NULL,
    PRIMARY KEY (user, conversation)
) STRICT, WITHOUT ROWID;
CREATE UNIQUE INDEX listed_newest ON listed (user, newest, reach);
ALTER TABLE users ADD COLUMN listed INTEGER NOT NULL DEFAULT 0;


-- Names of erased users. They could be blocked, and cannot be unblocked any more.
DELETE FROM blocks WHERE blocked IN
    (SELECT n FROM users WHERE length(id) = 39 AND id GLOB 'erased.*' AND substr(id, 8) NOT GLOB '*[^0-9a-f]*');


-- Rooms.

-- The conversation of a room is `-n`; its messages have no recipient (0). `members`: the number of members.
CREATE TABLE rooms (n INTEGER PRIMARY KEY, name TEXT NOT NULL UNIQUE, members INTEGER NOT NULL DEFAULT 0) STRICT;

-- `joined`: the place of the join among the numbers of messages. `seq`: the entry of the join in the member's inbox. `session`: the
-- membership ends with the sessions that have asked for it.
CREATE TABLE members (
    room INTEGER NOT NULL, user INTEGER NOT NULL,
    joined INTEGER NOT NULL, joined_at INTEGER NOT NULL, seq INTEGER NOT NULL, session INTEGER NOT NULL,
    PRIMARY KEY (room, user)
) STRICT, WITHOUT ROWID;
CREATE INDEX members_by_user ON members (user);

-- `inbox.kind` 6: the user `by` has joined the room, 7: has left it. `message` is the place among the numbers of messages, and `emoji`
-- the number of members after it.
-- A message of a room, and the name of a room, are kept while an inbox has an entry about them.
CREATE INDEX room_entries ON inbox (conversation, message) WHERE conversation < 0 AND kind IN (0, 6, 7);
-- So are the names of users who have written in a room, joined it or left it.
CREATE INDEX membership_entries ON inbox (by) WHERE kind IN (6, 7);
CREATE INDEX room_authors ON messages (sender) WHERE conversation < 0;
