//! One row a trial, for spreadsheets and data frames.

use std::collections::{BTreeMap, BTreeSet};

use distilsweep_proto::names;

use super::{Setting, Summary, TrialRow, ranked, settings};

/// Comma-separated values under a header, best first.
///
/// Columns: `rank`, `trial`, `state`; `params.NAME` for each hyperparameter, the varied ones first in the order of the
/// file; `metrics.NAME` for the metric that ranks, those of the test split (in [`names::TEST`]'s order) and any others
/// in alphabetical order; `seconds`, `attempts`, `worker`, `mlflow_run`, `mlflow_url`, `checkpoint`, `failure`; of its
/// setting `setting.mean`, `setting.spread`, `setting.error`, `setting.low`, `setting.high` and `setting.at_baseline`
/// (whether it is no better than always answering the majority class).
/// Prefixes are those of MLflow's data frames. What a trial has not is empty; numbers have full precision.
pub fn csv(summary: &Summary) -> String {
    let params: Vec<&str> =
        summary.varied.iter().chain(summary.constant.keys()).map(String::as_str).collect();
    let mut metrics = vec![summary.metric.as_str()];
    metrics.extend(names::TEST);
    let others: BTreeSet<&str> =
        summary.trials.iter().flat_map(|row| row.metrics.keys()).map(String::as_str).collect();
    let others: Vec<&str> = others.into_iter().filter(|name| !metrics.contains(name)).collect();
    metrics.extend(others);

    let header = ["rank", "trial", "state"]
        .map(str::to_owned)
        .into_iter()
        .chain(params.iter().map(|name| format!("params.{name}")))
        .chain(metrics.iter().map(|name| format!("metrics.{name}")))
        .chain(
            ["seconds", "attempts", "worker", "mlflow_run", "mlflow_url", "checkpoint", "failure"]
                .map(str::to_owned),
        )
        .chain(
            ["mean", "spread", "error", "low", "high", "at_baseline"].map(|name| format!("setting.{name}")),
        );
    let settings = settings(summary);
    let by_trial: BTreeMap<u64, &Setting> = settings
        .iter()
        .flat_map(|setting| setting.trials.iter().map(move |trial| (*trial, setting)))
        .collect();
    let rows = ranked(summary, &settings).into_iter().map(|ranked| {
        let head = [
            ranked.rank.map(|rank| rank.to_string()).unwrap_or_default(),
            ranked.row.trial.to_string(),
            ranked.row.state.name().to_owned(),
        ];
        head.into_iter()
            .chain(values(ranked.row, &params, &metrics))
            .chain(of_setting(summary, by_trial.get(&ranked.row.trial).copied()))
            .collect()
    });
    written(std::iter::once(header.collect()).chain(rows))
}

fn values(row: &TrialRow, params: &[&str], metrics: &[&str]) -> Vec<String> {
    let text = |value: &Option<String>| value.clone().unwrap_or_default();
    let params = params.iter().map(|name| row.params.get(*name).map(ToString::to_string));
    let metrics = metrics.iter().map(|name| row.metrics.get(*name).map(ToString::to_string));
    let mut values: Vec<String> = params.chain(metrics).map(Option::unwrap_or_default).collect();
    values.extend([
        row.seconds.map(|seconds| seconds.to_string()).unwrap_or_default(),
        row.attempts.to_string(),
        text(&row.worker),
        text(&row.mlflow_run),
        text(&row.mlflow_url),
        text(&row.checkpoint),
        text(&row.failure),
    ]);
    values
}

fn of_setting(summary: &Summary, setting: Option<&Setting>) -> [String; 6] {
    let of = |value: fn(&Setting) -> Option<f64>| {
        setting.and_then(value).map(|v| v.to_string()).unwrap_or_default()
    };
    let end = |end: fn((f64, f64)) -> f64| {
        setting.and_then(|setting| setting.interval).map(|ends| end(ends).to_string()).unwrap_or_default()
    };
    let at_baseline = setting.and_then(|setting| summary.is_at_baseline(setting.mean));
    [
        of(|s| Some(s.mean)),
        of(|s| s.spread),
        of(|s| s.error),
        end(|ends| ends.0),
        end(|ends| ends.1),
        at_baseline.map(|at_baseline| at_baseline.to_string()).unwrap_or_default(),
    ]
}

fn written(records: impl Iterator<Item = Vec<String>>) -> String {
    let mut writer = ::csv::Writer::from_writer(Vec::new());
    for record in records {
        writer.write_record(record).expect("records of one length are always written to memory");
    }
    let bytes = writer.into_inner().expect("memory is always flushed");
    String::from_utf8(bytes).expect("texts joined by commas are text")
}
