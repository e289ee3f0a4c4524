//! How far a score may be off because the rows that it was measured on are a sample: its standard error.
//!
//! By the infinitesimal jackknife (Efron 1982): with the shares p of a confusion matrix of n rows and the derivatives D of
//! a score by them, the variance is (Σ p D² - (Σ p D)²) / n. Of the accuracy that is the binomial's p (1 - p) / n.

use std::collections::BTreeMap;

use crate::scheduler::Split;

/// Standard errors of what a trial was measured by, by the metric's name: of the ranking metrics from the validation
/// split's confusion matrix, of the test metrics from the test split's. The loss has none, and nothing has one where the
/// matrix is not known.
pub fn errors(splits: &[Split]) -> BTreeMap<String, f64> {
    let mut errors = BTreeMap::new();
    for split in splits {
        let names: &[(&str, Score)] = match split.name.as_str() {
            "validation" => &[
                ("best_validation_f1", Score::WeightedF1),
                ("best_eval_f1_macro", Score::MacroF1),
                ("best_eval_accuracy", Score::Accuracy),
                ("best_eval_precision", Score::WeightedPrecision),
                // Weighted by support, recall is the accuracy.
                ("best_eval_recall", Score::Accuracy),
                ("best_eval_matthews_correlation", Score::Matthews),
            ],
            "test" => &[
                ("test_accuracy", Score::Accuracy),
                ("test_f1_score", Score::WeightedF1),
                ("test_f1_macro", Score::MacroF1),
            ],
            _ => &[],
        };
        if let Some(shares) = Shares::of(&split.confusion) {
            errors.extend(names.iter().map(|(name, score)| ((*name).to_owned(), shares.error(*score))));
        }
    }
    errors
}

#[derive(Clone, Copy, Debug)]
enum Score {
    Accuracy,
    WeightedPrecision,
    WeightedF1,
    MacroF1,
    Matthews,
}

/// A confusion matrix as shares of its rows.
struct Shares<'a> {
    counts: &'a [Vec<u64>],
    rows: f64,
    /// By class: right, of this class, taken for this class.
    hits: Vec<f64>,
    truth: Vec<f64>,
    taken: Vec<f64>,
}

/// Derivatives of a score by the shares in [`Shares`], by class.
struct Slopes {
    hits: f64,
    truth: f64,
    taken: f64,
}

impl<'a> Shares<'a> {
    fn of(counts: &'a [Vec<u64>]) -> Option<Self> {
        let total: u64 = counts.iter().flatten().sum();
        let rows = total as f64;
        let share = |count: u64| count as f64 / rows;
        (total > 0).then(|| Self {
            counts,
            rows,
            hits: counts.iter().enumerate().map(|(class, row)| share(row[class])).collect(),
            truth: counts.iter().map(|row| share(row.iter().sum())).collect(),
            taken: (0..counts.len()).map(|at| share(counts.iter().map(|row| row[at]).sum())).collect(),
        })
    }

    fn error(&self, score: Score) -> f64 {
        let slopes = self.slopes(score);
        let (mut mean, mut square) = (0.0, 0.0);
        for (truth, row) in self.counts.iter().enumerate() {
            for (taken, count) in row.iter().enumerate().filter(|(_, count)| **count > 0) {
                let hit = if truth == taken { slopes[truth].hits } else { 0.0 };
                let slope = slopes[truth].truth + slopes[taken].taken + hit;
                let share = *count as f64 / self.rows;
                mean += share * slope;
                square += share * slope * slope;
            }
        }
        // Rounding may take the difference below zero where all rows are right.
        ((square - mean * mean).max(0.0) / self.rows).sqrt()
    }

    fn slopes(&self, score: Score) -> Vec<Slopes> {
        let occurring = self.truth.iter().zip(&self.taken).filter(|(r, c)| *r + *c > 0.0).count() as f64;
        let product = |a: &[f64], b: &[f64]| a.iter().zip(b).map(|(a, b)| a * b).sum::<f64>();
        let covariance = self.hits.iter().sum::<f64>() - product(&self.truth, &self.taken);
        let of_truth = 1.0 - product(&self.truth, &self.truth);
        let of_taken = 1.0 - product(&self.taken, &self.taken);
        let scale = (of_truth * of_taken).sqrt();
        let slope = |class: usize| {
            let (d, r, c) = (self.hits[class], self.truth[class], self.taken[class]);
            match score {
                Score::Accuracy => Slopes { hits: 1.0, truth: 0.0, taken: 0.0 },
                // Σ r d / c
                Score::WeightedPrecision if c > 0.0 => {
                    Slopes { hits: r / c, truth: d / c, taken: -r * d / (c * c) }
                }
                // Σ r 2d / (r + c)
                Score::WeightedF1 if r + c > 0.0 => {
                    let (sum, fall) = (r + c, 2.0 * r * d / ((r + c) * (r + c)));
                    Slopes { hits: 2.0 * r / sum, truth: 2.0 * d / sum - fall, taken: -fall }
                }
                // Σ 2d / (r + c) / classes
                Score::MacroF1 if r + c > 0.0 => {
                    let fall = -2.0 * d / ((r + c) * (r + c) * occurring);
                    Slopes { hits: 2.0 / ((r + c) * occurring), truth: fall, taken: fall }
                }
                // (Σ d - Σ r c) / √((1 - Σ r²) (1 - Σ c²))
                Score::Matthews if scale > 0.0 => Slopes {
                    hits: 1.0 / scale,
                    truth: (covariance * r / of_truth - c) / scale,
                    taken: (covariance * c / of_taken - r) / scale,
                },
                Score::WeightedPrecision | Score::WeightedF1 | Score::MacroF1 | Score::Matthews => {
                    Slopes { hits: 0.0, truth: 0.0, taken: 0.0 }
                }
            }
        };
        (0..self.counts.len()).map(slope).collect()
    }
}

#[cfg(test)]
mod tests {
    use rand::{RngExt, SeedableRng, rngs::StdRng};

    use super::*;

    const COUNTS: [[u64; 3]; 3] = [[230, 40, 36], [35, 70, 51], [28, 42, 268]];

    fn split(name: &str, counts: &[[u64; 3]]) -> Split {
        let confusion = counts.iter().map(|row| row.to_vec()).collect();
        Split { name: name.to_owned(), confusion, ..Split::default() }
    }

    /// The scores of a matrix by their definitions, in the order of [`Score`].
    fn scores(counts: &[[u64; 3]; 3]) -> [f64; 5] {
        let total = counts.iter().flatten().sum::<u64>() as f64;
        let hit = |k: usize| counts[k][k] as f64;
        let truth = |k: usize| counts[k].iter().sum::<u64>() as f64;
        let taken = |k: usize| counts.iter().map(|row| row[k]).sum::<u64>() as f64;
        let f1 = |k: usize| 2.0 * hit(k) / (truth(k) + taken(k));
        let sum = |of: &dyn Fn(usize) -> f64| (0..3).map(of).sum::<f64>();
        let (hits, shared) = (sum(&hit), sum(&|k| truth(k) * taken(k)));
        let [of_truth, of_taken] =
            [sum(&|k| truth(k) * truth(k)), sum(&|k| taken(k) * taken(k))].map(|s| total * total - s);
        [
            hits / total,
            sum(&|k| truth(k) * hit(k) / taken(k)) / total,
            sum(&|k| truth(k) * f1(k)) / total,
            sum(&f1) / 3.0,
            (hits * total - shared) / (of_truth * of_taken).sqrt(),
        ]
    }

    #[test]
    fn errors_are_those_of_rows_drawn_again_and_again() {
        const DRAWS: usize = 4000;
        let rows: Vec<(usize, usize)> = (0..9)
            .flat_map(|cell| std::iter::repeat_n((cell / 3, cell % 3), COUNTS[cell / 3][cell % 3] as usize))
            .collect();
        let mut random = StdRng::seed_from_u64(7);
        let drawn: Vec<[f64; 5]> = (0..DRAWS)
            .map(|_| {
                let mut counts = [[0; 3]; 3];
                for _ in 0..rows.len() {
                    let (truth, taken) = rows[random.random_range(0..rows.len())];
                    counts[truth][taken] += 1;
                }
                scores(&counts)
            })
            .collect();
        let split = split("", &COUNTS);
        let shares = Shares::of(&split.confusion).unwrap();
        let all =
            [Score::Accuracy, Score::WeightedPrecision, Score::WeightedF1, Score::MacroF1, Score::Matthews];
        for (at, score) in all.into_iter().enumerate() {
            let mean = drawn.iter().map(|scores| scores[at]).sum::<f64>() / DRAWS as f64;
            let variance = drawn.iter().map(|scores| (scores[at] - mean).powi(2)).sum::<f64>();
            let bootstrap = (variance / (DRAWS - 1) as f64).sqrt();
            let error = shares.error(score);
            // The bootstrap's own error is 1 / √(2 · 4000), 1.1 %.
            assert!((error / bootstrap - 1.0).abs() < 0.05, "{score:?}: {error} {bootstrap}");
        }
    }

    #[test]
    fn the_accuracy_s_error_is_the_binomial_s() {
        let errors = errors(&[split("validation", &COUNTS), split("test", &COUNTS)]);
        let accuracy: f64 = 568.0 / 800.0;
        let binomial = (accuracy * (1.0 - accuracy) / 800.0).sqrt();
        for name in ["best_eval_accuracy", "best_eval_recall", "test_accuracy"] {
            assert!((errors[name] - binomial).abs() < 1e-12, "{name}");
        }
        assert_eq!(errors.len(), 9);
    }

    #[test]
    fn where_nothing_is_wrong_or_nothing_is_known_there_is_nothing_to_be_off() {
        let right = errors(&[split("test", &[[5, 0, 0], [0, 5, 0], [0, 0, 0]])]);
        assert!(right.values().all(|error| *error == 0.0), "{right:?}");
        let alone = errors(&[split("validation", &[[0, 0, 0], [3, 5, 0], [0, 0, 0]])]);
        assert!(alone.values().all(|error| error.is_finite()), "{alone:?}");
        assert_eq!(
            errors(&[split("train", &COUNTS), split("test", &[]), split("validation", &[[0; 3]; 3])]).len(),
            0
        );
    }
}
