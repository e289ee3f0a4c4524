//! What the scheduler answers: what is to be made durable, and what is to be sent after.

use distilsweep_proto::ids::{Lease, SweepId, TrialId, WorkerId};
use serde::{Deserialize, Serialize};

use crate::search::{Place, Resource};

use super::{
    event::{Failure, Point, StoredFiles, Submission, TrialResult},
    order::{Answer, Extension},
    pack::Pack,
};

/// What the scheduler answers, in order.
#[derive(Clone, Debug, PartialEq)]
pub enum Effect {
    /// Must be durable before any later effect happens.
    Record(Record),
    /// To be sent to a worker.
    Send(WorkerId, Message),
    /// Its stream is to be closed: a worker that is still there joins again.
    Disconnect(WorkerId),
    /// Answer to [`super::Event::Submitted`].
    Accepted {
        /// The new sweep, or the one that was there.
        sweep: SweepId,
        /// Whether it is new.
        created: bool,
    },
    /// Answer to [`super::Event::Ordered`] and [`super::Event::DrainOrdered`].
    Answered(Answer),
}

/// One trial of an assignment.
#[derive(Clone, Debug, PartialEq)]
pub struct Lane {
    /// The right to train it.
    pub lease: Lease,
    /// The checkpoint to go on from.
    pub resume: Option<StoredFiles>,
    /// Where to pause, if anywhere.
    pub pause: Option<Resource>,
}

/// A message to a worker.
#[derive(Clone, Debug, PartialEq)]
pub enum Message {
    /// First message on a stream: these held leases have ended.
    Welcome(Vec<Lease>),
    /// Train these trials as one pack.
    Assign(Vec<Lane>),
    /// Everything up to this sequence is durable.
    Acknowledge(Lease, u64),
    /// Stop training it and drop its reports.
    Stop(Lease, String),
    /// Take no more work, hand everything back and end.
    Drain(String),
}

/// A durable change. The store turns each into rows, in the order given.
#[derive(Clone, Debug, PartialEq)]
pub enum Record {
    /// A sweep began.
    SweepSubmitted(Submission),
    /// A sweep came to its end.
    SweepEnded(SweepId, SweepState, Option<String>),
    /// A person changed a sweep: what, and who.
    SweepChanged(SweepId, Change, String),
    /// A worker got a trial, as a lane of a pack.
    LeaseGranted(Lease, WorkerId, Pack),
    /// A lease of a worker is over; whether its trial is, a following record says.
    LeaseEnded(Lease, WorkerId, Option<Failure>),
    /// New points of a trial's curves.
    Metrics(Lease, u64, Vec<Point>),
    /// A checkpoint was published; the files are those that the trial now goes on from.
    Checkpoint(Lease, u64, StoredFiles),
    /// A trial was evaluated, where that may end it early: how often by now, and the best value so far.
    Evaluated(TrialId, u32, Option<f64>),
    /// A trial came to a rung.
    RungReached {
        /// Which trial.
        trial: TrialId,
        /// Which rung.
        place: Place,
        /// Its best value so far.
        value: Option<f64>,
        /// Whether it waits there to be let go on.
        paused: bool,
    },
    /// A trial that paused goes on from there.
    Promoted(TrialId, Place),
    /// A trial came to its end.
    TrialEnded(TrialId, TrialEnd),
    /// A person left a trial out before it began: who.
    TrialExcluded(TrialId, String),
    /// A person took one back in that was left out: who.
    TrialIncluded(TrialId, String),
    /// A person gave a trial that ended without a result another chance: who.
    TrialRetried(TrialId, String),
    /// A worker takes no more work, or gets it only where nobody else is there: why, and who said so.
    WorkerMarked(WorkerId, Mark, String, String),
}

/// What a person changed about a sweep.
#[derive(Clone, Debug, PartialEq)]
pub enum Change {
    /// No new leases until it is resumed.
    Paused,
    /// Leases again.
    Resumed,
    /// Its share of the workers.
    Priority(u32),
    /// More points.
    Extended(Extension),
    /// It had ended, and goes on with trials that are tried again.
    Reopened,
}

/// Standing of a worker that is not as any other.
#[derive(Clone, Copy, Debug, PartialEq, Eq, PartialOrd, Ord)]
pub enum Mark {
    /// It takes no more work and ends.
    Draining,
    /// Many different trials failed on it: it gets work only while no other worker is there.
    Quarantined,
}

impl Mark {
    /// All of them.
    pub const ALL: [Mark; 2] = [Mark::Draining, Mark::Quarantined];

    /// The name in the database, in tables and in messages.
    pub fn name(self) -> &'static str {
        match self {
            Mark::Draining => "draining",
            Mark::Quarantined => "quarantined",
        }
    }
}

/// How a trial ended.
#[derive(Clone, Debug, PartialEq)]
pub enum TrialEnd {
    /// With a result.
    Completed(TrialResult),
    /// Its loss left the finite numbers.
    Diverged(Failure),
    /// Its failures are spent, or the point is at fault.
    Failed(Failure),
    /// Others were better at a rung, as the sweep's file wants it: why.
    EarlyStopped(String),
    /// Somebody stopped it, or its sweep ended before it did: why.
    Cancelled(String),
}

/// State of a sweep.
///
/// ```text
///   submit ──▶ Running ──every trial ended, target reached──▶ Completed ──extend, retry──▶ Running
///               ▲ │  ├──cancel, time budget spent────────────▶ Cancelled
///        resume │ │  └──bad input, more failures than borne──▶ Failed ──retry──▶ Running
///               │ ▼pause
///              Paused ──as Running──▶
/// ```
#[derive(Clone, Copy, Debug, PartialEq, Eq, Serialize, Deserialize)]
#[serde(rename_all = "snake_case")]
#[expect(missing_docs, reason = "the diagram says it")]
pub enum SweepState {
    Running,
    Paused,
    Completed,
    Cancelled,
    Failed,
}

impl SweepState {
    /// Whether it has not come to its end.
    pub fn is_open(self) -> bool {
        match self {
            SweepState::Running | SweepState::Paused => true,
            SweepState::Completed | SweepState::Cancelled | SweepState::Failed => false,
        }
    }

    /// All of them.
    pub const ALL: [SweepState; 5] = [
        SweepState::Running,
        SweepState::Paused,
        SweepState::Completed,
        SweepState::Cancelled,
        SweepState::Failed,
    ];

    /// The name in the database, in tables and in messages.
    pub fn name(self) -> &'static str {
        match self {
            SweepState::Running => "running",
            SweepState::Paused => "paused",
            SweepState::Completed => "completed",
            SweepState::Cancelled => "cancelled",
            SweepState::Failed => "failed",
        }
    }
}
