//! Where protobuf ends on the coordinator's side.

use std::collections::BTreeMap;

use distilsweep_proto::{convert::parameters, ids::Term, limits, params::Params, v1};
use tonic::Status;

use crate::{
    engine::{Chosen, Progress, Snapshot, ToWorker, WorkerNow},
    mlflow::op::RunIds,
    results,
    scheduler::{
        AttemptEnd, Best, EndedHow, Failure, FailureKind, Mistake, Point, Report, ReportBody, Split,
        StoredFiles, SweepState, Time, TrialResult,
    },
    search::Resource,
    spec::{Filter, FilterError},
    store::{Attempt, JournalRow, SweepOutbox, SweepRow, TrialRow},
};

/// A message that makes no sense, by its field.
#[derive(Clone, Copy, Debug, PartialEq, Eq, thiserror::Error)]
#[error("field `{0}` is missing")]
pub struct Missing(pub &'static str);

impl From<Missing> for Status {
    fn from(missing: Missing) -> Self {
        Status::invalid_argument(missing.to_string())
    }
}

impl TryFrom<v1::Report> for Report {
    type Error = Missing;

    fn try_from(report: v1::Report) -> Result<Self, Missing> {
        use v1::report::Body;
        let body = match report.body.ok_or(Missing("report.body"))? {
            Body::Metrics(block) => ReportBody::Metrics(block.points.into_iter().map(point).collect()),
            Body::Checkpoint(files) => ReportBody::Checkpoint(stored_files(files)),
            Body::Completed(completed) => ReportBody::Ended(AttemptEnd::Completed(TrialResult {
                metrics: completed.metrics.into_iter().collect(),
                baseline: completed.baseline.into_iter().collect(),
                model: completed.model.map(stored_files),
                train_seconds: measured(completed.train_seconds),
                steps: completed.steps,
                steps_per_second: measured(completed.steps_per_second),
                tags: completed.tags.into_iter().collect(),
                splits: splits(completed.splits, completed.classes.len()),
                mistakes: mistakes(completed.mistakes),
                classes: completed.classes,
            })),
            Body::Failed(failure) => ReportBody::Ended(AttemptEnd::Failed(Failure {
                kind: failure_kind(failure.kind()),
                message: limits::shortened(failure.message),
            })),
            Body::Stopped(_) => ReportBody::Ended(AttemptEnd::Stopped),
            Body::Paused(_) => ReportBody::Ended(AttemptEnd::Paused),
        };
        let lease = report.lease.ok_or(Missing("report.lease"))?.into();
        Ok(Self { lease, sequence: report.sequence, body })
    }
}

/// The splits of a data set; counts that are no square of its classes are none.
pub fn splits(splits: Vec<v1::Split>, classes: usize) -> Vec<Split> {
    let whole = |split: v1::Split| {
        let square = classes > 0 && split.confusion.len() == classes * classes;
        let rows = split.confusion.chunks(classes.max(1)).filter(|_| square);
        Split {
            name: split.name,
            rows: split.rows,
            sha256: split.sha256,
            confusion: rows.map(<[u64]>::to_vec).collect(),
        }
    };
    splits.into_iter().map(whole).collect()
}

/// The worst mistakes of a trial.
pub fn mistakes(mistakes: Vec<v1::Mistake>) -> Vec<Mistake> {
    let mistake =
        |v1::Mistake { text, truth, taken, probability }| Mistake { text, truth, taken, probability };
    mistakes.into_iter().map(mistake).collect()
}

/// A mistake for the wire.
pub fn mistake(mistake: Mistake) -> v1::Mistake {
    let Mistake { text, truth, taken, probability } = mistake;
    v1::Mistake { text, truth, taken, probability }
}

/// A try at a trial for the wire.
pub fn attempt(attempt: Attempt) -> v1::Attempt {
    v1::Attempt {
        attempt: attempt.attempt,
        worker: attempt.worker,
        granted_ms: attempt.granted_ms,
        ended_ms: attempt.ended_ms.unwrap_or_default(),
        failure: attempt.failure.map(failure_message),
    }
}

/// A split for the wire.
pub fn split(split: Split) -> v1::Split {
    let Split { name, rows, sha256, confusion } = split;
    v1::Split { name, rows, sha256, confusion: confusion.into_iter().flatten().collect() }
}

/// A duration or a rate that a worker measured; 0 if it is none.
fn measured(value: f64) -> f64 {
    if value.is_finite() && value > 0.0 { value } else { 0.0 }
}

fn point(point: v1::MetricPoint) -> Point {
    Point { key: point.key, value: point.value, timestamp_ms: point.timestamp_ms, step: point.step }
}

fn stored_files(files: v1::StoredFiles) -> StoredFiles {
    StoredFiles { url: files.url, step: files.step, manifest_sha256: files.manifest_sha256 }
}

fn stored_files_message(files: StoredFiles) -> v1::StoredFiles {
    v1::StoredFiles { url: files.url, step: files.step, manifest_sha256: files.manifest_sha256 }
}

fn failure_kind(kind: v1::FailureKind) -> FailureKind {
    match kind {
        v1::FailureKind::Preempted => FailureKind::Preempted,
        v1::FailureKind::WorkerLost => FailureKind::WorkerLost,
        v1::FailureKind::OutOfMemory => FailureKind::OutOfMemory,
        v1::FailureKind::Diverged => FailureKind::Diverged,
        v1::FailureKind::Hung => FailureKind::Hung,
        v1::FailureKind::BadInput => FailureKind::BadInput,
        v1::FailureKind::BadPoint => FailureKind::BadPoint,
        // A type that a later worker knows: trying again is the harmless answer.
        v1::FailureKind::Internal | v1::FailureKind::Unspecified => FailureKind::Internal,
    }
}

fn failure_message(failure: Failure) -> v1::Failure {
    let kind = match failure.kind {
        FailureKind::Preempted => v1::FailureKind::Preempted,
        FailureKind::WorkerLost => v1::FailureKind::WorkerLost,
        FailureKind::OutOfMemory => v1::FailureKind::OutOfMemory,
        FailureKind::Diverged => v1::FailureKind::Diverged,
        FailureKind::Hung => v1::FailureKind::Hung,
        FailureKind::BadInput => v1::FailureKind::BadInput,
        FailureKind::BadPoint => v1::FailureKind::BadPoint,
        FailureKind::Internal => v1::FailureKind::Internal,
    };
    v1::Failure { kind: kind.into(), message: failure.message }
}

/// The progress of a heartbeat, by term.
pub fn progress(heartbeat: v1::Heartbeat) -> Vec<(Term, Progress)> {
    heartbeat
        .progress
        .into_iter()
        .filter_map(|progress| {
            let term = Term(progress.lease?.term);
            Some((
                term,
                Progress {
                    phase: progress.phase,
                    step: progress.step,
                    total_steps: progress.total_steps,
                    loss: progress.loss,
                    best_metric: progress.best_metric,
                    steps_per_second: measured(progress.steps_per_second),
                    lane_bytes: Some(progress.lane_bytes).filter(|bytes| *bytes > 0),
                },
            ))
        })
        .collect()
}

impl From<ToWorker> for v1::CoordinatorMessage {
    fn from(message: ToWorker) -> Self {
        use v1::coordinator_message::Body;
        let body = match message {
            ToWorker::Welcome { heartbeat_interval_ms, lease_timeout_ms, ended } => {
                Body::Welcome(v1::Welcome {
                    lease_timeout_ms,
                    heartbeat_interval_ms,
                    ended: ended.into_iter().map(Into::into).collect(),
                })
            }
            ToWorker::Assign { lanes, spec, store_url } => Body::Assignment(v1::Assignment {
                model: spec.model.clone(),
                model_revision: spec.pinned_model_revision().cloned().unwrap_or_default(),
                dataset: Some((&spec.pinned_dataset()).into()),
                metric: Some(metric(spec.metric.selection.best, spec.metric.maximize)),
                store_url,
                lanes: lanes
                    .into_iter()
                    .map(|(lane, params)| v1::Lane {
                        lease: Some(lane.lease.into()),
                        parameters: parameters(params),
                        resume: lane.resume.map(stored_files_message),
                        pause: lane.pause.map(pause),
                    })
                    .collect(),
            }),
            ToWorker::Acknowledge(lease, sequence) => {
                Body::Acknowledgement(v1::Acknowledgement { lease: Some(lease.into()), sequence })
            }
            ToWorker::Stop(lease, reason) => Body::Stop(v1::StopLease { lease: Some(lease.into()), reason }),
            ToWorker::Drain(reason) => Body::Drain(v1::Drain { reason }),
        };
        Self { body: Some(body) }
    }
}

fn pause(at: Resource) -> v1::Pause {
    use v1::pause::At;
    let at = match at {
        Resource::Epochs(epochs) => At::Epochs(epochs),
        Resource::Steps(steps) => At::Steps(steps),
    };
    v1::Pause { at: Some(at) }
}

fn metric(name: &str, maximize: bool) -> v1::Metric {
    let goal = if maximize { v1::Goal::Maximize } else { v1::Goal::Minimize };
    v1::Metric { name: name.to_owned(), goal: goal.into() }
}

/// A sweep's status from its row; what is alive is added by [`with_running`].
pub fn status(row: &SweepRow) -> v1::SweepStatus {
    let state = match row.state {
        SweepState::Running => v1::SweepState::Running,
        SweepState::Paused => v1::SweepState::Paused,
        SweepState::Completed => v1::SweepState::Completed,
        SweepState::Cancelled => v1::SweepState::Cancelled,
        SweepState::Failed => v1::SweepState::Failed,
    };
    v1::SweepStatus {
        sweep: row.id.as_str().to_owned(),
        name: row.name.clone(),
        state: state.into(),
        reason: row.reason.clone().unwrap_or_default(),
        metric: Some(metric(&row.metric, row.maximize)),
        total: row.size,
        created_ms: row.created_ms,
        finished_ms: row.finished_ms.unwrap_or_default(),
        priority: row.priority,
        ..Default::default()
    }
}

/// Adds what is alive to a status.
pub fn with_snapshot(status: v1::SweepStatus, snapshot: Snapshot) -> v1::SweepStatus {
    let Snapshot { counts, best, running, workers, quarantined } = snapshot;
    let count = |number: usize| u32::try_from(number).unwrap_or(u32::MAX);
    let running = running
        .into_iter()
        .map(|trial| v1::RunningTrial {
            trial: trial.lease.trial.index,
            attempt: trial.lease.attempt,
            worker: trial.worker.as_str().to_owned(),
            step: trial.progress.step,
            total_steps: trial.progress.total_steps,
            loss: trial.progress.loss,
            best_metric: trial.progress.best_metric,
            steps_per_second: trial.progress.steps_per_second,
            phase: trial.progress.phase,
            parameters: parameters(trial.params),
        })
        .collect();
    v1::SweepStatus {
        completed: counts.completed,
        failed: counts.failed,
        diverged: counts.diverged,
        early_stopped: counts.early_stopped,
        cancelled: counts.cancelled,
        best: best.map(|Best { trial, value }| v1::BestTrial { trial, value }),
        running,
        workers: count(workers),
        quarantined: count(quarantined),
        ..status
    }
}

/// Trials that have ended, whichever way.
pub fn ended(status: &v1::SweepStatus) -> u64 {
    status.completed + status.failed + status.diverged + status.early_stopped + status.cancelled
}

/// Adds what MLflow has still to be told to a status.
pub fn with_outbox(status: v1::SweepStatus, outbox: SweepOutbox, now: Time) -> v1::SweepStatus {
    let SweepOutbox { rows, runs, oldest_ms, refused, refusal } = outbox;
    v1::SweepStatus {
        outbox_depth: rows,
        outbox_runs: runs,
        outbox_age_ms: oldest_ms.map_or(0, |oldest| now.0.saturating_sub(oldest).max(0)),
        outbox_refused: refused,
        outbox_refusal: refusal.unwrap_or_default(),
        ..status
    }
}

/// Which trials are to be tried again.
///
/// # Errors
/// A state that is none of an end without a result, or a filter that makes no sense.
pub fn chosen(request: &v1::RetryTrialsRequest) -> Result<Chosen, Status> {
    let how = request.states().map(|state| match state {
        v1::TrialState::Failed => Ok(EndedHow::Failed),
        v1::TrialState::Diverged => Ok(EndedHow::Diverged),
        v1::TrialState::EarlyStopped => Ok(EndedHow::EarlyStopped),
        v1::TrialState::Cancelled => Ok(EndedHow::Cancelled),
        v1::TrialState::Unspecified
        | v1::TrialState::Pending
        | v1::TrialState::Running
        | v1::TrialState::Completed => Err(Status::invalid_argument(
            "field `states` may hold failed, diverged, early stopped and cancelled: other trials cannot be tried again",
        )),
    });
    let filter = match request.r#where.trim() {
        "" => Filter::default(),
        text => text.parse().map_err(|error: FilterError| Status::invalid_argument(error.to_string()))?,
    };
    Ok(Chosen { how: how.collect::<Result<_, _>>()?, trials: request.trials.clone(), filter })
}

/// A worker for the wire; `reasons` say why it is marked.
pub fn worker(now: WorkerNow, reasons: &BTreeMap<(String, String), String>) -> v1::WorkerStatus {
    let id = now.id.as_str().to_owned();
    let mark = now.marks.first().copied();
    let state = match mark {
        Some(mark) => mark.name(),
        None if now.connected => "connected",
        None => "away",
    };
    let reason = mark.and_then(|mark| reasons.get(&(id.clone(), mark.name().to_owned())).cloned());
    v1::WorkerStatus {
        worker: id,
        state: state.to_owned(),
        reason: reason.unwrap_or_default(),
        hostname: now.about.hostname,
        process: now.about.process,
        version: now.about.version,
        devices: now.about.devices,
        leases: now.leases.into_iter().map(Into::into).collect(),
    }
}

/// A line of the journal for the wire.
pub fn event(row: JournalRow) -> v1::Event {
    v1::Event {
        at_ms: row.at_ms,
        trial: row.trial,
        attempt: row.attempt,
        worker: row.worker.unwrap_or_default(),
        actor: row.actor.unwrap_or_default(),
        event: row.event,
        detail: row.detail.unwrap_or_default(),
    }
}

/// A trial's row for the wire, with the hyperparameters of its point.
pub fn trial_result(row: TrialRow, point: Params) -> v1::TrialResult {
    let state = match row.state.as_str() {
        "completed" => v1::TrialState::Completed,
        "diverged" => v1::TrialState::Diverged,
        "failed" => v1::TrialState::Failed,
        "early_stopped" => v1::TrialState::EarlyStopped,
        "cancelled" => v1::TrialState::Cancelled,
        "waiting" | "paused" => v1::TrialState::Pending,
        // The schema's only other value.
        _ => v1::TrialState::Running,
    };
    let result = row.result.unwrap_or_default();
    let (mlflow_experiment, mlflow_run) =
        row.mlflow.map(|RunIds { experiment_id, run_id }| (experiment_id, run_id)).unwrap_or_default();
    v1::TrialResult {
        trial: row.trial,
        state: state.into(),
        parameters: parameters(point),
        metrics: result.metrics.into_iter().collect(),
        baseline: result.baseline.into_iter().collect(),
        attempts: row.attempts,
        worker: row.worker,
        seconds: result.train_seconds,
        mlflow_run,
        mlflow_experiment,
        model: result.model.map(stored_files_message),
        failure: row.failure.map(failure_message),
        started_ms: row.started_ms,
        finished_ms: row.finished_ms.unwrap_or_default(),
        errors: results::errors(&result.splits).into_iter().collect(),
        data: result.splits.into_iter().map(|split| (split.name, split.sha256)).collect(),
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn every_type_of_failure_survives_the_wire() {
        for kind in [
            FailureKind::Preempted,
            FailureKind::WorkerLost,
            FailureKind::OutOfMemory,
            FailureKind::Diverged,
            FailureKind::Hung,
            FailureKind::BadInput,
            FailureKind::BadPoint,
            FailureKind::Internal,
        ] {
            let message = failure_message(Failure { kind, message: "why".into() });
            assert_eq!(failure_kind(message.kind()), kind);
        }
    }

    #[test]
    fn a_report_without_its_lease_is_refused_by_name() {
        let report =
            v1::Report { lease: None, sequence: 1, body: Some(v1::report::Body::Stopped(v1::Stopped {})) };
        assert_eq!(Report::try_from(report).unwrap_err().to_string(), "field `report.lease` is missing");
    }
}
