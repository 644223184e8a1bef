//! Writes of operators, which are not made in the name of a user.

use std::sync::Arc;

use tokio::sync::mpsc::unbounded_channel;

use super::{CommandError, Router};
use crate::delivery::{OperatorOutcome, ReplyTo};
use crate::store::{Erased, Outcome, Write};
use crate::writer::WriteError;

impl Router {
    /// Queues a write, and waits for its outcome.
    ///
    /// # Errors
    /// [`CommandError`]: nothing was stored, or the outcome is unknown.
    pub async fn administer(&self, write: Write) -> OperatorOutcome {
        self.check_space(&write)?;
        let (sender, mut outcomes) = unbounded_channel();
        self.writer
            .write(write, ReplyTo::Operator(sender))
            .map_err(|_| CommandError::from(WriteError::Overloaded))?;
        let outcome = outcomes.recv().await;
        // Without an outcome, the writer has dropped the write.
        outcome.unwrap_or_else(|| Err(WriteError::Internal.into()))
    }

    /// Erases a user without sessions, and waits until that is complete. `None`: the store knows nothing of the user.
    ///
    /// # Errors
    /// [`CommandError`]: nothing was erased, or the server shuts down, and the next start completes the erasure.
    pub async fn erase(&self, user: &Arc<str>) -> Result<Option<Erased>, CommandError> {
        let write = Write::Erase { user: user.clone() };
        self.check_space(&write)?;
        let (sender, mut outcomes) = unbounded_channel();
        self.writer
            .write(write, ReplyTo::Operator(sender))
            .map_err(|_| CommandError::from(WriteError::Overloaded))?;
        while let Some(outcome) = outcomes.recv().await {
            match outcome? {
                Outcome::NoSuchUser => return Ok(None),
                Outcome::Erasing(step) if step.done.is_some() => return Ok(step.done),
                _ => {}
            }
        }
        Err(WriteError::Internal.into())
    }
}
