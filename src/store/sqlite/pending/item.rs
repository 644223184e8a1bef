//! What the log has: messages with their entries, and entries about something that is in its table already.

use super::encoding::{read_number, take, write_number};
use super::record::{Record, read_recipients, write_recipients};
use crate::store::Recipients;
use crate::store::sqlite::kinds;
use crate::store::sqlite::number::signed;

/// The first byte of an [`EntryRecord`]. Others are those of a [`Record`].
const ENTRIES: u8 = 3;
/// The flags of an [`EntryRecord`].
const EMOJI: u8 = 1;
const MAY_SUPERSEDE: u8 = 2;
/// An upper bound of the bytes of such a record besides the emoji and its entries: seven numbers of up to ten bytes, three bytes, and the
/// length of the emoji.
const OVERHEAD: usize = 96;
/// An upper bound of the bytes of an entry.
const ENTRY: usize = 16;

/// What inbox entries are about, and what they tell.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct About {
    pub conversation: i64,
    /// The message, or the place of a membership among the numbers of messages.
    pub n: i64,
    /// The kind of the entries, as in the table.
    pub kind: i64,
    /// The user who has sent the message or changed it, or whose membership has changed.
    pub by: i64,
    pub at: i64,
    /// As in the table.
    pub emoji: Option<Box<str>>,
    /// Earlier entries may be superseded by these.
    pub may_supersede: bool,
}

impl About {
    /// What the entries of a message are about.
    pub fn message(record: &Record<'_>) -> Self {
        Self {
            conversation: record.conversation,
            n: record.n,
            kind: kinds::MESSAGE,
            by: record.sender,
            at: record.sent_at,
            emoji: None,
            may_supersede: false,
        }
    }

    /// `by` of the entry in the inbox of `user`: messages of others have none.
    pub fn by_column(&self, user: i64) -> Option<i64> {
        (self.kind != kinds::MESSAGE || user == self.by).then_some(self.by)
    }
}

/// Inbox entries about something that is in its table already.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct EntryRecord {
    pub about: About,
    /// The entry of the user `about.by`; 0: there is none.
    pub own_seq: u64,
    /// The other users with an entry.
    pub recipients: Recipients<i64>,
}

impl EntryRecord {
    /// The entries of a message that is in its table.
    pub fn of_message(record: Record<'_>) -> Self {
        Self {
            about: About::message(&record),
            own_seq: record.sender_seq,
            recipients: record.recipients,
        }
    }

    /// Appends the record to `out`. Layout: the version; conversation, `n`, kind, `by`, time and the entry of `by` as variable-length
    /// integers; the recipients as in a [`Record`]; the flags, and the length of the emoji and the emoji if it is present.
    pub fn write(&self, out: &mut Vec<u8>) {
        let about = &self.about;
        out.push(ENTRIES);
        let numbers = [
            about.conversation,
            about.n,
            about.kind,
            about.by,
            about.at,
            signed(self.own_seq),
        ];
        for number in numbers {
            write_number(out, number.cast_unsigned());
        }
        write_recipients(out, &self.recipients);
        let has_emoji = about.emoji.as_ref().map_or(0, |_| EMOJI);
        out.push(
            has_emoji
                | if about.may_supersede {
                    MAY_SUPERSEDE
                } else {
                    0
                },
        );
        if let Some(emoji) = &about.emoji {
            write_number(out, emoji.len() as u64);
            out.extend_from_slice(emoji.as_bytes());
        }
    }

    /// An upper bound of the bytes of the record.
    pub fn max_len(&self) -> usize {
        let emoji = self.about.emoji.as_deref().unwrap_or_default();
        OVERHEAD + emoji.len() + ENTRY * self.recipients.len()
    }

    /// The entries: user and number, that of `about.by` first.
    pub fn entries(&self) -> impl Iterator<Item = (i64, u64)> {
        let own = (self.own_seq > 0).then_some((self.about.by, self.own_seq));
        let recipients = self.recipients.iter().map(|r| (r.user, r.seq));
        own.into_iter().chain(recipients)
    }

    fn read(bytes: &mut &[u8]) -> Option<Self> {
        take(bytes).filter(|version| *version == ENTRIES)?;
        let mut numbers = [0; 6];
        for number in &mut numbers {
            *number = read_number(bytes)?;
        }
        let [conversation, n, kind, by, at, own_seq] = numbers;
        let recipients = read_recipients(bytes)?;
        let flags = take(bytes)?;
        if flags & !(EMOJI | MAY_SUPERSEDE) != 0 {
            return None;
        }
        let emoji = if flags & EMOJI != 0 {
            let length = usize::try_from(read_number(bytes)?).ok()?;
            let (emoji, rest) = bytes.split_at_checked(length)?;
            *bytes = rest;
            Some(std::str::from_utf8(emoji).ok()?.into())
        } else {
            None
        };
        Some(Self {
            about: About {
                conversation: conversation.cast_signed(),
                n: n.cast_signed(),
                kind: kind.cast_signed(),
                by: by.cast_signed(),
                at: at.cast_signed(),
                emoji,
                may_supersede: flags & MAY_SUPERSEDE != 0,
            },
            own_seq,
            recipients,
        })
    }
}

/// An item of the log.
#[derive(Clone, Debug, PartialEq, Eq)]
pub enum Item<'a> {
    Message(Record<'a>),
    Entries(EntryRecord),
}

impl<'a> Item<'a> {
    /// Reads the item at the start of `bytes` and advances `bytes` past it. `None`: there is none, it is damaged, or its version is
    /// unknown.
    pub fn read(bytes: &mut &'a [u8]) -> Option<Self> {
        if bytes.first() == Some(&ENTRIES) {
            EntryRecord::read(bytes).map(Self::Entries)
        } else {
            Record::read(bytes).map(Self::Message)
        }
    }

    /// The time of the message, or of the entries.
    pub fn at(&self) -> i64 {
        match self {
            Self::Message(record) => record.sent_at,
            Self::Entries(record) => record.about.at,
        }
    }

    /// What the entries are about.
    pub fn about(&self) -> About {
        match self {
            Self::Message(record) => About::message(record),
            Self::Entries(record) => record.about.clone(),
        }
    }

    /// The inbox entries: user and number.
    pub fn entries(&self) -> impl Iterator<Item = (i64, u64)> {
        let (message, entries) = match self {
            Self::Message(record) => (Some(record.entries()), None),
            Self::Entries(record) => (None, Some(record.entries())),
        };
        message
            .into_iter()
            .flatten()
            .chain(entries.into_iter().flatten())
    }

    /// The users whom the item names: those with an entry, with its number, and the one whom the entries are about, perhaps with 0.
    pub fn users(&self) -> impl Iterator<Item = (i64, u64)> {
        let by = match self {
            Self::Message(_) => None,
            Self::Entries(record) => Some((record.about.by, 0)),
        };
        by.into_iter().chain(self.entries())
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::store::Recipient;

    #[test]
    fn entries_are_read_as_they_were_written_and_truncated_ones_are_not_read() {
        let several: Vec<_> = (2..400_i64)
            .map(|user| Recipient {
                user,
                seq: user.cast_unsigned() * 300,
            })
            .collect();
        let records = [
            (kinds::EDITED, None, true, Recipients::NONE),
            (
                kinds::REACTED,
                Some("\u{1F600}"),
                true,
                Recipients::one(2, 128),
            ),
            (kinds::JOINED, Some("7"), false, several.into()),
        ]
        .map(|(kind, emoji, may_supersede, recipients)| EntryRecord {
            about: About {
                conversation: -1,
                n: i64::MAX,
                kind,
                by: 300,
                at: -5,
                emoji: emoji.map(Into::into),
                may_supersede,
            },
            own_seq: 127,
            recipients,
        });
        let mut bytes = Vec::new();
        let mut ends = vec![0];
        for record in &records {
            let before = bytes.len();
            record.write(&mut bytes);
            assert!(bytes.len() - before <= record.max_len());
            ends.push(bytes.len());
        }
        let mut rest = bytes.as_slice();
        for record in records {
            assert_eq!(Item::read(&mut rest), Some(Item::Entries(record)));
        }
        assert!(rest.is_empty());
        for cut in 0..bytes.len() {
            let mut rest = &bytes[..cut];
            let whole = ends[1..].iter().filter(|end| **end <= cut).count();
            let read = std::iter::from_fn(|| Item::read(&mut rest)).count();
            assert_eq!(read, whole, "cut at {cut}");
        }
    }
}
