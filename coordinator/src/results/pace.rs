//! What a sweep's journal says of its pace: how long trials take, and how sure one can be of when the rest is done.

use std::collections::{BTreeMap, BTreeSet};

/// The trials of a sweep as its journal tells of them.
#[derive(Clone, Debug, Default, PartialEq)]
pub struct Pace {
    ended: BTreeSet<u64>,
    /// When the latest try at a trial began.
    begun: BTreeMap<u64, i64>,
    /// Trials with a result, the mean of their seconds, and the sum of squares around it (Welford).
    count: u64,
    mean: f64,
    squares: f64,
}

impl Pace {
    /// Hears one line of the journal, in order.
    pub fn hear(&mut self, event: &str, trial: u64, at_ms: i64) {
        match event {
            "leased" => {
                self.ended.remove(&trial);
                self.begun.insert(trial, at_ms);
            }
            "completed" | "diverged" | "failed" | "early_stopped" | "cancelled" => {
                self.ended.insert(trial);
                let begun = self.begun.remove(&trial);
                if let Some(begun) = begun.filter(|_| event == "completed") {
                    self.took((at_ms - begun).max(0) as f64 / 1000.0);
                }
            }
            _ => {}
        }
    }

    fn took(&mut self, seconds: f64) {
        self.count += 1;
        let off = seconds - self.mean;
        self.mean += off / self.count as f64;
        self.squares += off * (seconds - self.mean);
    }

    /// Trials that have ended, whichever way.
    pub fn ended(&self) -> u64 {
        self.ended.len() as u64
    }

    /// Standard deviation of the seconds until `left` more trials have ended, `parallel` at a time: each takes its own
    /// time, and what they take on average is known from few. Nothing before two trials have a result.
    pub fn spread(&self, left: f64, parallel: f64) -> Option<f64> {
        if self.count < 2 || parallel <= 0.0 {
            return None;
        }
        let variance = self.squares / (self.count - 1) as f64;
        Some((variance * (left + left * left / self.count as f64)).sqrt() / parallel)
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn the_spread_is_that_of_single_trials_and_of_their_mean() {
        let mut pace = Pace::default();
        let mut now = 0;
        for (trial, seconds) in [10, 14, 12, 12].into_iter().enumerate() {
            pace.hear("leased", trial as u64, now);
            now += 1000 * seconds;
            pace.hear("checkpoint", trial as u64, now);
            pace.hear("completed", trial as u64, now);
            let known = pace.spread(1.0, 1.0);
            assert_eq!(known.is_some(), trial > 0);
        }
        assert_eq!(pace.ended(), 4);
        let variance: f64 = (4.0 + 4.0) / 3.0;
        let spread = pace.spread(8.0, 2.0).unwrap();
        assert!((spread - (variance * (8.0 + 64.0 / 4.0)).sqrt() / 2.0).abs() < 1e-12, "{spread}");
    }

    #[test]
    fn a_trial_that_is_tried_again_has_not_ended_and_a_lost_try_is_no_measure() {
        let mut pace = Pace::default();
        for (event, at) in [("leased", 0), ("attempt_ended", 5_000), ("leased", 6_000), ("failed", 9_000)] {
            pace.hear(event, 3, at);
        }
        assert_eq!((pace.ended(), pace.count), (1, 0));
        pace.hear("leased", 3, 10_000);
        assert_eq!(pace.ended(), 0);
        pace.hear("completed", 3, 14_000);
        assert_eq!((pace.ended(), pace.count, pace.mean), (1, 1, 4.0));
    }
}
