//! XEP-0082: timestamps.

use time::format_description::well_known::Rfc3339;
use time::macros::format_description;
use time::{OffsetDateTime, UtcOffset};

/// Milliseconds since 1970-01-01T00:00:00Z.
pub type UnixMillis = u64;

/// Writes `2002-09-10T23:08:25.123Z` (XEP-0082 §3.2); years beyond 9999 read as 9999's last.
pub fn format(at: UnixMillis) -> String {
    const LAST: i128 = 253_402_300_799_999;
    let nanos = i128::from(at).min(LAST) * 1_000_000;
    let at = OffsetDateTime::from_unix_timestamp_nanos(nanos).expect("bounded above");
    at.format(format_description!(
        "[year]-[month]-[day]T[hour]:[minute]:[second].[subsecond digits:3]Z"
    ))
    .expect("every component is there")
}

/// Reads a timestamp with any offset; `None` when it is none or lies before 1970.
pub fn parse(text: &str) -> Option<UnixMillis> {
    let at = OffsetDateTime::parse(text, &Rfc3339).ok()?;
    let nanos = at.to_offset(UtcOffset::UTC).unix_timestamp_nanos();
    u64::try_from(nanos / 1_000_000).ok()
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn timestamps_are_written_and_read() {
        assert_eq!(format(0), "1970-01-01T00:00:00.000Z");
        assert_eq!(format(1_031_699_305_123), "2002-09-10T23:08:25.123Z");
        assert_eq!(parse("2002-09-10T23:08:25.123Z"), Some(1_031_699_305_123));
        assert_eq!(parse("2002-09-10T17:08:25-06:00"), Some(1_031_699_305_000));
        assert_eq!(parse("20020910T23:08:25"), None);
        assert_eq!(parse("1969-12-31T23:59:59Z"), None);
        assert_eq!(format(u64::MAX), "9999-12-31T23:59:59.999Z");
    }
}
