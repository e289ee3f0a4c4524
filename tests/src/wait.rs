//! Waiting on a condition, never for a time.

use std::{
    thread,
    time::{Duration, Instant},
};

/// How often a condition is looked at.
const PERIOD: Duration = Duration::from_millis(25);

/// Looks until `probe` gives a value, which is returned.
///
/// # Errors
/// `what` did not happen within `patience`, or the probe failed for good.
pub fn until<T>(
    what: &str,
    patience: Duration,
    mut probe: impl FnMut() -> anyhow::Result<Option<T>>,
) -> anyhow::Result<T> {
    let start = now();
    loop {
        if let Some(value) = probe()? {
            return Ok(value);
        }
        anyhow::ensure!(now() - start < patience, "{what}: not within {} s", patience.as_secs());
        thread::sleep(PERIOD);
    }
}

/// The moment.
#[expect(clippy::disallowed_methods, reason = "tests of real processes wait for real time")]
pub fn now() -> Instant {
    Instant::now()
}
