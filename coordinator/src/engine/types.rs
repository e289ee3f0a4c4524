//! What goes into the engine and comes out of it.

use std::sync::Arc;

use distilsweep_proto::{
    ids::{Lease, WorkerId},
    params::Params,
};

use crate::{
    scheduler::{Best, Counts, Lane},
    spec::SweepSpec,
};

/// What the engine has to know at its start.
#[derive(Clone, Debug)]
pub struct EngineOptions {
    /// A worker's leases end when it was not heard of for this long.
    pub lease_timeout_ms: u64,
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
}

/// One stream of a worker; a later stream of the same worker has a greater number.
#[derive(Clone, Copy, Debug, PartialEq, Eq, PartialOrd, Ord)]
pub struct StreamNumber(pub u64);
