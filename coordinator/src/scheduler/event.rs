//! What happens to the scheduler, and what it answers: plain values, so that a test reads as a story.

use std::collections::BTreeMap;

use distilsweep_proto::ids::{Lease, SweepId, WorkerId};
use serde::{Deserialize, Serialize};

use crate::search::EarlyTerminate;

use super::{
    order::Order,
    pace::Seen,
    pack::{Room, Structure},
};

/// Milliseconds since the Unix epoch, by a clock that never goes back while the coordinator lives.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq, PartialOrd, Ord, Serialize, Deserialize)]
#[serde(transparent)]
pub struct Time(pub i64);

impl Time {
    /// This many milliseconds later.
    pub fn plus(self, milliseconds: i64) -> Self {
        Self(self.0.saturating_add(milliseconds))
    }
}

/// Something that happened.
#[derive(Clone, Debug, PartialEq)]
pub enum Event {
    /// A person hands in a sweep file.
    Submitted(Submission),
    /// A person orders something about a sweep.
    Ordered {
        /// Which one.
        sweep: SweepId,
        /// What.
        order: Order,
        /// Who, for the journal.
        by: String,
    },
    /// A person wants a worker to take no more work and to end.
    DrainOrdered {
        /// Which one.
        worker: WorkerId,
        /// Who, for the journal.
        by: String,
    },
    /// A worker's stream opened, for the first time or again.
    Joined {
        /// Who.
        worker: WorkerId,
        /// Packs that it trains at a time.
        slots: u32,
        /// Lanes that each of them may have.
        room: Room,
        /// Leases that it still holds, those with unacknowledged reports included.
        held: Vec<Lease>,
    },
    /// A worker's stream closed; its leases live on until their deadline.
    Left {
        /// Who.
        worker: WorkerId,
    },
    /// A worker is there.
    Heartbeat {
        /// Who.
        worker: WorkerId,
        /// How far it is.
        seen: Vec<Seen>,
    },
    /// A worker takes no more work.
    Draining {
        /// Who.
        worker: WorkerId,
    },
    /// A worker tells something about a lease.
    Reported {
        /// Who.
        worker: WorkerId,
        /// What.
        report: Report,
    },
    /// Time passed.
    Tick,
}

/// A sweep file as far as scheduling is concerned.
#[derive(Clone, Debug, PartialEq)]
pub struct Submission {
    /// Id that the sweep gets where it is new.
    pub id: SweepId,
    /// Name in the file.
    pub name: String,
    /// SHA-256 of the normalised file.
    pub digest: String,
    /// Points in its space, at least 1.
    pub size: u64,
    /// Which of them may share a pack.
    pub structure: Structure,
    /// What bounds it.
    pub limits: Limits,
    /// Which final metric ranks its trials.
    pub metric: String,
    /// Whether more of it is better.
    pub maximize: bool,
    /// Start another one even where the file's sweep is there.
    pub force_new: bool,
}

/// What bounds a sweep.
#[derive(Clone, Copy, Debug, Default, PartialEq)]
pub struct Limits {
    /// Failures of a trial that are tried again.
    pub max_retries: u32,
    /// Trials under way at a time, at most.
    pub max_concurrent_trials: Option<u64>,
    /// Failed trials that the sweep bears; one more and it has failed.
    pub max_failed_trials: Option<u64>,
    /// Milliseconds that it may run, pauses not counted.
    pub time_budget_ms: Option<i64>,
    /// Value of its metric with which it is content: no more trials begin.
    pub target: Option<f64>,
    /// How trials are ended before their end.
    pub early_terminate: Option<EarlyTerminate>,
}

/// A numbered message under a lease.
#[derive(Clone, Debug, PartialEq)]
pub struct Report {
    /// The lease that it quotes.
    pub lease: Lease,
    /// From 1 within the lease, without gaps.
    pub sequence: u64,
    /// What it says.
    pub body: ReportBody,
}

/// What a report says.
#[derive(Clone, Debug, PartialEq)]
pub enum ReportBody {
    /// Points of curves.
    Metrics(Vec<Point>),
    /// A checkpoint was published.
    Checkpoint(StoredFiles),
    /// The attempt ended.
    Ended(AttemptEnd),
}

/// A point of a curve. MLflow takes two points for one only if all four fields agree: the time is that at which the
/// point was measured, never that of sending.
#[derive(Clone, Debug, PartialEq, Serialize, Deserialize)]
pub struct Point {
    /// Name of the metric.
    pub key: String,
    /// Its value; may be NaN or infinite.
    #[serde(with = "crate::finite")]
    pub value: f64,
    /// When it was produced, by the worker's clock.
    pub timestamp_ms: i64,
    /// Optimizer steps done.
    pub step: i64,
}

/// Published files.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
pub struct StoredFiles {
    /// Directory URL.
    pub url: String,
    /// Optimizer steps behind them.
    pub step: i64,
    /// SHA-256 of the manifest, in hexadecimal.
    pub manifest_sha256: String,
}

/// How an attempt ended, by the worker's word.
#[derive(Clone, Debug, PartialEq)]
pub enum AttemptEnd {
    /// With a result.
    Completed(TrialResult),
    /// Because the worker was told to stop, or hands its work back.
    Stopped,
    /// At the rung where it was to pause, behind its evaluation and its checkpoint.
    Paused,
    /// Without one.
    Failed(Failure),
}

/// The one result of a trial.
#[derive(Clone, Debug, Default, PartialEq, Serialize, Deserialize)]
pub struct TrialResult {
    /// Final values by name.
    #[serde(with = "crate::finite::map")]
    pub metrics: BTreeMap<String, f64>,
    /// What always guessing the commonest class reaches.
    #[serde(with = "crate::finite::map")]
    pub baseline: BTreeMap<String, f64>,
    /// The kept model.
    pub model: Option<StoredFiles>,
    /// Seconds of training and evaluating.
    #[serde(with = "crate::finite")]
    pub train_seconds: f64,
    /// Optimizer steps done.
    pub steps: i64,
    /// Optimizer steps by second.
    #[serde(with = "crate::finite")]
    pub steps_per_second: f64,
    /// Facts for the run's tags.
    pub tags: BTreeMap<String, String>,
    /// Names of the classes, in class order.
    #[serde(default)]
    pub classes: Vec<String>,
    /// The data as the trial worked with it.
    #[serde(default)]
    pub splits: Vec<Split>,
    /// Rows of the test split that were taken for another class with the most confidence, the worst first.
    #[serde(default)]
    pub mistakes: Vec<Mistake>,
}

/// A row that was taken for another class than its own.
#[derive(Clone, Debug, Default, PartialEq, Serialize, Deserialize)]
pub struct Mistake {
    /// What the model saw of its text.
    pub text: String,
    /// Place of its own class among the classes.
    pub truth: u32,
    /// Place of the class that it was taken for.
    pub taken: u32,
    /// Probability of the latter.
    #[serde(with = "crate::finite")]
    pub probability: f64,
}

/// One split of a data set.
#[derive(Clone, Debug, Default, PartialEq, Eq, Serialize, Deserialize)]
pub struct Split {
    /// `train`, `validation` or `test`.
    pub name: String,
    /// Texts.
    pub rows: u64,
    /// SHA-256 over them, in hexadecimal.
    pub sha256: String,
    /// How often the chosen epoch took each class for each class: by true class, then by predicted class; empty for
    /// what was not evaluated.
    pub confusion: Vec<Vec<u64>>,
}

/// Type of a failure; see [`super::trial::Trial::after_failure`] for what each leads to.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Serialize, Deserialize)]
#[serde(rename_all = "snake_case")]
#[expect(missing_docs, reason = "the names are the design's")]
pub enum FailureKind {
    Preempted,
    WorkerLost,
    OutOfMemory,
    Diverged,
    Hung,
    BadInput,
    BadPoint,
    Internal,
}

impl FailureKind {
    /// The name in journals, tables and tags.
    pub fn name(self) -> &'static str {
        match self {
            FailureKind::Preempted => "preempted",
            FailureKind::WorkerLost => "worker_lost",
            FailureKind::OutOfMemory => "out_of_memory",
            FailureKind::Diverged => "diverged",
            FailureKind::Hung => "hung",
            FailureKind::BadInput => "bad_input",
            FailureKind::BadPoint => "bad_point",
            FailureKind::Internal => "internal",
        }
    }

    /// Whether the worker rather than the trial may be at fault.
    pub fn may_be_the_workers(self) -> bool {
        match self {
            FailureKind::Internal | FailureKind::Hung | FailureKind::OutOfMemory => true,
            FailureKind::Preempted
            | FailureKind::WorkerLost
            | FailureKind::Diverged
            | FailureKind::BadInput
            | FailureKind::BadPoint => false,
        }
    }
}

/// A failure with its words.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
pub struct Failure {
    /// Its type.
    pub kind: FailureKind,
    /// What a person reads.
    pub message: String,
}
