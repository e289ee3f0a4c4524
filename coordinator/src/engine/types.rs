//! What goes into the engine and comes out of it.

use std::{collections::BTreeSet, sync::Arc};

use distilsweep_proto::{
    ids::{Lease, WorkerId},
    params::Params,
};

use tokio::sync::mpsc;

use crate::{
    scheduler::{Best, Counts, EndedHow, Lane, Mark, Order, Room},
    spec::{ExtensionError, Filter, SweepSpec},
    store::StoreError,
};

/// What the engine has to know at its start.
#[derive(Clone, Debug)]
pub struct EngineOptions {
    /// A worker's leases end when it was not heard of for this long.
    pub lease_timeout_ms: u64,
    /// A trial that stands still for at least this long is taken for hung.
    pub hang_timeout_ms: u64,
    /// URL under which workers publish.
    pub store_url: String,
    /// Who is recorded as the user of MLflow's runs.
    pub user: String,
    /// Whether this is a service rather than somebody's machine.
    pub service: bool,
}

/// A sweep as handed in.
#[derive(Clone, Debug)]
pub struct NewSweep {
    /// Its checked file.
    pub spec: SweepSpec,
    /// Its text.
    pub source: String,
    /// Its name.
    pub file_name: String,
    /// Start another one even where the file's sweep is there.
    pub force_new: bool,
}

/// What people order about a sweep.
#[derive(Debug)]
pub enum Ordered {
    /// What the scheduler follows as it is.
    Ready(Order),
    /// More values, each as `NAME=VALUE,VALUE`.
    Extend(Vec<String>),
    /// Another chance for these.
    Retry(Chosen),
}

/// Trials among those that ended without a result.
#[derive(Clone, Debug, Default, PartialEq)]
pub struct Chosen {
    /// How they ended; in any way where it is empty.
    pub how: Vec<EndedHow>,
    /// Which they are; any where it is empty.
    pub trials: Vec<u64>,
    /// What holds of their hyperparameters.
    pub filter: Filter,
}

impl Chosen {
    pub(super) fn matches(&self, index: u64, how: EndedHow, point: impl FnOnce() -> Params) -> bool {
        // What others made superfluous is tried again only where that is said.
        let any = self.how.is_empty() && (how != EndedHow::EarlyStopped || !self.trials.is_empty());
        (any || self.how.contains(&how))
            && (self.trials.is_empty() || self.trials.contains(&index))
            && self.filter.matches(&point())
    }
}

/// Why an order could not be given.
#[derive(Debug, thiserror::Error)]
pub enum OrderError {
    /// The values make no sense.
    #[error(transparent)]
    Extension(#[from] ExtensionError),
    /// The state cannot be read.
    #[error(transparent)]
    Store(#[from] StoreError),
    /// The engine has ended.
    #[error(transparent)]
    Stopped(#[from] super::EngineStopped),
}

/// What a worker says of itself.
#[derive(Clone, Debug, Default, PartialEq, Eq)]
#[expect(missing_docs, reason = "the fields of the message")]
pub struct About {
    pub hostname: String,
    pub process: u32,
    pub version: String,
    /// Its devices with their models where those are known.
    pub devices: Vec<String>,
}

/// A worker whose stream opened.
#[derive(Debug)]
pub struct Joining {
    /// Who.
    pub worker: WorkerId,
    /// On which stream.
    pub stream: StreamNumber,
    /// Packs that it trains at a time.
    pub slots: u32,
    /// Lanes that each of them may have.
    pub room: Room,
    /// What it says of itself.
    pub about: About,
    /// Leases that it still holds.
    pub held: Vec<Lease>,
    /// Takes what is for the worker, and is dropped when the stream is to close.
    pub to: mpsc::UnboundedSender<ToWorker>,
}

/// A worker as it is now.
#[derive(Clone, Debug)]
pub struct WorkerNow {
    /// Who.
    pub id: WorkerId,
    /// What it says of itself; nothing while it is away.
    pub about: About,
    /// Whether its stream is open.
    pub connected: bool,
    /// What sets it apart.
    pub marks: BTreeSet<Mark>,
    /// Packs that it trains at a time.
    pub slots: u32,
    /// What it trains.
    pub leases: Vec<Lease>,
}

/// How far a lease is, by its worker's last heartbeat.
#[derive(Clone, Debug, Default, PartialEq)]
#[expect(missing_docs, reason = "the fields of the message")]
pub struct Progress {
    pub phase: String,
    pub step: i64,
    pub total_steps: i64,
    pub loss: f64,
    pub best_metric: Option<f64>,
    pub steps_per_second: f64,
    /// Memory of the device that it takes, once measured.
    pub lane_bytes: Option<u64>,
}

/// A trial under way.
#[derive(Clone, Debug)]
pub struct RunningTrial {
    /// Its lease.
    pub lease: Lease,
    /// Who trains it.
    pub worker: WorkerId,
    /// Its hyperparameters.
    pub params: Params,
    /// How far it is.
    pub progress: Progress,
}

/// What of a sweep is alive and in no table.
#[derive(Clone, Debug)]
pub struct Snapshot {
    /// Its trials that ended, by how.
    pub counts: Counts,
    /// The best of them.
    pub best: Option<Best>,
    /// Its trials under way.
    pub running: Vec<RunningTrial>,
    /// Workers that are connected, to whatever sweep.
    pub workers: usize,
    /// Of these, those that are quarantined.
    pub quarantined: usize,
}

/// A message to a worker, complete.
#[derive(Clone, Debug)]
pub enum ToWorker {
    /// First of all: these held leases have ended.
    Welcome {
        /// How often to send heartbeats, at least.
        heartbeat_interval_ms: u64,
        /// Without them for this long, leases end.
        lease_timeout_ms: u64,
        /// Held leases that have ended.
        ended: Vec<Lease>,
    },
    /// Train these as one pack.
    Assign {
        /// The trials, each with its point.
        lanes: Vec<(Lane, Params)>,
        /// Of their sweep.
        spec: Arc<SweepSpec>,
        /// URL under which to publish.
        store_url: String,
    },
    /// Everything up to this sequence is durable.
    Acknowledge(Lease, u64),
    /// Stop training it.
    Stop(Lease, String),
    /// Hand everything back and end.
    Drain(String),
}

/// One stream of a worker; a later stream of the same worker has a greater number.
#[derive(Clone, Copy, Debug, PartialEq, Eq, PartialOrd, Ord)]
pub struct StreamNumber(pub u64);
