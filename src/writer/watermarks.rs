//! Watermarks: how far devices hold their inboxes.

use std::time::Duration;

use uuid::Uuid;

use super::thread::Thread;
use super::{Batch, MarkMoved};
use crate::protocol::Timestamp;
use crate::store::{Outcome, Write};

/// Watermarks that are kept for later when the store does not take them.
const MARKS: usize = 100_000;
/// How long a watermark may wait for later ones of its device. A little longer than messages wait to be settled, so that
/// those which it is about mostly are.
pub const NOTE_AFTER: Duration = Duration::from_millis(200);

impl<O, D: FnMut(Batch<O>)> Thread<O, D> {
    /// Writes watermarks that are due, up to `limit` of them.
    pub fn note(&mut self, limit: usize) {
        let take = self.noting.len().min(limit);
        if take == 0 {
            return;
        }
        let from = self.noting.len() - take;
        let (sessions, marks): (Vec<Uuid>, Vec<Write>) = self
            .noting
            .drain(from..)
            .map(|((user, device), (seq, session))| {
                (session, Write::Watermark { user, device, seq })
            })
            .unzip();
        let at = Timestamp::now();
        let batch: Vec<&Write> = marks.iter().collect();
        let store = &mut self.store;
        match self.shared.pulse.over(|| store.commit(at.0, &batch)) {
            Ok(outcomes) => {
                let noted = noted(sessions, marks, outcomes.into_iter());
                (self.deliver)(Batch {
                    done: Vec::new(),
                    noted,
                    at,
                });
            }
            Err(error) => {
                log::error!("the store: {error}");
                self.put_back(&sessions, &marks);
            }
        }
    }

    /// Puts back watermarks that could not be written. When the server is closing there is no later.
    fn put_back(&self, sessions: &[Uuid], marks: &[Write]) {
        let mut queue = self.shared.lock();
        if queue.closed {
            return;
        }
        for (session, mark) in sessions.iter().zip(marks) {
            if queue.marks.len() >= MARKS {
                break;
            }
            if let Write::Watermark { user, device, seq } = mark {
                queue.mark(user.clone(), device.clone(), *session, *seq);
            }
        }
    }
}

/// The watermarks that tell others something.
fn noted(
    sessions: Vec<Uuid>,
    marks: Vec<Write>,
    outcomes: impl Iterator<Item = Outcome>,
) -> Vec<MarkMoved> {
    let mut noted = Vec::new();
    for ((session, mark), outcome) in sessions.into_iter().zip(marks).zip(outcomes) {
        if let (Write::Watermark { user, .. }, Outcome::Received(received)) = (mark, outcome)
            && !received.is_empty()
        {
            noted.push(MarkMoved {
                user,
                session,
                received,
            });
        }
    }
    noted
}
