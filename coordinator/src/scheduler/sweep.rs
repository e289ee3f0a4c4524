//! One sweep as the scheduler sees it: how far it is, and which of its trials are under way.

use std::collections::{BTreeMap, BTreeSet};

use distilsweep_proto::ids::{SweepId, WorkerId};

use crate::search::Rungs;

use super::{
    effect::{SweepState, TrialEnd},
    event::{Limits, Time},
    order::EndedHow,
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
    pub early_stopped: u64,
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
    /// What bounds it; from the file, too.
    pub limits: Limits,
    /// Its share of the workers against that of other sweeps.
    pub priority: u32,
    /// Milliseconds that it ran before `running_since`.
    pub spent_ms: i64,
    /// Since when it runs; while it is paused or at its end, since when it does not.
    pub running_since: Time,
    /// Which final metric ranks its trials.
    pub metric: String,
    /// Whether more of it is better.
    pub maximize: bool,
    /// The point after the last that was leased: all before it were, but for those that were passed over.
    pub next_point: u64,
    /// Points before it that a pack passed over and that were never leased.
    pub skipped: BTreeSet<u64>,
    /// Points from it on that are not to be leased: they were left out.
    pub excluded: BTreeSet<u64>,
    /// Packs under way.
    pub packs: u64,
    /// Trials that were leased and have not ended.
    pub trials: BTreeMap<u64, Trial>,
    /// Those of them that wait for their next attempt.
    pub waiting: BTreeSet<u64>,
    /// Those of them that paused at a rung.
    pub paused: BTreeSet<u64>,
    /// What came to which rung.
    pub rungs: Rungs,
    /// Those that have ended.
    pub counts: Counts,
    /// The best of those.
    pub best: Option<Best>,
}

impl Sweep {
    /// Whether it has a trial to lease now.
    pub fn wants(&self) -> bool {
        self.assignable() > 0
    }

    /// Trials that wait for a lease.
    pub fn pending(&self) -> u64 {
        self.waiting.len() as u64 + self.unbegun()
    }

    /// Of those, the ones without an attempt.
    fn unbegun(&self) -> u64 {
        if self.has_reached_its_target() {
            return 0;
        }
        let fresh = self.size - self.next_point - self.excluded.len() as u64;
        self.skipped.len() as u64 + fresh
    }

    /// Whether a trial is as good as wanted.
    pub fn has_reached_its_target(&self) -> bool {
        let reached = |(target, best): (f64, Best)| {
            if self.maximize { best.value >= target } else { best.value <= target }
        };
        self.limits.target.zip(self.best).is_some_and(reached)
    }

    /// Trials under a lease.
    fn under_way(&self) -> u64 {
        (self.trials.len() - self.waiting.len() - self.paused.len()) as u64
    }

    /// Whether all trials that have not ended are paused.
    pub(super) fn is_at_rest(&self) -> bool {
        self.pending() == 0 && self.under_way() == 0
    }

    /// Of those, how many workers would get at once.
    pub fn assignable(&self) -> u64 {
        if self.state == SweepState::Running {
            self.pending().min(self.limits.room(self.under_way()))
        } else {
            0
        }
    }

    /// Takes the trials of the next pack out of those that wait for a lease: the next one, and up to `most` in all
    /// that may share a pack with it. One that has begun comes before one that has not, so that sweeps end soon; one
    /// that failed on this worker last goes to it only where it is `alone`.
    pub(super) fn take_pack(&mut self, most: usize, worker: &WorkerId, alone: bool) -> Vec<u64> {
        if !self.wants() {
            return Vec::new();
        }
        let under_way = self.under_way();
        let bound = self
            .limits
            .max_concurrent_trials
            .map_or(usize::MAX, |most| usize::try_from(most.saturating_sub(under_way)).unwrap_or(usize::MAX));
        let most = most.min(bound);
        let may = |index: &u64| {
            alone || self.trials.get(index).and_then(Trial::avoids).is_none_or(|avoided| avoided != worker)
        };
        let waiting = || self.waiting.iter().copied().filter(may);
        let from = self.next_point;
        let open = self.unbegun() > 0;
        let skipped = || self.skipped.iter().copied().filter(|_| open);
        let fresh = |room: u64| {
            let room = if open { room } else { 0 };
            (from..self.size.min(from.saturating_add(room))).filter(|index| !self.excluded.contains(index))
        };
        let first = waiting().next().or_else(|| skipped().next()).or_else(|| fresh(u64::MAX).next());
        let Some(first) = first else { return Vec::new() };
        let alike = |index: &u64| self.structure.alike(first, *index);
        let mut taken: Vec<u64> = waiting().chain(skipped()).filter(alike).take(most).collect();
        let room = LOOK_AHEAD.saturating_sub(self.skipped.len() as u64);
        let fresh: Vec<u64> = fresh(room).filter(alike).take(most - taken.len()).collect();
        for index in &taken {
            self.waiting.remove(index);
            self.skipped.remove(index);
        }
        if let Some(last) = fresh.last() {
            let passed_over =
                (from..*last).filter(|index| !fresh.contains(index) && !self.excluded.contains(index));
            self.skipped.extend(passed_over);
            self.next_point = last + 1;
            self.excluded = self.excluded.split_off(&self.next_point);
        }
        taken.extend(fresh);
        taken
    }

    /// Leaves a point out that was never leased, or takes it back in; answers whether that changed anything.
    pub(super) fn exclude(&mut self, index: u64) -> bool {
        let changed = match index < self.next_point {
            true => self.skipped.remove(&index),
            false => self.excluded.insert(index),
        };
        self.counts.cancelled += u64::from(changed);
        changed
    }

    /// Takes a point back in that was left out.
    pub(super) fn include(&mut self, index: u64) {
        self.counts.cancelled -= 1;
        if !self.excluded.remove(&index) {
            self.skipped.insert(index);
        }
    }

    /// Takes a trial back that had ended without a result.
    pub(super) fn again(&mut self, index: u64, how: EndedHow, trial: Trial) {
        match how {
            EndedHow::Failed => self.counts.failed -= 1,
            EndedHow::Diverged => self.counts.diverged -= 1,
            EndedHow::EarlyStopped => self.counts.early_stopped -= 1,
            EndedHow::Cancelled => self.counts.cancelled -= 1,
        }
        let exempt = trial.exempt || how == EndedHow::EarlyStopped;
        self.trials.insert(index, Trial { exempt, ..trial.afresh() });
        self.waiting.insert(index);
    }

    /// Stops or starts its clock.
    pub(super) fn turn(&mut self, now: Time, state: SweepState) {
        if self.state == SweepState::Running {
            self.spent_ms += now.0 - self.running_since.0;
        }
        self.running_since = now;
        self.state = state;
    }

    /// Whether it has run for as long as it may.
    pub(super) fn is_out_of_time(&self, now: Time) -> bool {
        let spent = || self.spent_ms + now.0 - self.running_since.0;
        self.state == SweepState::Running
            && self.limits.time_budget_ms.is_some_and(|budget| spent() >= budget)
    }

    /// Whether every trial has ended.
    pub fn is_done(&self) -> bool {
        self.pending() == 0 && self.trials.is_empty()
    }

    /// Counts a trial that ended.
    pub(super) fn ended(&mut self, trial: u64, end: &TrialEnd) {
        self.trials.remove(&trial);
        self.waiting.remove(&trial);
        self.paused.remove(&trial);
        match end {
            TrialEnd::Completed(result) => {
                self.counts.completed += 1;
                if let Some(value) = result.metrics.get(&self.metric).copied().filter(|v| v.is_finite()) {
                    self.consider(Best { trial, value });
                }
            }
            TrialEnd::Diverged(_) => self.counts.diverged += 1,
            TrialEnd::Failed(_) => self.counts.failed += 1,
            TrialEnd::EarlyStopped(_) => self.counts.early_stopped += 1,
            TrialEnd::Cancelled(_) => self.counts.cancelled += 1,
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
