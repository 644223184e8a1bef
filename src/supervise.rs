//! Guards of threads and tasks.

/// Ends the process when the thread that holds it panics: without that thread the server would only seem to live. What is
/// acknowledged is on disk, and whoever started the server starts it again.
#[derive(Debug)]
pub struct AbortOnPanic(pub &'static str);

impl Drop for AbortOnPanic {
    fn drop(&mut self) {
        if std::thread::panicking() {
            log::error!("the {} has failed; ending the server", self.0);
            std::process::exit(70);
        }
    }
}

/// Tasks that end with this.
pub struct AbortOnDrop(pub Vec<actix_rt::task::JoinHandle<()>>);

impl Drop for AbortOnDrop {
    fn drop(&mut self) {
        self.0.iter().for_each(actix_rt::task::JoinHandle::abort);
    }
}
