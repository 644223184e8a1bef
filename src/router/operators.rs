//! Writes of operators, which are not made in the name of a user.

use tokio::sync::mpsc::unbounded_channel;

use super::{CommandError, Router};
use crate::delivery::{OperatorOutcome, ReplyTo};
use crate::store::Write;
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
}
