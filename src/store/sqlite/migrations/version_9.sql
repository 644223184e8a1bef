-- Version 9: revoked tokens, rooms that were deleted, and events.

-- Users whose tokens are not accepted if they were issued up to a time, in milliseconds since 1970. `name`: a keyed hash of the user's
-- name, which is kept when the user is erased.
CREATE TABLE revocations (name BLOB PRIMARY KEY, until INTEGER NOT NULL) STRICT, WITHOUT ROWID;

-- A deleted room is kept while inboxes have entries about it. `former`: its name; `name` is then one that no room can have.
-- `deleted_at`: since then all of its messages count as deleted.
ALTER TABLE rooms ADD COLUMN former TEXT;
ALTER TABLE rooms ADD COLUMN deleted_at INTEGER;
-- Deleted rooms that still have members, or messages with content. Messages up to number `after` have none any more.
CREATE TABLE room_deletions (room INTEGER PRIMARY KEY, after INTEGER NOT NULL DEFAULT 0) STRICT;

-- The events that receivers have not got yet, in the order in which they get them. `kind`: 0 the message `message`, 6 the user `user` has
-- joined, 7 has left at the place `message` among the numbers of messages, 8 the users whose numbers `users` lists have not received the
-- message. The row with the highest `id` is kept, so that no `id` is used again.
CREATE TABLE events (
    id INTEGER PRIMARY KEY, conversation INTEGER NOT NULL, message INTEGER NOT NULL, kind INTEGER NOT NULL, at INTEGER NOT NULL,
    user INTEGER, users TEXT
) STRICT;
CREATE INDEX events_by_conversation ON events (conversation, id);

-- How far each receiver has got. `position`: the first event that it has not looked at. `needed`: the first event that it still needs.
CREATE TABLE receivers (
    receiver BLOB PRIMARY KEY, position INTEGER NOT NULL, needed INTEGER NOT NULL, memory TEXT NOT NULL
) STRICT, WITHOUT ROWID;
