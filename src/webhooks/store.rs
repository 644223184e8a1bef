//! The store as the threads of webhooks use it: they wait for each answer.

use std::sync::mpsc::channel;
use std::time::Duration;

use crate::delivery::ReplyTo;
use crate::readers::Readers;
use crate::store::{EventReader, EventWrite, StoreError, Write};
use crate::writer::Writer;

/// How long a write is waited for.
const WRITE_TIMEOUT: Duration = Duration::from_secs(10);

/// Reads and writes events.
#[derive(Clone, Debug)]
pub struct EventStore {
    readers: Readers,
    writer: Writer<ReplyTo>,
}

/// Why something was not read or written.
#[derive(Debug, thiserror::Error)]
pub enum Unavailable {
    /// The server is shutting down.
    #[error("the store is closed")]
    Closed,
    /// The store has failed; another attempt may succeed.
    #[error("{0}")]
    Failed(String),
}

impl From<StoreError> for Unavailable {
    fn from(error: StoreError) -> Self {
        Self::Failed(error.to_string())
    }
}

impl EventStore {
    pub fn new(readers: Readers, writer: Writer<ReplyTo>) -> Self {
        Self { readers, writer }
    }

    /// Reads on the thread of a reader.
    pub fn read<T: Send + 'static>(
        &self,
        read: impl FnOnce(&mut dyn EventReader) -> Result<T, StoreError> + Send + 'static,
    ) -> Result<T, Unavailable> {
        let (sender, answer) = channel();
        self.readers.events(move |reader| {
            let _ = sender.send(read(reader));
        });
        // The job is dropped if the server is shutting down.
        Ok(answer.recv().map_err(|_| Unavailable::Closed)??)
    }

    /// Writes, and waits for the commit.
    pub fn write(&self, write: EventWrite) -> Result<(), Unavailable> {
        let (sender, committed) = channel();
        let queued = self
            .writer
            .write(Write::Events(write), ReplyTo::Committed(sender));
        let failed = || Unavailable::Failed("nothing can be stored at the moment".to_owned());
        queued.map_err(|_| failed())?;
        match committed.recv_timeout(WRITE_TIMEOUT) {
            Ok(true) => Ok(()),
            _ => Err(failed()),
        }
    }
}
