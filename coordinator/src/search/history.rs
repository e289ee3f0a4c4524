//! What has come of a search's trials so far.

use std::collections::BTreeMap;

use super::best_of;

/// What came of a trial.
#[derive(Clone, Copy, Debug, PartialEq)]
pub enum Outcome {
    /// Its value of the sweep's metric.
    Value(f64),
    /// It diverged, failed, or has no finite value: `impute` of the metric says what stands for it.
    Missing,
    /// It was stopped or left out, which says nothing about its point.
    Unknown,
}

/// Outcomes by trial.
#[derive(Clone, Debug, Default, PartialEq)]
pub struct History {
    outcomes: BTreeMap<u64, Outcome>,
    /// The best evaluation of each trial so far.
    evaluated: BTreeMap<u64, f64>,
}

impl History {
    /// Notes what came of a trial.
    pub fn note(&mut self, trial: u64, outcome: Outcome) {
        self.outcomes.insert(trial, outcome);
    }

    /// Forgets a trial that gets another chance.
    pub fn forget(&mut self, trial: u64) {
        self.outcomes.remove(&trial);
    }

    /// Notes the value of an evaluation of a trial.
    pub fn evaluated(&mut self, trial: u64, value: f64, maximize: bool) {
        if let Some(best) = best_of(maximize, self.evaluated.get(&trial).copied(), value) {
            self.evaluated.insert(trial, best);
        }
    }

    /// The outcome of a trial that counts by its evaluations.
    pub fn by_evaluations(&self, trial: u64) -> Outcome {
        self.evaluated.get(&trial).map_or(Outcome::Missing, |value| Outcome::Value(*value))
    }

    /// The lowest and the highest value.
    pub(super) fn range(&self) -> Option<(f64, f64)> {
        let values = self.outcomes.values().filter_map(|outcome| match outcome {
            Outcome::Value(value) => Some((*value, *value)),
            Outcome::Missing | Outcome::Unknown => None,
        });
        values.reduce(|(low, high), (value, _)| (low.min(value), high.max(value)))
    }

    /// What is known of a draw that is so many trials.
    pub(super) fn draw(&self, draw: u64, repeats: u64, missing: Option<f64>) -> Known {
        let trials = self.outcomes.range(draw * repeats..(draw + 1) * repeats);
        let (mut ended, mut sum, mut count) = (0, 0.0, 0);
        for (_, outcome) in trials {
            ended += 1;
            let value = match outcome {
                Outcome::Value(value) => Some(*value),
                Outcome::Missing => missing,
                Outcome::Unknown => None,
            };
            if let Some(value) = value {
                sum += value;
                count += 1;
            }
        }
        match count {
            0 if ended == repeats => Known::Nothing,
            0 => Known::UnderWay,
            count => Known::Mean(sum / f64::from(count)),
        }
    }
}

/// What is known of a draw.
#[derive(Clone, Copy, Debug, PartialEq)]
pub(super) enum Known {
    /// The mean over those of its trials that ended.
    Mean(f64),
    /// Nothing yet.
    UnderWay,
    /// Nothing, and there will be nothing.
    Nothing,
}
