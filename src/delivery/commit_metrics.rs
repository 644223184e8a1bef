//! Counts the writes of each batch, of all sources: by kind and outcome, and their contents by type.

use std::sync::atomic::{AtomicU64, Ordering};

use super::{CommandError, ReplyTo, rejection};
use crate::counters::Limit;
use crate::metrics::{MessageOutcome, count_rejected};
use crate::protocol::{ContentLabel, ErrorCode};
use crate::store::{Content, Outcome, Repeated, Write};
use crate::writer::{CommitObserver, Completed, CompletedBatch};

/// The kinds of writes that are counted.
const KINDS: [&str; 9] = [
    "message", "edit", "delete", "react", "read", "join", "leave", "block", "status",
];
const MESSAGE: usize = 0;
const EDIT: usize = 1;

/// What became of a write.
const OUTCOMES: [&str; 4] = ["stored", "duplicate", "refused", "failed"];
const STORED: usize = 0;
const DUPLICATE: usize = 1;
const REFUSED: usize = 2;
const FAILED: usize = 3;

/// A counter to which only the writer's thread adds, so that it needs no atomic addition.
struct WriterCounter(AtomicU64);

impl WriterCounter {
    const fn new() -> Self {
        Self(AtomicU64::new(0))
    }

    fn add(&self, count: u64) {
        self.0
            .store(self.get().wrapping_add(count), Ordering::Relaxed);
    }

    fn get(&self) -> u64 {
        self.0.load(Ordering::Relaxed)
    }
}

/// By kind and outcome.
static WRITES: [[WriterCounter; OUTCOMES.len()]; KINDS.len()] =
    [const { [const { WriterCounter::new() }; OUTCOMES.len()] }; KINDS.len()];
/// Contents that were stored: of messages and of edits, by [`ContentLabel`].
static CONTENTS: [[WriterCounter; ContentLabel::COUNT]; 2] =
    [const { [const { WriterCounter::new() }; ContentLabel::COUNT] }; 2];

/// The writes of all sources so far, each with its kind and outcome.
pub fn writes() -> impl Iterator<Item = (&'static str, &'static str, u64)> {
    KINDS.iter().zip(&WRITES).flat_map(|(kind, counts)| {
        let counts = OUTCOMES.iter().zip(counts);
        counts.map(|(outcome, count)| (*kind, *outcome, count.get()))
    })
}

/// The contents that were stored so far, each with the kind of the write.
pub fn stored_contents() -> impl Iterator<Item = (&'static str, ContentLabel, u64)> {
    KINDS.iter().zip(&CONTENTS).flat_map(|(kind, counts)| {
        let counts = ContentLabel::all().zip(counts);
        counts.map(|(content, count)| (*kind, content, count.get()))
    })
}

/// Counts writes.
#[derive(Debug)]
pub struct CommitMetrics;

impl CommitObserver<ReplyTo> for CommitMetrics {
    fn completed(&mut self, batch: &CompletedBatch<ReplyTo>) {
        let (mut stored, mut duplicates) = (0, 0);
        for item in &batch.items {
            let Completed::Write {
                write,
                reply_to,
                outcome,
            } = item
            else {
                continue;
            };
            let Some((kind, content)) = kind_of(write) else {
                continue;
            };
            let became = match outcome {
                Ok(outcome) => outcome_of(outcome),
                Err(_) => FAILED,
            };
            WRITES[kind][became].add(1);
            match (kind, became) {
                (MESSAGE, STORED) => stored += 1,
                (MESSAGE, DUPLICATE) => duplicates += 1,
                (_, REFUSED) => count_limit(outcome),
                _ => {}
            }
            let Some(label) = content.map(|content| ContentLabel::at(content.tag())) else {
                continue;
            };
            if became == STORED {
                CONTENTS[kind][label.index()].add(1);
            } else if became != DUPLICATE
                && let Some(code) = rejected_as(write, reply_to, outcome)
            {
                count_rejected(code, label);
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

type Completion = Result<Outcome, crate::writer::WriteError>;

/// The kind of a write, and its content. `None`: it is not a write of a user or in the name of one.
fn kind_of(write: &Write) -> Option<(usize, Option<&Content>)> {
    Some(match write {
        Write::Message(message) => (MESSAGE, Some(&message.content)),
        Write::Repeat(_, content, Repeated::Message) => (MESSAGE, Some(content)),
        Write::Edit(_, content) | Write::Repeat(_, content, Repeated::Edit) => {
            (EDIT, Some(content))
        }
        Write::Delete(_) | Write::Moderate(_) => (2, None),
        Write::React { .. } => (3, None),
        Write::Read(_) => (4, None),
        Write::Join { .. } => (5, None),
        Write::Leave { .. } => (6, None),
        Write::Block { .. } => (7, None),
        Write::Status { .. } => (8, None),
        _ => return None,
    })
}

fn outcome_of(outcome: &Outcome) -> usize {
    match outcome {
        Outcome::Stored { duplicate, .. } | Outcome::Membership { duplicate, .. } => {
            if *duplicate {
                DUPLICATE
            } else {
                STORED
            }
        }
        Outcome::ReadMark { moved: false, .. } => DUPLICATE,
        Outcome::ReadMark { .. } | Outcome::BlockSet | Outcome::StatusSet { .. } => STORED,
        _ => REFUSED,
    }
}

/// The code of the error that answers a write.
fn rejected_as(write: &Write, reply_to: &ReplyTo, outcome: &Completion) -> Option<ErrorCode> {
    let invalid = match reply_to {
        ReplyTo::Invalid(_, _, error) | ReplyTo::InvalidPart(_, _, error) => Some(error.code),
        _ => None,
    };
    match outcome {
        Ok(Outcome::NotStored) => invalid,
        Ok(outcome) => rejection(write, outcome).map(|rejected| rejected.error.code),
        Err(error) => Some(CommandError::from(*error).error.code),
    }
}

fn count_limit(outcome: &Completion) {
    let limit = match outcome {
        Ok(Outcome::TooManyBytes { .. }) => Limit::UserBytes,
        Ok(Outcome::TooManyChanges { .. }) => Limit::MessageChanges,
        Ok(Outcome::TooManyEntries { .. }) => Limit::RoomEntries,
        Ok(Outcome::UnknownRecipientLimit) => Limit::UnknownRecipientsOfUser,
        Ok(Outcome::UnknownRecipientTotal) => Limit::UnknownRecipients,
        _ => return,
    };
    limit.count(1);
}
