//! Recipients: to whom users can send messages, and how many messages are stored for users who have never connected.

use super::limits::LimitsConfig;
use super::setting::{choice, number, number_or_auto, section};
use super::value::Auto;

section! {
    /// To whom users can send messages. A recipient is unknown until the user has connected once.
    pub struct RecipientsConfig = config.recipients, "Recipients";

    /// Users who can receive messages: any, or known, those who have connected before
    users: Users = Users::Any, choice(&[("any", Users::Any), ("known", Users::Known)]);

    /// Messages stored for unknown recipients (users who have never connected), in total
    unknown_recipients: u64 = 1_000_000, number("N", 0..=1_000_000_000).formerly(&["unclaimed"]);

    /// Messages of one sender stored for unknown recipients
    unknown_recipients_per_user: u64 = 20_000,
        number("N", 0..=1_000_000_000).formerly(&["unclaimed_per_user"]);

    /// Messages to unknown recipients from one IP address per day; auto: 100000, and no limit from this machine
    unknown_recipients_per_ip: Auto = Auto::AUTO,
        number_or_auto("N|auto", 1..=4_000_000).formerly(&["unclaimed_per_ip"]);

    /// Users that one user can block
    blocks_per_user: u64 = 1000, number("N", 0..=100_000);
}

/// The users who can receive messages.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Default)]
pub enum Users {
    /// Every user id. A message waits until its recipient connects for the first time.
    #[default]
    Any,
    /// Only users who have connected before.
    Known,
}

/// Limits that the store enforces when it commits.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct Quotas {
    /// Users that one user can block.
    pub blocks_per_user: u64,
    /// Whether a message to a user who has never connected is rejected.
    pub known_only: bool,
    /// Messages to users who have never connected, in total.
    pub unknown_recipients: u64,
    /// As `unknown_recipients`, of one sender.
    pub unknown_recipients_per_user: u64,
    /// Bytes of content that one user can store per day; `None`: no limit.
    pub user_bytes_per_day: Option<u64>,
    /// Changes that one user can make to one message per hour; `None`: no limit.
    pub changes_per_message: Option<u32>,
}

impl Quotas {
    /// Whether messages to users who have never connected are limited, and therefore counted.
    pub fn counts_unknown_recipients(&self) -> bool {
        self.unknown_recipients
            .min(self.unknown_recipients_per_user)
            < u64::MAX
    }
}

/// No limits.
impl Default for Quotas {
    fn default() -> Self {
        Self {
            blocks_per_user: u64::MAX,
            known_only: false,
            unknown_recipients: u64::MAX,
            unknown_recipients_per_user: u64::MAX,
            user_bytes_per_day: None,
            changes_per_message: None,
        }
    }
}

impl RecipientsConfig {
    /// The limits that the store enforces, with those of `limits`.
    pub fn quotas(&self, limits: &LimitsConfig) -> Quotas {
        Quotas {
            blocks_per_user: self.blocks_per_user,
            known_only: self.users == Users::Known,
            unknown_recipients: self.unknown_recipients,
            unknown_recipients_per_user: self.unknown_recipients_per_user,
            user_bytes_per_day: Some(limits.user_bytes_per_day),
            changes_per_message: Some(limits.changes_per_message),
        }
    }

    /// Messages to unknown recipients from one IP address per day.
    pub fn unknown_recipients_per_ip(&self) -> u64 {
        const DEFAULT: u32 = 100_000;
        self.unknown_recipients_per_ip.0.unwrap_or(DEFAULT).into()
    }
}
