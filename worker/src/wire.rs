//! What goes over the stream, as this side's own types; protobuf ends in [`crate::convert`].

use std::collections::BTreeMap;

use distilsweep_proto::{
    dataset::DatasetSpec,
    ids::Lease,
    names::Selection,
    params::{Params, TrainingArguments},
};

use crate::trainer::{Ended, Trained};

/// A trial to train under a lease.
#[derive(Clone, Debug, PartialEq)]
pub struct Assignment {
    /// The right to train it.
    pub lease: Lease,
    /// Directory or Hub id of the checkpoint.
    pub model: String,
    /// Revision of a Hub model.
    pub model_revision: Option<String>,
    /// What it trains on.
    pub dataset: DatasetSpec,
    /// What selects the best evaluation.
    pub selection: Selection,
    /// Whether more of it is better.
    pub maximize: bool,
    /// URL under which its files are published.
    pub store_url: String,
    /// The checkpoint that the coordinator accepted last.
    pub resume: Option<Published>,
    /// Where to pause.
    pub pause: Option<Pause>,
    /// Hyperparameters as given.
    pub params: Params,
    /// The same, typed and complete.
    pub arguments: TrainingArguments,
}

/// The first evaluation that is at least so far, unless it is the trial's last.
#[derive(Clone, Copy, Debug, PartialEq)]
pub enum Pause {
    /// In passes over the training split.
    Epochs(f64),
    /// In optimizer steps.
    Steps(u64),
}

impl Pause {
    /// Whether an evaluation is so far.
    pub fn is_reached(self, step: u64, epoch: f64) -> bool {
        match self {
            // Epochs are counted in fractions, whose sums are a little off.
            Pause::Epochs(epochs) => epoch >= epochs * (1.0 - 1e-9),
            Pause::Steps(steps) => step >= steps,
        }
    }
}

/// What a coordinator says.
#[derive(Clone, Debug, PartialEq)]
pub enum FromCoordinator {
    /// First of all.
    Welcome {
        /// Time between two heartbeats.
        heartbeat_interval_ms: u64,
        /// Held leases that have ended.
        ended: Vec<Lease>,
    },
    /// Train these as one pack.
    Assign {
        /// Its lanes.
        lanes: Vec<Assignment>,
        /// Leases of what makes no sense here, and why.
        unusable: Vec<(Lease, Ended)>,
    },
    /// Everything up to this sequence is durable.
    Acknowledge(Lease, u64),
    /// Stop training it and drop its reports.
    Stop(Lease, String),
    /// Take no more work.
    Drain(String),
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
    /// New points of curves.
    Metrics(Vec<Point>),
    /// A checkpoint was published.
    Checkpoint(Published),
    /// The trial has its result.
    Completed(Box<Completed>),
    /// Handed back on request.
    Stopped,
    /// It is where it was to pause.
    Paused,
    /// The attempt failed.
    Failed(Ended),
}

impl ReportBody {
    /// Whether nothing follows under its lease.
    pub fn is_last(&self) -> bool {
        match self {
            ReportBody::Metrics(_) | ReportBody::Checkpoint(_) => false,
            ReportBody::Completed(_) | ReportBody::Stopped | ReportBody::Paused | ReportBody::Failed(_) => {
                true
            }
        }
    }
}

/// A point of a curve.
#[derive(Clone, Debug, PartialEq)]
pub struct Point {
    /// Name of the metric.
    pub key: String,
    /// Its value.
    pub value: f64,
    /// Optimizer steps done.
    pub step: u64,
    /// When it was produced, in milliseconds since the Unix epoch.
    pub timestamp_ms: i64,
}

/// A result with its published model.
#[derive(Clone, Debug, PartialEq)]
pub struct Completed {
    /// What the trainer measured.
    pub trained: Trained,
    /// Final values under their names.
    pub metrics: BTreeMap<String, f64>,
    /// The best evaluation's model.
    pub model: Published,
}

/// Files behind a manifest.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Published {
    /// Directory URL.
    pub url: String,
    /// Optimizer steps behind them.
    pub step: u64,
    /// SHA-256 of the manifest, in hexadecimal.
    pub manifest_sha256: String,
}

/// How far a lease is.
#[derive(Clone, Debug, PartialEq)]
pub struct Progress {
    /// Which one.
    pub lease: Lease,
    /// What it is doing.
    pub phase: &'static str,
    /// Optimizer steps done.
    pub step: u64,
    /// Optimizer steps in all; 0 while unknown.
    pub total_steps: u64,
    /// Last point of the loss curve.
    pub loss: f64,
    /// Best value of the selecting metric so far.
    pub best_metric: Option<f64>,
    /// Optimizer steps by second, lately.
    pub steps_per_second: f64,
    /// Memory of the device that it takes, in bytes, once measured.
    pub lane_bytes: Option<u64>,
}
