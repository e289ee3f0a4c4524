//! The summary for programs.

use std::collections::BTreeMap;

use distilsweep_proto::{params::Params, resource::Resource};
use serde::Serialize;

use super::{Insight, MlflowNote, Ranked, Setting, Summary, TrialRow, insight, ranked, settings};

/// Version of the JSON form: it grows when a key changes its meaning or goes; new keys may come without.
pub const VERSION: u32 = 2;

#[derive(Serialize)]
struct Document<'a> {
    version: u32,
    sweep: &'a str,
    name: &'a str,
    state: &'a str,
    metric: Metric<'a>,
    total: u64,
    seconds: Option<f64>,
    baseline: &'a BTreeMap<String, f64>,
    varied: &'a [String],
    constant: &'a Params,
    mlflow: &'a MlflowNote,
    resources: &'a [Resource],
    classes: &'a [String],
    splits: Vec<Rows<'a>>,
    settings: Vec<Setting>,
    insight: Option<Insight>,
    trials: Vec<Trial<'a>>,
}

#[derive(Serialize)]
struct Metric<'a> {
    name: &'a str,
    goal: &'static str,
}

#[derive(Serialize)]
struct Rows<'a> {
    name: &'a str,
    rows: u64,
    sha256: &'a str,
}

#[derive(Serialize)]
struct Trial<'a> {
    rank: Option<u64>,
    at_baseline: Option<bool>,
    #[serde(flatten)]
    row: &'a TrialRow,
}

/// The summary as indented JSON with a newline at its end.
///
/// | key | value |
/// |---|---|
/// | `version` | [`VERSION`] |
/// | `sweep`, `name` | id and name of the sweep |
/// | `state` | `running`, `paused`, `completed`, `cancelled` or `failed` |
/// | `metric` | `{"name", "goal"}`: what ranks; the goal is `maximize` or `minimize` |
/// | `total` | points in the space; `trials` holds those that have begun |
/// | `seconds` | of the sweep, or null |
/// | `baseline` | metrics of always guessing the commonest class, by name |
/// | `varied`, `constant` | names of the hyperparameters that differ; the values of the others |
/// | `mlflow` | `{"url", "runs_waiting", "messages_waiting"}` |
/// | `resources` | model and data set as they were found: `kind` (`model`, `dataset`), `id`, `commit`, `license`, `page`, `files` (`path`, `bytes`, `sha256`) |
/// | `classes`, `splits` | names of the classes; `name`, `rows` and `sha256` of each split, of the best trial; empty while unknown |
/// | `settings` | what was tried, best first: see [`Setting`]; an interval is a pair of its ends |
/// | `insight` | what mattered: see [`Insight`]; null where too little is known |
/// | `trials` | the trials: by setting, within each by score, those without a score last |
///
/// Of a trial: `rank` (its setting's; null without a final finite metric), `at_baseline` (whether its score is no better
/// than always answering the majority class; null if unknown), `trial` (index of its
/// point), `state` (`completed`, `running`, `pending`, `diverged`, `failed`, `early_stopped` or `cancelled`), `params`, `metrics` and their
/// standard `errors` by name, `seconds`, `attempts`, `worker`, `mlflow_run`, `mlflow_url`, `checkpoint` (a URL), `data` (SHA-256 over
/// the tokens and classes of each split) and `failure` (why there is no result), each null or empty where there is none. A
/// metric that is not finite is null.
pub fn json(summary: &Summary) -> String {
    let goal = if summary.maximize { "maximize" } else { "minimize" };
    let settings = settings(summary);
    let document = Document {
        version: VERSION,
        sweep: &summary.sweep,
        name: &summary.name,
        state: &summary.state,
        metric: Metric { name: &summary.metric, goal },
        total: summary.total,
        seconds: summary.seconds,
        baseline: &summary.baseline,
        varied: &summary.varied,
        constant: &summary.constant,
        mlflow: &summary.mlflow,
        resources: &summary.resources,
        classes: &summary.classes,
        splits: summary
            .splits
            .iter()
            .map(|split| Rows { name: &split.name, rows: split.rows, sha256: &split.sha256 })
            .collect(),
        trials: ranked(summary, &settings)
            .into_iter()
            .map(|Ranked { rank, row }| {
                let at_baseline = summary.score(row).and_then(|score| summary.is_at_baseline(score));
                Trial { rank, at_baseline, row }
            })
            .collect(),
        settings,
        insight: insight(summary),
    };
    let mut text = serde_json::to_string_pretty(&document).expect("text keys alone always become JSON");
    text.push('\n');
    text
}
