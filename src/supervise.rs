//! Supervision of threads that the server cannot work without.

/// Ends the process if the thread that holds it panics. Without that thread the server would accept connections and serve
/// none. Everything acknowledged is on disk, so a restart by the service manager loses nothing.
#[derive(Debug)]
pub struct AbortOnPanic(pub &'static str);

impl Drop for AbortOnPanic {
    fn drop(&mut self) {
        if std::thread::panicking() {
            log::error!("the {} panicked; ending the server", self.0);
            std::process::exit(70);
        }
    }
}
