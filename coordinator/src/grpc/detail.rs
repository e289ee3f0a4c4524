//! One trial as it is in the store, in full.

use std::collections::BTreeSet;

use distilsweep_proto::{
    ids::{SweepId, TrialId},
    v1,
};

use super::{convert, results};
use crate::store::{Reader, StoreError};

/// Everything about a trial; `None` where it has no row. `mlflow` is the address of its server.
///
/// # Errors
/// Where the store cannot be read.
pub fn detail(
    reader: &Reader,
    sweep: &SweepId,
    index: u64,
    mlflow: &str,
) -> Result<Option<v1::TrialDetail>, StoreError> {
    let row = reader.trials(sweep, index, 1)?.into_iter().next().filter(|row| row.trial == index);
    let Some(row) = row else { return Ok(None) };
    let spec = reader.spec(sweep)?;
    let trial = TrialId { sweep: sweep.clone(), index };
    let points = reader.points(&trial)?;
    let keys: BTreeSet<&str> = points.iter().map(|point| &*point.key).collect();
    let curves = keys.into_iter().map(|key| results::curve(index, key, &points));
    let result = row.result.clone().unwrap_or_default();
    Ok(Some(v1::TrialDetail {
        sweep: sweep.as_str().to_owned(),
        metric: convert::status(&reader.sweep(sweep)?).metric,
        curves: curves.filter(|curve| !curve.steps.is_empty()).collect(),
        attempts: reader.attempts(&trial)?.into_iter().map(convert::attempt).collect(),
        result: Some(convert::trial_result(row, spec.space.point(index))),
        classes: result.classes,
        splits: result.splits.into_iter().map(convert::split).collect(),
        mistakes: result.mistakes.into_iter().map(convert::mistake).collect(),
        tags: result.tags.into_iter().collect(),
        steps: result.steps,
        steps_per_second: result.steps_per_second,
        mlflow_url: mlflow.to_owned(),
    }))
}
