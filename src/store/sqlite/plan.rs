//! What of a batch cannot wait in the pending log.

use std::collections::HashSet;

use super::Sqlite;
use super::cache::{find_conversation, find_user};
use super::pending::Chosen;
use crate::store::Write;

/// Messages that go to their tables at once, as something else in their batch looks for them there.
#[derive(Debug, Default)]
pub struct Direct<'a> {
    pub pairs: HashSet<(&'a str, &'a str)>,
    pub users: HashSet<&'a str>,
}

impl Direct<'_> {
    pub fn has(&self, from: &str, to: &str) -> bool {
        let here = |users: &HashSet<&str>| users.contains(from) || users.contains(to);
        !self.pairs.is_empty() && self.pairs.contains(&pair(from, to))
            || !self.users.is_empty() && here(&self.users)
    }
}

/// Two users, in an order of their own.
pub fn pair<'a>(a: &'a str, b: &'a str) -> (&'a str, &'a str) {
    if a <= b { (a, b) } else { (b, a) }
}

impl Sqlite {
    /// What of a batch cannot wait in the pool, and what is in the pool that the batch has to find in the tables.
    pub fn look_ahead<'a>(
        &mut self,
        batch: &[&'a Write],
    ) -> rusqlite::Result<(Direct<'a>, Chosen)> {
        let mut direct = Direct::default();
        let mut needed = Vec::new();
        let mut ids = HashSet::new();
        // Messages that go to their tables beside a watermark must find all before them there.
        let mixed = batch.iter().any(|write| matches!(write, Write::Message(_)));
        for write in batch {
            match write {
                Write::Message(message) => {
                    if message.fresh {
                        continue;
                    }
                    let pair = pair(&message.from, &message.to);
                    let known = self.waiting_of(pair)?;
                    let waits = known.is_some_and(|n| self.pool.has_id(n, message.id.as_bytes()));
                    if waits || !ids.insert((pair, message.id)) {
                        direct.pairs.insert(pair);
                        needed.extend(known);
                    }
                }
                Write::Edit(at, _)
                | Write::Delete(at)
                | Write::React { at, .. }
                | Write::Read(at) => {
                    let pair = pair(&at.from, &at.to);
                    direct.pairs.insert(pair);
                    needed.extend(self.waiting_of(pair)?);
                }
                Write::Watermark { user, seq, .. } => {
                    direct.users.insert(user);
                    if !self.pool.is_empty()
                        && let Some(user) = find_user(&self.connection, &mut self.cache, user)?
                    {
                        let seq = if mixed { u64::MAX } else { *seq };
                        needed.extend(self.pool.of_user(user.n, seq));
                    }
                }
                Write::Contact(..) | Write::Block { .. } => {}
            }
        }
        let needed = self.pool.of_conversations(needed.into_iter());
        Ok((direct, needed))
    }

    /// The conversation of two users, if it may have messages in the pool.
    fn waiting_of(&mut self, (a, b): (&str, &str)) -> rusqlite::Result<Option<i64>> {
        if self.pool.is_empty() {
            return Ok(None);
        }
        let (Some(a), Some(b)) = (
            find_user(&self.connection, &mut self.cache, a)?,
            find_user(&self.connection, &mut self.cache, b)?,
        ) else {
            return Ok(None);
        };
        let known = find_conversation(&self.connection, &mut self.cache, a.n, b.n)?;
        Ok(known.map(|conversation| conversation.n))
    }
}
