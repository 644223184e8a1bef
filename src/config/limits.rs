//! Limits of connections, rates and memory (PROTOCOL section 8).

use super::setting::{number, number_or_auto, section};
use super::value::Auto;

section! {
    /// Limits of connections, rates and memory (PROTOCOL section 8).
    pub struct LimitsConfig = config.limits, "Limits";

    /// Maximum size of a client frame, the sum of its fragments
    max_frame_bytes: usize = 64 << 10, number("BYTES", 64..=16 << 20);

    /// Average number of frames per second from one session
    messages_per_second: u32 = 50, number("N", 1..=1_000_000);

    /// Frames that a session can send at once after a pause
    burst: u32 = 100, number("N", 1..=1_000_000);

    /// Average number of frames per second from one user, over all sessions; auto: four times --messages-per-second
    user_messages_per_second: Auto = Auto::AUTO, number_or_auto("N|auto", 1..=4_000_000);

    /// Frames that a user can send at once after a pause; auto: four times --burst
    user_burst: Auto = Auto::AUTO, number_or_auto("N|auto", 1..=4_000_000);

    /// Average number of queries (`history`, `conversations`) per second from one user, over all sessions; auto: same as
    /// --messages-per-second
    queries_per_second: Auto = Auto::AUTO, number_or_auto("N|auto", 1..=4_000_000);

    /// Queries that a user can send at once after a pause; auto: same as --burst
    query_burst: Auto = Auto::AUTO, number_or_auto("N|auto", 1..=4_000_000);

    /// Average number of `ping` frames per second from one session, and twice as many at once after a pause
    ///
    /// All sessions of a user together may send four times as many.
    pings_per_second: u32 = 1000, number("N", 1..=1_000_000);

    /// Average number of frames per second from one connection that are read later instead of rejected: `received`, pings,
    /// pongs and fragments of the WebSocket protocol, and messages to /echo; twice as many at once after a pause
    ///
    /// All connections of a user together may send four times as many; without authentication, so may all connections to
    /// /echo from one IP address that is not a loopback address.
    control_frames_per_second: u32 = 10_000, number("N", 1..=1_000_000);

    /// Average number of bytes per second that are read from one connection, and twice as many at once after a pause; auto:
    /// --messages-per-second frames of --max-frame-bytes, at least 4 MiB
    ///
    /// All connections of a user together may send four times as many, or, with auto, --user-messages-per-second frames of
    /// --max-frame-bytes if that is more.
    session_bytes_per_second: Auto<u64> = Auto::AUTO, number_or_auto("BYTES|auto", 1024..=1 << 40);

    /// Bytes of content that one user can store per day, over all sessions; 64 more are counted for each message, edit and
    /// reaction
    user_bytes_per_day: u64 = 256 << 20, number("BYTES", 1..=1 << 50);

    /// Edits and reactions of one user to one message per hour, all of which can be made at once
    changes_per_message: u32 = 1000, number("N", 1..=1_000_000);

    /// Maximum number of open WebSocket connections
    connections: usize = 50_000, number("N", 1..=10_000_000);

    /// Maximum number of open WebSocket connections from one IP address, or one /64 network of IPv6; auto: 1000, and no
    /// limit from this machine
    connections_per_ip: Auto = Auto::AUTO, number_or_auto("N|auto", 1..=4_000_000);

    /// Average number of WebSocket handshakes per second from one IP address; auto: 50, and no limit from this machine
    ///
    /// Connections of any kind are limited to four times this rate.
    handshakes_per_second: Auto = Auto::AUTO, number_or_auto("N|auto", 1..=4_000_000);

    /// WebSocket handshakes at once from one IP address after a pause; auto: four times --handshakes-per-second
    handshake_burst: Auto = Auto::AUTO, number_or_auto("N|auto", 1..=4_000_000);

    /// Invalid frames per minute before a session is closed
    bad_frames_per_minute: u32 = 20, number("N", 1..=100_000);

    /// Sessions that one user can have; a further one closes the oldest
    sessions_per_user: usize = 16, number("N", 1..=10_000);

    /// Unsent bytes kept in memory for one session; a slower reader gets the rest from the store
    ///
    /// A single larger frame is sent if nothing else waits.
    outbox_bytes: usize = 1 << 20, number("BYTES", 1024..=1 << 30);

    /// Memory for unsent and partly received data of all sessions, in addition to 8 KiB per session
    buffer_bytes: usize = 256 << 20, number("BYTES", 1 << 20..=1 << 40);
}

/// A rate limit as a token bucket.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct RateLimit {
    /// Average number per second; not 0.
    pub per_second: u32,
    /// Number at once after a pause; not 0.
    pub burst: u32,
}

impl LimitsConfig {
    /// The rate of frames from one session.
    pub fn session_rate(&self) -> RateLimit {
        RateLimit {
            per_second: self.messages_per_second,
            burst: self.burst,
        }
    }

    /// The rate of frames from one user.
    pub fn user_rate(&self) -> RateLimit {
        let (per_second, burst) = (self.user_messages_per_second.0, self.user_burst.0);
        RateLimit {
            per_second: per_second.unwrap_or(self.messages_per_second.saturating_mul(4)),
            burst: burst.unwrap_or(self.burst.saturating_mul(4)),
        }
    }

    /// The rate of `ping` frames from one session.
    pub fn ping_rate(&self) -> RateLimit {
        RateLimit {
            per_second: self.pings_per_second,
            burst: self.pings_per_second.saturating_mul(2),
        }
    }

    /// The rate of `ping` frames from one user.
    pub fn user_ping_rate(&self) -> RateLimit {
        let RateLimit { per_second, burst } = self.ping_rate();
        RateLimit {
            per_second: per_second.saturating_mul(4),
            burst: burst.saturating_mul(4),
        }
    }

    /// Bytes per second that are read from one connection.
    pub fn session_bytes_per_second(&self) -> u64 {
        const MINIMUM: u64 = 4 << 20;
        let frames = u64::from(self.messages_per_second) * self.max_frame_bytes as u64;
        self.session_bytes_per_second
            .0
            .unwrap_or(frames.max(MINIMUM))
    }

    /// Frames without a reply per second that are read from all connections of one user.
    pub fn user_control_frames_per_second(&self) -> u64 {
        u64::from(self.control_frames_per_second) * 4
    }

    /// Bytes per second that are read from all connections of one user.
    pub fn user_bytes_per_second(&self) -> u64 {
        let frames = u64::from(self.user_rate().per_second) * self.max_frame_bytes as u64;
        let sessions = self.session_bytes_per_second().saturating_mul(4);
        match self.session_bytes_per_second.0 {
            Some(_) => sessions,
            None => sessions.max(frames),
        }
    }

    /// The rate of queries from one user.
    pub fn query_rate(&self) -> RateLimit {
        RateLimit {
            per_second: self
                .queries_per_second
                .0
                .unwrap_or(self.messages_per_second),
            burst: self.query_burst.0.unwrap_or(self.burst),
        }
    }

    /// The rate of handshakes from one IP address.
    pub fn handshake_rate(&self) -> RateLimit {
        const PER_SECOND: u32 = 50;
        let per_second = self.handshakes_per_second.0.unwrap_or(PER_SECOND);
        let burst = self.handshake_burst.0;
        RateLimit {
            per_second,
            burst: burst.unwrap_or(per_second.saturating_mul(4)),
        }
    }

    /// Maximum number of open connections from one IP address.
    pub fn connections_per_ip(&self) -> u32 {
        const DEFAULT: u32 = 1000;
        self.connections_per_ip.0.unwrap_or(DEFAULT)
    }
}
