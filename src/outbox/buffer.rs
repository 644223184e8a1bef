//! The encoded frames of a session that the socket has not accepted, and the decision about who writes them.
//!
//! Frames are written by one of two: by the session's task, which takes the bytes with [`Buffer::take`], or by the thread that
//! added them, with [`Buffer::start_flush`] and [`Buffer::finish_flush`]. The second saves a wakeup of the task, which often
//! runs on another thread; such a wakeup costs more than the write itself. Only one writes at a time, so that frames stay
//! whole and in order: a flush starts only while the task waits and has no bytes in hand, and the task takes no bytes during a
//! flush. Neither holds the outbox's lock while it writes.

use std::task::Waker;
use std::time::Instant;

use super::Interest;
use super::wakeup::Wakeup;
use crate::protocol::ServerFrame;
use crate::websocket::socket_writer::SocketWriter;
use crate::websocket::{self, Opcode};

/// A buffer of up to this many bytes is kept for the next frames. An idle session releases it with its next heartbeat.
const KEPT: usize = 1024;

/// Encoded frames, and the state of the task that writes them.
#[derive(Debug, Default)]
pub struct Buffer {
    /// Encoded WebSocket frames that are not being written yet.
    bytes: Vec<u8>,
    /// Bytes that the task or a flush has taken, and that the socket has not accepted.
    writing: usize,
    /// Capacity of the memory that they are in.
    writing_capacity: usize,
    /// Text frames appended so far. The task compares it to know whether the connection was idle.
    texts: u64,
    /// Nothing may follow: `bytes` ends with a close frame, or the session has ended.
    closed: bool,
    /// The session has ended: bytes are discarded.
    destroyed: bool,
    /// Wakes the session's task; `None` while the task runs, or before it has run.
    waker: Option<Waker>,
    /// Another thread has changed something since the task's turn began: the task must run again before it waits.
    changed: bool,
    /// The events for which the task wants to be woken.
    interest: Interest,
    /// Writes to the socket from other threads; `None` where only the task can write (TLS).
    socket: Option<SocketWriter>,
    /// A flush has been requested and has not started.
    flush_requested: bool,
    /// A flush is writing.
    flushing: bool,
    /// The task wants to be woken when the current flush ends: the unsent bytes that it has seen were not all waiting for the
    /// client.
    task_awaits_flush: bool,
    /// When a flush last wrote something, if that was after the task's last write.
    last_flush: Option<Instant>,
}

impl Buffer {
    /// Bytes that the socket has not accepted.
    pub fn unsent(&self) -> usize {
        self.bytes.len() + self.writing
    }

    /// Memory in use.
    pub fn memory(&self) -> usize {
        self.bytes.capacity() + self.writing_capacity
    }

    /// Text frames appended so far.
    pub fn texts(&self) -> u64 {
        self.texts
    }

    /// When a flush last wrote something, if that was after the task's last write.
    pub fn last_flush(&self) -> Option<Instant> {
        self.last_flush
    }

    /// True if nothing can be appended any more.
    pub fn is_closed(&self) -> bool {
        self.closed
    }

    /// The events for which the task wants to be woken.
    pub fn interest(&self) -> Interest {
        self.interest
    }

    /// Lets other threads write to the socket while the task waits.
    pub fn set_socket(&mut self, socket: Option<SocketWriter>) {
        self.socket = socket;
    }

    /// Appends a frame.
    pub fn append(&mut self, frame: &ServerFrame<'_>) {
        self.append_text(|out| websocket::write_text(out, |out| frame.write(out)));
    }

    /// Appends a text frame that is already encoded.
    pub fn append_encoded(&mut self, frame: &[u8]) {
        self.append_text(|out| out.extend_from_slice(frame));
    }

    /// Appends the encoded text frames that `write` writes.
    pub fn append_text(&mut self, write: impl FnOnce(&mut Vec<u8>)) {
        if !self.closed {
            write(&mut self.bytes);
            self.texts += 1;
        }
    }

    /// Appends a frame that does not count as text of the server.
    pub fn append_frame(&mut self, opcode: Opcode, payload: &[u8]) {
        if !self.closed {
            websocket::write_frame(&mut self.bytes, opcode, payload);
        }
    }

    /// Appends a close frame (RFC 6455 section 5.5.1). Nothing can be appended after it.
    pub fn close(&mut self, code: Option<u16>) {
        if !self.closed {
            websocket::write_close(&mut self.bytes, code);
            self.closed = true;
        }
    }

    /// Discards everything; nothing can be appended any more.
    pub fn destroy(&mut self) {
        *self = Self {
            closed: true,
            destroyed: true,
            ..Self::default()
        };
    }

    /// Decides what must happen so that the bytes just appended are written. `task_needed`: it needs more than a write.
    pub fn wakeup(&mut self, task_needed: bool) -> Wakeup {
        if self.waker.is_none() {
            // The task runs, or has not run yet: it looks again before it waits.
            self.changed = true;
            return Wakeup::Nothing;
        }
        if task_needed || self.interest.all {
            self.changed = true;
            return self.waker.take().map_or(Wakeup::Nothing, Wakeup::Wake);
        }
        if self.bytes.is_empty() || self.writing > 0 || self.flush_requested {
            return Wakeup::Nothing;
        }
        if self.socket.is_none() {
            return self.waker.take().map_or(Wakeup::Nothing, Wakeup::Wake);
        }
        self.flush_requested = true;
        Wakeup::Flush
    }

    /// Notes that the task must look again before it waits.
    pub fn mark_changed(&mut self) {
        self.changed = true;
    }

    /// As [`Buffer::mark_changed`]; returns the waker of a task that waits.
    pub fn take_waker(&mut self) -> Option<Waker> {
        self.changed = true;
        self.waker.take()
    }

    /// The requested flush starts now, or is dropped.
    pub fn clear_flush_request(&mut self) {
        self.flush_requested = false;
    }

    /// Takes the bytes to write and the socket to write them to. `None` if there are none, the task runs and will write them,
    /// or another thread writes, which continues until nothing is left.
    pub fn start_flush(&mut self) -> Option<(SocketWriter, Vec<u8>)> {
        if self.bytes.is_empty() || self.flushing || self.writing > 0 || self.waker.is_none() {
            return None;
        }
        let socket = self.socket.clone()?;
        let bytes = std::mem::take(&mut self.bytes);
        self.flushing = true;
        self.writing = bytes.len();
        self.writing_capacity = bytes.capacity();
        Some((socket, bytes))
    }

    /// Ends a flush of `bytes`, of which the socket accepted the first `sent`. True: the task must be woken, to write the
    /// rest or because it waits for the end of the flush.
    pub fn finish_flush(&mut self, mut bytes: Vec<u8>, sent: usize, now: Instant) -> bool {
        self.flushing = false;
        self.writing = 0;
        self.writing_capacity = 0;
        if sent > 0 {
            self.last_flush = Some(now);
        }
        // A running task may have seen these bytes as unsent, and postponed work that needs room.
        if self.waker.is_none() {
            self.changed = true;
        }
        let awaited = std::mem::take(&mut self.task_awaits_flush);
        if sent < bytes.len() {
            if !self.destroyed {
                bytes.drain(..sent);
                bytes.append(&mut self.bytes);
                self.bytes = bytes;
            }
            return true;
        }
        if !awaited {
            self.reuse(bytes);
        }
        awaited
    }

    /// Begins a turn of the task: until [`Buffer::take`], other threads need not wake it.
    pub fn start_turn(&mut self) {
        self.waker = None;
        self.changed = false;
    }

    /// Takes the bytes that the task writes next, and registers `waker` for the events of `interest`. `in_hand` are the
    /// bytes that the task has taken before and the socket has not accepted, and the capacity of their memory; `spare` is a
    /// buffer that the task no longer needs. Also returns whether another thread has changed something since the turn began.
    pub fn take(
        &mut self,
        waker: &Waker,
        in_hand: (usize, usize),
        interest: Interest,
        spare: Vec<u8>,
    ) -> (Vec<u8>, bool) {
        match &mut self.waker {
            Some(known) if known.will_wake(waker) => {}
            slot => *slot = Some(waker.clone()),
        }
        self.interest = interest;
        let changed = std::mem::take(&mut self.changed);
        let mut bytes = Vec::new();
        if in_hand.0 > 0 {
            (self.writing, self.writing_capacity) = in_hand;
        } else if self.flushing {
            self.task_awaits_flush = true;
        } else {
            bytes = std::mem::take(&mut self.bytes);
            self.writing = bytes.len();
            self.writing_capacity = 0;
            if !bytes.is_empty() {
                self.writing_capacity = bytes.capacity();
                self.last_flush = None;
            }
            self.reuse(spare);
        }
        (bytes, changed)
    }

    /// Moves all bytes to the end of `out`, which the task writes next.
    pub fn take_into(&mut self, out: &mut Vec<u8>) {
        out.append(&mut self.bytes);
        self.bytes = Vec::new();
        self.writing = out.len();
        self.writing_capacity = out.capacity();
    }

    /// Releases unused memory.
    pub fn shrink(&mut self) {
        self.bytes.shrink_to_fit();
    }

    /// Keeps a small buffer for the next frames.
    fn reuse(&mut self, mut buffer: Vec<u8>) {
        if self.bytes.capacity() == 0 && buffer.capacity() <= KEPT {
            buffer.clear();
            self.bytes = buffer;
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_flush_during_the_tasks_turn_is_noticed() {
        let mut buffer = Buffer {
            flushing: true,
            writing: 900,
            ..Buffer::default()
        };
        buffer.start_turn();
        assert_eq!(buffer.unsent(), 900);
        assert!(!buffer.finish_flush(vec![0; 900], 900, Instant::now()));
        let (_, changed) = buffer.take(Waker::noop(), (0, 0), Interest::default(), Vec::new());
        assert!(changed, "there is room now");
    }

    #[test]
    fn bytes_that_a_flush_could_not_write_stay_in_order() {
        let mut buffer = Buffer {
            flushing: true,
            writing: 4,
            ..Buffer::default()
        };
        buffer.append_encoded(b"56");
        assert!(buffer.finish_flush(b"1234".to_vec(), 1, Instant::now()));
        let (bytes, _) = buffer.take(Waker::noop(), (0, 0), Interest::default(), Vec::new());
        assert_eq!(bytes, b"23456");
    }

    #[test]
    fn the_task_is_woken_after_a_flush_that_it_waits_for() {
        let mut buffer = Buffer {
            flushing: true,
            writing: 2,
            ..Buffer::default()
        };
        let (bytes, _) = buffer.take(Waker::noop(), (0, 0), Interest::default(), Vec::new());
        assert!(bytes.is_empty(), "a flush is writing");
        assert!(buffer.finish_flush(b"12".to_vec(), 2, Instant::now()));
        assert!(!buffer.finish_flush(b"12".to_vec(), 2, Instant::now()));
    }
}
