//! Removes users and conversations that nothing refers to any more: users who have never connected and whose block was removed or
//! whose messages have expired, erased users, and their conversations. Everybody can make up names, and each name costs a row.
//!
//! A user who has connected is kept: clients know the numbers of the inbox, and the server knows that the user exists. So is a user
//! whom a key has named.

use rusqlite::{Connection, TransactionBehavior};

use super::cache::{Cache, User};
use super::retention::RetentionRules;

type Result<T> = rusqlite::Result<T>;

/// The condition that nothing refers to the user `u`.
macro_rules! unused {
    () => {
        "NOT u.connected AND NOT u.known
         AND NOT EXISTS (SELECT 1 FROM conversations WHERE low = u.n)
         AND NOT EXISTS (SELECT 1 FROM conversations WHERE high = u.n)
         AND NOT EXISTS (SELECT 1 FROM blocks WHERE user = u.n)
         AND NOT EXISTS (SELECT 1 FROM blocks WHERE blocked = u.n)
         AND NOT EXISTS (SELECT 1 FROM inbox WHERE user = u.n)
         AND NOT EXISTS (SELECT 1 FROM members WHERE user = u.n)
         AND NOT EXISTS (SELECT 1 FROM messages WHERE sender = u.n AND conversation < 0)
         AND NOT EXISTS (SELECT 1 FROM inbox WHERE by = u.n AND kind IN (6, 7))
         AND NOT EXISTS (SELECT 1 FROM erasures WHERE user = u.n)
         AND NOT EXISTS (SELECT 1 FROM events WHERE user = u.n)"
    };
}

/// Removes a user whose block was removed, within the transaction of a batch, unless something else refers to the user. `user`:
/// the row as of now.
pub fn remove_unblocked(
    connection: &Connection,
    cache: &mut Cache,
    id: &str,
    user: User,
) -> Result<()> {
    // A session that opens now has read the row. It makes no difference to it if the inbox has never had an entry.
    if user.is_known() || user.head > 0 {
        return Ok(());
    }
    let removed = connection
        .prepare_cached(concat!(
            "DELETE FROM users AS u WHERE n = ?1 AND ",
            unused!()
        ))?
        .execute([user.n])?;
    if removed > 0 {
        cache.forget_user(id, user.n);
    }
    Ok(())
}

/// Removes users among those with the numbers `first` to `last`.
pub fn remove_users(
    connection: &mut Connection,
    cache: &mut Cache,
    rules: &RetentionRules<'_>,
    (first, last): (i64, i64),
) -> Result<()> {
    let unused: Vec<(i64, String)> = connection
        .prepare_cached(concat!(
            "SELECT n, id FROM users AS u WHERE n BETWEEN ?1 AND ?2 AND ",
            unused!()
        ))?
        .query_map([first, last], |row| Ok((row.get(0)?, row.get(1)?)))?
        .collect::<Result<_>>()?;
    if unused.is_empty() {
        return Ok(());
    }
    let heads = rules.shared.read_heads();
    let tx = connection.transaction_with_behavior(TransactionBehavior::Immediate)?;
    for (n, id) in unused {
        // A session is registered before its opening is given to a reader, which this thread does. So a session that is not
        // registered has not read the row, and will not find it.
        let is_in_use = rules.live_cursors.has_session(&id) || rules.shared.is_newly_connected(&id);
        // The heads may have a number of the user after the messages have left the log. Another user may get the same `n`.
        if is_in_use || heads.contains_key(&n) {
            continue;
        }
        tx.prepare_cached("DELETE FROM users WHERE n = ?1")?
            .execute([n])?;
        tx.prepare_cached("DELETE FROM byte_use WHERE user = ?1")?
            .execute([n])?;
        cache.forget_user(&id, n);
    }
    tx.commit()
}

/// Removes conversations without messages in which one of the users has never connected, among those with the numbers `first` to
/// `last`. Others are kept: there are no more of them than pairs of users who have connected.
pub fn remove_conversations(
    connection: &mut Connection,
    cache: &mut Cache,
    rules: &RetentionRules<'_>,
    (first, last): (i64, i64),
) -> Result<()> {
    let empty: Vec<(i64, i64, i64)> = connection
        .prepare_cached(
            "SELECT n, low, high FROM conversations AS c WHERE n BETWEEN ?1 AND ?2
             AND NOT EXISTS (SELECT 1 FROM messages WHERE conversation = c.n)
             AND EXISTS (SELECT 1 FROM users WHERE n IN (c.low, c.high) AND NOT connected)",
        )?
        .query_map([first, last], |row| {
            Ok((row.get(0)?, row.get(1)?, row.get(2)?))
        })?
        .collect::<Result<_>>()?;
    if empty.is_empty() {
        return Ok(());
    }
    let tx = connection.transaction_with_behavior(TransactionBehavior::Immediate)?;
    for (n, low, high) in empty {
        if rules.log.has_conversation(n) {
            continue;
        }
        tx.prepare_cached("DELETE FROM conversations WHERE n = ?1")?
            .execute([n])?;
        for table in ["marks", "deferred", "listed"] {
            let sql = format!("DELETE FROM {table} WHERE user IN (?1, ?2) AND conversation = ?3");
            tx.prepare_cached(&sql)?.execute([low, high, n])?;
        }
        cache.forget_conversation((low, high));
    }
    tx.commit()
}
