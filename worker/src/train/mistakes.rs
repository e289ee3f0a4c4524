//! The rows of an evaluation that were taken for another class with the most confidence: wrong labels and blind spots
//! are found among them.

use super::metrics::predicted;

/// How many are kept of a trial: as many as a person reads.
const KEPT: usize = 10;

/// A row taken for another class than its own.
#[derive(Clone, Copy, Debug, PartialEq)]
pub struct Mistake {
    /// Its place in the split.
    pub row: usize,
    /// Its own class.
    pub truth: u32,
    /// The class that it was taken for.
    pub taken: u32,
    /// Probability of that class, by softmax.
    pub probability: f64,
}

/// The worst mistakes of logits [labels, classes], row by row, the most confident first; equals go by row.
pub(super) fn worst(logits: &[f64], labels: &[u32], classes: usize) -> Vec<Mistake> {
    let mistake = |(row, (logits, truth)): (usize, (&[f64], &u32))| {
        let taken = predicted(logits);
        let largest = logits[taken as usize];
        let sum: f64 = logits.iter().map(|logit| (logit - largest).exp()).sum();
        (taken != *truth).then(|| Mistake { row, truth: *truth, taken, probability: 1.0 / sum })
    };
    let mut mistakes: Vec<Mistake> =
        logits.chunks_exact(classes).zip(labels).enumerate().filter_map(mistake).collect();
    mistakes.sort_by(|a, b| b.probability.total_cmp(&a.probability).then(a.row.cmp(&b.row)));
    mistakes.truncate(KEPT);
    mistakes
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn the_most_confident_mistakes_come_first_and_right_rows_never() {
        let logits = [[0.0, 1.0], [3.0, 0.0], [9.0, 0.0], [0.0, 3.0], [0.0, 0.5]];
        let found = worst(logits.as_flattened(), &[0, 1, 0, 0, 1], 2);
        let told: Vec<_> = found.iter().map(|mistake| (mistake.row, mistake.truth, mistake.taken)).collect();
        assert_eq!(told, [(1, 1, 0), (3, 0, 1), (0, 0, 1)]);
        assert!((found[2].probability - 1.0 / (1.0 + (-1.0_f64).exp())).abs() < 1e-12);
    }

    #[test]
    fn so_many_are_kept_and_no_more() {
        let rows = 3 * KEPT;
        let logits: Vec<f64> = (0..rows).flat_map(|row| [row as f64 / 10.0, 0.0]).collect();
        let found = worst(&logits, &vec![1; rows], 2);
        assert_eq!(
            found.iter().map(|mistake| mistake.row).collect::<Vec<_>>(),
            (2 * KEPT..rows).rev().collect::<Vec<_>>()
        );
    }
}
