//! The life of one trial, from its first lease to its end.

use std::collections::BTreeMap;

use distilsweep_proto::ids::{Term, WorkerId};

use crate::search::best_of;

use super::event::{Failure, FailureKind, Point, StoredFiles};

/// Workers that a trial may lose without coming further before it is taken for what kills them.
pub const MAX_LOSSES: u32 = 8;
/// Times that a trial may hang before it is taken for what hangs.
const MAX_HANGS: u32 = 2;
/// Failed attempts that a trial remembers.
const LONGEST_HISTORY: usize = 16;

/// A trial that has been leased and has not ended; a point that was never leased has no `Trial`, a trial that ended
/// has none any more.
///
/// ```text
///                    ┌─────────paused at a rung──▶ paused ──others are better──▶ (stopped)
///                    │            ┌──promoted──────┘
///   (point) ──lease──▶ leased ──completed──▶ (result)
///                       │  ▲  ──diverged, out of memory, bad point, budget spent──▶ (diverged or failed)
///        lost, stopped, │  │ lease, next attempt
///        internal error ▼  │
///                      waiting ──stopped, sweep ended──▶ (cancelled)
///                         ▲
///            (failed, diverged, cancelled) ──retry──┘
/// ```
#[derive(Clone, Debug, Default, PartialEq)]
pub struct Trial {
    /// Attempts begun.
    pub attempts: u32,
    /// Failures that count against `max_retries`.
    pub failures: u32,
    /// Workers lost while they trained it, since it came further last.
    pub losses: u32,
    /// Attempts in which it hung.
    pub hangs: u32,
    /// Its last attempts that failed; those that were handed back have not.
    pub history: Vec<Past>,
    /// The live lease; `None` while it waits for the next.
    pub lease: Option<Term>,
    /// Highest step recorded by metric: an attempt that replays steps adds nothing twice.
    pub marks: BTreeMap<String, i64>,
    /// The checkpoint to go on from: of all that were accepted one of the highest step.
    pub checkpoint: Option<StoredFiles>,
    /// How often it was evaluated; this and the next only where that may end it early.
    pub evaluations: u32,
    /// The best of these, by the sweep's metric.
    pub best: Option<f64>,
    /// Whether it goes to its end whatever others reach: somebody wanted it so.
    pub exempt: bool,
}

/// An attempt that failed.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Past {
    /// From 1.
    pub attempt: u32,
    /// Where.
    pub worker: WorkerId,
    /// Why.
    pub failure: Failure,
}

/// What follows from a failure.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Next {
    /// Back to the queue.
    Again,
    /// The trial ends as diverged.
    Diverged,
    /// The trial ends as failed.
    Failed,
    /// The trial and its sweep end as failed.
    SweepFailed,
}

impl Trial {
    /// Counts a failure and says what follows. The type decides: what the trial is not to blame for costs nothing,
    /// what trying again cannot mend is not tried again. `lanes` is the size of the pack that it failed in.
    pub fn after_failure(&mut self, kind: FailureKind, lanes: u32, max_retries: u32) -> Next {
        match kind {
            FailureKind::Preempted => Next::Again,
            // The next pack is smaller.
            FailureKind::OutOfMemory if lanes > 1 => Next::Again,
            FailureKind::WorkerLost => {
                self.losses += 1;
                if self.losses >= MAX_LOSSES { Next::Failed } else { Next::Again }
            }
            FailureKind::Diverged => Next::Diverged,
            FailureKind::OutOfMemory | FailureKind::BadPoint => Next::Failed,
            FailureKind::BadInput => Next::SweepFailed,
            FailureKind::Hung => {
                self.hangs += 1;
                if self.hangs >= MAX_HANGS { Next::Failed } else { Next::Again }
            }
            FailureKind::Internal => {
                self.failures += 1;
                if self.failures > max_retries { Next::Failed } else { Next::Again }
            }
        }
    }

    /// Remembers a failed attempt.
    pub fn remember(&mut self, past: Past) {
        if past.failure.kind != FailureKind::Preempted {
            self.history.push(past);
            let old = self.history.len().saturating_sub(LONGEST_HISTORY);
            self.history.drain(..old);
        }
    }

    /// The worker that its next attempt had better not go to.
    pub fn avoids(&self) -> Option<&WorkerId> {
        let last = self.history.last()?;
        last.failure.kind.may_be_the_workers().then_some(&last.worker)
    }

    /// Its last failure with those before it, for people.
    pub fn last_words(&self, failure: Failure) -> Failure {
        let earlier: Vec<String> = self
            .history
            .iter()
            .filter(|past| past.attempt < self.attempts)
            .map(|Past { attempt, worker, failure: Failure { kind, message } }| {
                format!("attempt {attempt} on {worker}, {}: {message}", kind.name())
            })
            .collect();
        if earlier.is_empty() {
            return failure;
        }
        let message = format!("{} (before it: {})", failure.message, earlier.join("; "));
        Failure { message, ..failure }
    }

    /// Ready for another chance: what was spent is given back, what was recorded stays.
    pub fn afresh(self) -> Self {
        Self { failures: 0, losses: 0, hangs: 0, lease: None, ..self }
    }

    /// Takes the value of an evaluation.
    pub fn evaluated(&mut self, value: f64, maximize: bool) {
        self.evaluations += 1;
        self.best = best_of(maximize, self.best, value);
    }

    /// Takes a published checkpoint, and answers which one the trial now goes on from: never one of fewer steps than
    /// before, for points up to that step are recorded and none after it may be lost.
    pub fn published(&mut self, files: StoredFiles) -> StoredFiles {
        match &self.checkpoint {
            Some(known) if known.step > files.step => return known.clone(),
            Some(known) if known.step == files.step => {}
            // It came further: what the workers died of before was not this trial.
            Some(_) | None => self.losses = 0,
        }
        self.checkpoint.insert(files).clone()
    }

    /// Keeps of `points` those that no earlier report had, and remembers them. Within an attempt the steps of a
    /// metric only grow, so its highest step tells.
    pub fn fresh(&mut self, points: Vec<Point>) -> Vec<Point> {
        points
            .into_iter()
            .filter(|point| {
                let known = self.marks.get(&point.key).is_some_and(|mark| point.step <= *mark);
                if !known {
                    self.marks.insert(point.key.clone(), point.step);
                }
                !known
            })
            .collect()
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn point(key: &str, step: i64) -> Point {
        Point { key: key.to_owned(), value: 0.5, timestamp_ms: 1, step }
    }

    #[test]
    fn replayed_steps_add_nothing() {
        let mut trial = Trial::default();
        assert_eq!(trial.fresh(vec![point("loss", 10), point("loss", 20), point("eval_loss", 20)]).len(), 3);
        let again = trial.fresh(vec![point("loss", 10), point("loss", 20), point("loss", 30)]);
        assert_eq!(again, [point("loss", 30)]);
    }

    #[test]
    fn the_type_of_a_failure_decides_what_follows() {
        let next = |kind| Trial::default().after_failure(kind, 1, 1);
        assert_eq!(next(FailureKind::Preempted), Next::Again);
        assert_eq!(next(FailureKind::WorkerLost), Next::Again);
        assert_eq!(next(FailureKind::OutOfMemory), Next::Failed);
        assert_eq!(next(FailureKind::Diverged), Next::Diverged);
        assert_eq!(next(FailureKind::BadInput), Next::SweepFailed);
        assert_eq!(next(FailureKind::BadPoint), Next::Failed);
        assert_eq!(next(FailureKind::Internal), Next::Again);
    }

    #[test]
    fn a_pack_that_was_too_large_costs_its_trials_nothing() {
        let mut trial = Trial::default();
        assert_eq!(trial.after_failure(FailureKind::OutOfMemory, 4, 0), Next::Again);
        assert_eq!((trial.failures, trial.losses), (0, 0));
        assert_eq!(trial.after_failure(FailureKind::OutOfMemory, 1, 5), Next::Failed);
    }

    #[test]
    fn a_trial_that_comes_further_may_lose_any_number_of_workers() {
        let files = |step| StoredFiles { url: String::new(), step, manifest_sha256: String::new() };
        let mut trial = Trial::default();
        for step in 0..i64::from(3 * MAX_LOSSES) {
            trial.published(files(step));
            assert_eq!(trial.after_failure(FailureKind::WorkerLost, 1, 0), Next::Again);
        }
        for _ in 2..MAX_LOSSES {
            trial.published(files(i64::from(3 * MAX_LOSSES) - 1));
            assert_eq!(trial.after_failure(FailureKind::WorkerLost, 1, 0), Next::Again);
        }
        assert_eq!(trial.after_failure(FailureKind::WorkerLost, 1, 0), Next::Failed);
    }

    #[test]
    fn a_trial_never_goes_back_to_a_checkpoint_of_fewer_steps() {
        let files =
            |url: &str, step| StoredFiles { url: url.to_owned(), step, manifest_sha256: String::new() };
        let mut trial = Trial::default();
        assert_eq!(trial.published(files("a", 20)), files("a", 20));
        assert_eq!(trial.published(files("b", 10)), files("a", 20));
        assert_eq!(trial.published(files("c", 20)), files("c", 20), "the newer one of the same step");
        assert_eq!(trial.checkpoint, Some(files("c", 20)));
    }

    #[test]
    fn internal_failures_spend_the_retries_and_lost_workers_do_not() {
        let mut trial = Trial::default();
        assert_eq!(trial.after_failure(FailureKind::WorkerLost, 1, 1), Next::Again);
        assert_eq!(trial.after_failure(FailureKind::Internal, 1, 1), Next::Again);
        assert_eq!(trial.after_failure(FailureKind::Internal, 1, 1), Next::Failed);
    }

    #[test]
    fn a_trial_that_kills_its_workers_ends_as_failed() {
        let mut trial = Trial::default();
        let nexts: Vec<Next> =
            (0..MAX_LOSSES).map(|_| trial.after_failure(FailureKind::WorkerLost, 1, 0)).collect();
        assert_eq!(nexts.last(), Some(&Next::Failed));
        assert!(nexts[..nexts.len() - 1].iter().all(|next| *next == Next::Again));
    }
}
