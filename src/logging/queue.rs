//! The queue between the threads that log and the thread that writes the log.
//!
//! Writing to stderr may block: nobody reads the pipe, the terminal is stopped, the disk is slow. No other thread of the server
//! waits for that. When the queue is full, lines are dropped and counted; the number is written as soon as writing works again.

use std::fs::File;
use std::io::{self, ErrorKind, Write as _};
use std::sync::{Arc, Condvar, Mutex, MutexGuard, PoisonError};
use std::time::Duration;

use crate::counters::LOG_LINES_DROPPED;

/// The maximum number of bytes that wait; as many again may be in the hands of the thread.
const MAX_BYTES: usize = 1 << 20;
/// A buffer of up to this many bytes is used again.
const KEPT: usize = 16 << 10;
/// Time between two attempts to write to a stream that another program has made non-blocking.
const RETRY: Duration = Duration::from_millis(20);

/// Lines that wait to be written.
#[derive(Debug, Default)]
pub struct LogQueue {
    state: Mutex<State>,
    /// Wakes the thread that writes.
    added: Condvar,
    /// Wakes those who wait until lines are taken or written.
    taken: Condvar,
}

#[derive(Debug, Default)]
struct State {
    lines: Vec<u8>,
    /// Lines that did not fit since the thread last took `lines`.
    dropped: u64,
    /// The thread is writing what it has taken.
    writing: bool,
}

impl LogQueue {
    /// Starts the thread that writes to `out`. `notice` makes the line that reports a number of dropped lines.
    ///
    /// # Errors
    /// If the thread cannot be started.
    pub fn start(
        out: File,
        notice: impl Fn(u64) -> Vec<u8> + Send + 'static,
    ) -> io::Result<Arc<Self>> {
        let queue = Arc::new(Self::default());
        let shared = queue.clone();
        std::thread::Builder::new()
            .name("log".into())
            .spawn(move || shared.write_to(&out, &notice))?;
        Ok(queue)
    }

    fn lock(&self) -> MutexGuard<'_, State> {
        self.state.lock().unwrap_or_else(PoisonError::into_inner)
    }

    /// Adds whole lines, or drops them if there is no room.
    pub fn push(&self, lines: &[u8]) {
        self.add(self.lock(), lines);
    }

    fn add(&self, mut state: MutexGuard<'_, State>, lines: &[u8]) {
        if state.lines.len() + lines.len() > MAX_BYTES {
            let dropped = count_lines(lines);
            state.dropped += dropped;
            LOG_LINES_DROPPED.add(dropped);
            return;
        }
        state.lines.extend_from_slice(lines);
        self.added.notify_one();
    }

    /// Adds the last lines of a process. Waits for room at most for this time.
    pub fn push_last(&self, lines: &[u8], within: Duration) {
        // With the lock held, or other threads could fill the queue again.
        let state = self.wait(within, |state| state.lines.len() + lines.len() > MAX_BYTES);
        self.add(state, lines);
    }

    /// Waits until everything is written, at most for this time.
    pub fn flush(&self, within: Duration) {
        drop(self.wait(within, |state| !state.is_idle()));
    }

    fn wait(&self, within: Duration, condition: impl Fn(&State) -> bool) -> MutexGuard<'_, State> {
        let waited = self
            .taken
            .wait_timeout_while(self.lock(), within, |state| condition(state));
        waited.unwrap_or_else(PoisonError::into_inner).0
    }

    /// Runs on the thread that writes.
    fn write_to(&self, out: &File, notice: &dyn Fn(u64) -> Vec<u8>) {
        // Lines that were dropped, or could not be written, and that no line has reported.
        let mut unreported = 0;
        let mut lines = Vec::new();
        loop {
            let dropped = self.take(&mut lines);
            let lost = write(out, &lines);
            let works = lost == 0;
            unreported += lost + dropped;
            if works && unreported > 0 && write(out, &notice(unreported)) == 0 {
                unreported = 0;
            }
        }
    }

    /// Waits for lines and moves them to `lines`. Returns how many were dropped after them.
    fn take(&self, lines: &mut Vec<u8>) -> u64 {
        lines.clear();
        if lines.capacity() > KEPT {
            *lines = Vec::new();
        }
        let mut state = self.lock();
        state.writing = false;
        self.taken.notify_all();
        while state.is_idle() {
            state = self
                .added
                .wait(state)
                .unwrap_or_else(PoisonError::into_inner);
        }
        state.writing = true;
        std::mem::swap(&mut state.lines, lines);
        self.taken.notify_all();
        std::mem::take(&mut state.dropped)
    }
}

impl State {
    fn is_idle(&self) -> bool {
        !self.writing && self.lines.is_empty() && self.dropped == 0
    }
}

/// Writes lines, and returns how many were lost because of an error.
fn write(mut out: &File, mut lines: &[u8]) -> u64 {
    while !lines.is_empty() {
        match out.write(lines) {
            Ok(0) => break,
            Ok(written) => lines = &lines[written..],
            Err(error) if error.kind() == ErrorKind::Interrupted => {}
            Err(error) if error.kind() == ErrorKind::WouldBlock => std::thread::sleep(RETRY),
            // The pipe is closed, or the disk is full.
            Err(_) => break,
        }
    }
    count_lines(lines)
}

fn count_lines(lines: &[u8]) -> u64 {
    lines.split(|byte| *byte == b'\n').count() as u64 - 1
}

#[cfg(test)]
mod tests {
    use std::io::Read as _;
    use std::os::fd::OwnedFd;
    use std::time::Instant;

    use super::*;

    fn notice(count: u64) -> Vec<u8> {
        format!("{count} dropped\n").into_bytes()
    }

    fn start() -> (Arc<LogQueue>, io::PipeReader) {
        let (reader, writer) = io::pipe().expect("a pipe");
        let out = File::from(OwnedFd::from(writer));
        (
            LogQueue::start(out, notice).expect("a thread starts"),
            reader,
        )
    }

    const LONG: Duration = Duration::from_secs(20);

    #[test]
    fn lines_are_written_in_order_and_a_flush_waits_for_them() {
        let (queue, mut reader) = start();
        queue.flush(LONG);
        let lines: Vec<_> = (0..1000).map(|n| format!("{n}\n")).collect();
        for line in &lines {
            queue.push(line.as_bytes());
        }
        let expected = lines.concat();
        queue.flush(LONG);
        let mut text = vec![0; expected.len()];
        reader.read_exact(&mut text).expect("everything is written");
        assert_eq!(text, expected.as_bytes());
    }

    #[test]
    fn a_pipe_that_nobody_reads_blocks_nobody_and_dropped_lines_are_reported() {
        const LINES: u64 = 40_000;
        let (queue, mut reader) = start();
        let line = [b'x'; 99];
        for _ in 0..LINES {
            queue.push(&[&line[..], b"\n"].concat());
        }
        let start = Instant::now();
        queue.flush(Duration::from_millis(50));
        assert!(start.elapsed() >= Duration::from_millis(50));
        let mut text = String::new();
        let mut buffer = vec![0; 65536];
        while !text.contains("dropped\n") {
            let count = reader.read(&mut buffer).expect("the pipe is open");
            text += std::str::from_utf8(&buffer[..count]).expect("text");
        }
        queue.push(b"after\n");
        queue.flush(LONG);
        let written = text.matches("x\n").count() as u64;
        let dropped = text
            .lines()
            .rev()
            .find_map(|line| line.strip_suffix(" dropped"));
        let dropped: u64 = dropped.and_then(|n| n.parse().ok()).expect("a number");
        assert!(dropped > 0);
        assert_eq!(written + dropped, LINES);
        let count = reader.read(&mut buffer).expect("the pipe is open");
        assert!(buffer[..count].ends_with(b"after\n"));
    }

    #[test]
    fn the_last_line_waits_for_room() {
        let (queue, mut reader) = start();
        let line = [&[b'x'; 999][..], b"\n"].concat();
        for _ in 0..4 * MAX_BYTES / line.len() {
            queue.push(&line);
        }
        assert!(queue.lock().dropped > 0, "the queue is full");
        let text = std::thread::scope(|scope| {
            scope.spawn(|| {
                queue.push_last(b"the reason of the exit\n", LONG);
                queue.flush(LONG);
            });
            let mut text = String::new();
            let mut buffer = vec![0; 1 << 16];
            while !text.contains("the reason of the exit\n") {
                let count = reader.read(&mut buffer).expect("the pipe is open");
                text += std::str::from_utf8(&buffer[..count]).expect("text");
            }
            text
        });
        assert!(text.contains(" dropped\n"), "dropped lines are counted");
    }

    #[test]
    fn a_closed_pipe_blocks_nobody() {
        let (queue, reader) = start();
        drop(reader);
        for _ in 0..100_000 {
            queue.push(b"a line that nobody reads\n");
        }
        queue.flush(LONG);
        assert!(queue.lock().is_idle());
    }
}
