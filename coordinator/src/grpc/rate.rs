//! How fast a peer may send: a token bucket. Who is faster is not read from until it has waited, and its connection
//! pushes back; nothing is lost. Pure.

use std::time::Duration;

use tokio::time::Instant;

/// Points that weigh as much as a message.
const POINTS: f64 = 50.0;

/// What a worker may send. Far above what training makes: a worker sends a report a second for each of its trials.
#[derive(Clone, Copy, Debug, PartialEq)]
pub struct Rate {
    /// Messages a second in the long run.
    pub per_second: f64,
    /// Messages at once, after silence.
    pub burst: f64,
}

impl Default for Rate {
    fn default() -> Self {
        Self { per_second: 500.0, burst: 5_000.0 }
    }
}

/// What a peer may still send.
#[derive(Clone, Copy, Debug)]
pub(super) struct Bucket {
    rate: Rate,
    /// Below zero after more than was allowed.
    left: f64,
    at: Instant,
}

impl Bucket {
    /// A full bucket.
    pub(super) fn new(rate: Rate, now: Instant) -> Self {
        Self { rate, left: rate.burst, at: now }
    }

    /// Takes a message with this many points out, and answers how long to wait before reading another.
    pub(super) fn take(&mut self, now: Instant, points: usize) -> Duration {
        let since = now.saturating_duration_since(self.at).as_secs_f64();
        self.at = now;
        self.left = (self.left + since * self.rate.per_second).min(self.rate.burst);
        self.left -= 1.0 + points as f64 / POINTS;
        Duration::try_from_secs_f64(-self.left / self.rate.per_second).unwrap_or_default()
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_burst_passes_and_more_waits_for_its_share() {
        let start = Instant::now();
        let mut bucket = Bucket::new(Rate { per_second: 10.0, burst: 5.0 }, start);
        for _ in 0..5 {
            assert_eq!(bucket.take(start, 0), Duration::ZERO);
        }
        assert_eq!(bucket.take(start, 0), Duration::from_millis(100));
        assert_eq!(bucket.take(start, 0), Duration::from_millis(200), "who does not wait waits longer");
        let later = start + Duration::from_millis(300);
        assert_eq!(bucket.take(later, 0), Duration::ZERO, "the debt is paid");
        let much_later = start + Duration::from_secs(3600);
        for _ in 0..5 {
            assert_eq!(bucket.take(much_later, 0), Duration::ZERO);
        }
        assert!(bucket.take(much_later, 0) > Duration::ZERO, "silence saves up one burst and no more");
    }

    #[test]
    fn points_weigh_too() {
        let start = Instant::now();
        let mut bucket = Bucket::new(Rate { per_second: 10.0, burst: 5.0 }, start);
        assert_eq!(bucket.take(start, 200), Duration::ZERO);
        assert_eq!(bucket.take(start, 0), Duration::from_millis(100));
    }

    #[test]
    fn what_a_worker_trains_at_most_is_far_below_the_rate() {
        // A worker of 64 lanes that each report a block of 100 points a second, and heartbeats.
        let lanes = 64.0;
        let sent = lanes * (1.0 + 100.0 / POINTS) + 1.0;
        assert!(sent * 2.0 < Rate::default().per_second, "{sent}");
    }
}
