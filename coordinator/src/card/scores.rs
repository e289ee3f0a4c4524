//! What a model was measured by, with the rows behind it.

use distilsweep_proto::names::Selection;

use super::Card;
use crate::scheduler::Split;

/// A score on a split.
#[derive(Clone, Debug, PartialEq)]
pub(super) struct Score {
    /// `validation` or `test`.
    pub(super) split: &'static str,
    /// How many rows were looked at.
    pub(super) rows: u64,
    /// The Hub's name of the metric, where it has one.
    pub(super) kind: &'static str,
    /// For people.
    pub(super) title: &'static str,
    pub(super) value: f64,
    /// Its standard error.
    pub(super) error: Option<f64>,
    /// What always guessing the commonest class reaches.
    pub(super) guess: Option<f64>,
}

/// Recorded metrics by split and name in the baseline: the Hub's name, and one for people.
const RECORDED: [(&str, &str, &str, &str, &str); 11] = [
    ("validation", "best_validation_f1", "eval_f1_score", "f1", "F1, weighted"),
    ("validation", "best_eval_f1_macro", "eval_f1_macro", "f1", "F1, macro"),
    ("validation", "best_eval_accuracy", "eval_accuracy", "accuracy", "accuracy"),
    ("validation", "best_eval_precision", "eval_precision", "precision", "precision, weighted"),
    ("validation", "best_eval_recall", "eval_recall", "recall", "recall, weighted"),
    (
        "validation",
        "best_eval_matthews_correlation",
        "eval_matthews_correlation",
        "matthews_correlation",
        "Matthews correlation",
    ),
    ("validation", "best_eval_loss", "eval_loss", "loss", "loss"),
    ("test", "test_f1_score", "test_f1_score", "f1", "F1, weighted"),
    ("test", "test_f1_macro", "test_f1_macro", "f1", "F1, macro"),
    ("test", "test_accuracy", "test_accuracy", "accuracy", "accuracy"),
    ("test", "test_loss", "test_loss", "loss", "loss"),
];

/// All finite scores of the trial: those that were recorded, and of the validation rows the accuracy too, which their
/// confusion matrix tells.
pub(super) fn scores(card: &Card<'_>) -> Vec<Score> {
    let row = &card.trial.row;
    let rows = |split: &str| card.split(split).map_or(0, |split| split.rows);
    let guess = |name: &str| card.summary.baseline.get(name).copied();
    let recorded =
        |(split, name, plain, kind, title): (&'static str, &str, &str, &'static str, &'static str)| {
            let value = row.metrics.get(name).copied().filter(|value| value.is_finite())?;
            let error = row.errors.get(name).copied();
            Some(Score { split, rows: rows(split), kind, title, value, error, guess: guess(plain) })
        };
    let mut scores: Vec<Score> = RECORDED.into_iter().filter_map(recorded).collect();
    let ranked = Selection::named(&card.summary.metric).map(|selection| selection.evaluation);
    let seen = card.split("validation").and_then(accuracy);
    if let Some(value) = seen.filter(|_| ranked != Some("eval_accuracy")) {
        let at = scores.iter().take_while(|score| score.split == "validation").count();
        let accuracy = Score {
            split: "validation",
            rows: rows("validation"),
            kind: "accuracy",
            title: "accuracy",
            value,
            error: row.errors.get("best_eval_accuracy").copied(),
            guess: guess("eval_accuracy"),
        };
        scores.insert(at, accuracy);
    }
    scores
}

/// Share of the rows on the diagonal.
fn accuracy(split: &Split) -> Option<f64> {
    let all: u64 = split.confusion.iter().flatten().sum();
    let right: u64 = split.confusion.iter().enumerate().filter_map(|(class, row)| row.get(class)).sum();
    (all > 0).then(|| right as f64 / all as f64)
}
