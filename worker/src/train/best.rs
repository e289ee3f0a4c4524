//! Which evaluation is a trial's best, and when it has waited long enough for a better one.

use distilsweep_proto::{names::Selection, params::TrainingArguments};

use crate::trainer::EvaluationRecord;

/// How evaluations are compared.
#[derive(Clone, Copy, Debug)]
pub(super) struct Judge {
    pub(super) selection: Selection,
    pub(super) maximize: bool,
    /// Evaluations without an improvement after which to stop.
    pub(super) patience: Option<u32>,
    pub(super) threshold: f64,
}

/// What an evaluation means for its trial.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(super) struct Verdict {
    /// It is the best so far; of equals the first stays.
    pub(super) best: bool,
    /// Evaluations in a row, this one included, that did not improve by more than the threshold.
    pub(super) waited: u32,
    /// It is time to stop.
    pub(super) stop: bool,
}

impl Judge {
    pub(super) fn new(selection: Selection, maximize: bool, arguments: &TrainingArguments) -> Self {
        Self {
            selection,
            maximize,
            patience: arguments.early_stopping_patience,
            threshold: arguments.early_stopping_threshold,
        }
    }

    /// The value that is compared.
    pub(super) fn value(&self, record: &EvaluationRecord) -> f64 {
        record.scores.named("eval").get(self.selection.evaluation).copied().unwrap_or(f64::NAN)
    }

    /// Judges an evaluation by the best before it. Source: `EarlyStoppingCallback` of transformers 4.57.
    pub(super) fn verdict(&self, value: f64, best: Option<f64>, waited: u32) -> Verdict {
        let better = |best: f64| if self.maximize { value > best } else { value < best };
        let is_best = best.is_none_or(better);
        let improved = best.is_none_or(|best| better(best) && (value - best).abs() > self.threshold);
        let waited = if improved { 0 } else { waited + 1 };
        let stop = self.patience.is_some_and(|patience| waited >= patience);
        Verdict { best: is_best, waited, stop }
    }
}

#[cfg(test)]
mod tests {
    use distilsweep_proto::names::DEFAULT_METRIC;

    use super::*;

    fn judged(maximize: bool, threshold: f64, values: &[f64]) -> (Vec<bool>, Option<usize>) {
        let selection = Selection::named(DEFAULT_METRIC).unwrap();
        let judge = Judge { selection, maximize, patience: Some(2), threshold };
        let (mut best, mut waited, mut bests) = (None, 0, Vec::new());
        for (i, value) in values.iter().enumerate() {
            let verdict = judge.verdict(*value, best, waited);
            waited = verdict.waited;
            bests.push(verdict.best);
            if verdict.best {
                best = Some(*value);
            }
            if verdict.stop {
                return (bests, Some(i));
            }
        }
        (bests, None)
    }

    #[test]
    fn the_first_of_equals_is_best_in_either_direction() {
        assert_eq!(judged(true, 0.0, &[0.5, 0.5, 0.6]).0, [true, false, true]);
        assert_eq!(judged(false, 0.0, &[0.5, 0.4, 0.4]).0, [true, true, false]);
    }

    #[test]
    fn patience_counts_evaluations_in_a_row_that_do_not_improve_enough() {
        assert_eq!(judged(true, 0.0, &[0.5, 0.4, 0.6, 0.5, 0.6, 0.7]).1, Some(4));
        // A small step is the best and still no improvement.
        assert_eq!(judged(true, 0.1, &[0.5, 0.55, 0.58]), (vec![true, true, true], Some(2)));
        assert_eq!(judged(false, 0.1, &[0.5, 0.39, 0.28, 0.17]).1, None);
    }
}
