-- A store as version 4 of the tables left it when it was killed: one message has moved to its table. The rows of `pending` are in
-- migration.rs.
CREATE TABLE blocks (user INTEGER NOT NULL, blocked INTEGER NOT NULL, PRIMARY KEY (user, blocked)) STRICT, WITHOUT ROWID;
CREATE TABLE conversations (
        n INTEGER PRIMARY KEY, low INTEGER NOT NULL, high INTEGER NOT NULL, UNIQUE (low, high)
    ) STRICT;
INSERT INTO "conversations" VALUES(1,1,2);
INSERT INTO "conversations" VALUES(2,1,1);
INSERT INTO "conversations" VALUES(3,1,3);
CREATE TABLE devices (
        user INTEGER NOT NULL, device TEXT NOT NULL, received INTEGER NOT NULL, used INTEGER NOT NULL,
        PRIMARY KEY (user, device)
    ) STRICT, WITHOUT ROWID;
INSERT INTO "devices" VALUES(1,'default',0,1795825336028);
INSERT INTO "devices" VALUES(2,'default',0,1795825336460);
CREATE TABLE inbox (
        user INTEGER NOT NULL, seq INTEGER NOT NULL, at INTEGER NOT NULL, conversation INTEGER NOT NULL,
        message INTEGER NOT NULL, kind INTEGER NOT NULL DEFAULT 0, by INTEGER, emoji TEXT,
        PRIMARY KEY (user, seq)
    ) STRICT, WITHOUT ROWID;
INSERT INTO "inbox" VALUES(1,1,1795825336761,1,1,0,1,NULL);
INSERT INTO "inbox" VALUES(2,1,1795825336761,1,1,0,NULL,NULL);
CREATE TABLE marks (
        user INTEGER NOT NULL, conversation INTEGER NOT NULL,
        read INTEGER NOT NULL DEFAULT 0, received INTEGER NOT NULL DEFAULT 0,
        PRIMARY KEY (user, conversation)
    ) STRICT, WITHOUT ROWID;
CREATE TABLE messages (
        conversation INTEGER NOT NULL, n INTEGER NOT NULL, id BLOB NOT NULL,
        sender INTEGER NOT NULL, recipient INTEGER NOT NULL, from_seq INTEGER NOT NULL, to_seq INTEGER NOT NULL,
        sent_at INTEGER NOT NULL, edited_at INTEGER, deleted_at INTEGER, change_seq INTEGER, reply_to BLOB, first BLOB,
        -- Last: what stands before it is read without it.
        content TEXT,
        PRIMARY KEY (conversation, n)
    ) STRICT, WITHOUT ROWID;
INSERT INTO "messages" VALUES(1,1,X'00000000000040008000000000000001',1,2,1,1,1795825336761,NULL,NULL,NULL,NULL,NULL,'"moved"');
CREATE TABLE meta (key TEXT PRIMARY KEY, value ANY NOT NULL) STRICT, WITHOUT ROWID;
INSERT INTO "meta" VALUES('epoch',X'49872D47566C44CEB81F6A82BA64F049');
INSERT INTO "meta" VALUES('key',X'B8CB9168EBF840F284F9CDFB9D0F0299');
INSERT INTO "meta" VALUES('next',1000001);
CREATE TABLE pending (n INTEGER PRIMARY KEY, records BLOB NOT NULL) STRICT;
CREATE TABLE reactions (
        conversation INTEGER NOT NULL, message INTEGER NOT NULL, user INTEGER NOT NULL, emoji TEXT NOT NULL,
        removed INTEGER NOT NULL, seq INTEGER NOT NULL, at INTEGER NOT NULL,
        PRIMARY KEY (conversation, message, user, emoji)
    ) STRICT, WITHOUT ROWID;
CREATE TABLE unclaimed (
        recipient INTEGER NOT NULL, sender INTEGER NOT NULL, messages INTEGER NOT NULL, PRIMARY KEY (recipient, sender)
    ) STRICT, WITHOUT ROWID;
INSERT INTO "unclaimed" VALUES(3,1,3);
CREATE TABLE users (n INTEGER PRIMARY KEY, id TEXT NOT NULL UNIQUE, floor INTEGER NOT NULL DEFAULT 0) STRICT;
INSERT INTO "users" VALUES(1,'ada',0);
INSERT INTO "users" VALUES(2,'bob',0);
INSERT INTO "users" VALUES(3,'cy',0);
CREATE INDEX conversations_by_high ON conversations (high, low);
CREATE UNIQUE INDEX message_ids ON messages (conversation, id);
CREATE INDEX changes ON inbox (conversation, message) WHERE kind != 0;
CREATE INDEX unclaimed_by_sender ON unclaimed (sender, messages);
PRAGMA application_id = 0x646d7731;
PRAGMA user_version = 4;
