//! Times as people read them, local and from now, and as programs do, in RFC 3339. Pure: the zone and what is now are
//! arguments.

use chrono::{DateTime, SecondsFormat, TimeZone, Utc};

use crate::results::labels::counted;

/// A moment for programs: `2026-11-24T18:59:50.123Z`.
pub fn rfc3339(ms: i64) -> String {
    utc(ms).to_rfc3339_opts(SecondsFormat::Millis, true)
}

/// The clock on the wall: `2026-11-24 19:59:50`.
pub fn clock<Z: TimeZone<Offset: std::fmt::Display>>(ms: i64, zone: &Z) -> String {
    utc(ms).with_timezone(zone).format("%Y-%m-%d %H:%M:%S").to_string()
}

/// How long ago something was, in one unit: `12 s ago`, `3 h ago`, `5 days ago`.
pub fn ago(ms: i64, now_ms: i64) -> String {
    const MINUTE: i64 = 60;
    const HOUR: i64 = 60 * MINUTE;
    const DAY: i64 = 24 * HOUR;
    const YEAR: i64 = 365 * DAY;
    let seconds = now_ms.saturating_sub(ms).max(0) / 1000;
    match seconds {
        0..MINUTE => format!("{seconds} s ago"),
        MINUTE..HOUR => format!("{} min ago", seconds / MINUTE),
        HOUR..DAY => format!("{} h ago", seconds / HOUR),
        DAY..YEAR => format!("{} ago", counted((seconds / DAY).unsigned_abs(), "day")),
        _ => format!("{} ago", counted((seconds / YEAR).unsigned_abs(), "year")),
    }
}

/// A moment that a program wrote in RFC 3339, as a day and how long ago it was; as it is where it is no such text.
pub fn day(text: &str, now_ms: i64) -> String {
    match DateTime::parse_from_rfc3339(text) {
        Ok(time) => format!("{}, {}", time.format("%Y-%m-%d"), ago(time.timestamp_millis(), now_ms)),
        Err(_) => text.to_owned(),
    }
}

/// Any number is a moment: those beyond the calendar are its ends.
fn utc(ms: i64) -> DateTime<Utc> {
    let end = if ms < 0 { DateTime::<Utc>::MIN_UTC } else { DateTime::<Utc>::MAX_UTC };
    DateTime::from_timestamp_millis(ms).unwrap_or(end)
}

#[cfg(test)]
mod tests {
    use chrono::FixedOffset;

    use super::*;

    #[test]
    fn a_moment_is_local_for_people_and_universal_for_programs() {
        let (ms, berlin) = (1_790_000_000_123, FixedOffset::east_opt(2 * 3600).unwrap());
        assert_eq!(rfc3339(ms), "2026-09-21T14:13:20.123Z");
        assert_eq!(clock(ms, &berlin), "2026-09-21 16:13:20");
        assert_eq!(clock(ms, &Utc), "2026-09-21 14:13:20");
        assert_eq!(day("2026-09-19T14:13:20.000Z", ms), "2026-09-19, 2 days ago");
        assert_eq!(day("lately", ms), "lately");
    }

    #[test]
    fn what_is_long_ago_is_told_in_larger_units_and_the_future_is_now() {
        let said = |seconds: i64| ago(0, seconds * 1000);
        let cases = [-5, 0, 59, 60, 3599, 3600, 86_399, 86_400, 200_000, 70_000_000].map(said);
        let right = ["0 s", "0 s", "59 s", "1 min", "59 min", "1 h", "23 h", "1 day", "2 days", "2 years"];
        assert_eq!(cases, right.map(|text| format!("{text} ago")));
        assert!(rfc3339(i64::MAX).contains('Z') && !rfc3339(i64::MIN).is_empty(), "no number is too large");
    }
}
