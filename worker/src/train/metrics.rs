//! What an evaluation measures, with scikit-learn's semantics: zero where a ratio has no denominator, averages
//! weighted by support, and a macro average over the classes that occur in truth or prediction.

use crate::trainer::Scores;

/// Scores of logits, shape [labels, classes] row by row. The loss is the mean cross-entropy with label smoothing, as
/// Trainer reports it in evaluations too.
pub(super) fn scores(logits: &[f64], labels: &[u32], classes: usize, smoothing: f64) -> Scores {
    let rows = logits.chunks_exact(classes);
    let loss: f64 =
        rows.clone().zip(labels).map(|(row, label)| cross_entropy(row, *label as usize, smoothing)).sum();
    let predicted: Vec<u32> = rows.map(predicted).collect();
    let counted = classification(&predicted, labels, classes);
    Scores { loss: loss / labels.len() as f64, ..counted }
}

/// Scores of guesses, all but the loss.
pub(super) fn classification(predicted: &[u32], labels: &[u32], classes: usize) -> Scores {
    let mut per_class = vec![Counts::default(); classes];
    for (guess, label) in predicted.iter().zip(labels) {
        let (guess, label) = (*guess as usize, *label as usize);
        per_class[guess].predicted += 1;
        per_class[label].support += 1;
        per_class[label].hits += usize::from(guess == label);
    }
    let total = labels.len() as f64;
    let weighted = |score: fn(&Counts) -> f64| -> f64 {
        per_class.iter().map(|class| score(class) * class.support as f64).sum::<f64>() / total
    };
    let occurring: Vec<&Counts> =
        per_class.iter().filter(|class| class.support + class.predicted > 0).collect();
    Scores {
        loss: 0.0,
        accuracy: per_class.iter().map(|class| class.hits).sum::<usize>() as f64 / total,
        precision: weighted(|class| ratio(class.hits, class.predicted)),
        recall: weighted(|class| ratio(class.hits, class.support)),
        f1_score: weighted(Counts::f1),
        f1_macro: occurring.iter().map(|class| class.f1()).sum::<f64>() / occurring.len() as f64,
    }
}

#[derive(Clone, Default)]
struct Counts {
    hits: usize,
    predicted: usize,
    support: usize,
}

impl Counts {
    fn f1(&self) -> f64 {
        ratio(2 * self.hits, self.predicted + self.support)
    }
}

fn ratio(part: usize, whole: usize) -> f64 {
    if whole == 0 { 0.0 } else { part as f64 / whole as f64 }
}

/// The class with the largest logit, the first of equals.
fn predicted(row: &[f64]) -> u32 {
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

#[cfg(test)]
mod tests {
    use super::*;

    fn close(scores: Scores, expected: [f64; 5]) {
        let got = [scores.accuracy, scores.precision, scores.recall, scores.f1_score, scores.f1_macro];
        for (got, expected) in got.iter().zip(expected) {
            assert!((got - expected).abs() < 1e-12, "{scores:?} is not {expected}");
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
