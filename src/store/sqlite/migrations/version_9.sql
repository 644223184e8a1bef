-- Version 9: revoked tokens, and rooms that were deleted.

-- Users whose tokens are not accepted if they were issued up to a time, in milliseconds since 1970. `name`: a keyed hash of the user's
-- name, which is kept when the user is erased.
CREATE TABLE revocations (name BLOB PRIMARY KEY, until INTEGER NOT NULL) STRICT, WITHOUT ROWID;

-- A deleted room is kept while inboxes have entries about it. `former`: its name; `name` is then one that no room can have.
-- `deleted_at`: since then all of its messages count as deleted.
ALTER TABLE rooms ADD COLUMN former TEXT;
ALTER TABLE rooms ADD COLUMN deleted_at INTEGER;
-- Deleted rooms that still have members, or messages with content. Messages up to number `after` have none any more.
CREATE TABLE room_deletions (room INTEGER PRIMARY KEY, after INTEGER NOT NULL DEFAULT 0) STRICT;
