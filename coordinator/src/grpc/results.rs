//! The results of a sweep as they are in the store.

use std::collections::BTreeMap;

use distilsweep_proto::{
    ids::{SweepId, TrialId},
    names, v1,
};

use super::convert;
use crate::{
    scheduler::Point,
    spec::SweepSpec,
    store::{Reader, StoreError, TrialRow},
};

/// Trials whose curves are shown: as many as can be told apart.
const CURVES: u64 = 8;
/// Points of a curve: more than a screen shows.
const POINTS: usize = 200;
/// Trials that are read at a time.
const PART: u32 = 1000;

/// Everything about a sweep at once, for whoever is in this process: `mlflow` is the address of its server.
///
/// # Errors
/// Where the store cannot be read.
pub fn whole(reader: &Reader, sweep: &SweepId, mlflow: &str) -> Result<v1::SweepResults, StoreError> {
    let status = v1::SweepStatus { mlflow_url: mlflow.to_owned(), ..convert::status(&reader.sweep(sweep)?) };
    let mut results = beginning(reader, sweep, status)?;
    loop {
        let from = results.trials.last().map_or(0, |trial| trial.trial + 1);
        let rows = reader.trials(sweep, from, PART)?;
        if rows.is_empty() {
            return Ok(results);
        }
        results.trials.extend(trials(&reader.spec(sweep)?, rows));
    }
}

/// What comes before the trials, with what the sweep is about.
pub(super) fn beginning(
    reader: &Reader,
    sweep: &SweepId,
    status: v1::SweepStatus,
) -> Result<v1::SweepResults, StoreError> {
    let spec = reader.spec(sweep)?;
    let shown = [names::LOSS, spec.metric.selection.evaluation];
    let mut curves = Vec::new();
    let best = reader.best(sweep, CURVES)?;
    for index in best.iter().copied() {
        let points = reader.points(&TrialId { sweep: sweep.clone(), index })?;
        curves.extend(shown.into_iter().map(|metric| curve(index, metric, &points)));
    }
    curves.retain(|curve| !curve.steps.is_empty());
    let varied = spec.space.varied().into_iter().map(ToOwned::to_owned).collect();
    let first = best.first().map(|first| reader.trials(sweep, *first, 1)).transpose()?.unwrap_or_default();
    let result = first.into_iter().next().and_then(|row| row.result).unwrap_or_default();
    let source = reader.source(sweep)?;
    let resources = spec.origin.resources.iter().cloned().map(Into::into).collect();
    Ok(v1::SweepResults {
        status: Some(status),
        trials: Vec::new(),
        varied,
        curves,
        source,
        resources,
        classes: result.classes,
        splits: result.splits.into_iter().map(convert::split).collect(),
        tags: result.tags.into_iter().collect(),
    })
}

/// Rows for the wire, each with the hyperparameters of its point; `spec` is of after they were read.
pub(super) fn trials(spec: &SweepSpec, rows: Vec<TrialRow>) -> Vec<v1::TrialResult> {
    let whole = |row: TrialRow| {
        let point = spec.space.point(row.trial);
        convert::trial_result(row, point)
    };
    rows.into_iter().map(whole).collect()
}

/// A metric's curve, thinned out evenly; its last point stays.
pub(super) fn curve(trial: u64, metric: &str, points: &[Point]) -> v1::Curve {
    let all: BTreeMap<i64, f64> = points
        .iter()
        .filter(|point| point.key == metric && point.value.is_finite())
        .map(|point| (point.step, point.value))
        .collect();
    let each = all.len().div_ceil(POINTS).max(1);
    let last = all.len().saturating_sub(1);
    let kept = all.into_iter().enumerate().filter(|(i, _)| i % each == 0 || *i == last);
    let (steps, values) = kept.map(|(_, point)| point).unzip();
    v1::Curve { trial, metric: metric.to_owned(), steps, values }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_long_curve_is_thinned_out_evenly_and_keeps_its_end() {
        let point = |step, key: &str| Point { key: key.into(), value: step as f64, timestamp_ms: 1, step };
        let points: Vec<Point> =
            (0..=1000).flat_map(|step| [point(step, "loss"), point(step, "grad_norm")]).collect();
        let thin = curve(3, "loss", &points);
        assert_eq!(thin.steps.len(), 168);
        assert_eq!(thin.steps[..3], [0, 6, 12]);
        assert_eq!((thin.steps.last(), thin.values.last()), (Some(&1000), Some(&1000.0)));
        assert!(curve(3, "eval_loss", &points).steps.is_empty());
    }
}
