-- Version 9: revoked tokens.

-- Users whose tokens are not accepted if they were issued up to a time, in milliseconds since 1970. `name`: a keyed hash of the user's
-- name, which is kept when the user is erased.
CREATE TABLE revocations (name BLOB PRIMARY KEY, until INTEGER NOT NULL) STRICT, WITHOUT ROWID;
