//! How much a connection may do before the other connections of its worker thread get their turn.

use std::time::{Duration, Instant};

/// Frames (RFC 6455) in one turn.
const FRAMES: u32 = 256;
/// Duration of a turn. A single frame may exceed it.
const TIME: Duration = Duration::from_millis(1);
/// The clock is read after frames of this many bytes, which take some tens of microseconds to process.
const BYTES_PER_CHECK: usize = 8192;
/// A frame counts as this many bytes at least.
const FRAME_OVERHEAD: usize = 512;

/// What is left of a turn, and what it has used.
#[derive(Debug)]
pub struct TurnBudget {
    until: Instant,
    frames_left: u32,
    /// Bytes until the clock is read again.
    bytes_to_check: usize,
    /// Bytes of all frames that were decoded.
    bytes: usize,
    /// Fragments of messages other than the last one of each.
    fragments: u32,
    /// The next frame must wait.
    paused: bool,
}

impl TurnBudget {
    /// A turn that starts now.
    pub fn new(now: Instant) -> Self {
        Self {
            until: now + TIME,
            frames_left: FRAMES,
            bytes_to_check: BYTES_PER_CHECK,
            bytes: 0,
            fragments: 0,
            paused: false,
        }
    }

    /// True if no more frames may be decoded now. The time counts as of the last [`TurnBudget::add`] or [`TurnBudget::at`].
    pub fn is_spent(&self) -> bool {
        self.frames_left == 0 || self.paused
    }

    /// Ends the decoding of frames until [`TurnBudget::resume`].
    pub fn pause(&mut self) {
        self.paused = true;
    }

    /// Reverts [`TurnBudget::pause`].
    pub fn resume(&mut self) {
        self.paused = false;
    }

    /// True if the turn has to end at this time.
    pub fn at(&mut self, now: Instant) -> bool {
        if now >= self.until {
            self.frames_left = 0;
        }
        self.frames_left == 0
    }

    /// Counts decoded bytes: `fragments` of a message that is still incomplete, and a complete message or control frame if
    /// `complete`.
    pub fn add(&mut self, fragments: u32, complete: bool, bytes: usize) {
        let frames = fragments + u32::from(complete);
        self.bytes += bytes;
        self.fragments += fragments;
        self.frames_left = self.frames_left.saturating_sub(frames);
        let cost = bytes + frames as usize * FRAME_OVERHEAD;
        self.bytes_to_check = self.bytes_to_check.saturating_sub(cost);
        if self.bytes_to_check == 0 {
            self.bytes_to_check = BYTES_PER_CHECK;
            self.at(Instant::now());
        }
    }

    /// Takes the counts of fragments and bytes since the last call.
    pub fn take_used(&mut self) -> (u32, usize) {
        (
            std::mem::take(&mut self.fragments),
            std::mem::take(&mut self.bytes),
        )
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_turn_ends_after_its_frames() {
        let mut turn = TurnBudget::new(Instant::now() + Duration::from_secs(3600));
        for _ in 0..FRAMES - 1 {
            turn.add(0, true, 10);
            assert!(!turn.is_spent());
        }
        turn.add(0, true, 10);
        assert!(turn.is_spent());
        assert_eq!(turn.take_used(), (0, 10 * FRAMES as usize));
        assert_eq!(turn.take_used(), (0, 0));
    }

    #[test]
    fn a_turn_ends_after_its_time() {
        let start = Instant::now();
        let mut turn = TurnBudget::new(start);
        assert!(!turn.at(start));
        assert!(turn.at(start + TIME));
        // The clock is read after some frames, and after a large one.
        let past = start.checked_sub(TIME).expect("a time after boot");
        let mut turn = TurnBudget::new(past);
        turn.add(0, true, 10);
        assert!(!turn.is_spent());
        turn.add(0, true, BYTES_PER_CHECK);
        assert!(turn.is_spent());
        let mut turn = TurnBudget::new(past);
        turn.add(20, false, 0);
        assert!(turn.is_spent());
    }
}
