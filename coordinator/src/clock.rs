//! The one place of the coordinator that reads clocks.

use std::time::{Duration, SystemTime, UNIX_EPOCH};

use tokio::time::Instant;

use crate::scheduler::Time;

/// A clock that shows the time of day at its start and then runs evenly: a machine whose time is set back or forth
/// meanwhile moves no deadline. It runs by tokio's instants, whose time a simulation may have paused.
#[derive(Clone, Copy, Debug)]
pub struct Clock {
    start: Time,
    since: Instant,
}

impl Clock {
    /// Starts at the time of day, but never before `latest`, the newest time on record.
    #[expect(clippy::disallowed_methods, reason = "the edge: all of the coordinator's times come from here")]
    pub fn start_after(latest: Time) -> Self {
        let since_epoch = SystemTime::now().duration_since(UNIX_EPOCH).unwrap_or_default();
        let wall = Time(i64::try_from(since_epoch.as_millis()).unwrap_or(i64::MAX));
        Self { start: wall.max(latest), since: Instant::now() }
    }

    /// The time of day.
    pub fn wall() -> Time {
        Self::start_after(Time::default()).start
    }

    /// Since its start.
    pub fn elapsed(&self) -> Duration {
        self.since.elapsed()
    }

    /// The time now.
    pub fn now(&self) -> Time {
        self.start.plus(i64::try_from(self.since.elapsed().as_millis()).unwrap_or(i64::MAX))
    }
}
