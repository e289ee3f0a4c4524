//! What MLflow is to be told about a durable change: the bridge from the scheduler's records to [`crate::mlflow`].

use std::{collections::BTreeMap, sync::Arc};

use distilsweep_proto::{
    dataset::{DatasetSource, DatasetSpec},
    ids::SweepId,
};

use crate::{
    mlflow::{
        op::{Op, Point, RunKey, Status},
        tell::{self, Place, Recorded, SweepStart, TrialStart},
    },
    scheduler::{Change, Extension, Record, SweepState, Time, TrialEnd, TrialResult},
    spec::SweepSpec,
};

/// Who tells.
#[derive(Debug)]
pub(super) struct Telling {
    coordinator: String,
    user: String,
    place: Place,
}

impl Telling {
    pub(super) fn new(coordinator: String, user: String, service: bool) -> Self {
        let place = if service { Place::Service } else { Place::Local };
        Self { coordinator, user, place }
    }

    /// What follows for MLflow from a record. `source` is the text of a sweep file that was just handed in. Points of
    /// curves are not among it: the store's outbox refers to their block.
    pub(super) fn about(
        &self,
        now: Time,
        record: &Record,
        specs: &BTreeMap<SweepId, Arc<SweepSpec>>,
        source: Option<&str>,
    ) -> Vec<(RunKey, Op)> {
        let told = match record {
            Record::SweepSubmitted(submission) => self.with(&submission.id, specs, |recorded, spec| {
                let start = SweepStart {
                    name: &spec.name,
                    digest: &submission.digest,
                    metric: &submission.metric,
                    maximize: submission.maximize,
                    model: &spec.model,
                    dataset: &dataset_words(&spec.dataset),
                    points: submission.size,
                    file: source.unwrap_or_default(),
                    start_ms: now.0,
                };
                tell::sweep_started(recorded, start)
            }),
            Record::LeaseGranted(lease, worker, _) => self.with(&lease.trial.sweep, specs, |recorded, spec| {
                let start = TrialStart {
                    index: lease.trial.index,
                    attempt: lease.attempt,
                    worker,
                    model: &spec.model,
                    dataset: &dataset_words(&spec.dataset),
                    params: &spec.space.point(lease.trial.index),
                    start_ms: now.0,
                };
                tell::trial_started(recorded, start)
            }),
            Record::TrialEnded(trial, end) => {
                self.with(&trial.sweep, specs, |recorded, _| trial_ended(recorded, now, trial.index, end))
            }
            Record::TrialRetried(trial, by) => {
                self.with(&trial.sweep, specs, |recorded, _| tell::trial_retried(recorded, trial.index, by))
            }
            Record::SweepEnded(sweep, state, _) => self.with(sweep, specs, |recorded, _| {
                let status = match state {
                    SweepState::Running | SweepState::Paused | SweepState::Completed => Status::Finished,
                    SweepState::Cancelled => Status::Killed,
                    SweepState::Failed => Status::Failed,
                };
                tell::sweep_finished(recorded, Vec::new(), status, now.0)
            }),
            Record::SweepChanged(sweep, Change::Extended(Extension { size, .. }), _) => {
                self.with(sweep, specs, |recorded, _| tell::sweep_goes_on(recorded, Some(*size), now.0))
            }
            Record::SweepChanged(sweep, Change::Reopened, _) => {
                self.with(sweep, specs, |recorded, _| tell::sweep_goes_on(recorded, None, now.0))
            }
            Record::SweepChanged(_, Change::Paused | Change::Resumed | Change::Priority(_), _)
            | Record::LeaseEnded(..)
            | Record::Metrics(..)
            | Record::Checkpoint(..)
            // It has no run.
            | Record::TrialExcluded(..)
            | Record::TrialIncluded(..)
            | Record::WorkerMarked(..) => None,
        };
        told.unwrap_or_default()
    }

    fn with(
        &self,
        sweep: &SweepId,
        specs: &BTreeMap<SweepId, Arc<SweepSpec>>,
        tell: impl FnOnce(Recorded<'_>, &SweepSpec) -> Vec<(RunKey, Op)>,
    ) -> Option<Vec<(RunKey, Op)>> {
        let spec = specs.get(sweep)?;
        let recorded = Recorded {
            sweep,
            experiment: spec.experiment(),
            coordinator: &self.coordinator,
            user: &self.user,
            place: self.place,
        };
        Some(tell(recorded, spec))
    }
}

fn trial_ended(recorded: Recorded<'_>, now: Time, index: u64, end: &TrialEnd) -> Vec<(RunKey, Op)> {
    let empty = TrialResult::default();
    let (status, result, reason) = match end {
        TrialEnd::Completed(result) => (Status::Finished, result, None),
        TrialEnd::Diverged(failure) | TrialEnd::Failed(failure) => {
            (Status::Failed, &empty, Some(format!("{}: {}", failure.kind.name(), failure.message)))
        }
        TrialEnd::Cancelled(reason) => (Status::Killed, &empty, Some(reason.clone())),
    };
    let metrics: Vec<Point> = result
        .metrics
        .iter()
        .map(|(key, value)| Point {
            key: key.clone(),
            value: *value,
            timestamp_ms: now.0,
            step: result.steps,
        })
        .collect();
    let end = tell::TrialEnd {
        index,
        status,
        metrics: &metrics,
        best_checkpoint_path: result.model.as_ref().map(|files| files.url.as_str()),
        reason: reason.as_deref(),
        end_ms: now.0,
    };
    tell::trial_finished(recorded, end)
}

/// A data set in words, for a parameter of a run.
pub(super) fn dataset_words(dataset: &DatasetSpec) -> String {
    match &dataset.source {
        DatasetSource::Id { id, config, revision } => {
            let config = config.as_ref().map(|config| format!("/{config}")).unwrap_or_default();
            let revision = revision.as_ref().map(|revision| format!("@{revision}")).unwrap_or_default();
            format!("{id}{config}{revision}")
        }
        DatasetSource::Files { train, .. } => train.display().to_string(),
    }
}
