-- Changes the tables. `migrations/counted.rs` then copies the messages to the new table, and fills what is new, in parts: the size
-- of a store must not matter to a statement of this file.


-- Devices and quotas.

-- Whether a session of the user has ever been opened.
ALTER TABLE users ADD COLUMN connected INTEGER NOT NULL DEFAULT 0;

-- Whether the device is known to have acknowledged an entry. Until now a device was stored when it connected, with the position at
-- which it started.
ALTER TABLE devices ADD COLUMN acknowledged INTEGER NOT NULL DEFAULT 0;

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
