-- Version 8: presence, deferred receipts, and users that keys have named.

-- Whether a key has named the user: the user then counts as known without having connected.
ALTER TABLE users ADD COLUMN known INTEGER NOT NULL DEFAULT 0;

-- Users whose membership a key has ended: they cannot join the room until a key makes them members again.
CREATE TABLE removed_members (room INTEGER NOT NULL, user INTEGER NOT NULL, PRIMARY KEY (room, user)) STRICT, WITHOUT ROWID;

-- The received marks of which the other user of the conversation may know only an earlier value, `shown`.
CREATE TABLE deferred (
    user INTEGER NOT NULL, conversation INTEGER NOT NULL, shown INTEGER NOT NULL, PRIMARY KEY (user, conversation)
) STRICT, WITHOUT ROWID;

-- `status`: 0 online, 1 away, 2 busy, 3 invisible. `last_seen`: when the user was last online for others.
ALTER TABLE users ADD COLUMN status INTEGER NOT NULL DEFAULT 0;
ALTER TABLE users ADD COLUMN last_seen INTEGER;
-- The users who are online for others. After a crash it has those who were.
CREATE TABLE online (user INTEGER PRIMARY KEY) STRICT;
