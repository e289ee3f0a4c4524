//! What all workers of a swarm saw.

use std::{
    sync::{
        Mutex, PoisonError,
        atomic::{AtomicU64, Ordering},
    },
    time::Duration,
};

/// Counts and waiting times.
#[derive(Debug, Default)]
pub(super) struct Tally {
    completions: AtomicU64,
    points: AtomicU64,
    reports: AtomicU64,
    reconnects: AtomicU64,
    /// From sending the report that completes a trial to receiving the next assignment.
    pub(super) assign: Waits,
    /// From sending a report to receiving its acknowledgement.
    pub(super) ack: Waits,
}

impl Tally {
    /// A report was acknowledged: this many points, and perhaps the end of a trial.
    pub(super) fn acknowledged(&self, points: u64, completed: bool, wait: Duration) {
        self.reports.fetch_add(1, Ordering::Relaxed);
        self.points.fetch_add(points, Ordering::Relaxed);
        self.completions.fetch_add(completed.into(), Ordering::Relaxed);
        self.ack.add(wait);
    }

    pub(super) fn reconnected(&self) {
        self.reconnects.fetch_add(1, Ordering::Relaxed);
    }

    pub(super) fn completions(&self) -> u64 {
        self.completions.load(Ordering::Relaxed)
    }

    pub(super) fn points(&self) -> u64 {
        self.points.load(Ordering::Relaxed)
    }

    pub(super) fn reports(&self) -> u64 {
        self.reports.load(Ordering::Relaxed)
    }

    pub(super) fn reconnects(&self) -> u64 {
        self.reconnects.load(Ordering::Relaxed)
    }
}

/// Waiting times, each kept.
#[derive(Debug, Default)]
pub(super) struct Waits(Mutex<Vec<Duration>>);

impl Waits {
    pub(super) fn add(&self, wait: Duration) {
        self.0.lock().unwrap_or_else(PoisonError::into_inner).push(wait);
    }

    /// The 50th and the 99th percentile in milliseconds; none where there is no time.
    pub(super) fn percentiles(&self) -> (Option<f64>, Option<f64>) {
        let mut waits = self.0.lock().unwrap_or_else(PoisonError::into_inner);
        waits.sort_unstable();
        let at = |percent: usize| {
            let place = (waits.len() * percent).div_ceil(100).saturating_sub(1);
            waits.get(place).map(|wait| round(wait.as_secs_f64() * 1000.0))
        };
        (at(50), at(99))
    }
}

/// To a hundredth.
pub(super) fn round(value: f64) -> f64 {
    (value * 100.0).round() / 100.0
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_percentile_is_a_time_that_this_share_did_not_exceed() {
        let waits = Waits::default();
        assert_eq!(waits.percentiles(), (None, None));
        for milliseconds in (1..=200).rev() {
            waits.add(Duration::from_millis(milliseconds));
        }
        assert_eq!(waits.percentiles(), (Some(100.0), Some(198.0)));
    }
}
