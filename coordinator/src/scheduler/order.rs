//! What people order while a sweep runs, and what they are answered. Each order is idempotent: given twice, it changes
//! nothing the second time.

use distilsweep_proto::ids::{SweepId, WorkerId};

use super::{effect::SweepState, event::Limits, pack::Structure, trial::Trial};

/// What may be ordered about a sweep.
#[derive(Clone, Debug, PartialEq)]
pub enum Order {
    /// End it and whatever of it is under way: why.
    Cancel(String),
    /// Lease nothing more; what is under way goes on to its end.
    Pause,
    /// Lease again.
    Resume,
    /// Its share of the workers against that of other sweeps, at least 1: twice the number gets twice the devices.
    Priority(u32),
    /// More points, behind those that are there.
    Extend(Extension),
    /// Another chance for trials that ended without a result.
    Retry(Vec<Ended>),
    /// End a trial without a result, or leave it out where it has not begun: the index of its point.
    Stop(u64),
}

/// A sweep's space with more points, of which the first are those that it had.
#[derive(Clone, Debug, PartialEq)]
pub struct Extension {
    /// Points in it.
    pub size: u64,
    /// Which of them may share a pack.
    pub structure: Structure,
    /// The normalised file with it, as JSON.
    pub spec: String,
    /// What was added, for the journal.
    pub what: String,
}

/// A trial that ended without a result, as the store knows it.
#[derive(Clone, Debug, PartialEq)]
pub struct Ended {
    /// Index of its point.
    pub index: u64,
    /// How it ended.
    pub how: EndedHow,
    /// What its next attempt goes on from. Without an attempt it was left out before it began.
    pub trial: Trial,
}

/// How a trial ended that has no result.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
#[expect(missing_docs, reason = "the names say it")]
pub enum EndedHow {
    Failed,
    Diverged,
    EarlyStopped,
    Cancelled,
}

/// What follows from an order.
#[derive(Clone, Debug, PartialEq, Eq)]
pub enum Answer {
    /// So many things changed: points added, trials retried, or simply one. None where all was so already.
    Done(u64),
    /// It cannot be.
    Refused(Refusal),
}

/// Why an order cannot be followed.
#[derive(Clone, Debug, PartialEq, Eq, thiserror::Error)]
pub enum Refusal {
    /// No such sweep.
    #[error("there is no sweep `{0}`")]
    NoSweep(SweepId),
    /// The sweep's end is final.
    #[error("sweep {sweep} is {}: {remedy}", .state.name())]
    Ended {
        /// Which one.
        sweep: SweepId,
        /// How it ended.
        state: SweepState,
        /// What would be right.
        remedy: &'static str,
    },
    /// No such point.
    #[error("sweep {sweep} has no trial {trial}: its trials are 0 to {last}")]
    NoTrial {
        /// Which one.
        sweep: SweepId,
        /// As asked for.
        trial: u64,
        /// The highest index.
        last: u64,
    },
    /// No such worker.
    #[error("there is no worker `{0}`: `distilsweep worker list` shows those that there are")]
    NoWorker(WorkerId),
}

impl Limits {
    /// How many more trials a sweep with so many under way may lease.
    pub(super) fn room(&self, under_way: u64) -> u64 {
        self.max_concurrent_trials.map_or(u64::MAX, |most| most.saturating_sub(under_way))
    }
}
