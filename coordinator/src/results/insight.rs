//! What mattered: how much of the score each hyperparameter explains, which of its values did best, and whether the two
//! strongest depend on each other.
//!
//! A random forest learns the score from the hyperparameters, and the questions are put to the forest: trials alone cannot
//! be asked for points that were not tried. Numbers enter as they are, for a tree only asks whether they are above a
//! bound; names by their alphabetical place.
//!
//! - Importance is Breiman's (2001): how much worse the settings that a tree has not seen are predicted when one
//!   hyperparameter's values are shuffled among them. Half of it is the share of the variance that this hyperparameter has
//!   a part in, alone or with others: shuffling puts two independent draws where there was one.
//! - The effect of a value is the forest's mean prediction with this value put into all settings (partial dependence).
//! - The interaction is Friedman and Popescu's H² (2008): the share of the joint effect of two that is in neither alone.

use std::cmp::Ordering;

use distilsweep_proto::params::Value;
use rand::{SeedableRng, rngs::StdRng, seq::SliceRandom};
use serde::Serialize;
use smartcore::{
    ensemble::random_forest_regressor::{RandomForestRegressor, RandomForestRegressorParameters},
    linalg::basic::matrix::DenseMatrix,
};

use super::{Summary, settings};

/// Settings with a score that it takes at least.
pub const SETTINGS: usize = 8;

/// Settings that the forest learns from, at most: more say the same, later.
const LEARNT: usize = 2000;
/// Settings that a value is put into, at most.
const ASKED: usize = 200;
const TREES: usize = 100;
const SHUFFLES: usize = 10;
/// Values of one hyperparameter that are asked for.
const LEVELS: usize = 8;

/// What mattered in a sweep.
#[derive(Clone, Debug, PartialEq, Serialize)]
pub struct Insight {
    /// Share of the score's variance that the forest predicts of settings that it has not seen (out-of-bag R²). Near zero
    /// or below, the rest means nothing.
    pub fit: f64,
    /// The hyperparameters, the most important first.
    pub importance: Vec<Importance>,
    /// Their values, in the same order.
    pub effects: Vec<Effect>,
    /// Of the two most important.
    pub interaction: Option<Interaction>,
}

/// How much a hyperparameter matters.
#[derive(Clone, Debug, PartialEq, Serialize)]
pub struct Importance {
    /// Its name.
    pub name: String,
    /// Share of the score's variance that it has a part in (Sobol's total effect); what matters not is around 0, also below.
    pub mean: f64,
    /// Standard deviation over shuffles.
    pub spread: f64,
}

/// What a hyperparameter's values do, the others marginalised.
#[derive(Clone, Debug, PartialEq, Serialize)]
pub struct Effect {
    /// Its name.
    pub name: String,
    /// Its values in rising order; of many, some that were tried, evenly by rank.
    pub levels: Vec<Level>,
    /// That with the best mean.
    pub best: Value,
}

/// A value and what is predicted with it.
#[derive(Clone, Debug, PartialEq, Serialize)]
pub struct Level {
    /// The value.
    pub value: Value,
    /// Mean of the predictions.
    pub mean: f64,
    /// Their standard deviation: how much is left to the other hyperparameters.
    pub spread: f64,
}

/// How two hyperparameters work together.
#[derive(Clone, Debug, PartialEq, Serialize)]
pub struct Interaction {
    /// Both names: of rows, of columns.
    pub names: [String; 2],
    /// H²: 0 where each works by itself, 1 where neither does anything without the other.
    pub strength: f64,
    /// Values of the first.
    pub rows: Vec<Value>,
    /// Values of the second.
    pub columns: Vec<Value>,
    /// The predicted score for each pair, by row.
    pub cells: Vec<Vec<f64>>,
}

/// What mattered; nothing with fewer than [`SETTINGS`] of them scored, without a hyperparameter that differs, or where all scores
/// are the same. Seeds are no hyperparameters.
pub fn insight(summary: &Summary) -> Option<Insight> {
    let table = Table::of(summary)?;
    let forest = Forest::grown(&table)?;
    let (fit, mut importance) = forest.importance(&table)?;
    importance.sort_by(|(_, a), (_, b)| b.mean.total_cmp(&a.mean).then(a.name.cmp(&b.name)));
    let columns: Vec<usize> = importance.iter().map(|(column, _)| *column).collect();
    let effects: Option<Vec<Effect>> =
        columns.iter().map(|column| forest.effect(&table, *column, summary.maximize)).collect();
    let interaction = match columns[..] {
        [first, second, ..] => forest.interaction(&table, [first, second]),
        _ => None,
    };
    Some(Insight {
        fit,
        importance: importance.into_iter().map(|(_, i)| i).collect(),
        effects: effects?,
        interaction,
    })
}

/// The settings as numbers, each once: a repeat in a tree's sample would tell it what it is asked of the other.
struct Table {
    names: Vec<String>,
    /// The values of each hyperparameter, in rising order.
    values: Vec<Vec<Value>>,
    /// By setting.
    rows: Vec<Vec<f64>>,
    scores: Vec<f64>,
    variance: f64,
}

impl Table {
    fn of(summary: &Summary) -> Option<Self> {
        let mut settings = settings::settings(summary);
        if settings.len() < SETTINGS {
            return None;
        }
        // A grid's points lie in stripes: of every so-manieth some values would be missing.
        settings.shuffle(&mut StdRng::seed_from_u64(0));
        settings.truncate(LEARNT);
        let kept = settings;
        let mut names = Vec::new();
        let mut values: Vec<Vec<Value>> = Vec::new();
        for name in settings::varied(summary) {
            let mut known: Vec<Value> = kept.iter().filter_map(|one| one.params.get(name).cloned()).collect();
            // One that some settings have not says of which kind a setting is, and that another one says too.
            let everywhere = known.len() == kept.len();
            known.sort_by(rising);
            known.dedup();
            if known.len() > 1 && everywhere {
                names.push(name.to_owned());
                values.push(known);
            }
        }
        let rows = kept.iter().map(|one| {
            let code = |(name, values): (&String, &Vec<Value>)| code(values, &one.params[name]);
            names.iter().zip(&values).map(code).collect()
        });
        let rows = rows.collect();
        let scores: Vec<f64> = kept.iter().map(|one| one.mean).collect();
        // Of equal scores the variance may be a rounding error.
        let differ = scores.iter().any(|score| *score != scores[0]);
        let variance = variance(&scores);
        (!names.is_empty() && differ).then_some(Self { names, values, rows, scores, variance })
    }

    /// Values of a hyperparameter to ask for.
    fn levels(&self, column: usize) -> Vec<Value> {
        let values = &self.values[column];
        if values.len() <= LEVELS {
            return values.clone();
        }
        let last = (values.len() - 1) as f64;
        let place = |level: usize| (last * level as f64 / (LEVELS - 1) as f64).round() as usize;
        (0..LEVELS).map(|level| values[place(level)].clone()).collect()
    }

    /// Settings to put values into.
    fn asked(&self) -> impl Iterator<Item = &Vec<f64>> {
        self.rows.iter().take(ASKED)
    }
}

pub(super) fn rising(a: &Value, b: &Value) -> Ordering {
    match (a.as_number(), b.as_number()) {
        (Some(a), Some(b)) => a.total_cmp(&b),
        (Some(_), None) => Ordering::Less,
        (None, Some(_)) => Ordering::Greater,
        (None, None) => a.to_string().cmp(&b.to_string()),
    }
}

/// A value as a tree takes it.
fn code(values: &[Value], value: &Value) -> f64 {
    let place = || values.iter().position(|known| known == value).unwrap_or(0) as f64;
    if values.iter().all(|value| value.as_number().is_some()) {
        value.as_number().unwrap_or(0.0)
    } else {
        place()
    }
}

struct Forest(RandomForestRegressor<f64, f64, DenseMatrix<f64>, Vec<f64>>);

impl Forest {
    fn grown(table: &Table) -> Option<Self> {
        // Each split may look at every hyperparameter: there are few, and most sweeps have one that matters.
        let parameters = RandomForestRegressorParameters::default()
            .with_n_trees(TREES)
            .with_m(table.names.len())
            .with_keep_samples(true);
        RandomForestRegressor::fit(&matrix(&table.rows)?, &table.scores, parameters).ok().map(Self)
    }

    /// The fit, and the importance of each column.
    fn importance(&self, table: &Table) -> Option<(f64, Vec<(usize, Importance)>)> {
        let loss = |rows: &[Vec<f64>]| {
            let predicted = self.0.predict_oob(&matrix(rows)?).ok()?;
            // Few settings: some may have been seen by all trees.
            let errors = predicted.iter().zip(&table.scores).filter(|(p, _)| p.is_finite());
            let errors: Vec<f64> = errors.map(|(predicted, score)| (predicted - score).powi(2)).collect();
            Some(mean(&errors) / table.variance)
        };
        let whole = loss(&table.rows)?;
        let mut random = StdRng::seed_from_u64(0);
        let mut importance = Vec::with_capacity(table.names.len());
        for (column, name) in table.names.iter().enumerate() {
            let mut rows = table.rows.clone();
            let mut values: Vec<f64> = rows.iter().map(|row| row[column]).collect();
            let mut lost = Vec::with_capacity(SHUFFLES);
            for _ in 0..SHUFFLES {
                values.shuffle(&mut random);
                rows.iter_mut().zip(&values).for_each(|(row, value)| row[column] = *value);
                lost.push((loss(&rows)? - whole) / 2.0);
            }
            let of = Importance { name: name.clone(), mean: mean(&lost), spread: variance(&lost).sqrt() };
            importance.push((column, of));
        }
        Some((1.0 - whole, importance))
    }

    /// Predictions for the settings with some columns replaced.
    fn with(&self, table: &Table, replaced: &[(usize, f64)]) -> Option<Vec<f64>> {
        let rows: Vec<Vec<f64>> = table
            .asked()
            .map(|row| {
                let mut row = row.clone();
                replaced.iter().for_each(|(column, value)| row[*column] = *value);
                row
            })
            .collect();
        self.0.predict(&matrix(&rows)?).ok()
    }

    fn effect(&self, table: &Table, column: usize, maximize: bool) -> Option<Effect> {
        let level = |value: Value| {
            let predicted = self.with(table, &[(column, code(&table.values[column], &value))])?;
            Some(Level { value, mean: mean(&predicted), spread: variance(&predicted).sqrt() })
        };
        let levels: Option<Vec<Level>> = table.levels(column).into_iter().map(level).collect();
        let levels = levels?;
        let better = |a: &&Level, b: &&Level| {
            let order = a.mean.total_cmp(&b.mean);
            if maximize { order } else { order.reverse() }
        };
        let best = levels.iter().max_by(better)?.value.clone();
        Some(Effect { name: table.names[column].clone(), levels, best })
    }

    fn interaction(&self, table: &Table, columns: [usize; 2]) -> Option<Interaction> {
        let [rows, others] = columns.map(|column| table.levels(column));
        let at = |place: usize, value: &Value| (columns[place], code(&table.values[columns[place]], value));
        let cell = |row: &Value, other: &Value| {
            self.with(table, &[at(0, row), at(1, other)]).map(|predicted| mean(&predicted))
        };
        let cells: Option<Vec<Vec<f64>>> =
            rows.iter().map(|row| others.iter().map(|other| cell(row, other)).collect()).collect();
        let cells = cells?;
        let names = columns.map(|column| table.names[column].clone());
        Some(Interaction { names, strength: strength(&cells), rows, columns: others, cells })
    }
}

/// H² of a table of joint effects: what is left without the rows' and the columns' means, as a share of the whole.
fn strength(cells: &[Vec<f64>]) -> f64 {
    let all: Vec<f64> = cells.iter().flatten().copied().collect();
    let whole = mean(&all);
    let of_row: Vec<f64> = cells.iter().map(|row| mean(row)).collect();
    let of_column: Vec<f64> = (0..cells[0].len())
        .map(|column| mean(&cells.iter().map(|row| row[column]).collect::<Vec<_>>()))
        .collect();
    let (mut joint, mut total) = (0.0, 0.0);
    for (row, of_row) in cells.iter().zip(&of_row) {
        for (cell, of_column) in row.iter().zip(&of_column) {
            joint += (cell - of_row - of_column + whole).powi(2);
            total += (cell - whole).powi(2);
        }
    }
    if total > 0.0 { joint / total } else { 0.0 }
}

fn matrix(rows: &[Vec<f64>]) -> Option<DenseMatrix<f64>> {
    DenseMatrix::from_2d_vec(&rows.to_vec()).ok()
}

fn mean(values: &[f64]) -> f64 {
    values.iter().sum::<f64>() / values.len() as f64
}

fn variance(values: &[f64]) -> f64 {
    let mean = mean(values);
    values.iter().map(|value| (value - mean).powi(2)).sum::<f64>() / values.len() as f64
}

#[cfg(test)]
mod tests {
    use distilsweep_proto::params::Params;

    use super::*;
    use crate::results::{TrialRow, TrialState, tests::summary};

    const RATES: [f64; 4] = [1e-5, 2e-5, 5e-5, 1e-4];
    const SCHEDULES: [&str; 2] = ["cosine", "linear"];
    const DECAYS: [f64; 3] = [0.0, 0.01, 0.1];

    /// A full grid of three hyperparameters with two seeds, scored by `score`.
    fn grid(score: impl Fn(f64, &str, f64, i64) -> f64) -> Summary {
        let mut trials = Vec::new();
        for rate in RATES {
            for schedule in SCHEDULES {
                for decay in DECAYS {
                    for seed in [1, 2] {
                        let params = [
                            ("learning_rate", Value::Number(rate)),
                            ("lr_scheduler_type", Value::Text(schedule.to_owned())),
                            ("weight_decay", Value::Number(decay)),
                            ("seed", Value::Integer(seed)),
                        ];
                        trials.push(TrialRow {
                            trial: trials.len() as u64,
                            state: TrialState::Completed,
                            params: Params::from(params.map(|(name, value)| (name.to_owned(), value))),
                            metrics: [("best_validation_f1".to_owned(), score(rate, schedule, decay, seed))]
                                .into(),
                            ..TrialRow::default()
                        });
                    }
                }
            }
        }
        let varied =
            ["learning_rate", "lr_scheduler_type", "weight_decay", "seed"].map(str::to_owned).to_vec();
        Summary { varied, trials, ..summary() }
    }

    fn peak(rate: f64) -> f64 {
        0.8 - 0.1 * (rate / 5e-5).ln().abs()
    }

    #[test]
    fn what_makes_the_score_is_important_and_the_rest_is_not() {
        let linear = |schedule: &str| if schedule == "linear" { 0.03 } else { 0.0 };
        let found =
            insight(&grid(|rate, schedule, _, seed| peak(rate) + linear(schedule) + 0.001 * seed as f64))
                .unwrap();
        assert!(found.fit > 0.9, "{}", found.fit);
        let names: Vec<&str> = found.importance.iter().map(|one| one.name.as_str()).collect();
        assert_eq!(names, ["learning_rate", "lr_scheduler_type", "weight_decay"]);
        let [rate, schedule, decay] = &found.importance[..] else { panic!("{found:?}") };
        assert!((0.8..1.1).contains(&rate.mean) && rate.mean > 5.0 * schedule.mean, "{rate:?} {schedule:?}");
        assert!(schedule.mean > 5.0 * decay.mean.abs() && decay.mean.abs() < 0.02, "{schedule:?} {decay:?}");
        assert!(rate.spread > 0.0);
        let best: Vec<String> = found.effects.iter().map(|effect| effect.best.to_string()).collect();
        assert_eq!(best[..2], ["5e-05", "linear"]);
        let levels = &found.effects[1].levels;
        assert!((levels[1].mean - levels[0].mean - 0.03).abs() < 0.005, "{levels:?}");
        let together = found.interaction.unwrap();
        assert_eq!(together.names, ["learning_rate", "lr_scheduler_type"]);
        assert_eq!((together.rows.len(), together.columns.len(), together.cells.len()), (4, 2, 4));
        assert!(together.strength < 0.02, "{}", together.strength);
    }

    #[test]
    fn two_that_only_work_together_interact() {
        let score = |rate: f64, schedule: &str, _, _| {
            if (rate > 3e-5) == (schedule == "linear") { 0.8 } else { 0.6 }
        };
        let found = insight(&grid(score)).unwrap();
        let together = found.interaction.unwrap();
        assert!(together.strength > 0.9, "{}", together.strength);
    }

    #[test]
    fn noise_is_not_taken_for_a_cause() {
        // A fixed scramble of the trial's place: nothing that a hyperparameter says.
        let noise = |rate: f64, schedule: &str, decay: f64, seed: i64| {
            let text = format!("{rate}{schedule}{decay}{seed}");
            let scramble = |sum: u64, byte| (sum ^ u64::from(byte)).wrapping_mul(0x0100_0000_01b3);
            let sum = text.bytes().fold(0xcbf2_9ce4_8422_2325, scramble);
            (sum >> 40) as f64 / f64::from(1 << 24)
        };
        let found = insight(&grid(noise)).unwrap();
        assert!(found.fit < 0.2, "{}", found.fit);
    }

    #[test]
    fn of_more_settings_than_are_learnt_no_value_is_left_out() {
        let mut large = grid(|rate, _, _, _| peak(rate));
        let (first, per_batch) = (large.trials.clone(), large.trials.len() as u64);
        for (batch, row) in (0..100).flat_map(|batch| first.iter().map(move |row| (batch, row))) {
            let mut row = TrialRow { trial: row.trial + batch * per_batch, ..row.clone() };
            row.params
                .insert("per_device_train_batch_size".to_owned(), Value::Integer(batch as i64 % 10 + 1));
            row.params.insert("warmup_steps".to_owned(), Value::Integer(batch as i64 / 10));
            large.trials.push(row);
        }
        large.trials.drain(..first.len());
        large.varied.extend(["per_device_train_batch_size", "warmup_steps"].map(str::to_owned));
        let table = Table::of(&large).unwrap();
        assert_eq!(table.rows.len(), LEARNT);
        let counts: Vec<usize> = table.values.iter().map(Vec::len).collect();
        assert_eq!(counts, [4, 2, 3, 10, 10]);
    }

    #[test]
    fn the_same_sweep_says_the_same_each_time() {
        let sweep = grid(|rate, _, _, _| peak(rate));
        assert_eq!(insight(&sweep), insight(&sweep));
    }

    #[test]
    fn where_nothing_differs_nothing_mattered() {
        assert_eq!(insight(&grid(|_, _, _, _| 0.7)), None);
        assert_eq!(insight(&summary()), None, "three settings are too few");
        let mut seeds = grid(|_, _, _, seed| seed as f64);
        seeds.varied = vec!["seed".to_owned()];
        assert_eq!(insight(&seeds), None);
    }
}
