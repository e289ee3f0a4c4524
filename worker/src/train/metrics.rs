//! What an evaluation measures, with scikit-learn's semantics: zero where a ratio has no denominator, averages
//! weighted by support, and a macro average over the classes that occur in truth or prediction.

use serde::{Deserialize, Serialize};

use crate::trainer::Scores;

/// Scores of logits, shape [labels, classes] row by row. The loss is the mean cross-entropy with label smoothing, as
/// Trainer reports it in evaluations too.
pub fn scores(logits: &[f64], labels: &[u32], classes: usize, smoothing: f64) -> Scores {
    Report::new(logits, labels, classes, smoothing).scores()
}

/// Scores of guesses, all but the loss.
pub fn classification(predicted: &[u32], labels: &[u32], classes: usize) -> Scores {
    Confusion::count(predicted, labels, classes).report(0.0).scores()
}

/// The class with the largest logit or probability, the first of equals.
pub fn predicted(row: &[f64]) -> u32 {
    let mut best = 0;
    for (class, logit) in row.iter().enumerate() {
        if *logit > row[best] {
            best = class;
        }
    }
    best as u32
}

fn cross_entropy(row: &[f64], label: usize, smoothing: f64) -> f64 {
    let largest = row.iter().copied().fold(f64::NEG_INFINITY, f64::max);
    let log_sum = largest + row.iter().map(|logit| (logit - largest).exp()).sum::<f64>().ln();
    let mean = log_sum - row.iter().sum::<f64>() / row.len() as f64;
    (1.0 - smoothing) * (log_sum - row[label]) + smoothing * mean
}

/// How often which class was taken for which.
#[derive(Clone, Debug, Default, PartialEq, Eq, Serialize, Deserialize)]
#[serde(transparent)]
pub struct Confusion {
    /// By true class, then by predicted class.
    rows: Vec<Vec<u64>>,
}

impl Confusion {
    /// Counts guesses against labels, both below `classes`.
    pub fn count(predicted: &[u32], labels: &[u32], classes: usize) -> Self {
        let mut rows = vec![vec![0; classes]; classes];
        for (guess, label) in predicted.iter().zip(labels) {
            rows[*label as usize][*guess as usize] += 1;
        }
        Self { rows }
    }

    /// Counts by true class, then by predicted class.
    pub fn rows(&self) -> &[Vec<u64>] {
        &self.rows
    }

    fn hits(&self) -> Vec<u64> {
        self.rows.iter().enumerate().map(|(class, row)| row[class]).collect()
    }

    fn support(&self) -> Vec<u64> {
        self.rows.iter().map(|row| row.iter().sum()).collect()
    }

    fn predicted(&self) -> Vec<u64> {
        (0..self.rows.len()).map(|class| self.rows.iter().map(|row| row[class]).sum()).collect()
    }

    /// Matthews correlation, of several classes as Gorodkin (2004) has it: from -1 over 0 for guessing to 1. Zero
    /// where truth or prediction is one class alone.
    fn matthews(&self) -> f64 {
        let (support, predicted) = (self.support(), self.predicted());
        let product = |a: &[u64], b: &[u64]| -> i128 {
            a.iter().zip(b).map(|(a, b)| i128::from(*a) * i128::from(*b)).sum()
        };
        let hits: u64 = self.hits().iter().sum();
        let total: u64 = support.iter().sum();
        let (hits, total) = (i128::from(hits), i128::from(total));
        let shared = hits * total - product(&support, &predicted);
        let of_predicted = total * total - product(&predicted, &predicted);
        let of_truth = total * total - product(&support, &support);
        if of_predicted == 0 || of_truth == 0 {
            return 0.0;
        }
        shared as f64 / ((of_predicted as f64).sqrt() * (of_truth as f64).sqrt())
    }

    /// Everything that the counts say; `loss` is taken along.
    pub fn report(self, loss: f64) -> Report {
        let (hits, support, predicted) = (self.hits(), self.support(), self.predicted());
        let per_class: Vec<ClassScores> = (0..self.rows.len())
            .map(|class| ClassScores {
                precision: ratio(hits[class], predicted[class]),
                recall: ratio(hits[class], support[class]),
                f1: ratio(2 * hits[class], predicted[class] + support[class]),
                support: support[class],
            })
            .collect();
        let occurs: Vec<f64> =
            support.iter().zip(&predicted).map(|(s, p)| f64::from(u8::from(s + p > 0))).collect();
        let weights: Vec<f64> = support.iter().map(|support| *support as f64).collect();
        Report {
            loss,
            accuracy: ratio(hits.iter().sum(), support.iter().sum()),
            matthews_correlation: self.matthews(),
            weighted: average(&per_class, &weights),
            macro_average: average(&per_class, &occurs),
            per_class,
            confusion: self,
        }
    }
}

fn ratio(part: u64, whole: u64) -> f64 {
    if whole == 0 { 0.0 } else { part as f64 / whole as f64 }
}

fn average(classes: &[ClassScores], weights: &[f64]) -> ClassScores {
    let whole: f64 = weights.iter().sum();
    let of = |score: fn(&ClassScores) -> f64| {
        let sum: f64 = classes.iter().zip(weights).map(|(class, weight)| score(class) * weight).sum();
        if whole == 0.0 { 0.0 } else { sum / whole }
    };
    ClassScores {
        precision: of(|class| class.precision),
        recall: of(|class| class.recall),
        f1: of(|class| class.f1),
        support: classes.iter().map(|class| class.support).sum(),
    }
}

/// Scores of one class, or an average of them.
#[derive(Clone, Copy, Debug, PartialEq, Serialize, Deserialize)]
#[expect(missing_docs, reason = "the names are scikit-learn's")]
pub struct ClassScores {
    pub precision: f64,
    pub recall: f64,
    pub f1: f64,
    /// Rows that have the class.
    pub support: u64,
}

/// All that an evaluation measures: what [`Scores`] has, and the same by class.
#[derive(Clone, Debug, PartialEq, Serialize, Deserialize)]
pub struct Report {
    /// Mean cross-entropy of a row.
    pub loss: f64,
    /// Share of the rows that are right.
    pub accuracy: f64,
    /// From -1 over 0 for guessing to 1.
    pub matthews_correlation: f64,
    /// Averages weighted by support.
    pub weighted: ClassScores,
    /// Averages over the classes that occur in truth or prediction.
    #[serde(rename = "macro")]
    pub macro_average: ClassScores,
    /// By class, in class order.
    pub per_class: Vec<ClassScores>,
    /// How often which class was taken for which.
    pub confusion: Confusion,
}

impl Report {
    /// The report on logits, shape [labels, classes] row by row, of at least one row.
    pub fn new(logits: &[f64], labels: &[u32], classes: usize, smoothing: f64) -> Self {
        let rows = logits.chunks_exact(classes);
        let loss: f64 =
            rows.clone().zip(labels).map(|(row, label)| cross_entropy(row, *label as usize, smoothing)).sum();
        let guesses: Vec<u32> = rows.map(predicted).collect();
        Confusion::count(&guesses, labels, classes).report(loss / labels.len() as f64)
    }

    /// What a trial records of it.
    pub fn scores(&self) -> Scores {
        Scores {
            loss: self.loss,
            accuracy: self.accuracy,
            precision: self.weighted.precision,
            recall: self.weighted.recall,
            f1_score: self.weighted.f1,
            f1_macro: self.macro_average.f1,
            matthews_correlation: self.matthews_correlation,
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn close(scores: Scores, expected: [f64; 5]) {
        let got = [scores.accuracy, scores.precision, scores.recall, scores.f1_score, scores.f1_macro];
        for (got, expected) in got.iter().zip(expected) {
            assert!((got - expected).abs() < 1e-12, "{scores:?} is not {expected}");
        }
    }

    /// One of `tests/metrics/cases.json`: see `record.py` beside it. Averages are [precision, recall, F1].
    #[derive(serde::Deserialize)]
    struct Case {
        name: String,
        classes: usize,
        truth: Vec<u32>,
        guesses: Vec<u32>,
        accuracy: f64,
        matthews_correlation: f64,
        confusion: Confusion,
        per_class: Vec<(f64, f64, f64, u64)>,
        weighted: [f64; 3],
        r#macro: [f64; 3],
    }

    #[test]
    fn everything_agrees_with_scikit_learn_on_recorded_cases() {
        let recorded = std::fs::read_to_string("tests/metrics/cases.json").unwrap();
        let cases: Vec<Case> = serde_json::from_str(&recorded).unwrap();
        assert!(cases.len() >= 12);
        for case in cases {
            let agree = |what: &str, got: f64, expected: f64| {
                assert!((got - expected).abs() < 1e-12, "{}: {what} is {got}, not {expected}", case.name);
            };
            let confusion = Confusion::count(&case.guesses, &case.truth, case.classes);
            assert_eq!(confusion, case.confusion, "{}", case.name);
            let report = confusion.report(0.0);
            agree("accuracy", report.accuracy, case.accuracy);
            agree("the Matthews correlation", report.matthews_correlation, case.matthews_correlation);
            let averages =
                [("weighted", report.weighted, case.weighted), ("macro", report.macro_average, case.r#macro)];
            for (name, got, [precision, recall, f1]) in averages {
                agree(&format!("{name} precision"), got.precision, precision);
                agree(&format!("{name} recall"), got.recall, recall);
                agree(&format!("{name} F1"), got.f1, f1);
            }
            assert_eq!(report.per_class.len(), case.per_class.len(), "{}", case.name);
            for (class, (got, expected)) in report.per_class.iter().zip(&case.per_class).enumerate() {
                agree(&format!("precision of class {class}"), got.precision, expected.0);
                agree(&format!("recall of class {class}"), got.recall, expected.1);
                agree(&format!("F1 of class {class}"), got.f1, expected.2);
                assert_eq!(got.support, expected.3, "{}, class {class}", case.name);
            }
        }
    }

    /// By hand, from the confusion matrix (truth by row) [[3,1,0],[1,1,1],[0,1,2]]: precision 3/4, 1/3, 2/3 and
    /// recall 3/4, 1/3, 2/3 with support 4, 3, 3; each F1 equals its precision. Weighted (3 + 1 + 2) / 10.
    #[test]
    fn averages_are_weighted_by_support_unless_named_macro() {
        let labels = [0, 0, 0, 0, 1, 1, 1, 2, 2, 2];
        let predicted = [0, 0, 0, 1, 0, 1, 2, 1, 2, 2];
        close(classification(&predicted, &labels, 3), [0.6, 0.6, 0.6, 0.6, 1.75 / 3.0]);
    }

    /// By hand: class 2 occurs nowhere and is left out of the macro average; class 1 is never predicted, so its
    /// precision and F1 are 0. Class 0: precision 2/3, recall 1, F1 4/5, support 2 of 3.
    #[test]
    fn absent_classes_do_not_count_and_unpredicted_ones_score_zero() {
        let third = 1.0 / 3.0;
        close(
            classification(&[0, 0, 0], &[0, 0, 1], 3),
            [2.0 * third, 4.0 / 9.0, 2.0 * third, 1.6 / 3.0, 0.4],
        );
    }

    /// A class that is only predicted counts in the macro average with F1 0: (2/3 + 0) / 2.
    #[test]
    fn a_class_that_is_only_predicted_counts_in_the_macro_average() {
        close(classification(&[0, 1], &[0, 0], 2), [0.5, 1.0, 0.5, 2.0 / 3.0, 1.0 / 3.0]);
    }

    /// ln(1 + e^-2) for a margin of 2; smoothed by 0.1 over two classes the other class has a share of 0.05.
    #[test]
    fn the_loss_is_cross_entropy_with_label_smoothing() {
        let right = (1.0 + (-2f64).exp()).ln();
        let wrong = right + 2.0;
        assert!((scores(&[2.0, 0.0], &[0], 2, 0.0).loss - right).abs() < 1e-15);
        let smoothed = 0.95 * right + 0.05 * wrong;
        assert!((scores(&[2.0, 0.0], &[0], 2, 0.1).loss - smoothed).abs() < 1e-15);
    }

    #[test]
    fn large_logits_do_not_overflow() {
        assert_eq!(scores(&[1000.0, 0.0], &[1], 2, 0.0).loss, 1000.0);
    }
}
