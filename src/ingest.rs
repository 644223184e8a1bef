//! What back ends send in the name of users: messages, memberships and moderation. Every entry point for back ends uses it, so that
//! their messages are validated by the rules for frames, and are idempotent together with these.
//!
//! Rates and limits of users do not apply. An entry point has its own.

mod room_deletion;

use std::sync::Arc;

use tokio::sync::mpsc::{UnboundedReceiver, UnboundedSender, unbounded_channel};
use uuid::Uuid;

pub use self::room_deletion::DeletedRoom;
use crate::content_types::SharedContract;
use crate::delivery::{CommandError, PartOutcome};
use crate::metrics::count_rejected;
use crate::protocol::api::{ParsedSend, Targets};
use crate::protocol::{Contract, FrameError, Scanned, Tape, Target};
use crate::router::{KeyMessage, PartReply, Router};
use crate::store::{Content, MembershipKind};
use crate::writer::WriteError;

/// The number of messages of one request that are in the writer's queue at the same time, and the bytes of their content: so a request
/// with many recipients does not fill the queue, which all sessions share.
const MAX_QUEUED: usize = 256;
const MAX_QUEUED_BYTES: usize = 4 << 20;

/// Accepts what back ends send. A cheap handle.
#[derive(Clone, Debug)]
pub struct Ingest {
    router: Router,
    contract: Arc<SharedContract>,
}

/// The outcome of a request.
#[derive(Debug)]
pub enum Sent {
    /// Of a message to a user or a room.
    One(Box<PartOutcome>),
    /// Of the messages to several users, in the order of the request.
    Many(Vec<PartOutcome>),
}

/// The part of a request that all of its messages share.
struct Shared<'a> {
    from: Arc<str>,
    content: Content,
    request: &'a ParsedSend<'a>,
}

impl Ingest {
    /// Commands go through this router; content is validated by the contract in force.
    pub fn new(router: Router, contract: Arc<SharedContract>) -> Self {
        Self { router, contract }
    }

    /// The contract in force.
    pub fn contract(&self) -> Arc<Contract> {
        self.contract.current()
    }

    /// Decodes and validates a request, and counts a content that is not accepted.
    ///
    /// # Errors
    /// [`FrameError`] names the rule that the request violates, and the value.
    pub fn parse<'a>(
        &self,
        tape: &mut Tape,
        text: &'a str,
        contract: &Contract,
    ) -> Result<ParsedSend<'a>, FrameError> {
        ParsedSend::new(tape, text, contract).inspect_err(|error| {
            if let Some(content) = Scanned::new(tape, text).content_label(contract) {
                count_rejected(error.code, content);
            }
        })
    }

    /// Sends the messages of a request, and waits until they are stored.
    ///
    /// # Errors
    /// The content is invalid, and the request repeats nothing. Otherwise the errors are in the result.
    pub async fn send(&self, request: &ParsedSend<'_>) -> Sent {
        let shared = self.shared(request);
        let (sender, outcomes) = unbounded_channel();
        match request.request.targets() {
            Targets::One(target) => {
                if let Err(error) = self.submit(&shared, target, (&sender, 0)) {
                    return Sent::One(Box::new(Err(error)));
                }
                Sent::One(Box::new(only(outcomes, sender).await))
            }
            Targets::Users(users) => {
                let mut sending = Sending::new(users.len(), shared.content.len(), outcomes);
                for (number, user) in users.iter().enumerate() {
                    sending.wait_for_room().await;
                    let target = Target::User(user.as_str());
                    let submitted = self.submit(&shared, target, (&sender, number));
                    sending.submitted(number, submitted);
                }
                drop(sender);
                Sent::Many(sending.finish().await)
            }
        }
    }

    /// Queues the message of a request to one user or room.
    ///
    /// # Errors
    /// [`CommandError`]: nothing was queued.
    pub fn submit_one(
        &self,
        request: &ParsedSend<'_>,
        reply: PartReply<'_>,
    ) -> Result<(), CommandError> {
        match request.request.targets() {
            Targets::One(target) => self.submit(&self.shared(request), target, reply),
            Targets::Users(_) => Err(WriteError::Internal.into()),
        }
    }

    fn shared<'a>(&self, request: &'a ParsedSend<'a>) -> Shared<'a> {
        Shared {
            from: request.request.from_user.as_str().into(),
            content: self.router.content(&request.request.message),
            request,
        }
    }

    fn submit(
        &self,
        shared: &Shared<'_>,
        to: Target<'_>,
        reply: PartReply<'_>,
    ) -> Result<(), CommandError> {
        let request = &shared.request.request;
        let message = KeyMessage {
            from: &shared.from,
            to,
            id: request.id.map(|id| id.0),
            content: &shared.content,
            invalid_content: shared.request.invalid_content.as_deref(),
            reply_to: request.reply_to.map(|id| id.0),
            as_member: request.as_member.unwrap_or(true),
        };
        let submitted = if request.ephemeral == Some(true) {
            self.router.push_by_key(&message, reply)
        } else {
            self.router.send_by_key(&message, reply)
        };
        submitted.inspect_err(|rejected| {
            count_rejected(rejected.error.code, request.message.value.label());
        })
    }

    /// Makes a user a member of a room, also with `--rooms managed`.
    ///
    /// # Errors
    /// [`CommandError`]: the user is not a member.
    pub async fn add_member(&self, user: &Arc<str>, room: &str) -> PartOutcome {
        let kind = MembershipKind::Assigned;
        self.run(|reply| self.router.join(user, room, kind, reply))
            .await
    }

    /// Ends the membership of a user, who cannot join the room again until [`Ingest::add_member`].
    ///
    /// # Errors
    /// [`CommandError`]: nothing has changed.
    pub async fn remove_member(&self, user: &Arc<str>, room: &str) -> PartOutcome {
        let kind = MembershipKind::Assigned;
        self.run(|reply| self.router.leave(user, room, kind, reply))
            .await
    }

    /// Deletes a message in the name of its author.
    ///
    /// # Errors
    /// [`CommandError`]: nothing was deleted.
    pub async fn delete_message(
        &self,
        author: &Arc<str>,
        target: Target<'_>,
        id: Uuid,
    ) -> PartOutcome {
        self.run(|reply| self.router.moderate(author, target, id, reply))
            .await
    }

    /// Queues a write, and waits for its outcome.
    async fn run(
        &self,
        submit: impl FnOnce(PartReply<'_>) -> Result<(), CommandError>,
    ) -> PartOutcome {
        let (sender, outcomes) = unbounded_channel();
        submit((&sender, 0))?;
        only(outcomes, sender).await
    }
}

/// The outcome of the only write.
async fn only(
    mut outcomes: UnboundedReceiver<(usize, PartOutcome)>,
    sender: UnboundedSender<(usize, PartOutcome)>,
) -> PartOutcome {
    // Otherwise the receiver would wait forever for a write that the writer has dropped.
    drop(sender);
    match outcomes.recv().await {
        Some((_, outcome)) => outcome,
        None => Err(WriteError::Internal.into()),
    }
}

/// The messages of a request to several users.
struct Sending {
    outcomes: UnboundedReceiver<(usize, PartOutcome)>,
    /// By user; `None`: it is not known yet.
    done: Vec<Option<PartOutcome>>,
    queued: usize,
    max_queued: usize,
}

impl Sending {
    fn new(users: usize, bytes: usize, outcomes: UnboundedReceiver<(usize, PartOutcome)>) -> Self {
        Self {
            outcomes,
            done: (0..users).map(|_| None).collect(),
            queued: 0,
            max_queued: (MAX_QUEUED_BYTES / bytes.max(1)).clamp(1, MAX_QUEUED),
        }
    }

    fn submitted(&mut self, number: usize, submitted: Result<(), CommandError>) {
        match submitted {
            Ok(()) => self.queued += 1,
            Err(error) => self.set(number, Err(error)),
        }
    }

    fn set(&mut self, number: usize, outcome: PartOutcome) {
        if let Some(done) = self.done.get_mut(number) {
            *done = Some(outcome);
        }
    }

    /// Waits until one more message may be queued.
    async fn wait_for_room(&mut self) {
        while self.queued >= self.max_queued {
            self.receive().await;
        }
    }

    /// Waits for all outcomes.
    async fn finish(mut self) -> Vec<PartOutcome> {
        while self.queued > 0 {
            self.receive().await;
        }
        let unknown = || Err(WriteError::Internal.into());
        let done = self.done.into_iter();
        done.map(|outcome| outcome.unwrap_or_else(unknown))
            .collect()
    }

    async fn receive(&mut self) {
        match self.outcomes.recv().await {
            Some((number, outcome)) => {
                self.queued -= 1;
                self.set(number, outcome);
            }
            // The writer has dropped the others.
            None => self.queued = 0,
        }
    }
}
