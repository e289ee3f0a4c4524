//! What MLflow is to be told about a durable change: the bridge from the scheduler's records to [`crate::mlflow`].

use std::{collections::BTreeMap, path::Path, sync::Arc};

use distilsweep_data::excerpt;
use distilsweep_proto::{
    dataset::{DatasetSource, DatasetSpec, LimitOrder, SplitChoice, SplitSelection},
    ids::SweepId,
    resource::{ResourceKind, is_path},
};

use crate::{
    mlflow::{
        op::{Input, Op, Point, RunKey, Status},
        tell::{self, Data, DataPlace, Place, Recorded, SweepStart, TrialStart},
    },
    scheduler::{Change, Record, SweepState, Time, TrialEnd, TrialResult},
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
                let dataset = dataset_words(&spec.dataset);
                let digest = &submission.digest;
                tell::sweep_started(recorded, start(spec, &dataset, digest, source.unwrap_or_default(), now))
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
                self.with(&trial.sweep, specs, |recorded, spec| trial_ended(recorded, spec, now, trial.index, end))
            }
            Record::LeaseEnded(lease, worker, Some(failure)) => {
                self.with(&lease.trial.sweep, specs, |recorded, _| {
                    let why = format!("{}: {}", failure.kind.name(), failure.message);
                    tell::attempt_ended(recorded, lease.trial.index, lease.attempt, worker, &why)
                })
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
                tell::sweep_finished(recorded, status, now.0)
            }),
            Record::SweepChanged(sweep, Change::Extended(_), _) => {
                self.with(sweep, specs, |recorded, spec| {
                    let dataset = dataset_words(&spec.dataset);
                    tell::sweep_goes_on(recorded, Some(start(spec, &dataset, "", "", now)), now.0)
                })
            }
            Record::SweepChanged(sweep, Change::Reopened, _) => {
                self.with(sweep, specs, |recorded, _| tell::sweep_goes_on(recorded, None, now.0))
            }
            Record::SweepChanged(_, Change::Paused | Change::Resumed | Change::Priority(_), _)
            | Record::LeaseEnded(_, _, None)
            | Record::Metrics(..)
            | Record::Checkpoint(..)
            // It has no run.
            | Record::TrialExcluded(..)
            | Record::TrialIncluded(..)
            | Record::Evaluated(..)
            | Record::RungReached { .. }
            | Record::Promoted(..)
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
            user: spec.origin.user.as_deref().unwrap_or(&self.user),
            place: self.place,
            tags: &spec.origin.tags,
        };
        Some(tell(recorded, spec))
    }
}

fn trial_ended(
    recorded: Recorded<'_>,
    spec: &SweepSpec,
    now: Time,
    index: u64,
    end: &TrialEnd,
) -> Vec<(RunKey, Op)> {
    let empty = TrialResult::default();
    let (status, result, reason) = match end {
        TrialEnd::Completed(result) => (Status::Finished, result, None),
        TrialEnd::Diverged(failure) | TrialEnd::Failed(failure) => {
            (Status::Failed, &empty, Some(format!("{}: {}", failure.kind.name(), failure.message)))
        }
        TrialEnd::EarlyStopped(reason) => (Status::Killed, &empty, Some(format!("stopped early: {reason}"))),
        TrialEnd::Cancelled(reason) => (Status::Killed, &empty, Some(reason.clone())),
    };
    let metrics = final_points(result, now);
    let end = tell::TrialEnd {
        index,
        status,
        metrics: &metrics,
        best_checkpoint_path: result.model.as_ref().map(|files| files.url.as_str()),
        reason: reason.as_deref(),
        result,
        inputs: inputs(&spec.pinned_dataset(), result),
        end_ms: now.0,
    };
    tell::trial_finished(recorded, end)
}

/// The splits that a trial worked with, for MLflow.
pub(super) fn inputs(dataset: &DatasetSpec, result: &TrialResult) -> Vec<Input> {
    let words = source_words(&dataset.source);
    let address;
    let last =
        |path: Option<&Path>| path.and_then(Path::file_name).map(|name| name.to_string_lossy().into_owned());
    let (name, place) = match &dataset.source {
        DatasetSource::Files { train, .. } => {
            (last(train.first().and_then(|path| path.parent())), DataPlace::Local(&words))
        }
        DatasetSource::Id { id, .. } if is_path(id) => (last(Some(Path::new(id))), DataPlace::Local(&words)),
        DatasetSource::Id { id, revision, .. } => {
            let tree = revision.as_ref().map_or_else(String::new, |revision| format!("/tree/{revision}"));
            address = format!("https://huggingface.co/datasets/{id}{tree}");
            (Some(id.clone()), DataPlace::Http(&address))
        }
    };
    let data = Data {
        name: name.as_deref().unwrap_or("data"),
        place,
        columns: [dataset.text.as_deref().unwrap_or("text"), dataset.label.as_deref().unwrap_or("label")],
    };
    result.splits.iter().map(|split| tell::input(data, split)).collect()
}

fn start<'a>(
    spec: &'a SweepSpec,
    dataset: &'a str,
    digest: &'a str,
    file: &'a str,
    now: Time,
) -> SweepStart<'a> {
    SweepStart {
        name: &spec.name,
        digest,
        metric: spec.metric.selection.best,
        maximize: spec.metric.maximize,
        model: &spec.model,
        dataset,
        model_commit: spec.origin.commit(ResourceKind::Model).map(String::as_str),
        dataset_commit: spec.origin.commit(ResourceKind::Dataset).map(String::as_str),
        points: spec.space.len(),
        description: spec.description.as_deref(),
        file,
        space: spec.space.document(),
        start_ms: now.0,
    }
}

/// A trial's final metrics as points of its run.
pub(super) fn final_points(result: &TrialResult, at: Time) -> Vec<Point> {
    let point = |(key, value): (&String, &f64)| Point {
        key: key.clone(),
        value: *value,
        timestamp_ms: at.0,
        step: result.steps,
    };
    result.metrics.iter().map(point).collect()
}

/// A data set in words, for a parameter of a run: the source, and in brackets what chooses among its rows.
pub(super) fn dataset_words(dataset: &DatasetSpec) -> String {
    let source = source_words(&dataset.source);
    let SplitSelection { train, validation, test } = &dataset.splits;
    let roles = [("train", train), ("validation", validation), ("test", test)];
    let mut choices: Vec<String> = roles
        .into_iter()
        .filter_map(|(role, choice)| match choice {
            SplitChoice::Detected => None,
            SplitChoice::Named(name) => Some(format!("{role}: {}", excerpt(name))),
            SplitChoice::LeftOut => Some(format!("no {role}")),
        })
        .collect();
    if dataset.drop_missing {
        choices.push("drop_missing".to_owned());
    }
    // A limit that keeps the first rows has no words, as in runs of earlier versions.
    if dataset.limit.is_any() && dataset.limit.order == LimitOrder::Stratified {
        choices.push("stratified limit".to_owned());
    }
    if choices.is_empty() { source } else { format!("{source} ({})", choices.join(", ")) }
}

fn source_words(source: &DatasetSource) -> String {
    match source {
        DatasetSource::Id { id, config, revision } => {
            let config = config.as_ref().map(|config| format!("/{config}")).unwrap_or_default();
            let revision = revision.as_ref().map(|revision| format!("@{revision}")).unwrap_or_default();
            format!("{id}{config}{revision}")
        }
        DatasetSource::Files { .. } => source.name(),
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::spec;

    #[test]
    fn keys_that_choose_rows_are_part_of_the_parameter() {
        let words = |dataset: &str| {
            let file = format!(
                "name: n\nmodel: m\ndataset: {dataset}\nmethod: grid\nparameters: {{seed: {{value: 1}}}}\n"
            );
            dataset_words(&spec::parse(&file).unwrap().dataset)
        };
        let datasets = [
            "org/d@v1",
            "{id: org/d, config: c, limit: {validation: 5, order: first}}",
            "{id: org/d, splits: {validation: matched, test: null}, drop_missing: true}",
            "{train: a.csv, limit: {train: 5}}",
        ];
        insta::assert_snapshot!(datasets.map(words).join("\n"), @"
        org/d@v1
        org/d/c
        org/d (validation: matched, no test, drop_missing)
        a.csv (stratified limit)
        ");
    }
}
