//! One sweep as the scheduler sees it: how far it is, and which of its trials are under way.

use std::collections::{BTreeMap, BTreeSet};

use distilsweep_proto::ids::SweepId;

use super::{
    event::{SweepState, TrialEnd},
    pack::Structure,
    trial::Trial,
};

/// Points that packs may pass over at most, looking for lanes that agree: it bounds what is remembered of them.
const LOOK_AHEAD: u64 = 1024;

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
    /// Which of them may share a pack; computed from the file, not stored.
    pub structure: Structure,
    /// Failures of a trial that are tried again.
    pub max_retries: u32,
    /// Which final metric ranks its trials.
    pub metric: String,
    /// Whether more of it is better.
    pub maximize: bool,
    /// The point after the last that was leased: all before it were, but for those that were passed over.
    pub next_point: u64,
    /// Points before it that a pack passed over and that were never leased.
    pub skipped: BTreeSet<u64>,
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
        self.waiting.first().or_else(|| self.skipped.first()).copied().or(fresh)
    }

    /// Trials that wait for a lease.
    pub fn pending(&self) -> u64 {
        (self.waiting.len() + self.skipped.len()) as u64 + (self.size - self.next_point)
    }

    /// Takes the trials of the next pack out of those that wait for a lease: the next one, and up to `most` in all
    /// that may share a pack with it.
    pub(super) fn take_pack(&mut self, most: usize) -> Vec<u64> {
        let Some(first) = self.next_trial() else { return Vec::new() };
        let alike = |index: &u64| self.structure.alike(first, *index);
        let mut taken: Vec<u64> =
            self.waiting.iter().chain(&self.skipped).copied().filter(alike).take(most).collect();
        let room = LOOK_AHEAD.saturating_sub(self.skipped.len() as u64);
        let from = self.next_point;
        let fresh: Vec<u64> =
            (from..self.size.min(from.saturating_add(room))).filter(alike).take(most - taken.len()).collect();
        self.waiting.retain(|index| !taken.contains(index));
        self.skipped.retain(|index| !taken.contains(index));
        if let Some(last) = fresh.last() {
            self.next_point = last + 1;
            self.skipped.extend((from..*last).filter(|index| !fresh.contains(index)));
        }
        taken.extend(fresh);
        taken
    }

    /// Whether every trial has ended.
    pub fn is_done(&self) -> bool {
        self.pending() == 0 && self.trials.is_empty()
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
