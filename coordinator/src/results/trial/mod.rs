//! One trial in full: what it was, how it went, what it takes for what, and where its files are.

mod table;
#[cfg(test)]
mod tests;

use std::collections::BTreeMap;

use serde::Serialize;

pub use table::table;

use super::{Curve, TrialRow};
use crate::scheduler::{Mistake, Split};

/// Version of the JSON form; as [`super::VERSION`].
pub const VERSION: u32 = 1;

/// Everything that is known of a trial.
#[derive(Clone, Debug, Default, PartialEq)]
pub struct TrialView {
    /// Id of its sweep.
    pub sweep: String,
    /// The metric that ranks there.
    pub metric: String,
    /// What the ranking has of it.
    pub row: TrialRow,
    /// Its rank among so many; nothing without a score.
    pub rank: Option<(u64, u64)>,
    /// Names of the hyperparameters that differ between trials, in the order of the file.
    pub varied: Vec<String>,
    /// Names of the classes, in class order.
    pub classes: Vec<String>,
    /// The data as it worked with it, with confusion matrices.
    pub splits: Vec<Split>,
    /// Rows of the test split that it takes for another class with the most confidence, the worst first.
    pub mistakes: Vec<Mistake>,
    /// The tries at it, oldest first.
    pub attempts: Vec<Attempt>,
    /// All its metrics by step.
    pub curves: Vec<Curve>,
    /// Device, libtorch version and the like, of the try that has the result.
    pub tags: BTreeMap<String, String>,
    /// Optimizer steps of its result, and how many a second.
    pub steps: u64,
    /// Optimizer steps a second.
    pub steps_per_second: f64,
}

/// A try at a trial.
#[derive(Clone, Debug, Default, PartialEq, Eq, Serialize)]
pub struct Attempt {
    /// From 1.
    pub attempt: u32,
    /// Who trained.
    pub worker: String,
    /// When its lease was granted, in milliseconds since 1970.
    pub granted_ms: i64,
    /// When it ended; nothing while it goes on.
    pub ended_ms: Option<i64>,
    /// Why it ended without a result.
    pub failure: Option<String>,
}

impl Attempt {
    /// Seconds that it took; `now_ms` ends one that goes on.
    pub(super) fn seconds(&self, now_ms: i64) -> f64 {
        (self.ended_ms.unwrap_or(now_ms) - self.granted_ms).max(0) as f64 / 1000.0
    }
}

#[derive(Serialize)]
struct Document<'a> {
    version: u32,
    sweep: &'a str,
    metric: &'a str,
    rank: Option<u64>,
    #[serde(flatten)]
    row: &'a TrialRow,
    classes: &'a [String],
    splits: &'a [Split],
    mistakes: Vec<Told<'a>>,
    tries: &'a [Attempt],
    curves: BTreeMap<&'a str, &'a [(i64, f64)]>,
    tags: &'a BTreeMap<String, String>,
    steps: u64,
    steps_per_second: f64,
}

#[derive(Serialize)]
struct Told<'a> {
    text: &'a str,
    truth: String,
    taken: String,
    probability: f64,
}

/// The trial as indented JSON with a newline at its end: what [`super::json()`] has of a trial, and
///
/// | key | value |
/// |---|---|
/// | `version` | [`VERSION`] |
/// | `sweep`, `metric` | id of its sweep, and what ranks there |
/// | `classes` | their names, in class order |
/// | `splits` | `name`, `rows`, `sha256`, `confusion` (by true class, then by predicted class) |
/// | `mistakes` | `text`, `truth`, `taken`, `probability`, the most confident first |
/// | `tries` | `attempt`, `worker`, `granted_ms`, `ended_ms`, `failure` |
/// | `curves` | steps and values by metric, thinned out |
/// | `tags` | device, versions and the like |
/// | `steps`, `steps_per_second` | of its result |
pub fn json(view: &TrialView) -> String {
    let document = Document {
        version: VERSION,
        sweep: &view.sweep,
        metric: &view.metric,
        rank: view.rank.map(|(rank, _)| rank),
        row: &view.row,
        classes: &view.classes,
        splits: &view.splits,
        mistakes: view
            .mistakes
            .iter()
            .map(|mistake| Told {
                text: &mistake.text,
                truth: class(&view.classes, mistake.truth as usize),
                taken: class(&view.classes, mistake.taken as usize),
                probability: mistake.probability,
            })
            .collect(),
        tries: &view.attempts,
        curves: view.curves.iter().map(|curve| (&*curve.metric, &*curve.points)).collect(),
        tags: &view.tags,
        steps: view.steps,
        steps_per_second: view.steps_per_second,
    };
    let mut text = serde_json::to_string_pretty(&document).expect("text keys alone always become JSON");
    text.push('\n');
    text
}

/// A class's name, or its number where it has none.
pub(super) fn class(classes: &[String], place: usize) -> String {
    classes.get(place).cloned().unwrap_or_else(|| place.to_string())
}
