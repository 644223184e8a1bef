//! Presence: who sees whether a user is online.

use super::setting::{choice, number, section};

section! {
    /// Who sees whether a user is online.
    #[derive(Copy)]
    pub struct PresenceConfig = config.presence, "Presence";

    /// Users who see whether a user is online, and what the user has received: contacts, those who have written to each other or
    /// are members of the same small room; everyone, all users; off, no users. A block hides two users from each other in any case
    presence: PresenceMode = PresenceMode::Contacts,
        choice(&[
            ("contacts", PresenceMode::Contacts),
            ("everyone", PresenceMode::Everyone),
            ("off", PresenceMode::Off),
        ]);

    /// Time after the end of a user's last session until the user counts as gone, and leaves rooms that were joined with
    /// membership=session
    presence_grace_seconds: u64 = 5, number("SECONDS", 0..=300);
}

/// Who sees whether a user is online, and what the user has received (PROTOCOL section 8, "Visibility").
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
pub enum PresenceMode {
    /// Users who have written to each other, and members of the same small room.
    #[default]
    Contacts,
    /// All users.
    Everyone,
    /// No users.
    Off,
}
