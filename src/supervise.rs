//! Supervision of threads that the server cannot work without, and the exit codes of a server that cannot continue.

/// The exit code when a thread has panicked (`EX_SOFTWARE` of BSD's `sysexits.h`).
const PANICKED: i32 = 70;
/// The exit code when the disk has failed: a sync, or a write to the store, ended with an error other than "disk full"
/// (`EX_IOERR`). A service manager may start the server again, but not at once.
pub const DISK_FAILED: u8 = 74;

/// Ends the process after this last line of the log. Waits before it, because lines that do not fit into the queue are dropped.
pub fn fail(code: i32, why: std::fmt::Arguments<'_>) -> ! {
    log::logger().flush();
    log::error!("{why}");
    exit(code);
}

/// Ends the process after the log has been written, if that is possible within a second.
pub fn exit(code: i32) -> ! {
    log::logger().flush();
    std::process::exit(code);
}

/// Ends the process if the thread that holds it panics. Without that thread the server would accept connections and serve
/// none. Everything acknowledged is on disk, so a restart by the service manager loses nothing.
#[derive(Debug)]
pub struct AbortOnPanic(pub &'static str);

impl Drop for AbortOnPanic {
    fn drop(&mut self) {
        if std::thread::panicking() {
            fail(
                PANICKED,
                format_args!("the {} panicked; ending the server", self.0),
            );
        }
    }
}
