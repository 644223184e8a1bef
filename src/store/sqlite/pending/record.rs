//! The binary form of a message in the log.

use rusqlite::Connection;

use crate::store::sqlite::file::signed;

/// Bytes of a row of the log, so that it fits a page; a longer message has a row of its own.
const ROW: usize = 3800;

pub type Id = [u8; 16];

pub type Result<T> = rusqlite::Result<T>;

/// A message and where its entries belong.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct Record<'a> {
    pub conversation: i64,
    pub n: i64,
    pub id: &'a Id,
    pub sender: i64,
    pub recipient: i64,
    pub from_seq: u64,
    pub to_seq: u64,
    pub sent_at: i64,
    pub reply_to: Option<&'a Id>,
    pub content: &'a str,
}

impl<'a> Record<'a> {
    pub fn write(&self, out: &mut Vec<u8>) {
        let numbers = [
            self.conversation,
            self.n,
            self.sender,
            self.recipient,
            signed(self.from_seq),
            signed(self.to_seq),
            self.sent_at,
        ];
        for number in numbers {
            write_number(out, number.cast_unsigned());
        }
        out.extend_from_slice(self.id);
        match self.reply_to {
            Some(id) => {
                out.push(1);
                out.extend_from_slice(id);
            }
            None => out.push(0),
        }
        write_number(out, self.content.len() as u64);
        out.extend_from_slice(self.content.as_bytes());
    }

    /// Takes the record at the start of `bytes` off them. `None`: there is none, or it is damaged.
    pub fn read(bytes: &mut &'a [u8]) -> Option<Self> {
        let mut numbers = [0; 7];
        for number in &mut numbers {
            *number = read_number(bytes)?;
        }
        let [
            conversation,
            n,
            sender,
            recipient,
            from_seq,
            to_seq,
            sent_at,
        ] = numbers;
        let id = take_id(bytes)?;
        let (flag, rest) = bytes.split_first()?;
        *bytes = rest;
        let reply_to = match flag {
            0 => None,
            1 => Some(take_id(bytes)?),
            _ => return None,
        };
        let length = usize::try_from(read_number(bytes)?).ok()?;
        let (content, rest) = bytes.split_at_checked(length)?;
        *bytes = rest;
        Some(Self {
            conversation: conversation.cast_signed(),
            n: n.cast_signed(),
            id,
            sender: sender.cast_signed(),
            recipient: recipient.cast_signed(),
            from_seq,
            to_seq,
            sent_at: sent_at.cast_signed(),
            reply_to,
            content: std::str::from_utf8(content).ok()?,
        })
    }
}

/// Seven bits a byte, the lowest first; the highest bit says that more follow.
fn write_number(out: &mut Vec<u8>, mut number: u64) {
    while number >= 0x80 {
        out.push(number as u8 | 0x80);
        number >>= 7;
    }
    out.push(number as u8);
}

fn read_number(bytes: &mut &[u8]) -> Option<u64> {
    let mut number = 0;
    for shift in (0..64).step_by(7) {
        let (byte, rest) = bytes.split_first()?;
        *bytes = rest;
        number |= u64::from(byte & 0x7F) << shift;
        if byte & 0x80 == 0 {
            return Some(number);
        }
    }
    None
}

fn take_id<'a>(bytes: &mut &'a [u8]) -> Option<&'a Id> {
    let (id, rest) = bytes.split_first_chunk()?;
    *bytes = rest;
    Some(id)
}

/// Messages of the batch under way.
#[derive(Debug, Default)]
pub struct PendingBatch {
    pub rows: Vec<Vec<u8>>,
    pub placed: Vec<Placed>,
}

/// Where a message of a [`PendingBatch`] is: the number of its row, and the byte in it.
#[derive(Debug)]
pub struct Placed {
    pub conversation: i64,
    pub users: (i64, i64),
    pub id: Id,
    pub row: usize,
    pub offset: u32,
}

impl PendingBatch {
    pub fn add(&mut self, record: &Record<'_>) {
        let full = |row: &Vec<u8>| row.len() + record.content.len() + 96 > ROW;
        if self.rows.last().is_none_or(full) {
            self.rows.push(Vec::new());
        }
        let row = self.rows.len() - 1;
        let bytes = &mut self.rows[row];
        let offset = bytes.len() as u32;
        record.write(bytes);
        self.placed.push(Placed {
            conversation: record.conversation,
            users: (record.sender, record.recipient),
            id: *record.id,
            row,
            offset,
        });
    }

    /// Whether there are messages of a conversation.
    pub fn has(&self, conversation: i64) -> bool {
        let of = |placed: &Placed| placed.conversation == conversation;
        self.placed.iter().any(of)
    }

    /// Writes the rows. Gives the number of the first; those of the others follow it.
    pub fn log(&self, connection: &Connection) -> Result<i64> {
        let mut first = 0;
        for (n, row) in self.rows.iter().enumerate() {
            connection
                .prepare_cached("INSERT INTO pending (records) VALUES (?1)")?
                .execute([row])?;
            if n == 0 {
                first = connection.last_insert_rowid();
            }
        }
        Ok(first)
    }
}

pub fn damaged() -> rusqlite::Error {
    let text = "the log of pending messages is damaged";
    rusqlite::Error::FromSqlConversionFailure(0, rusqlite::types::Type::Blob, text.into())
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_record_reads_as_it_was_written_and_none_is_made_of_less() {
        let long = "\u{1F600}".repeat(300);
        let mut bytes = Vec::new();
        let records = [
            (None, ""),
            (Some(&[7; 16]), "\"hi\""),
            (None, long.as_str()),
        ]
        .map(|(reply_to, content)| Record {
            conversation: 1,
            n: i64::MAX,
            id: &[9; 16],
            sender: 300,
            recipient: 2,
            from_seq: 127,
            to_seq: 128,
            sent_at: -5,
            reply_to,
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
    }
}
