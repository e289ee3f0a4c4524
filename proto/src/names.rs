//! The names of metrics: one spelling from the worker over the wire and the store to MLflow and the summary.

/// Training loss, mean over the optimizer steps since the last point.
pub const LOSS: &str = "loss";
/// Learning rate of the last step.
pub const LEARNING_RATE: &str = "learning_rate";
/// Global L2 norm of the gradients before clipping.
pub const GRAD_NORM: &str = "grad_norm";

/// What an evaluation on the validation split yields, in the order of tables.
pub const EVALUATION: [&str; 7] = [
    "eval_loss",
    "eval_accuracy",
    "eval_precision",
    "eval_recall",
    "eval_f1_score",
    "eval_f1_macro",
    "eval_matthews_correlation",
];

/// What the chosen epoch yields on the test split.
pub const TEST: [&str; 4] = ["test_loss", "test_accuracy", "test_f1_score", "test_f1_macro"];

/// The metric that ranks a sweep when its file names none.
pub const DEFAULT_METRIC: &str = "best_validation_f1";

/// Tag with the URL of the best checkpoint.
pub const BEST_CHECKPOINT_PATH: &str = "best_checkpoint_path";

/// The metric that selects the best epoch of a trial and ranks the trials.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct Selection {
    /// Name in an evaluation: `eval_f1_score`, say.
    pub evaluation: &'static str,
    /// Name of its best value over a trial: `best_validation_f1`, say.
    pub best: &'static str,
    /// Whether more is better when nobody says.
    pub maximize: bool,
}

/// Every metric that can select.
pub const SELECTIONS: [Selection; 7] = [
    Selection { evaluation: "eval_f1_score", best: "best_validation_f1", maximize: true },
    Selection { evaluation: "eval_f1_macro", best: "best_eval_f1_macro", maximize: true },
    Selection { evaluation: "eval_accuracy", best: "best_eval_accuracy", maximize: true },
    Selection { evaluation: "eval_precision", best: "best_eval_precision", maximize: true },
    Selection { evaluation: "eval_recall", best: "best_eval_recall", maximize: true },
    Selection {
        evaluation: "eval_matthews_correlation",
        best: "best_eval_matthews_correlation",
        maximize: true,
    },
    Selection { evaluation: "eval_loss", best: "best_eval_loss", maximize: false },
];

impl Selection {
    /// Finds a selection by either of its names.
    pub fn named(name: &str) -> Option<Self> {
        SELECTIONS.into_iter().find(|s| s.best == name || s.evaluation == name)
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn the_default_metric_selects_by_weighted_f1() {
        let selection = Selection::named(DEFAULT_METRIC).unwrap();
        assert_eq!(selection.evaluation, "eval_f1_score");
        assert!(selection.maximize);
        assert_eq!(Selection::named("eval_f1_score"), Some(selection));
        assert_eq!(Selection::named("f1"), None);
    }

    #[test]
    fn every_selection_is_measured_by_evaluations() {
        for selection in SELECTIONS {
            assert!(EVALUATION.contains(&selection.evaluation), "{}", selection.evaluation);
        }
    }
}
