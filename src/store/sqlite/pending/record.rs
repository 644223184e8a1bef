//! The binary form of a message in the pending log.

use super::encoding::{Id, read_number, take, take_id, write_number};
use crate::store::sqlite::counts::Counts;
use crate::store::sqlite::number::signed;
use crate::store::sqlite::rooms::{NO_RECIPIENT, is_room};
use crate::store::{ContentHash, Recipient, Recipients};

/// The first byte of a record. Records of version 1 have no counts and no hash. Records written before there was a version byte are
/// in [`super::legacy`].
const VERSION: u8 = 2;
const WITHOUT_COUNTS: u8 = 1;
/// The flags of a record: what is present.
const REPLY_TO: u8 = 1;
const HASH: u8 = 2;
/// An upper bound of the bytes of a record of a direct message besides its content: ten numbers of up to ten bytes, two ids, a
/// hash, a count, the flags and the version are at most 151, and numbers that large do not occur.
const OVERHEAD: usize = 128;
/// An upper bound of the bytes of each further recipient.
const RECIPIENT: usize = 16;

/// A message, and the inbox entries that it makes.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Record<'a> {
    pub conversation: i64,
    pub n: i64,
    pub id: &'a Id,
    pub sender: i64,
    /// 0: the sender's inbox has no entry of the message.
    pub sender_seq: u64,
    /// The other users whose inboxes have an entry of the message.
    pub recipients: Recipients<i64>,
    pub sent_at: i64,
    /// [`Counts::NONE`] in a record of an older version.
    pub counts: Counts,
    pub reply_to: Option<&'a Id>,
    /// The hash of long content.
    pub hash: Option<&'a ContentHash>,
    pub content: &'a str,
}

impl<'a> Record<'a> {
    /// Appends the record to `out`. Layout: the version; conversation, `n`, sender, the sender's entry, time and number of
    /// recipients as variable-length integers; user and entry of each recipient; the counts of the lower and of the higher user,
    /// and by how much the time is behind; the id; the flags, then the id of the message that this one replies to and the hash, if
    /// they are present; the length of the content and the content.
    pub fn write(&self, out: &mut Vec<u8>) {
        out.push(VERSION);
        let numbers = [
            self.conversation,
            self.n,
            self.sender,
            signed(self.sender_seq),
            self.sent_at,
        ];
        for number in numbers {
            write_number(out, number.cast_unsigned());
        }
        write_recipients(out, &self.recipients);
        let counts = self.counts;
        for number in [counts.low, counts.high, counts.behind(self.sent_at)] {
            write_number(out, number.cast_unsigned());
        }
        out.extend_from_slice(self.id);
        let has_reply_to = self.reply_to.map_or(0, |_| REPLY_TO);
        out.push(has_reply_to | self.hash.map_or(0, |_| HASH));
        for part in [self.reply_to, self.hash].into_iter().flatten() {
            out.extend_from_slice(part);
        }
        write_number(out, self.content.len() as u64);
        out.extend_from_slice(self.content.as_bytes());
    }

    /// Reads the record at the start of `bytes` and advances `bytes` past it. `None`: there is none, it is damaged, or its
    /// version is unknown.
    pub fn read(bytes: &mut &'a [u8]) -> Option<Self> {
        let version = take(bytes)?;
        if version != VERSION && version != WITHOUT_COUNTS {
            return None;
        }
        let mut numbers = [0; 5];
        for number in &mut numbers {
            *number = read_number(bytes)?;
        }
        let [conversation, n, sender, sender_seq, sent_at] = numbers;
        let recipients = read_recipients(bytes)?;
        let counts = if version == VERSION {
            read_counts(bytes, sent_at.cast_signed())?
        } else {
            Counts::NONE
        };
        let id = take_id(bytes)?;
        let flags = take(bytes)?;
        if flags & !(REPLY_TO | HASH) != 0 {
            return None;
        }
        let mut optional = |flag| {
            let present = flags & flag != 0;
            present
                .then(|| take_id(bytes))
                .map_or(Some(None), |id| id.map(Some))
        };
        let reply_to = optional(REPLY_TO)?;
        let hash = optional(HASH)?;
        let length = usize::try_from(read_number(bytes)?).ok()?;
        let (content, rest) = bytes.split_at_checked(length)?;
        *bytes = rest;
        Some(Self {
            conversation: conversation.cast_signed(),
            n: n.cast_signed(),
            id,
            sender: sender.cast_signed(),
            sender_seq,
            recipients,
            sent_at: sent_at.cast_signed(),
            counts,
            reply_to,
            hash,
            content: std::str::from_utf8(content).ok()?,
        })
    }

    /// An upper bound of the bytes of the record.
    pub fn max_len(&self) -> usize {
        OVERHEAD + self.content.len() + RECIPIENT * self.recipients.len().saturating_sub(1)
    }

    /// The inbox entries of the message: user and number, the sender's first.
    pub fn entries(&self) -> impl Iterator<Item = (i64, u64)> {
        let recipients = self.recipients.iter().map(|r| (r.user, r.seq));
        let own = (self.sender_seq > 0).then_some((self.sender, self.sender_seq));
        own.into_iter().chain(recipients)
    }

    /// The recipient of a direct message and the recipient's entry; those of the sender for a message to oneself. A message in a
    /// room has none.
    pub fn recipient(&self) -> (i64, u64) {
        if is_room(self.conversation) {
            return (NO_RECIPIENT, 0);
        }
        self.recipients
            .first()
            .map_or((self.sender, self.sender_seq), |r| (r.user, r.seq))
    }
}

fn read_counts(bytes: &mut &[u8], sent_at: i64) -> Option<Counts> {
    Some(Counts {
        low: read_number(bytes)?.cast_signed(),
        high: read_number(bytes)?.cast_signed(),
        latest: sent_at.saturating_add(read_number(bytes)?.cast_signed()),
    })
}

/// Writes the number of recipients, and user and entry of each.
pub(super) fn write_recipients(out: &mut Vec<u8>, recipients: &[Recipient<i64>]) {
    write_number(out, recipients.len() as u64);
    for recipient in recipients {
        write_number(out, recipient.user.cast_unsigned());
        write_number(out, recipient.seq);
    }
}

/// Reads what [`write_recipients`] has written.
pub(super) fn read_recipients(bytes: &mut &[u8]) -> Option<Recipients<i64>> {
    Some(match read_number(bytes)? {
        0 => Recipients::NONE,
        1 => {
            let Recipient { user, seq } = read_recipient(bytes)?;
            Recipients::one(user, seq)
        }
        count => (0..count)
            .map(|_| read_recipient(bytes))
            .collect::<Option<Vec<_>>>()?
            .into(),
    })
}

fn read_recipient(bytes: &mut &[u8]) -> Option<Recipient<i64>> {
    Some(Recipient {
        user: read_number(bytes)?.cast_signed(),
        seq: read_number(bytes)?,
    })
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_record_is_read_as_it_was_written_and_a_truncated_one_is_not_read() {
        let long = "\u{1F600}".repeat(300);
        let mut bytes = Vec::new();
        let several = vec![
            Recipient { user: 2, seq: 128 },
            Recipient { user: 3, seq: 1 },
        ];
        let records = [
            (None, None, "", Recipients::NONE),
            (Some(&[7; 16]), None, "\"hi\"", Recipients::one(2, 128)),
            (None, Some(&[8; 16]), long.as_str(), several.clone().into()),
            (Some(&[7; 16]), Some(&[8; 16]), "\"\"", several.into()),
        ]
        .map(|(reply_to, hash, content, recipients)| Record {
            conversation: 1,
            n: i64::MAX,
            id: &[9; 16],
            sender: 300,
            sender_seq: 127,
            recipients,
            sent_at: -5,
            counts: Counts {
                low: 300,
                high: 1,
                latest: 7,
            },
            reply_to,
            hash,
            content,
        });
        let mut ends = vec![0];
        for record in &records {
            record.write(&mut bytes);
            ends.push(bytes.len());
        }
        let mut rest = bytes.as_slice();
        for record in records {
            assert_eq!(Record::read(&mut rest), Some(record));
        }
        assert!(rest.is_empty());
        for cut in 0..bytes.len() {
            let mut rest = &bytes[..cut];
            let whole = ends[1..].iter().filter(|end| **end <= cut).count();
            let read = std::iter::from_fn(|| Record::read(&mut rest)).count();
            assert_eq!(read, whole, "cut at {cut}");
        }
        bytes[0] = VERSION + 1;
        assert_eq!(Record::read(&mut bytes.as_slice()), None);
    }
}
