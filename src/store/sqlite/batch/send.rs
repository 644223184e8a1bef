//! Storing messages.

use rusqlite::params;
use uuid::Uuid;

use super::{Result, Run};
use crate::store::sqlite::cache::{User, find_conversation, find_user};
use crate::store::sqlite::content_eq;
use crate::store::sqlite::file::{signed, unsigned};
use crate::store::sqlite::pending::Record;
use crate::store::{NewMessage, Outcome};

/// Bytes of content beyond which a message goes to its table at once.
const LARGE: usize = 2048;

impl Run<'_> {
    pub fn message(&mut self, message: &NewMessage) -> Result<Outcome> {
        let from = self.user(&message.from)?;
        let known = find_user(self.tx, self.cache, &message.to)?;
        let came = known.is_some_and(|to| to.came || to.n == from.n)
            || self.arrived.contains(&*message.to);
        let refusal = if came {
            None
        } else {
            self.refuses_unclaimed(from.n, message)?
        };
        if let Some(refusal) = refusal {
            // Who is refused makes no name known.
            return match known {
                Some(to) => self.refuse(message, from.n, to.n, refusal),
                None => Ok(refusal),
            };
        }
        let to = match known {
            Some(to) => to,
            None => self.user(&message.to)?,
        };
        let Some(conversation) = self.conversation(from.n, to.n)? else {
            return Ok(Outcome::Blocked);
        };
        if conversation.blocked(from.n, to.n) {
            return self.refuse(message, from.n, to.n, Outcome::Blocked);
        }
        let conversation = conversation.n;
        let direct = self.direct.has(&message.from, &message.to);
        if !direct && !message.fresh && self.is_taken(conversation, message)? {
            return self.taken(conversation, from.n, message);
        }
        let n = self.number()?;
        let from_seq = from.head + 1;
        let to_seq = if from.n == to.n {
            from_seq
        } else {
            to.head + 1
        };
        let outcome = Outcome::Stored {
            from_seq: Some(from_seq),
            to_seq,
            at: self.now,
            duplicate: false,
        };
        let unclaimed = !came && self.quotas.counts_unclaimed();
        // What fills pages by itself gains nothing by waiting, and would be written twice. But nothing may be in a table
        // before what came before it in its conversation: somebody may be reading.
        let direct = direct
            || message.content.len() > LARGE
                && !self.pool.waits(conversation)
                && !self.stage.has(conversation);
        if !direct {
            self.stage.add(&Record {
                conversation,
                n,
                id: message.id.as_bytes(),
                sender: from.n,
                recipient: to.n,
                from_seq,
                to_seq,
                sent_at: self.now,
                reply_to: message.reply_to.as_ref().map(Uuid::as_bytes),
                content: &message.content,
            });
            self.grown(&message.from);
            if from.n != to.n {
                self.grown(&message.to);
            }
            if unclaimed {
                self.left(message, from.n, to.n);
            }
            return Ok(outcome);
        }
        let stored = self
            .tx
            .prepare_cached(
                "INSERT INTO messages
                 (conversation, n, id, sender, recipient, from_seq, to_seq, sent_at, reply_to, content)
                 VALUES (?1, ?2, ?3, ?4, ?5, ?6, ?7, ?8, ?9, ?10) ON CONFLICT DO NOTHING",
            )?
            .execute(params![
                conversation,
                n,
                message.id.as_bytes(),
                from.n,
                to.n,
                signed(from_seq),
                signed(to_seq),
                self.now,
                message.reply_to.as_ref().map(Uuid::as_bytes),
                message.content
            ])?;
        if stored == 0 {
            return self.taken(conversation, from.n, message);
        }
        self.append_message(&message.from, from, (conversation, n), true)?;
        if from.n != to.n {
            self.append_message(&message.to, to, (conversation, n), false)?;
        }
        if unclaimed {
            self.left(message, from.n, to.n);
        }
        Ok(outcome)
    }

    /// Refuses a message, unless it is one that was stored before, which is still answered as it was.
    pub fn refuse(
        &mut self,
        message: &NewMessage,
        from: i64,
        to: i64,
        refusal: Outcome,
    ) -> Result<Outcome> {
        if !message.fresh
            && let Some(conversation) = find_conversation(self.tx, self.cache, from, to)?
            && self.is_taken(conversation.n, message)?
        {
            let taken = self.taken(conversation.n, from, message)?;
            return Ok(taken.or(refusal));
        }
        Ok(refusal)
    }

    /// Why a message to a user who has never connected is not taken; `None`: it is.
    pub fn refuses_unclaimed(
        &mut self,
        from: i64,
        message: &NewMessage,
    ) -> Result<Option<Outcome>> {
        if self.quotas.known_only {
            return Ok(Some(Outcome::UnknownUser));
        }
        if message
            .ip_quota
            .as_ref()
            .is_some_and(|ip_quota| ip_quota.is_empty())
        {
            return Ok(Some(Outcome::LeftTooMany));
        }
        if !self.quotas.counts_unclaimed() {
            return Ok(None);
        }
        self.cache.unclaimed.refuses(self.tx, self.quotas, from)
    }

    /// Counts a message to a user who has never connected.
    pub fn left(&mut self, message: &NewMessage, from: i64, to: i64) {
        if let Some(ip_quota) = &message.ip_quota {
            ip_quota.spend();
        }
        self.cache.unclaimed.add(to, from);
    }

    pub fn is_taken(&self, conversation: i64, message: &NewMessage) -> Result<bool> {
        self.tx
            .prepare_cached("SELECT 1 FROM messages WHERE conversation = ?1 AND id = ?2")?
            .exists(params![conversation, message.id.as_bytes()])
    }

    /// The id is taken in this conversation: by the same message sent before, or by something else.
    pub fn taken(&mut self, conversation: i64, from: i64, message: &NewMessage) -> Result<Outcome> {
        type Row = (i64, i64, i64, i64, Option<String>, Option<Vec<u8>>);
        let (sender, from_seq, to_seq, sent_at, content, first): Row = self
            .tx
            .prepare_cached(
                "SELECT sender, from_seq, to_seq, sent_at, content, first
                 FROM messages WHERE conversation = ?1 AND id = ?2",
            )?
            .query_row(params![conversation, message.id.as_bytes()], |row| {
                Ok((
                    row.get(0)?,
                    row.get(1)?,
                    row.get(2)?,
                    row.get(3)?,
                    row.get(4)?,
                    row.get(5)?,
                ))
            })?;
        // An edit or a delete leaves a mark of what was first sent; without one, that is still the content.
        let is_same = match (first, content) {
            (Some(first), _) => first == content_eq::mark(&self.key()?, &message.content),
            (None, Some(content)) => content_eq::value(&content, &message.content),
            (None, None) => false,
        };
        if sender != from || !is_same {
            return Ok(Outcome::IdConflict);
        }
        Ok(Outcome::Stored {
            from_seq: Some(unsigned(from_seq)),
            to_seq: unsigned(to_seq),
            at: sent_at,
            duplicate: true,
        })
    }

    pub fn append_message(
        &mut self,
        id: &str,
        user: User,
        (conversation, n): (i64, i64),
        own: bool,
    ) -> Result<()> {
        self.tx
            .prepare_cached(
                "INSERT INTO inbox (user, seq, at, conversation, message, by) VALUES (?1, ?2, ?3, ?4, ?5, ?6)",
            )?
            .execute(params![
                user.n,
                signed(user.head + 1),
                self.now,
                conversation,
                n,
                own.then_some(user.n)
            ])?;
        self.grown(id);
        Ok(())
    }
}
