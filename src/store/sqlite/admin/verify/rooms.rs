//! Checks of rooms.

/// As [`CHECKS`](super::CHECKS).
pub const ROOM_CHECKS: &[(&str, &str)] = &[
    (
        "a room records another number of members than it has (room, number)",
        "SELECT n, members FROM rooms WHERE members != (SELECT count(*) FROM members WHERE room = n)
            AND n NOT IN (SELECT room FROM room_deletions)",
    ),
    (
        "a deleted room has a member, or a message that was not deleted (room, number)",
        "SELECT n, deleted_at FROM rooms WHERE deleted_at IS NOT NULL AND n NOT IN (SELECT room FROM room_deletions)
            AND (EXISTS (SELECT 1 FROM members WHERE room = n)
                OR EXISTS (SELECT 1 FROM messages WHERE conversation = -rooms.n AND deleted_at IS NULL))",
    ),
    (
        "a deletion is of no room, or of one that was not deleted (room, message)",
        "SELECT room, after FROM room_deletions WHERE room NOT IN (SELECT n FROM rooms WHERE deleted_at IS NOT NULL)",
    ),
    (
        "a member is of no room, or no user (room, user)",
        "SELECT room, user FROM members WHERE room NOT IN (SELECT n FROM rooms) OR user NOT IN (SELECT n FROM users)",
    ),
    (
        "a user who cannot join a room is a member, or of no room, or no user (room, user)",
        "SELECT room, user FROM removed_members WHERE room NOT IN (SELECT n FROM rooms) OR user NOT IN (SELECT n FROM users)
            OR (room, user) IN (SELECT room, user FROM members)",
    ),
    (
        "a message in a room is of no room or of no user, or has a recipient (conversation, message)",
        "SELECT conversation, n FROM messages WHERE conversation < 0
         AND (recipient != 0 OR to_seq != 0 OR -conversation NOT IN (SELECT n FROM rooms) OR sender NOT IN (SELECT n FROM users))",
    ),
    (
        "the latest time of the messages of a room decreases (conversation, message)",
        "SELECT conversation, n FROM (
            SELECT conversation, n, behind, sent_at + behind AS latest, lag(sent_at + behind) OVER w AS latest_before
            FROM messages WHERE conversation < 0 WINDOW w AS (PARTITION BY conversation ORDER BY n))
         WHERE behind < 0 OR latest < latest_before",
    ),
    (
        "an entry about a member is of no room, or of no user (user, entry)",
        "SELECT user, seq FROM inbox WHERE kind IN (6, 7)
         AND (conversation >= 0 OR -conversation NOT IN (SELECT n FROM rooms) OR emoji IS NULL
            OR by IS NULL OR by NOT IN (SELECT n FROM users))",
    ),
    (
        "an inbox has an entry of a message in a room that is not its user's (user, entry)",
        "SELECT i.user, i.seq FROM inbox AS i JOIN messages AS m ON m.conversation = i.conversation AND m.n = i.message
         WHERE i.conversation < 0 AND i.kind = 0 AND (i.by IS NOT NULL) != (i.user = m.sender)",
    ),
    (
        "a message in a room is not in the inbox of a member (conversation, message)",
        "SELECT x.conversation, x.n FROM members AS m JOIN messages AS x ON x.conversation = -m.room AND x.n > m.joined
         WHERE x.n > (SELECT i.message FROM inbox AS i WHERE i.user = m.user AND i.kind = 0 ORDER BY i.seq LIMIT 1)
            AND NOT (x.sender = m.user AND x.from_seq = 0)
            AND (m.user, x.conversation, x.n) NOT IN
                (SELECT user, conversation, message FROM inbox WHERE conversation < 0 AND kind = 0)",
    ),
    (
        "a list or a mark is of a room of which the user is not a member (user, conversation)",
        "SELECT user, conversation FROM (SELECT user, conversation FROM listed UNION SELECT user, conversation FROM marks)
         WHERE conversation < 0 AND (-conversation, user) NOT IN (SELECT room, user FROM members)",
    ),
    (
        "a room is not in the list of a member, or behind its place there (room, user)",
        "SELECT m.room, m.user FROM (SELECT room, user, max(joined, coalesce(
                (SELECT max(x.n) FROM messages AS x WHERE x.conversation = -room
                    AND x.n NOT IN (SELECT n FROM temp.pending_messages)), 0)) AS newest FROM members) AS m
         WHERE NOT EXISTS (SELECT 1 FROM listed AS l
                WHERE l.user = m.user AND l.conversation = -m.room AND l.newest >= m.newest)
            AND (m.user, m.newest) NOT IN (SELECT i.user, i.message FROM inbox AS i JOIN users AS u ON u.n = i.user
                WHERE i.seq > u.listed AND i.conversation < 0 AND (i.kind = 0 OR i.kind = 6 AND i.by = i.user))",
    ),
];
