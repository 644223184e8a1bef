//! Sequence numbers in the database. SQLite's integers are signed; sequence numbers start at 0 and never reach the sign bit.

/// A number that was read from the database.
pub fn unsigned(n: i64) -> u64 {
    u64::try_from(n).unwrap_or(0)
}

/// A number as it is written to the database.
pub fn signed(n: u64) -> i64 {
    i64::try_from(n).unwrap_or(i64::MAX)
}
