//! The frame of an entry that many inboxes have.

use std::io::Write as _;

use super::render::EntryView;
use crate::websocket::{Opcode, write_header};

/// The frame of an entry that many inboxes have. The entry is encoded once, whatever the number of inboxes; only `seq` differs.
pub(super) struct SharedFrame {
    before_seq: Vec<u8>,
    after_seq: Vec<u8>,
    seq: Vec<u8>,
    frame: Vec<u8>,
}

impl SharedFrame {
    /// Encodes the frame of an entry.
    pub fn new(entry: &EntryView<'_>) -> Self {
        // The encodings with two numbers of one digit differ only in that digit, so it is found whatever else the frame has.
        let [mut before_seq, other] = [1, 2].map(|seq| {
            let mut payload = Vec::new();
            entry.write_entry(&mut payload, seq);
            payload
        });
        let mut pairs = before_seq.iter().zip(&other);
        let at = pairs.position(|(a, b)| a != b).unwrap_or(before_seq.len());
        let after_seq = before_seq.split_off((at + 1).min(before_seq.len()));
        before_seq.truncate(at);
        Self {
            before_seq,
            after_seq,
            seq: Vec::new(),
            frame: Vec::new(),
        }
    }

    /// The frame for an inbox in which the entry has this number.
    pub fn with_seq(&mut self, seq: u64) -> &[u8] {
        self.seq.clear();
        // Writing into memory cannot fail.
        drop(write!(self.seq, "{seq}"));
        self.frame.clear();
        let parts = [&self.before_seq, &self.seq, &self.after_seq];
        let length = parts.iter().map(|part| part.len()).sum();
        write_header(&mut self.frame, Opcode::Text, length);
        for part in parts {
            self.frame.extend_from_slice(part);
        }
        &self.frame
    }
}

#[cfg(test)]
mod tests {
    use uuid::Uuid;

    use super::*;
    use crate::protocol::Timestamp;
    use crate::store::{
        Authority, Content, ContentHasher, Conversation, MembershipKind, NewMessage, Write,
    };

    fn message(text: &str) -> Write {
        Write::Message(NewMessage {
            from: "1".into(),
            to: Conversation::Room("12".into()),
            id: Uuid::from_u128(1),
            content: Content::new(&format!("\"{text}\""), &ContentHasher::new(b"key")),
            reply_to: None,
            fresh: true,
            ip_quota: None,
            authority: Authority::User,
        })
    }

    #[test]
    fn a_shared_frame_is_the_frame_of_each_inbox() {
        let at = Timestamp(1_111_111_111_111);
        let join = Write::Join {
            user: "1".into(),
            room: "2".into(),
            kind: MembershipKind::Lasting,
        };
        // Around the lengths at which the header of a frame has another size.
        let texts = [1, 2, 20, 65_300, 65_400].map(|length| "1".repeat(length));
        let writes: Vec<Write> = texts.iter().map(|text| message(text)).collect();
        let entries = writes
            .iter()
            .filter_map(|write| EntryView::of_write(write, at))
            .chain(EntryView::of_membership(&join, 2, at));
        for entry in entries {
            let mut shared = SharedFrame::new(&entry);
            for seq in [1, 2, 9, 10, 12, 99_999, 1_234_567_890_123] {
                assert_eq!(shared.with_seq(seq), entry.encode(seq), "{seq}");
            }
        }
    }
}
