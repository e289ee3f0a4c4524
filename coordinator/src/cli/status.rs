//! How a sweep stands, as `sweep list` and `sweep show` print it for people and for programs.

use std::collections::BTreeMap;

use chrono::TimeZone;
use distilsweep_proto::{convert::params, json, params::Params, v1};
use serde::Serialize;

use crate::{
    grpc::convert::ended,
    results::{
        convert,
        labels::{counted, duration},
    },
    text::escape_controls,
    times,
};

/// A sweep for programs; `json.md` of the contract says what each key means.
#[derive(Serialize)]
struct Sweep {
    sweep: String,
    name: String,
    state: &'static str,
    reason: Option<String>,
    metric: Option<Metric>,
    priority: u32,
    total: u64,
    completed: u64,
    failed: u64,
    diverged: u64,
    early_stopped: u64,
    cancelled: u64,
    running: Vec<Running>,
    best: Option<Best>,
    workers: u32,
    quarantined: u32,
    created: String,
    finished: Option<String>,
    mlflow: Mlflow,
}

#[derive(Serialize)]
struct Metric {
    name: String,
    goal: &'static str,
}

#[derive(Serialize)]
struct Running {
    trial: u64,
    attempt: u32,
    worker: String,
    phase: String,
    step: i64,
    total_steps: i64,
    loss: Option<f64>,
    best_metric: Option<f64>,
    steps_per_second: f64,
    params: Params,
}

#[derive(Serialize)]
struct Best {
    trial: u64,
    value: f64,
}

#[derive(Serialize)]
struct Mlflow {
    url: Option<String>,
    messages_waiting: u64,
    runs_waiting: u64,
    seconds_waiting: f64,
    messages_refused: u64,
    refusal: Option<String>,
}

impl From<v1::SweepStatus> for Sweep {
    fn from(status: v1::SweepStatus) -> Self {
        let text = |text: String| Some(text).filter(|text| !text.is_empty());
        let state = convert::state_name(status.state());
        let metric = status.metric.map(|metric| {
            let goal = if metric.goal() == v1::Goal::Minimize { "minimize" } else { "maximize" };
            Metric { name: metric.name, goal }
        });
        Self {
            sweep: status.sweep,
            name: status.name,
            state,
            reason: text(status.reason),
            metric,
            priority: status.priority,
            total: status.total,
            completed: status.completed,
            failed: status.failed,
            diverged: status.diverged,
            early_stopped: status.early_stopped,
            cancelled: status.cancelled,
            running: status.running.into_iter().map(Running::from).collect(),
            best: status.best.map(|v1::BestTrial { trial, value }| Best { trial, value }),
            workers: status.workers,
            quarantined: status.quarantined,
            created: times::rfc3339(status.created_ms),
            finished: (status.finished_ms > 0).then(|| times::rfc3339(status.finished_ms)),
            mlflow: Mlflow {
                url: text(status.mlflow_url),
                messages_waiting: status.outbox_depth,
                runs_waiting: status.outbox_runs,
                seconds_waiting: status.outbox_age_ms as f64 / 1000.0,
                messages_refused: status.outbox_refused,
                refusal: text(status.outbox_refusal),
            },
        }
    }
}

impl From<v1::RunningTrial> for Running {
    fn from(trial: v1::RunningTrial) -> Self {
        Self {
            trial: trial.trial,
            attempt: trial.attempt,
            worker: trial.worker,
            phase: trial.phase,
            step: trial.step,
            total_steps: trial.total_steps,
            // Before the first step there is none.
            loss: (trial.step > 0).then_some(trial.loss),
            best_metric: trial.best_metric,
            steps_per_second: trial.steps_per_second,
            params: params(trial.parameters),
        }
    }
}

/// One sweep for programs.
pub(super) fn json(status: v1::SweepStatus) -> String {
    json::document(Sweep::from(status))
}

/// All sweeps for programs.
pub(super) fn json_of_all(sweeps: Vec<v1::SweepStatus>) -> String {
    let sweeps: Vec<Sweep> = sweeps.into_iter().map(Sweep::from).collect();
    json::document(BTreeMap::from([("sweeps", sweeps)]))
}

/// A line a sweep for people.
pub(super) fn table(sweeps: &[v1::SweepStatus], now_ms: i64) -> String {
    if sweeps.is_empty() {
        return "there is no sweep yet: start one with `distilsweep run SWEEP.yaml`".to_owned();
    }
    let header = ["SWEEP", "STATE", "TRIALS", "BEST", "STARTED"].map(str::to_owned);
    let row = |sweep: &v1::SweepStatus| {
        let ended = ended(sweep);
        [
            sweep.sweep.clone(),
            convert::state_name(sweep.state()).to_owned(),
            format!("{ended}/{}", sweep.total),
            sweep.best.map_or_else(|| "-".to_owned(), |best| format!("{:.4}", best.value)),
            times::ago(sweep.created_ms, now_ms),
        ]
    };
    let rows: Vec<[String; 5]> = [header].into_iter().chain(sweeps.iter().map(row)).collect();
    let width = |column: usize| rows.iter().map(|row| row[column].chars().count()).max().unwrap_or(0);
    let [a, b, c, d] = [0, 1, 2, 3].map(width);
    let line = |[sweep, state, trials, best, started]: &[String; 5]| {
        format!("{sweep:a$}  {state:b$}  {trials:>c$}  {best:>d$}  {started}")
    };
    rows.iter().map(line).collect::<Vec<_>>().join("\n")
}

/// A sweep for people: a fact a line, times by the clock of `zone`.
pub(super) fn facts<Z: TimeZone<Offset: std::fmt::Display>>(
    status: &v1::SweepStatus,
    now_ms: i64,
    zone: &Z,
) -> String {
    let metric = status.metric.as_ref().map(|metric| metric.name.as_str()).unwrap_or_default();
    let stopped: String = [(status.early_stopped, "stopped early"), (status.cancelled, "stopped")]
        .into_iter()
        .filter(|(count, _)| *count > 0)
        .map(|(count, how)| format!(", {count} {how}"))
        .collect();
    let workers = match status.quarantined {
        0 => status.workers.to_string(),
        some => format!("{}, {some} of them quarantined: `distilsweep worker list` says why", status.workers),
    };
    let moment = |ms| format!("{} ({})", times::clock(ms, zone), times::ago(ms, now_ms));
    let mut lines = vec![
        format!("sweep      {}", status.sweep),
        format!("state      {}", convert::state_name(status.state())),
        format!("started    {}", moment(status.created_ms)),
        format!(
            "trials     {} of {} completed, {} running, {} failed, {} diverged{stopped}",
            status.completed,
            status.total,
            status.running.len(),
            status.failed,
            status.diverged
        ),
        format!("workers    {workers}"),
    ];
    if status.finished_ms > 0 {
        let took = duration((status.finished_ms - status.created_ms) as f64 / 1000.0);
        lines.insert(3, format!("ended      {}, after {took}", moment(status.finished_ms)));
    }
    if !status.reason.is_empty() {
        lines.insert(2, format!("reason     {}", escape_controls(&status.reason)));
    }
    if let Some(best) = status.best {
        lines.push(format!("best       {metric} {:.4} (trial {})", best.value, best.trial));
    }
    for trial in &status.running {
        lines.push(format!(
            "trial {:<4} attempt {}, {} {}/{}, on {}",
            trial.trial, trial.attempt, trial.phase, trial.step, trial.total_steps, trial.worker
        ));
    }
    if status.outbox_depth > 0 {
        lines.push(format!(
            "MLflow     {} about {} wait, the oldest for {}",
            counted(status.outbox_depth, "message"),
            counted(status.outbox_runs, "run"),
            duration(status.outbox_age_ms as f64 / 1000.0)
        ));
    }
    if status.outbox_refused > 0 {
        lines.push(format!(
            "MLflow     {} set aside: {}",
            counted(status.outbox_refused, "message"),
            escape_controls(&status.outbox_refusal)
        ));
    }
    lines.join("\n")
}

#[cfg(test)]
mod tests {
    use chrono::FixedOffset;

    use super::*;

    const NOW: i64 = 1_790_000_000_000;

    fn status() -> v1::SweepStatus {
        v1::SweepStatus {
            sweep: "emotion-1f2e3d".into(),
            state: v1::SweepState::Running.into(),
            metric: Some(v1::Metric { name: "best_validation_f1".into(), goal: v1::Goal::Maximize.into() }),
            total: 12,
            completed: 3,
            failed: 1,
            workers: 2,
            running: vec![v1::RunningTrial {
                trial: 4,
                attempt: 2,
                worker: "gpu-1-77-0a".into(),
                step: 30,
                total_steps: 100,
                phase: "training".into(),
                ..Default::default()
            }],
            best: Some(v1::BestTrial { trial: 2, value: 0.93512 }),
            created_ms: NOW - 3 * 3_600_000,
            outbox_depth: 7,
            outbox_runs: 2,
            outbox_age_ms: 192_000,
            outbox_refused: 1,
            outbox_refusal: "MLflow refused it".into(),
            ..Default::default()
        }
    }

    fn done() -> v1::SweepStatus {
        v1::SweepStatus {
            sweep: "sst2-00ff00".into(),
            state: v1::SweepState::Completed.into(),
            total: 2,
            completed: 2,
            created_ms: NOW - 50 * 3_600_000,
            finished_ms: NOW - 49 * 3_600_000,
            ..Default::default()
        }
    }

    #[test]
    fn sweeps_are_listed_a_line_each() {
        insta::assert_snapshot!(table(&[status(), done()], NOW), @r"
        SWEEP           STATE      TRIALS    BEST  STARTED
        emotion-1f2e3d  running      4/12  0.9351  3 h ago
        sst2-00ff00     completed     2/2       -  2 days ago
        ");
        assert!(table(&[], NOW).contains("distilsweep run"));
    }

    #[test]
    fn a_sweep_is_shown_with_what_runs_and_what_waits_by_the_local_clock() {
        let zone = FixedOffset::east_opt(2 * 3600).unwrap();
        insta::assert_snapshot!(facts(&status(), NOW, &zone), @r"
        sweep      emotion-1f2e3d
        state      running
        started    2026-09-21 13:13:20 (3 h ago)
        trials     3 of 12 completed, 1 running, 1 failed, 0 diverged
        workers    2
        best       best_validation_f1 0.9351 (trial 2)
        trial 4    attempt 2, training 30/100, on gpu-1-77-0a
        MLflow     7 messages about 2 runs wait, the oldest for 3m 12s
        MLflow     1 message set aside: MLflow refused it
        ");
        assert!(
            facts(&done(), NOW, &zone).contains("ended      2026-09-19 15:13:20 (2 days ago), after 1h 00m")
        );
    }

    #[test]
    fn programs_get_times_in_rfc_3339_and_null_for_what_is_not_there() {
        let shown: serde_json::Value = serde_json::from_str(&json(status())).unwrap();
        assert_eq!((&shown["version"], &shown["created"]), (&1.into(), &"2026-09-21T11:13:20.000Z".into()));
        assert!(shown["finished"].is_null() && shown["mlflow"]["url"].is_null());
        assert_eq!(shown["running"][0]["trial"], 4);
        let all: serde_json::Value = serde_json::from_str(&json_of_all(vec![status(), done()])).unwrap();
        assert_eq!(all["sweeps"][1]["finished"], "2026-09-19T13:13:20.000Z");
    }
}
