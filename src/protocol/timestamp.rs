//! Times in frames: RFC 3339, UTC, milliseconds (PROTOCOL section 1.6). They are informational and never determine order.

use std::borrow::Cow;
use std::cell::Cell;
use std::fmt;
use std::time::{SystemTime, UNIX_EPOCH};

use jiff::fmt::StdFmtWrite;
use jiff::fmt::temporal::DateTimePrinter;
use schemars::{JsonSchema, Schema, SchemaGenerator, json_schema};
use serde::{Serialize, Serializer};

/// Three digits of a second, always.
const PRINTER: DateTimePrinter = DateTimePrinter::new().precision(Some(3));

/// The start of the year 0.
const YEAR_0: i64 = -62_167_219_200_000;

/// The last time that a frame can have: jiff converts no milliseconds beyond its last whole second.
fn last() -> i64 {
    jiff::Timestamp::MAX.as_second() * 1000
}

/// The length of each time in a frame.
const LENGTH: usize = 24;

thread_local! {
    /// The time that this thread has written last, with its text: frames that are written together have the same time.
    static LAST: Cell<(Option<i64>, [u8; LENGTH])> = const { Cell::new((None, [0; LENGTH])) };
}

/// A point in time, in milliseconds since 1970-01-01T00:00:00Z.
#[derive(Clone, Copy, Debug, PartialEq, Eq, PartialOrd, Ord)]
pub struct Timestamp(pub i64);

impl Timestamp {
    /// The current time by this machine's clock, for the log. Times that are stored or sent come from the module `clock`.
    pub fn now() -> Self {
        let since = SystemTime::now()
            .duration_since(UNIX_EPOCH)
            .unwrap_or_default();
        Self(i64::try_from(since.as_millis()).unwrap_or(i64::MAX))
    }

    /// Reads a time in RFC 3339, to the millisecond.
    pub fn parse(text: &str) -> Option<Self> {
        let time: jiff::Timestamp = text.parse().ok()?;
        Some(Self(time.as_millisecond()))
    }

    /// False for the first and the last time that a frame can have. All times beyond are written like them.
    pub fn is_exact(self) -> bool {
        self.0 > YEAR_0 && self.0 < last()
    }

    /// Appends the time, in the form `2026-11-20T11:03:00.123Z`. It is limited to the years that this form and jiff can
    /// represent, 0 to 9999.
    pub fn write(self, out: &mut Vec<u8>) {
        let mut last = LAST.get();
        if last.0 != Some(self.0) {
            last = (Some(self.0), self.text());
            LAST.set(last);
        }
        out.extend_from_slice(&last.1);
    }

    fn text(self) -> [u8; LENGTH] {
        let mut text = Vec::with_capacity(LENGTH);
        // Writing into memory cannot fail.
        let _ = PRINTER.print_timestamp(&self.limited(), &mut text);
        text.try_into().unwrap_or([b'0'; LENGTH])
    }

    fn limited(self) -> jiff::Timestamp {
        let ms = self.0.clamp(YEAR_0, last());
        jiff::Timestamp::from_millisecond(ms).unwrap_or_default()
    }
}

impl fmt::Display for Timestamp {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        let printed = PRINTER.print_timestamp(&self.limited(), StdFmtWrite(f));
        printed.map_err(|_| fmt::Error)
    }
}

impl Serialize for Timestamp {
    fn serialize<S: Serializer>(&self, serializer: S) -> Result<S::Ok, S::Error> {
        serializer.collect_str(self)
    }
}

impl JsonSchema for Timestamp {
    fn schema_name() -> Cow<'static, str> {
        "Time".into()
    }

    fn json_schema(_: &mut SchemaGenerator) -> Schema {
        json_schema!({
            "type": "string",
            "pattern": "^[0-9]{4}-[0-9]{2}-[0-9]{2}T[0-9]{2}:[0-9]{2}:[0-9]{2}\\.[0-9]{3}Z$",
            "description": "A time by the server's clock: RFC 3339, UTC, milliseconds. It is informational: `seq` determines the order."
        })
    }
}

#[cfg(test)]
mod tests {
    use super::Timestamp;

    #[test]
    fn times_are_rfc_3339_in_utc_with_milliseconds() {
        for (ms, text) in [
            (0, "1970-01-01T00:00:00.000Z"),
            (-1, "1969-12-31T23:59:59.999Z"),
            (951_782_400_000, "2000-02-29T00:00:00.000Z"),
            (951_868_800_000, "2000-03-01T00:00:00.000Z"),
            (1_709_251_199_999, "2024-02-29T23:59:59.999Z"),
            (1_795_172_580_123, "2026-11-20T11:03:00.123Z"),
            (4_107_542_400_000, "2100-03-01T00:00:00.000Z"),
            (-62_167_219_200_000, "0000-01-01T00:00:00.000Z"),
            (i64::MIN, "0000-01-01T00:00:00.000Z"),
            (253_402_207_199_999, "9999-12-30T21:59:59.999Z"),
            (i64::MAX, "9999-12-30T22:00:00.000Z"),
        ] {
            assert_eq!(Timestamp(ms).to_string(), text);
            let mut out = Vec::new();
            Timestamp(ms).write(&mut out);
            assert_eq!(out, text.as_bytes());
            let parsed = Timestamp::parse(text).expect("a time that was written");
            assert_eq!(parsed.to_string(), text);
            assert!(parsed.0 == ms || !parsed.is_exact() && !Timestamp(ms).is_exact());
        }
    }

    #[test]
    fn equivalent_forms_of_a_time_are_read() {
        let expected = Some(Timestamp(1_795_172_580_123));
        for text in [
            "2026-11-20T11:03:00.123Z",
            "2026-11-20t11:03:00.123z",
            "2026-11-20T12:33:00.123+01:30",
            "2026-11-20T11:03:00.123000Z",
        ] {
            assert_eq!(Timestamp::parse(text), expected, "{text}");
        }
        for text in [
            "",
            "now",
            "1795172580123",
            "2026-11-20",
            "2026-11-20T11:03:00.123",
            "2026-13-20T11:03:00.123Z",
        ] {
            assert_eq!(Timestamp::parse(text), None, "{text}");
        }
    }
}
