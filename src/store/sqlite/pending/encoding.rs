//! The parts that records are made of.

/// The id of a message.
pub type Id = [u8; 16];

/// Writes an integer as LEB128: seven bits a byte, the lowest first; the highest bit says that more follow.
pub fn write_number(out: &mut Vec<u8>, mut number: u64) {
    while number >= 0x80 {
        out.push(number as u8 | 0x80);
        number >>= 7;
    }
    out.push(number as u8);
}

pub fn read_number(bytes: &mut &[u8]) -> Option<u64> {
    let mut number = 0;
    for shift in (0..64).step_by(7) {
        let byte = take(bytes)?;
        number |= u64::from(byte & 0x7F) << shift;
        if byte & 0x80 == 0 {
            return Some(number);
        }
    }
    None
}

pub fn take(bytes: &mut &[u8]) -> Option<u8> {
    let (byte, rest) = bytes.split_first()?;
    *bytes = rest;
    Some(*byte)
}

pub fn take_id<'a>(bytes: &mut &'a [u8]) -> Option<&'a Id> {
    let (id, rest) = bytes.split_first_chunk()?;
    *bytes = rest;
    Some(id)
}

/// The error of a record that cannot be read.
pub fn damaged() -> rusqlite::Error {
    let text = "the log of pending messages is damaged";
    rusqlite::Error::FromSqlConversionFailure(0, rusqlite::types::Type::Blob, text.into())
}
