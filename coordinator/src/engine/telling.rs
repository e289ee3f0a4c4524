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
    scheduler::{FailureKind, Record, SweepState, Time, TrialEnd, TrialResult},
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
        let (Record::SweepSubmitted(_)
        | Record::SweepEnded(..)
        | Record::LeaseGranted(..)
        | Record::TrialEnded(..)) = record
        else {
            return Vec::new();
        };
        let sweep = match record {
            Record::SweepSubmitted(submission) => &submission.id,
            Record::SweepEnded(sweep, ..) => sweep,
            Record::LeaseGranted(lease, ..)
            | Record::LeaseEnded(lease, _)
            | Record::Metrics(lease, ..)
            | Record::Checkpoint(lease, ..) => &lease.trial.sweep,
            Record::TrialEnded(trial, _) => &trial.sweep,
        };
        let Some(spec) = specs.get(sweep) else { return Vec::new() };
        let recorded = Recorded {
            sweep,
            experiment: spec.experiment(),
            coordinator: &self.coordinator,
            user: &self.user,
            place: self.place,
        };
        let dataset = dataset_words(&spec.dataset);
        match record {
            Record::SweepSubmitted(submission) => tell::sweep_started(
                recorded,
                SweepStart {
                    name: &spec.name,
                    digest: &submission.digest,
                    metric: &submission.metric,
                    maximize: submission.maximize,
                    model: &spec.model,
                    dataset: &dataset,
                    points: submission.size,
                    file: source.unwrap_or_default(),
                    start_ms: now.0,
                },
            ),
            Record::LeaseGranted(lease, worker, _) => tell::trial_started(
                recorded,
                TrialStart {
                    index: lease.trial.index,
                    attempt: lease.attempt,
                    worker,
                    model: &spec.model,
                    dataset: &dataset,
                    params: &spec.space.point(lease.trial.index),
                    start_ms: now.0,
                },
            ),
            Record::TrialEnded(trial, end) => trial_ended(recorded, now, trial.index, end),
            Record::SweepEnded(_, state, _) => {
                let status = match state {
                    SweepState::Running | SweepState::Completed => Status::Finished,
                    SweepState::Cancelled => Status::Killed,
                    SweepState::Failed => Status::Failed,
                };
                tell::sweep_finished(recorded, Vec::new(), status, now.0)
            }
            Record::LeaseEnded(..) | Record::Metrics(..) | Record::Checkpoint(..) => Vec::new(),
        }
    }
}

fn trial_ended(recorded: Recorded<'_>, now: Time, index: u64, end: &TrialEnd) -> Vec<(RunKey, Op)> {
    let empty = TrialResult::default();
    let (status, result, reason) = match end {
        TrialEnd::Completed(result) => (Status::Finished, result, None),
        TrialEnd::Diverged(failure) | TrialEnd::Failed(failure) => {
            (Status::Failed, &empty, Some(format!("{}: {}", failure.kind.name(), failure.message)))
        }
        TrialEnd::Cancelled => (
            Status::Killed,
            &empty,
            Some(format!("{}: the sweep ended before it", FailureKind::Preempted.name())),
        ),
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
