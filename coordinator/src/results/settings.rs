//! Settings: what was tried, each with all its repeats, and which of them can be told apart.
//!
//! A setting's score is the mean over its seeds. It is off for two reasons: other seeds would give other scores, and other
//! rows would too. The first is drawn by a bootstrap over the seeds, the second is the rows' standard error
//! ([`super::errors`]), which more seeds do not make smaller, for all are measured on the same rows.

use std::collections::BTreeMap;

use distilsweep_proto::{names::Selection, params::Params};
use rand::{RngExt, SeedableRng, rngs::StdRng};
use rand_distr::{Distribution, StandardNormal};
use serde::Serialize;

use super::{Summary, TrialRow};

/// Hyperparameters that only say which of the possible trainings this is.
pub const SEEDS: [&str; 2] = ["seed", "data_seed"];

/// Draws of the bootstrap: the ends of the interval are known to a few hundredths of its width.
const DRAWS: usize = 1000;
/// The standard normal's 97.5th percentile.
const TWO_SIDED: f64 = 1.959_963_984_540_054;

/// One setting: the trials that differ in their seeds alone.
#[derive(Clone, Debug, PartialEq, Serialize)]
pub struct Setting {
    /// From 1. Settings that cannot be told apart from the best of their group share its place.
    pub rank: u64,
    /// The hyperparameters that differ between trials, without the seeds.
    pub params: Params,
    /// Its completed trials, best first.
    pub trials: Vec<u64>,
    /// Its trials that ended without a score.
    pub without: Vec<u64>,
    /// Mean of the metric over its completed trials.
    pub mean: f64,
    /// Standard deviation over repeats; nothing where there is one alone.
    pub spread: Option<f64>,
    /// Standard error of the mean, for other seeds and other rows; nothing where neither is known.
    pub error: Option<f64>,
    /// From where to where the mean lies in 95 of 100 cases.
    pub interval: Option<(f64, f64)>,
}

/// The settings with a score, best first; ties go by the first trial's index. A setting shares the rank of the best of the
/// group before it when the difference is within 1.96 standard errors of it, taken for independent: both are measured on
/// the same rows, so that a real difference is rather missed than made up.
pub fn settings(summary: &Summary) -> Vec<Setting> {
    let mut groups: BTreeMap<String, Vec<&TrialRow>> = BTreeMap::new();
    for row in &summary.trials {
        groups.entry(key(row)).or_default().push(row);
    }
    let mut settings: Vec<Setting> = groups.into_values().filter_map(|rows| setting(summary, rows)).collect();
    settings.sort_by(|a, b| {
        let order = a.mean.total_cmp(&b.mean);
        let order = if summary.maximize { order.reverse() } else { order };
        order.then(a.trials.cmp(&b.trials))
    });
    let mut best = 0;
    for at in 0..settings.len() {
        if !alike(&settings[best], &settings[at]) {
            best = at;
        }
        settings[at].rank = best as u64 + 1;
    }
    settings
}

/// Whether two settings cannot be told apart.
pub(super) fn alike(best: &Setting, other: &Setting) -> bool {
    let within = best.error.unwrap_or(0.0).hypot(other.error.unwrap_or(0.0)) * TWO_SIDED;
    (best.mean - other.mean).abs() <= within
}

/// What the trials of one setting have in common, as a text.
fn key(row: &TrialRow) -> String {
    let kept = row.params.iter().filter(|(name, _)| !SEEDS.contains(&name.as_str()));
    serde_json::to_string(&kept.collect::<Vec<_>>()).expect("texts and numbers always become JSON")
}

/// Names of the hyperparameters that make settings differ, in the order of the file.
pub(super) fn varied(summary: &Summary) -> impl Iterator<Item = &str> {
    summary.varied.iter().map(String::as_str).filter(|name| !SEEDS.contains(name))
}

/// Whether some setting was tried with several seeds.
pub(super) fn repeated(settings: &[Setting]) -> bool {
    settings.iter().any(|setting| setting.trials.len() + setting.without.len() > 1)
}

fn setting(summary: &Summary, mut rows: Vec<&TrialRow>) -> Option<Setting> {
    rows.sort_by(|a, b| super::order(summary, a, b));
    let scored: Vec<(&TrialRow, f64)> =
        rows.iter().filter_map(|row| Some((*row, summary.score(row)?))).collect();
    let first = scored.first()?.0;
    let scores: Vec<f64> = scored.iter().map(|(_, score)| *score).collect();
    let mean = scores.iter().sum::<f64>() / scores.len() as f64;
    let of_rows: Vec<f64> =
        scored.iter().filter_map(|(row, _)| row.errors.get(&summary.metric).copied()).collect();
    let of_rows = (!of_rows.is_empty()).then(|| of_rows.iter().sum::<f64>() / of_rows.len() as f64);
    let (lowest, highest) = bounds(&summary.metric);
    let (error, interval) = match (scores.len(), of_rows) {
        (1, None) => (None, None),
        (1, Some(error)) => (Some(error), Some((mean - TWO_SIDED * error, mean + TWO_SIDED * error))),
        (_, of_rows) => bootstrap(&scores, mean, of_rows.unwrap_or(0.0), first.trial),
    };
    let params = varied(summary).filter_map(|name| Some((name.to_owned(), first.params.get(name)?.clone())));
    Some(Setting {
        rank: 0,
        params: params.collect(),
        trials: scored.iter().map(|(row, _)| row.trial).collect(),
        without: rows.iter().filter(|row| ended_without(summary, row)).map(|row| row.trial).collect(),
        mean,
        spread: (scores.len() > 1).then(|| deviation(&scores)),
        error,
        interval: interval.map(|(low, high)| (low.max(lowest), high.min(highest))),
    })
}

/// Between which values a metric lies.
fn bounds(metric: &str) -> (f64, f64) {
    match Selection::named(metric).map(|known| known.evaluation) {
        Some("eval_loss") => (0.0, f64::INFINITY),
        Some("eval_matthews_correlation") => (-1.0, 1.0),
        Some(_) => (0.0, 1.0),
        None => (f64::NEG_INFINITY, f64::INFINITY),
    }
}

fn ended_without(summary: &Summary, row: &TrialRow) -> bool {
    use super::TrialState::{Cancelled, Completed, Diverged, EarlyStopped, Failed, Pending, Running};
    match row.state {
        Completed | EarlyStopped => summary.score(row).is_none(),
        Diverged | Failed | Cancelled => true,
        Pending | Running => false,
    }
}

/// Standard error and 95 % interval of the mean of several seeds' scores. A bootstrap of n scores varies by √((n - 1) / n)
/// too little, which matters for few seeds and is made good.
fn bootstrap(scores: &[f64], mean: f64, of_rows: f64, seed: u64) -> (Option<f64>, Option<(f64, f64)>) {
    let count = scores.len();
    let widen = (count as f64 / (count as f64 - 1.0)).sqrt();
    let mut random = StdRng::seed_from_u64(seed);
    let mut drawn: Vec<f64> = (0..DRAWS)
        .map(|_| {
            let sum: f64 = (0..count).map(|_| scores[random.random_range(0..count)]).sum();
            let off_by_rows: f64 = StandardNormal.sample(&mut random);
            mean + widen * (sum / count as f64 - mean) + of_rows * off_by_rows
        })
        .collect();
    drawn.sort_by(f64::total_cmp);
    let percentile = |share: f64| drawn[((DRAWS - 1) as f64 * share).round() as usize];
    (Some(deviation(&drawn)), Some((percentile(0.025), percentile(0.975))))
}

/// Standard deviation of a sample of two or more.
fn deviation(values: &[f64]) -> f64 {
    let mean = values.iter().sum::<f64>() / values.len() as f64;
    let squares: f64 = values.iter().map(|value| (value - mean).powi(2)).sum();
    (squares / (values.len() - 1) as f64).sqrt()
}

#[cfg(test)]
mod tests {
    use distilsweep_proto::params::Value;

    use super::*;
    use crate::results::{TrialState, tests::summary};

    fn row(trial: u64, rate: f64, seed: i64, score: Option<f64>, error: Option<f64>) -> TrialRow {
        let params = Params::from([
            ("learning_rate".to_owned(), Value::Number(rate)),
            ("seed".to_owned(), Value::Integer(seed)),
        ]);
        let named = |value: f64| ("best_validation_f1".to_owned(), value);
        TrialRow {
            trial,
            params,
            state: if score.is_some() { TrialState::Completed } else { TrialState::Diverged },
            metrics: score.map(named).into_iter().collect(),
            errors: error.map(named).into_iter().collect(),
            ..TrialRow::default()
        }
    }

    fn of(trials: Vec<TrialRow>) -> Summary {
        Summary { varied: vec!["learning_rate".to_owned(), "seed".to_owned()], trials, ..summary() }
    }

    #[test]
    fn seeds_are_repeats_of_a_setting_and_its_score_is_their_mean() {
        let found = settings(&of(vec![
            row(0, 1e-5, 1, Some(0.60), None),
            row(1, 1e-5, 2, Some(0.64), None),
            row(2, 3e-5, 1, Some(0.70), None),
            row(3, 3e-5, 2, None, None),
        ]));
        assert!(repeated(&found));
        let told: Vec<_> = found.iter().map(|s| (s.rank, &s.trials[..], &s.without[..])).collect();
        assert_eq!(told, [(1, &[2][..], &[3][..]), (2, &[1, 0], &[])]);
        let second = &found[1];
        assert!((second.mean - 0.62).abs() < 1e-12);
        assert!((second.spread.unwrap() - 0.04 / 2_f64.sqrt()).abs() < 1e-12);
        // One repeat and unknown rows: nothing says how sure it is.
        assert_eq!((found[0].spread, found[0].error, found[0].interval), (None, None, None));
        assert_eq!(found[0].params.keys().collect::<Vec<_>>(), ["learning_rate"]);
    }

    #[test]
    fn settings_that_the_rows_cannot_tell_apart_share_the_rank_of_the_best_of_them() {
        let of_rows = Some(0.016);
        let found = settings(&of(vec![
            row(0, 1e-5, 1, Some(0.700), of_rows),
            row(1, 2e-5, 1, Some(0.665), of_rows),
            row(2, 3e-5, 1, Some(0.650), of_rows),
            row(3, 4e-5, 1, Some(0.640), of_rows),
        ]));
        // 1.96 · √2 · 0.016 = 0.0443
        assert_eq!(found.iter().map(|setting| setting.rank).collect::<Vec<_>>(), [1, 1, 3, 3]);
        let (low, high) = found[0].interval.unwrap();
        assert!((low - 0.66864).abs() < 1e-5 && (high - 0.73136).abs() < 1e-5, "{low} {high}");
        let few_rows = settings(&of(vec![row(0, 1e-5, 1, Some(0.05), Some(0.1))]));
        assert_eq!(few_rows[0].interval.unwrap().0, 0.0, "no F1 is below zero");
    }

    #[test]
    fn without_any_error_only_equal_scores_share_a_rank() {
        let scores = [0.7, 0.7, 0.69];
        let rows = scores.into_iter().enumerate();
        let found = settings(&of(rows.map(|(at, s)| row(at as u64, at as f64, 1, Some(s), None)).collect()));
        assert_eq!(found.iter().map(|setting| setting.rank).collect::<Vec<_>>(), [1, 1, 3]);
    }

    #[test]
    fn a_mean_of_seeds_is_off_by_their_spread_and_by_the_rows() {
        let scores = [0.60, 0.62, 0.64, 0.66];
        let rows = |error| {
            let row = |(at, score)| row(at as u64, 1e-5, at as i64, Some(score), error);
            settings(&of(scores.into_iter().enumerate().map(row).collect())).remove(0)
        };
        let of_seeds = deviation(&scores) / 2.0;
        let (alone, both) = (rows(None), rows(Some(0.02)));
        assert!((alone.error.unwrap() / of_seeds - 1.0).abs() < 0.07, "{alone:?} {of_seeds}");
        let wanted = of_seeds.hypot(0.02);
        assert!((both.error.unwrap() / wanted - 1.0).abs() < 0.07, "{both:?} {wanted}");
        let (low, high) = both.interval.unwrap();
        assert!(
            low < both.mean && both.mean < high && ((high - low) / (2.0 * 1.96 * wanted) - 1.0).abs() < 0.12
        );
        // The same numbers come out each time.
        assert_eq!(rows(Some(0.02)), both);
    }
}
