//! Messages of the coordinator as what this module renders.

use std::collections::BTreeMap;

use distilsweep_proto::{
    convert::{params, present, resources},
    params::Params,
    v1,
};

use super::{
    Curve, MlflowNote, Summary, TrialRow, TrialState,
    progress::{ProgressView, RunningView},
    trial::{Attempt, TrialView},
};
use crate::grpc::convert::{mistakes, splits};

/// A sweep's results as the summary that every form renders. `now_ms` ends the time of a sweep that still runs.
pub fn summary(results: v1::SweepResults, now_ms: i64) -> Summary {
    let status = results.status.unwrap_or_default();
    let url = Some(status.mlflow_url.clone()).filter(|url| !url.is_empty());
    let end = if status.finished_ms > 0 { status.finished_ms } else { now_ms };
    let trials: Vec<v1::TrialResult> = results.trials;
    let baseline: BTreeMap<String, f64> = trials
        .iter()
        .find(|t| !t.baseline.is_empty())
        .map(|t| t.baseline.clone().into_iter().collect())
        .unwrap_or_default();
    let trials: Vec<TrialRow> = trials.into_iter().map(|trial| row(trial, url.as_deref())).collect();
    let constant: Params = trials
        .first()
        .map(|trial| {
            let same = trial.params.iter().filter(|(name, _)| !results.varied.contains(name));
            same.map(|(name, value)| (name.clone(), value.clone())).collect()
        })
        .unwrap_or_default();
    Summary {
        ranks_early_stopped: false,
        sweep: status.sweep.clone(),
        name: status.name.clone(),
        state: state_name(status.state()).to_owned(),
        metric: status.metric.as_ref().map(|metric| metric.name.clone()).unwrap_or_default(),
        maximize: status.metric.as_ref().is_none_or(|metric| metric.goal() != v1::Goal::Minimize),
        baseline,
        varied: results.varied,
        constant,
        trials,
        total: status.total,
        mlflow: MlflowNote { url, runs_waiting: status.outbox_runs, messages_waiting: status.outbox_depth },
        seconds: Some((end - status.created_ms) as f64 / 1000.0),
        curves: results.curves.into_iter().map(curve).collect(),
        file: results.source,
        resources: resources(results.resources),
        splits: splits(results.splits, results.classes.len()),
        classes: results.classes,
        tags: results.tags.into_iter().collect(),
    }
}

fn curve(curve: v1::Curve) -> Curve {
    let points = curve.steps.into_iter().zip(curve.values).collect();
    Curve { trial: curve.trial, metric: curve.metric, points }
}

fn row(trial: v1::TrialResult, mlflow: Option<&str>) -> TrialRow {
    let state = match trial.state() {
        v1::TrialState::Unspecified | v1::TrialState::Pending => TrialState::Pending,
        v1::TrialState::Running => TrialState::Running,
        v1::TrialState::Completed => TrialState::Completed,
        v1::TrialState::Diverged => TrialState::Diverged,
        v1::TrialState::Failed => TrialState::Failed,
        v1::TrialState::EarlyStopped => TrialState::EarlyStopped,
        v1::TrialState::Cancelled => TrialState::Cancelled,
    };
    let mlflow_run = present(trial.mlflow_run);
    let mlflow_url = mlflow
        .zip(mlflow_run.as_deref())
        .map(|(base, run)| format!("{base}/#/experiments/{}/runs/{run}", trial.mlflow_experiment));
    TrialRow {
        trial: trial.trial,
        state,
        params: params(trial.parameters),
        metrics: trial.metrics.into_iter().collect(),
        errors: trial.errors.into_iter().collect(),
        seconds: (state == TrialState::Completed).then_some(trial.seconds),
        attempts: trial.attempts,
        worker: present(trial.worker),
        mlflow_run,
        mlflow_url,
        checkpoint: trial.model.map(|files| location(files.url)),
        data: trial.data.into_iter().collect(),
        failure: trial.failure.map(|failure| failure.message),
    }
}

/// A trial in full as what is shown of it, with its place in its sweep's `summary`.
pub fn trial(detail: v1::TrialDetail, summary: &Summary) -> TrialView {
    let url = present(detail.mlflow_url);
    let index = detail.result.as_ref().map(|result| result.trial);
    let ranked = super::rank(summary);
    let of = ranked.iter().filter(|ranked| ranked.rank.is_some()).count() as u64;
    let own = ranked.iter().find(|ranked| Some(ranked.row.trial) == index).and_then(|ranked| ranked.rank);
    let attempt = |attempt: v1::Attempt| Attempt {
        attempt: attempt.attempt,
        worker: attempt.worker,
        granted_ms: attempt.granted_ms,
        ended_ms: Some(attempt.ended_ms).filter(|ended| *ended > 0),
        failure: attempt.failure.map(|failure| failure.message),
    };
    TrialView {
        sweep: detail.sweep,
        metric: detail.metric.map(|metric| metric.name).unwrap_or_default(),
        row: row(detail.result.unwrap_or_default(), url.as_deref()),
        rank: own.map(|own| (own, of)),
        varied: summary.varied.clone(),
        splits: splits(detail.splits, detail.classes.len()),
        classes: detail.classes,
        mistakes: mistakes(detail.mistakes),
        attempts: detail.attempts.into_iter().map(attempt).collect(),
        curves: detail.curves.into_iter().map(curve).collect(),
        tags: detail.tags.into_iter().collect(),
        steps: u64::try_from(detail.steps).unwrap_or(0),
        steps_per_second: detail.steps_per_second,
    }
}

/// Where files are, as `from_pretrained` and a shell take it: a path where it is one on this machine.
pub(super) fn location(url: String) -> String {
    let path = url::Url::parse(&url).ok().and_then(|parsed| parsed.to_file_path().ok());
    path.map_or(url, |path| path.display().to_string())
}

/// A status as what the live view renders; what it does not say is the caller's.
pub fn progress(status: &v1::SweepStatus, varied: &[String]) -> ProgressView {
    ProgressView {
        sweep: status.name.clone(),
        metric: status.metric.as_ref().map(|metric| metric.name.clone()).unwrap_or_default(),
        varied: varied.to_vec(),
        total: status.total,
        completed: status.completed,
        failed: status.failed + status.diverged + status.cancelled,
        early_stopped: status.early_stopped,
        running: status.running.iter().map(running).collect(),
        best: status.best.map(|best| (best.trial, best.value)),
        workers: status.workers.into(),
        outbox: (status.outbox_depth, status.outbox_refused),
        ..ProgressView::default()
    }
}

fn running(trial: &v1::RunningTrial) -> RunningView {
    RunningView {
        trial: trial.trial,
        attempt: trial.attempt,
        params: params(trial.parameters.clone()),
        step: u64::try_from(trial.step).unwrap_or(0),
        total_steps: u64::try_from(trial.total_steps).unwrap_or(0),
        loss: Some(trial.loss).filter(|loss| loss.is_finite() && trial.step > 0),
        best_metric: trial.best_metric,
        steps_per_second: trial.steps_per_second,
        phase: trial.phase.clone(),
        worker: trial.worker.clone(),
    }
}

/// A sweep's state in words.
pub fn state_name(state: v1::SweepState) -> &'static str {
    match state {
        v1::SweepState::Unspecified | v1::SweepState::Running => "running",
        v1::SweepState::Paused => "paused",
        v1::SweepState::Completed => "completed",
        v1::SweepState::Cancelled => "cancelled",
        v1::SweepState::Failed => "failed",
    }
}
