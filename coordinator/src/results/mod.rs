//! The outcome of a sweep: ranked, and rendered for people and programs.
//!
//! Pure: what is recorded comes in as a [`Summary`], text goes out. The forms are [`table()`] (terminals), [`markdown()`]
//! (documents), [`html()`] (the report), [`csv()`] and [`json()`] (programs), [`resources()`] (what it was made of), [`best()`] (the best trial to train again); [`progress`]
//! renders a sweep that still runs.

mod best;
mod columns;
mod compare;
pub mod convert;
mod csv;
mod error;
pub mod held;
pub(crate) mod html;
mod insight;
mod json;
pub(crate) mod labels;
mod markdown;
pub mod pace;
pub mod progress;
mod resources;
mod settings;
mod table;
#[cfg(test)]
mod tests;
pub mod trial;

use std::{cmp::Ordering, collections::BTreeMap};

use distilsweep_proto::{names::Selection, params::Params, resource::Resource};
use serde::{Deserialize, Serialize};

pub use best::{NoBest, best};
pub use compare::{Comparison, Incomparable};
pub use csv::csv;
pub use error::errors;
pub use html::{Figure, figures, html, svg};
pub use insight::{Effect, Importance, Insight, Interaction, Level, SETTINGS, insight};
pub use json::{VERSION, json};
pub use markdown::markdown;
pub use resources::resources;
pub use settings::{SEEDS, Setting, settings};
pub use table::table;

use crate::scheduler::Split;

/// Everything that the rendered forms show.
#[derive(Clone, Debug, Default, PartialEq)]
pub struct Summary {
    /// Id of the sweep.
    pub sweep: String,
    /// Its name.
    pub name: String,
    /// Its state: running, paused, completed, cancelled, failed.
    pub state: String,
    /// The metric that ranks: `best_validation_f1`, say.
    pub metric: String,
    /// Whether more of it is better.
    pub maximize: bool,
    /// What always guessing the training split's commonest class reaches: `eval_f1_score`, `eval_accuracy`,
    /// `test_f1_score`, `test_accuracy`; empty while unknown.
    pub baseline: BTreeMap<String, f64>,
    /// Names of the hyperparameters that differ between trials, in the order of the file.
    pub varied: Vec<String>,
    /// The hyperparameters that are the same in all trials.
    pub constant: Params,
    /// The trials that have begun, in any order.
    pub trials: Vec<TrialRow>,
    /// Points in the space.
    pub total: u64,
    /// Whether trials that were ended early are ranked with the others, by the best of their evaluations.
    pub ranks_early_stopped: bool,
    /// How MLflow stands.
    pub mlflow: MlflowNote,
    /// Seconds from the sweep's start to its end, or to now.
    pub seconds: Option<f64>,
    /// Learning curves of the best trials.
    pub curves: Vec<Curve>,
    /// The sweep file as it was handed in; empty where it is not known.
    pub file: String,
    /// Model and data set as they were found when it was handed in.
    pub resources: Vec<Resource>,
    /// Names of the classes, in class order; empty while unknown.
    pub classes: Vec<String>,
    /// The splits of the data set as the best trial worked with them, its confusion matrices included.
    pub splits: Vec<Split>,
    /// Device, libtorch version and the like, of the same trial.
    pub tags: BTreeMap<String, String>,
}

/// How one metric of a trial went.
#[derive(Clone, Debug, Default, PartialEq)]
pub struct Curve {
    /// Index of the trial's point.
    pub trial: u64,
    /// `loss`, say.
    pub metric: String,
    /// Optimizer step and value, by step.
    pub points: Vec<(i64, f64)>,
}

/// The files that show a sweep's outcome, by name: the report for a browser, and the ranking for documents,
/// spreadsheets and programs.
pub fn files(summary: &Summary) -> [(&'static str, String); 5] {
    [
        ("report.html", html(summary)),
        ("ranking.md", markdown(summary)),
        ("ranking.csv", csv(summary)),
        ("ranking.json", json(summary)),
        ("resources.txt", resources(summary)),
    ]
}

/// How MLflow stands.
#[derive(Clone, Debug, Default, PartialEq, Eq, Serialize)]
pub struct MlflowNote {
    /// Address of the sweep's run or experiment; nothing where no server is named.
    pub url: Option<String>,
    /// Runs that have still to be told.
    pub runs_waiting: u64,
    /// Messages to them.
    pub messages_waiting: u64,
}

/// One trial, as recorded.
#[derive(Clone, Debug, Default, PartialEq, Serialize)]
pub struct TrialRow {
    /// Index of its point.
    pub trial: u64,
    /// Where it is in its life.
    pub state: TrialState,
    /// Its hyperparameters, the constant ones included.
    pub params: Params,
    /// Its final metrics.
    pub metrics: BTreeMap<String, f64>,
    /// Standard errors of its metrics, for the rows that they were measured on are a sample; see [`errors()`].
    pub errors: BTreeMap<String, f64>,
    /// Seconds of training and evaluating.
    pub seconds: Option<f64>,
    /// Tries at it.
    pub attempts: u32,
    /// The worker of the last try.
    pub worker: Option<String>,
    /// Id of its run in MLflow.
    pub mlflow_run: Option<String>,
    /// Address of that run.
    pub mlflow_url: Option<String>,
    /// URL of the saved model.
    pub checkpoint: Option<String>,
    /// SHA-256 over the tokens and classes of each split that it worked with.
    pub data: BTreeMap<String, String>,
    /// Why there is no result.
    pub failure: Option<String>,
}

/// Where a trial is in its life.
///
/// ```text
/// pending ──> running ──┬──> completed
///    ^           │      ├──> diverged
///    └───────────┘      ├──> failed
///     handed back       └──> cancelled
/// ```
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq, PartialOrd, Ord, Serialize, Deserialize)]
#[serde(rename_all = "snake_case")]
pub enum TrialState {
    /// It has a result.
    Completed,
    /// A worker trains it.
    Running,
    /// It waits for a worker.
    #[default]
    Pending,
    /// Its loss is not finite any more: a final result.
    Diverged,
    /// It ended without a result.
    Failed,
    /// It was ended because others were better; its metrics are those of its last evaluation.
    EarlyStopped,
    /// It was ended on request.
    Cancelled,
}

impl TrialState {
    /// The state's name for programs.
    pub fn name(self) -> &'static str {
        match self {
            TrialState::Completed => "completed",
            TrialState::Running => "running",
            TrialState::Pending => "pending",
            TrialState::Diverged => "diverged",
            TrialState::Failed => "failed",
            TrialState::EarlyStopped => "early_stopped",
            TrialState::Cancelled => "cancelled",
        }
    }

    /// The same for people.
    pub fn words(self) -> String {
        self.name().replace('_', " ")
    }
}

/// A trial in its place.
#[derive(Clone, Copy, Debug, PartialEq)]
pub struct Ranked<'a> {
    /// Its setting's rank, from 1; see [`settings()`]. Only completed trials with a finite metric have one.
    pub rank: Option<u64>,
    /// The trial.
    pub row: &'a TrialRow,
}

impl Summary {
    /// The value that ranks a trial; nothing where it is missing, not finite, or not final.
    pub fn score(&self, row: &TrialRow) -> Option<f64> {
        let value = row.metrics.get(&self.metric).copied()?;
        let counts = match row.state {
            TrialState::Completed => true,
            TrialState::EarlyStopped => self.ranks_early_stopped,
            TrialState::Running
            | TrialState::Pending
            | TrialState::Diverged
            | TrialState::Failed
            | TrialState::Cancelled => false,
        };
        (counts && value.is_finite()).then_some(value)
    }

    /// How many trials are in a state.
    pub fn count(&self, state: TrialState) -> usize {
        self.trials.iter().filter(|row| row.state == state).count()
    }

    /// Whether a value of the metric that ranks is no better than always answering the majority class; unknown without
    /// the baseline of that metric.
    pub(crate) fn is_at_baseline(&self, value: f64) -> Option<bool> {
        let baseline = self.baseline_of_metric()?;
        Some(if self.maximize { value <= baseline } else { value >= baseline })
    }

    /// What guessing the commonest class reaches of the metric that ranks.
    pub(crate) fn baseline_of_metric(&self) -> Option<f64> {
        let evaluation = Selection::named(&self.metric)?.evaluation;
        self.baseline.get(evaluation).copied()
    }
}

/// The trials in the order of [`settings()`], within each by score; trials without a score come after, grouped by state.
/// Ties go by index.
pub fn rank(summary: &Summary) -> Vec<Ranked<'_>> {
    ranked(summary, &settings(summary))
}

/// As [`rank`], where the settings are known: their intervals are drawn at some cost.
fn ranked<'a>(summary: &'a Summary, settings: &[Setting]) -> Vec<Ranked<'a>> {
    let by_trial: BTreeMap<u64, &TrialRow> = summary.trials.iter().map(|row| (row.trial, row)).collect();
    let mut ranked: Vec<Ranked<'_>> = settings
        .iter()
        .flat_map(|setting| setting.trials.iter().map(|trial| (setting.rank, by_trial[trial])))
        .map(|(rank, row)| Ranked { rank: Some(rank), row })
        .collect();
    let mut others: Vec<&TrialRow> =
        summary.trials.iter().filter(|row| summary.score(row).is_none()).collect();
    others.sort_by(|a, b| order(summary, a, b));
    ranked.extend(others.into_iter().map(|row| Ranked { rank: None, row }));
    ranked
}

/// By score, best first, then by state, then by index.
fn order(summary: &Summary, left: &TrialRow, right: &TrialRow) -> Ordering {
    let by_score = match (summary.score(left), summary.score(right)) {
        (Some(a), Some(b)) if summary.maximize => b.total_cmp(&a),
        (Some(a), Some(b)) => a.total_cmp(&b),
        (Some(_), None) => Ordering::Less,
        (None, Some(_)) => Ordering::Greater,
        (None, None) => left.state.cmp(&right.state),
    };
    by_score.then(left.trial.cmp(&right.trial))
}
