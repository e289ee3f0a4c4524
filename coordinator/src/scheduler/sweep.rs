//! One sweep as the scheduler sees it: how far it is, and which of its trials are under way.

use std::collections::{BTreeMap, BTreeSet};

use distilsweep_proto::ids::SweepId;

use super::{
    event::{SweepState, TrialEnd},
    trial::Trial,
};

/// Trials that ended, by how.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
#[expect(missing_docs, reason = "the names say it")]
pub struct Counts {
    pub completed: u64,
    pub diverged: u64,
    pub failed: u64,
    pub cancelled: u64,
}

/// The trial with the best final metric so far.
#[derive(Clone, Copy, Debug, PartialEq)]
pub struct Best {
    /// Index of its point.
    pub trial: u64,
    /// Value of the sweep's metric.
    pub value: f64,
}

/// A sweep. Its memory grows with the trials under way, never with the points of its space.
#[derive(Clone, Debug, PartialEq)]
pub struct Sweep {
    /// Its id.
    pub id: SweepId,
    /// Name in its file.
    pub name: String,
    /// SHA-256 of its normalised file.
    pub digest: String,
    /// State of the whole.
    pub state: SweepState,
    /// Points in its space.
    pub size: u64,
    /// Failures of a trial that are tried again.
    pub max_retries: u32,
    /// Which final metric ranks its trials.
    pub metric: String,
    /// Whether more of it is better.
    pub maximize: bool,
    /// The first point that was never leased: all before it were.
    pub next_point: u64,
    /// Trials that were leased and have not ended.
    pub trials: BTreeMap<u64, Trial>,
    /// Those of them that wait for their next attempt.
    pub waiting: BTreeSet<u64>,
    /// Those that have ended.
    pub counts: Counts,
    /// The best of those.
    pub best: Option<Best>,
}

impl Sweep {
    /// The trial to lease next: one that has begun before one that has not, so that sweeps end soon.
    pub fn next_trial(&self) -> Option<u64> {
        if self.state != SweepState::Running {
            return None;
        }
        let fresh = (self.next_point < self.size).then_some(self.next_point);
        self.waiting.first().copied().or(fresh)
    }

    /// Whether every trial has ended.
    pub fn is_done(&self) -> bool {
        self.next_point == self.size && self.trials.is_empty()
    }

    /// Counts a trial that ended.
    pub(super) fn ended(&mut self, trial: u64, end: &TrialEnd) {
        self.trials.remove(&trial);
        self.waiting.remove(&trial);
        match end {
            TrialEnd::Completed(result) => {
                self.counts.completed += 1;
                if let Some(value) = result.metrics.get(&self.metric).copied().filter(|v| v.is_finite()) {
                    self.consider(Best { trial, value });
                }
            }
            TrialEnd::Diverged(_) => self.counts.diverged += 1,
            TrialEnd::Failed(_) => self.counts.failed += 1,
            TrialEnd::Cancelled => self.counts.cancelled += 1,
        }
    }

    /// Takes a result as the best where it beats the present one; of equals the first point is, whichever ended
    /// first, as in the summary.
    fn consider(&mut self, candidate: Best) {
        let better = self.best.is_none_or(|best| {
            let beats =
                if self.maximize { candidate.value > best.value } else { candidate.value < best.value };
            beats || (candidate.value == best.value && candidate.trial < best.trial)
        });
        if better {
            self.best = Some(candidate);
        }
    }
}
