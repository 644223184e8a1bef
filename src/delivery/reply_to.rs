//! Who gets the outcome of a write.

use std::sync::Arc;

use tokio::sync::mpsc::UnboundedSender;

use super::{CommandError, PartOutcome, RoomSignal};
use crate::outbox::Outbox;
use crate::protocol::FrameError;
use crate::store::Outcome;

/// The receiver of an outcome: the handle that the writer returns with it.
#[derive(Debug)]
pub enum ReplyTo {
    /// A session, and the `ref` of its frame.
    Session(Arc<Outbox>, Option<Box<str>>),
    /// The same for a frame whose content is invalid: it gets this error, unless it repeats what was stored before.
    Invalid(Arc<Outbox>, Option<Box<str>>, Box<FrameError>),
    /// Not a reply, but a notice: a user who is not invisible is typing, or has stopped.
    Typing {
        /// The session of the user.
        from: Arc<Outbox>,
        /// The user who is notified.
        to: Arc<str>,
        /// False: has stopped.
        active: bool,
    },
    /// Not a reply, but a frame for the members of a room that is not stored.
    RoomSignal(RoomSignal),
    /// A part of the server, which is told whether the write was committed.
    Committed(std::sync::mpsc::Sender<bool>),
    /// A part of the server, which gets the outcome together with this number.
    Part(UnboundedSender<(usize, PartOutcome)>, usize),
    /// The same for a message whose content is invalid: the outcome is this error, unless it repeats what was stored before.
    InvalidPart(
        UnboundedSender<(usize, PartOutcome)>,
        usize,
        Box<FrameError>,
    ),
    /// A call of an operator, which gets the outcome as it is.
    Operator(UnboundedSender<OperatorOutcome>),
}

/// The outcome of a write that a call of an operator has made.
pub type OperatorOutcome = Result<Outcome, CommandError>;
