//! Verifies a store.

mod rooms;

use std::path::Path;

use rusqlite::Connection;

use self::rooms::ROOM_CHECKS;
use super::view::view;
use crate::store::StoreError;
use crate::store::sqlite::fault::with_path;
use crate::store::sqlite::migrations::COUNTED;

/// Checks the consistency of a store. Returns a line for each finding; none if the store is consistent.
///
/// # Errors
/// [`StoreError`] if the store cannot be read.
pub fn verify(path: &Path) -> Result<Vec<String>, StoreError> {
    findings(path, &view(path)?)
}

/// Checks what a connection sees, which must include the pending log.
pub fn findings(path: &Path, connection: &Connection) -> Result<Vec<String>, StoreError> {
    const LIMIT: usize = 100;
    let mut findings = Vec::new();
    let mut statement = with_path(path, connection.prepare("PRAGMA integrity_check(100)"))?;
    let lines = with_path(path, statement.query_map((), |row| row.get::<_, String>(0)))?;
    for line in lines {
        let line = with_path(path, line)?;
        if line != "ok" {
            findings.push(line);
        }
    }
    let version: i64 = with_path(
        path,
        connection.query_row("PRAGMA user_version", (), |row| row.get(0)),
    )?;
    let counted = if version < COUNTED {
        &[][..]
    } else {
        COUNT_CHECKS
    };
    // With an empty pending log there are no such tables.
    let pending = "CREATE TEMP TABLE IF NOT EXISTS pending_messages (n INTEGER);
        CREATE TEMP TABLE IF NOT EXISTS pending_superseded (user INTEGER, seq INTEGER)";
    with_path(path, connection.execute_batch(pending))?;
    for (finding, sql) in CHECKS.iter().chain(counted).chain(ROOM_CHECKS) {
        let mut statement = with_path(path, connection.prepare(sql))?;
        let rows = with_path(
            path,
            statement.query_map((), |row| Ok((row.get::<_, i64>(0)?, row.get::<_, i64>(1)?))),
        )?;
        for row in rows {
            let (a, b) = with_path(path, row)?;
            if findings.len() < LIMIT {
                findings.push(format!("{finding}: {a}, {b}"));
            }
        }
    }
    Ok(findings)
}

/// As [`CHECKS`], for files whose messages and users carry counts.
const COUNT_CHECKS: &[(&str, &str)] = &[
    (
        "the counts of a message do not follow those of the message before it (conversation, message)",
        "SELECT conversation, n FROM (
            SELECT conversation, n, min(sender, recipient) AS low_user, max(sender, recipient) AS high_user,
                sender <= recipient AS is_low, sent_at + behind AS latest, behind, lag(n) OVER w AS before,
                low_count - lag(low_count) OVER w AS low, high_count - lag(high_count) OVER w AS high,
                lag(sent_at + behind) OVER w AS latest_before
            FROM messages WHERE conversation > 0 WINDOW w AS (PARTITION BY conversation ORDER BY n)) AS m
         WHERE behind < 0 OR latest < latest_before
            OR low - is_low != (SELECT coalesce(sum(removed), 0) FROM uncounted AS u WHERE u.conversation = m.conversation
                AND u.user = m.low_user AND u.level = 0 AND u.block > m.before AND u.block < m.n)
            OR high - (NOT is_low) != (SELECT coalesce(sum(removed), 0) FROM uncounted AS u
                WHERE u.conversation = m.conversation AND m.low_user != m.high_user
                AND u.user = m.high_user AND u.level = 0 AND u.block > m.before AND u.block < m.n)",
    ),
    (
        "a deleted message is not counted as deleted, or one that is not deleted is (conversation, message)",
        "SELECT conversation, n FROM messages AS m WHERE conversation > 0 AND (deleted_at IS NOT NULL) != coalesce(
            (SELECT deleted FROM uncounted AS u WHERE u.conversation = m.conversation AND u.user = m.sender AND u.level = 0
                AND u.block = m.n), 0)
         UNION ALL
         SELECT conversation, block FROM uncounted AS u WHERE level = 0 AND deleted != 0 AND NOT EXISTS
            (SELECT 1 FROM messages AS m WHERE m.conversation = u.conversation AND m.n = u.block AND m.sender = u.user)",
    ),
    (
        "messages are counted as removed that are there, precede all others, or are of no user of the conversation (conversation, message)",
        "SELECT conversation, block FROM uncounted AS u WHERE level = 0 AND removed != 0 AND NOT EXISTS
            (SELECT 1 FROM messages AS m JOIN conversations AS c ON c.n = m.conversation
                WHERE m.conversation = u.conversation AND m.n < u.block AND u.user IN (c.low, c.high))
         UNION ALL
         SELECT u.conversation, u.block FROM uncounted AS u JOIN messages AS m ON m.conversation = u.conversation AND m.n = u.block
         WHERE u.level = 0 AND u.removed != 0",
    ),
    (
        "the number of deleted and removed messages of a range is not the sum of its parts (conversation, first message)",
        "SELECT conversation, block << (6 * level) FROM uncounted AS u
         WHERE level > 0
            AND block << (6 * level) >= (SELECT min(n) FROM messages AS m WHERE m.conversation = u.conversation)
            AND (deleted, removed) IS NOT (SELECT sum(deleted), sum(removed) FROM uncounted AS p
                WHERE p.conversation = u.conversation AND p.user = u.user AND p.level = u.level - 1
                AND p.block BETWEEN u.block << 6 AND u.block << 6 | 63)
         UNION ALL
         SELECT conversation, block << (6 * level) FROM uncounted AS u
         WHERE level < 7 AND NOT EXISTS (SELECT 1 FROM uncounted AS p WHERE p.conversation = u.conversation
            AND p.user = u.user AND p.level = u.level + 1 AND p.block = u.block >> 6)",
    ),
    (
        "a conversation is not in the list of a user, or behind its place there (conversation, user)",
        "SELECT c.n, c.user FROM (SELECT n, low AS user FROM conversations
            UNION ALL SELECT n, high FROM conversations WHERE low != high) AS c
         JOIN messages AS m ON m.conversation = c.n AND m.n = (SELECT max(n) FROM messages WHERE conversation = c.n)
         WHERE m.n NOT IN (SELECT n FROM temp.pending_messages)
            AND NOT EXISTS (SELECT 1 FROM listed AS l
                WHERE l.user = c.user AND l.conversation = c.n AND l.newest >= m.n)
            AND NOT EXISTS (SELECT 1 FROM inbox AS i JOIN users AS u ON u.n = i.user
                WHERE i.user = c.user AND i.seq > u.listed AND i.conversation = c.n AND i.message = m.n AND i.kind = 0)",
    ),
    (
        "a list has a conversation without messages (user, conversation)",
        "SELECT l.user, l.conversation FROM listed AS l
         WHERE l.conversation > 0 AND NOT EXISTS (SELECT 1 FROM messages AS m WHERE m.conversation = l.conversation)",
    ),
    (
        "a list says that a conversation and those behind it have no messages as late as they have (user, conversation)",
        "SELECT user, conversation FROM (SELECT l.user, l.conversation, l.reach,
                max(m.sent_at + m.behind) OVER (PARTITION BY l.user ORDER BY l.newest) AS latest
            FROM listed AS l LEFT JOIN messages AS m ON m.conversation = l.conversation AND m.n = l.newest)
         WHERE reach < latest",
    ),
    (
        "a list has a conversation of others (user, conversation)",
        "SELECT user, conversation FROM listed AS l
         WHERE l.conversation > 0 AND NOT EXISTS (SELECT 1 FROM conversations AS c WHERE c.n = l.conversation AND l.user IN (c.low, c.high))",
    ),
    (
        "a list is complete up to an entry that the inbox does not have (user, entry)",
        "SELECT n, listed FROM users WHERE listed > max(floor, coalesce((SELECT max(seq) FROM inbox WHERE user = n), 0))",
    ),
    (
        "an entry is of an unknown kind (user, entry)",
        "SELECT user, seq FROM inbox WHERE kind NOT BETWEEN 0 AND 8",
    ),
    (
        "an entry about an erasure is of a conversation or a user, or has no name and hash (user, entry)",
        "SELECT user, seq FROM inbox WHERE kind = 8 AND (conversation != 0 OR message != 0 OR by IS NOT NULL OR emoji IS NULL
            OR length(emoji) != 104 OR emoji NOT GLOB 'erased.* *' OR substr(emoji, 41) GLOB '*[^0-9a-f]*')",
    ),
    (
        "an erasure is of no user, or of one who can connect (user, phase)",
        "SELECT e.user, e.phase FROM erasures AS e LEFT JOIN users AS u ON u.n = e.user
         WHERE u.n IS NULL OR u.connected OR u.id NOT GLOB 'erased.*'",
    ),
    (
        "an entry about an erasure that is not complete is recorded for no user (erased user, user)",
        "SELECT erasure, user FROM erasure_recipients WHERE erasure NOT IN (SELECT user FROM erasures)
            OR user NOT IN (SELECT n FROM users)",
    ),
    (
        "a conversation has messages of a user although it records none, or the reverse (conversation, user)",
        "SELECT c.n, c.user FROM (SELECT n, low AS user, low_wrote AS wrote FROM conversations
            UNION ALL SELECT n, high, high_wrote FROM conversations WHERE low != high) AS c
         WHERE c.wrote != EXISTS (SELECT 1 FROM messages AS m WHERE m.conversation = c.n AND m.sender = c.user)",
    ),
    (
        "the number of superseded entries is not that of the inbox (user, number)",
        "SELECT n, superseded FROM users WHERE superseded != (SELECT count(*) FROM inbox WHERE user = n AND kind = 5)
            - (SELECT count(*) FROM temp.pending_superseded WHERE user = n)",
    ),
    (
        "a superseded change is not marked (user, entry)",
        "SELECT user, min(seq) FROM inbox WHERE kind BETWEEN 1 AND 4
         GROUP BY user, conversation, message, by, emoji HAVING count(*) > 1",
    ),
];

/// Descriptions of inconsistencies, each with a query that finds them: two numbers a row.
const CHECKS: &[(&str, &str)] = &[
    (
        "an inbox has a gap (user, entry after it)",
        "SELECT user, seq FROM (
            SELECT user, seq, lag(seq) OVER (PARTITION BY user ORDER BY seq) AS before,
                (SELECT floor FROM users WHERE n = user) AS floor FROM inbox)
         WHERE seq != coalesce(before, floor) + 1",
    ),
    (
        "an entry is of no user (user, entry)",
        "SELECT user, seq FROM inbox WHERE user NOT IN (SELECT n FROM users)",
    ),
    (
        "an entry's message does not exist (user, entry)",
        "SELECT i.user, i.seq FROM inbox AS i WHERE i.kind < 5 AND NOT EXISTS
         (SELECT 1 FROM messages AS m WHERE m.conversation = i.conversation AND m.n = i.message)",
    ),
    (
        "an entry's message is neither from nor to its user (user, entry)",
        "SELECT i.user, i.seq FROM inbox AS i
         JOIN messages AS m ON m.conversation = i.conversation AND m.n = i.message
         WHERE i.conversation > 0 AND i.user NOT IN (m.sender, m.recipient)",
    ),
    (
        "a message is not in its author's inbox (conversation, message)",
        "SELECT m.conversation, m.n FROM messages AS m JOIN users AS u ON u.n = m.sender
         WHERE m.from_seq > u.floor AND NOT EXISTS (SELECT 1 FROM inbox AS i WHERE i.user = m.sender
            AND i.seq = m.from_seq AND i.conversation = m.conversation AND i.message = m.n AND i.kind = 0)",
    ),
    (
        "a message is not in its recipient's inbox (conversation, message)",
        "SELECT m.conversation, m.n FROM messages AS m JOIN users AS u ON u.n = m.recipient
         WHERE m.to_seq > u.floor AND NOT EXISTS (SELECT 1 FROM inbox AS i WHERE i.user = m.recipient
            AND i.seq = m.to_seq AND i.conversation = m.conversation AND i.message = m.n AND i.kind = 0)",
    ),
    (
        "a message is of no conversation of its users (conversation, message)",
        "SELECT m.conversation, m.n FROM messages AS m LEFT JOIN conversations AS c ON c.n = m.conversation
         WHERE m.conversation > 0
            AND (c.n IS NULL OR c.low != min(m.sender, m.recipient) OR c.high != max(m.sender, m.recipient))",
    ),
    (
        "a message has content although it was deleted, or none although it was not (conversation, message)",
        "SELECT conversation, n FROM messages AS m
         WHERE (content IS NULL AND NOT EXISTS (SELECT 1 FROM contents AS x WHERE x.n = m.n)) != (deleted_at IS NOT NULL)",
    ),
    (
        "content is of no message, or of one that has content (message, bytes)",
        "SELECT n, octet_length(content) FROM contents AS x
         WHERE n NOT IN (SELECT n FROM messages WHERE content IS NULL AND deleted_at IS NULL)",
    ),
    (
        "a message has a number that is not reserved (conversation, message)",
        "SELECT conversation, n FROM messages WHERE n >= (SELECT value FROM meta WHERE key = 'next')",
    ),
    (
        "a device holds more than its user's inbox has (user, entry)",
        "SELECT d.user, d.received FROM devices AS d JOIN users AS u ON u.n = d.user
         WHERE d.received > max(u.floor, coalesce((SELECT max(seq) FROM inbox WHERE user = d.user), 0))",
    ),
    (
        "a device is of a user who has not connected (user, entry)",
        "SELECT user, received FROM devices WHERE user NOT IN (SELECT n FROM connected_users)",
    ),
    (
        "a read mark is ahead of the received mark (user, conversation)",
        "SELECT user, conversation FROM marks WHERE read > received",
    ),
    (
        "a deferred received mark is not ahead of the one that is shown, or of no direct conversation (user, conversation)",
        "SELECT user, conversation FROM deferred AS d WHERE conversation NOT IN (SELECT n FROM conversations)
         OR NOT EXISTS (SELECT 1 FROM marks AS m WHERE m.user = d.user AND m.conversation = d.conversation
            AND m.received > d.shown AND m.read <= d.shown)",
    ),
    (
        "a block is of no user, or of oneself (user, blocked user)",
        "SELECT user, blocked FROM blocks WHERE user = blocked
         OR user NOT IN (SELECT n FROM users) OR blocked NOT IN (SELECT n FROM users)",
    ),
    (
        "messages are counted for a recipient who has connected, or do not exist (recipient, sender)",
        "SELECT recipient, sender FROM unclaimed WHERE recipient IN (SELECT n FROM connected_users)
         OR messages > (SELECT count(*) FROM conversations AS c JOIN messages AS m ON m.conversation = c.n
            WHERE c.low = min(unclaimed.recipient, unclaimed.sender)
            AND c.high = max(unclaimed.recipient, unclaimed.sender) AND m.sender = unclaimed.sender)",
    ),
    (
        "a reaction is to no message (conversation, message)",
        "SELECT r.conversation, r.message FROM reactions AS r WHERE NOT EXISTS
         (SELECT 1 FROM messages AS m WHERE m.conversation = r.conversation AND m.n = r.message)",
    ),
];
