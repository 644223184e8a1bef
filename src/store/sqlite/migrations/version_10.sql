-- Version 10: the erasure of users while others use the store.

-- The number of erasures before the row was created. `meta` has the number of all erasures (`erasures`). See `epochs`.
ALTER TABLE users ADD COLUMN generation INTEGER NOT NULL DEFAULT 0;

-- `inbox.kind` 8: another user was erased. `conversation` and `message` are 0. `emoji` is the name that the user has got, and the hash
-- of the former one.

-- Erasures that are not complete, with their progress. `user`: the row, which has another name already. `name`: the former name, as long
-- as it is needed.
CREATE TABLE erasures (
    user INTEGER PRIMARY KEY, name TEXT NOT NULL, at INTEGER NOT NULL, phase INTEGER NOT NULL DEFAULT 0,
    first INTEGER NOT NULL DEFAULT 0, second INTEGER NOT NULL DEFAULT 0, third INTEGER NOT NULL DEFAULT 0,
    fourth INTEGER NOT NULL DEFAULT 0, messages INTEGER NOT NULL DEFAULT 0, reactions INTEGER NOT NULL DEFAULT 0,
    entries INTEGER NOT NULL DEFAULT 0, notified INTEGER NOT NULL DEFAULT 0
) STRICT;

-- The users whose inboxes have an entry about an erasure that is not complete.
CREATE TABLE erasure_recipients (
    erasure INTEGER NOT NULL, user INTEGER NOT NULL, PRIMARY KEY (erasure, user)
) STRICT, WITHOUT ROWID;

CREATE INDEX removed_members_by_user ON removed_members (user);

CREATE INDEX room_reactions ON reactions (user, conversation, message) WHERE conversation < 0;

-- For kinds 6 and 7, what `inbox.emoji` has: the entry may be removed with the inbox of an erased user. NULL in rows of older versions.
ALTER TABLE events ADD COLUMN members TEXT;
-- The users and rooms of events are kept.
CREATE INDEX events_by_user ON events (user) WHERE user IS NOT NULL;

-- When the store has learnt of the user, in milliseconds since 1970. NULL: it is not known.
ALTER TABLE users ADD COLUMN first_seen INTEGER;
