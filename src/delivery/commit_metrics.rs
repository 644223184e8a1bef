//! Counts the messages of each batch, of all sources.

use super::ReplyTo;
use crate::metrics::MessageOutcome;
use crate::store::{Outcome, Repeated, Write};
use crate::writer::{CommitObserver, Completed, CompletedBatch};

/// Counts messages by outcome.
#[derive(Debug)]
pub struct CommitMetrics;

impl CommitObserver<ReplyTo> for CommitMetrics {
    fn completed(&mut self, batch: &CompletedBatch<ReplyTo>) {
        let (mut stored, mut duplicates) = (0, 0);
        for item in &batch.items {
            if let Completed::Write {
                write: Write::Message(_) | Write::Repeat(_, _, Repeated::Message),
                outcome: Ok(Outcome::Stored { duplicate, .. }),
                ..
            } = item
            {
                if *duplicate {
                    duplicates += 1;
                } else {
                    stored += 1;
                }
            }
        }
        for (outcome, messages) in [
            (MessageOutcome::Stored, stored),
            (MessageOutcome::Duplicate, duplicates),
        ] {
            if messages > 0 {
                outcome.count(messages);
            }
        }
    }
}
