//! The one place of the worker that reads clocks.

use std::time::{Instant, SystemTime, UNIX_EPOCH};

/// Milliseconds since the Unix epoch, for timestamps.
#[expect(clippy::disallowed_methods, reason = "the edge: every timestamp of a report comes from here")]
pub fn unix_ms() -> i64 {
    let since = SystemTime::now().duration_since(UNIX_EPOCH).unwrap_or_default();
    i64::try_from(since.as_millis()).unwrap_or(i64::MAX)
}

/// A point of the monotonic clock, for durations: tokio's, whose time a simulation may have paused.
pub fn now() -> Instant {
    tokio::time::Instant::now().into_std()
}
