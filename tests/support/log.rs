//! What a process writes to its stdout or stderr.

use std::io::{BufRead as _, BufReader};
use std::sync::atomic::{AtomicBool, Ordering};
use std::sync::{Arc, Condvar, Mutex};
use std::time::{Duration, Instant};

use super::DEADLINE;

/// Whether the lines of a pipe are read.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
pub enum Reading {
    #[default]
    On,
    /// The pipe is left open and not read.
    Paused,
    /// The reading end of the pipe is closed when the next line has come.
    Closed,
}

/// The lines that a process has written to a pipe.
#[derive(Default)]
pub struct Log {
    lines: Mutex<Vec<String>>,
    grown: Condvar,
    ended: AtomicBool,
    reading: Mutex<Reading>,
    reading_changed: Condvar,
}

impl Log {
    /// Collects the lines of a stream.
    pub fn of(stream: impl std::io::Read + Send + 'static) -> Arc<Self> {
        let log = Arc::new(Self::default());
        let sink = log.clone();
        std::thread::spawn(move || {
            for line in BufReader::new(stream).lines().map_while(Result::ok) {
                let reading = sink.reading.lock().expect("the mode is whole");
                let reading = sink
                    .reading_changed
                    .wait_while(reading, |reading| *reading == Reading::Paused)
                    .expect("the mode is whole");
                if *reading == Reading::Closed {
                    break;
                }
                drop(reading);
                sink.lines.lock().expect("the log is whole").push(line);
                sink.grown.notify_all();
            }
            sink.ended.store(true, Ordering::Release);
        });
        log
    }

    pub fn set_reading(&self, reading: Reading) {
        *self.reading.lock().expect("the mode is whole") = reading;
        self.reading_changed.notify_all();
    }

    pub fn text(&self) -> String {
        self.lines.lock().expect("the log is whole").join("\n")
    }

    /// The log of a process that has exited, up to its end.
    pub fn whole(&self) -> String {
        let until = Instant::now() + DEADLINE;
        while !self.ended.load(Ordering::Acquire) && Instant::now() < until {
            std::thread::sleep(Duration::from_millis(2));
        }
        self.text()
    }

    pub fn find(&self, text: &str) -> Option<String> {
        let lines = self.lines.lock().expect("the log is whole");
        lines.iter().find(|line| line.contains(text)).cloned()
    }

    pub fn wait_for(&self, text: &str) -> String {
        let until = Instant::now() + DEADLINE;
        let mut lines = self.lines.lock().expect("the log is whole");
        loop {
            if let Some(line) = lines.iter().find(|line| line.contains(text)) {
                return line.clone();
            }
            let left = until.saturating_duration_since(Instant::now());
            assert!(
                !left.is_zero(),
                "{text:?} is not in the log:\n{}",
                lines.join("\n")
            );
            lines = self
                .grown
                .wait_timeout(lines, left)
                .expect("the log is whole")
                .0;
        }
    }
}
