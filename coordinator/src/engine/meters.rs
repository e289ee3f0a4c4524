//! What the engine counts while it works: each is a few atomics, read by whoever asks without the engine's waiting.

use std::time::Duration;

use distilsweep_proto::ids::TrialId;
use prometheus_client::{
    encoding::EncodeLabelSet,
    metrics::{
        counter::Counter,
        family::Family,
        gauge::Gauge,
        histogram::{Histogram, exponential_buckets},
    },
    registry::Registry,
};

use crate::scheduler::{Record, TrialEnd};

/// Counters and histograms of one engine; clones share them.
#[derive(Clone, Debug)]
pub struct Meters {
    commits: Histogram,
    batches: Histogram,
    assignments: Histogram,
    reports: Counter,
    points: Counter,
    ended: Family<Outcome, Counter>,
    failures: Family<Kind, Counter>,
    told: Counter,
    refused: Counter,
    tasks: Family<Task, Gauge>,
}

#[derive(Clone, Debug, PartialEq, Eq, Hash, EncodeLabelSet)]
struct Outcome {
    outcome: &'static str,
}

#[derive(Clone, Debug, PartialEq, Eq, Hash, EncodeLabelSet)]
struct Kind {
    kind: &'static str,
}

impl Default for Meters {
    fn default() -> Self {
        // From half a millisecond, which a fast disk takes, to eight seconds.
        let seconds = || Histogram::new(exponential_buckets(0.0005, 2.0, 15));
        Self {
            commits: seconds(),
            batches: Histogram::new(exponential_buckets(1.0, 2.0, 13)),
            assignments: seconds(),
            reports: Counter::default(),
            points: Counter::default(),
            ended: Family::default(),
            failures: Family::default(),
            told: Counter::default(),
            refused: Counter::default(),
            tasks: Family::default(),
        }
    }
}

#[derive(Clone, Debug, PartialEq, Eq, Hash, EncodeLabelSet)]
struct Task {
    task: &'static str,
}

/// The one line that a trial has in the log.
fn log_end(trial: &TrialId, outcome: &'static str, end: &TrialEnd) {
    match end {
        TrialEnd::Completed(result) => {
            let best = result.metrics.iter().find(|(name, _)| name.starts_with("best_"));
            let (metric, value) = best.map(|(name, value)| (name.as_str(), *value)).unzip();
            tracing::info!(%trial, outcome, metric, value, seconds = result.train_seconds, "trial ended");
        }
        TrialEnd::Diverged(failure) | TrialEnd::Failed(failure) => {
            let why = failure.message.as_str();
            tracing::info!(%trial, outcome, kind = failure.kind.name(), why, "trial ended");
        }
        TrialEnd::EarlyStopped(why) | TrialEnd::Cancelled(why) => {
            tracing::info!(%trial, outcome, why = why.as_str(), "trial ended");
        }
    }
}

impl Meters {
    /// Puts all of them into a registry.
    pub fn register(&self, registry: &mut Registry) {
        registry.register("commit_seconds", "Time of a durable transaction", self.commits.clone());
        registry.register("batch_commands", "Commands that share a transaction", self.batches.clone());
        registry.register(
            "assignment_seconds",
            "Time from taking up what frees a worker to sending its next assignment, commit included",
            self.assignments.clone(),
        );
        registry.register("reports", "Reports recorded", self.reports.clone());
        registry.register("points", "Points of curves recorded", self.points.clone());
        registry.register("trials_ended", "Trials that ended, by outcome", self.ended.clone());
        registry.register("failures", "Attempts that failed, by type", self.failures.clone());
        registry.register("mlflow_told", "Messages that MLflow has taken", self.told.clone());
        registry.register("mlflow_refused", "Messages that MLflow will never take", self.refused.clone());
        registry.register(
            "background_task_up",
            "Whether a background task runs (1) or keeps failing (0)",
            self.tasks.clone(),
        );
    }

    /// Records whether a background task runs.
    pub fn set_task_up(&self, task: &'static str, up: bool) {
        self.tasks.get_or_create(&Task { task }).set(up.into());
    }

    /// Commands were taken together.
    pub(super) fn took(&self, commands: usize) {
        self.batches.observe(commands as f64);
    }

    /// A transaction is durable.
    pub(super) fn committed(&self, took: Duration) {
        self.commits.observe(took.as_secs_f64());
    }

    /// An assignment left.
    pub(super) fn assigned(&self, took: Duration) {
        self.assignments.observe(took.as_secs_f64());
    }

    /// MLflow has taken rows of the outbox.
    pub(super) fn told(&self, rows: usize) {
        self.told.inc_by(rows as u64);
    }

    /// Rows of the outbox were set aside.
    pub(super) fn refused(&self, rows: usize) {
        self.refused.inc_by(rows as u64);
    }

    /// The scheduler decided this.
    pub(super) fn decided(&self, record: &Record) {
        match record {
            Record::Metrics(_, _, points) => {
                self.reports.inc();
                self.points.inc_by(points.len() as u64);
            }
            Record::Checkpoint(..) => {
                self.reports.inc();
            }
            Record::LeaseEnded(_, _, Some(failure)) => {
                self.failures.get_or_create(&Kind { kind: failure.kind.name() }).inc();
            }
            Record::TrialEnded(trial, end) => {
                let outcome = match end {
                    TrialEnd::Completed(_) => "completed",
                    TrialEnd::Diverged(_) => "diverged",
                    TrialEnd::Failed(_) => "failed",
                    TrialEnd::EarlyStopped(_) => "early_stopped",
                    TrialEnd::Cancelled(_) => "cancelled",
                };
                self.ended.get_or_create(&Outcome { outcome }).inc();
                log_end(trial, outcome, end);
            }
            Record::SweepSubmitted(_)
            | Record::SweepEnded(..)
            | Record::SweepChanged(..)
            | Record::LeaseGranted(..)
            | Record::LeaseEnded(_, _, None)
            | Record::TrialExcluded(..)
            | Record::TrialIncluded(..)
            | Record::TrialRetried(..)
            | Record::Evaluated(..)
            | Record::RungReached { .. }
            | Record::Promoted(..)
            | Record::WorkerMarked(..) => {}
        }
    }
}
