//! Which models a sweep keeps, as it stands in the store.

use distilsweep_proto::ids::SweepId;

use super::telling::{dataset_words, final_points, inputs};
use crate::{
    mlflow::{
        models::{KeptModel, KeptModels},
        op::RunIds,
        tell,
    },
    scheduler::Time,
    store::{Reader, StoreError, TrialRow},
};

/// The models of the best trials of a sweep, as many as its file says. `run_of` says which run a trial has; one that
/// has none is left out.
pub(super) fn kept_models(
    reader: &Reader,
    sweep: &SweepId,
    run_of: impl Fn(&TrialRow) -> Option<RunIds>,
) -> Result<KeptModels, StoreError> {
    let spec = reader.spec(sweep)?;
    let dataset = dataset_words(&spec.dataset);
    let mut models = Vec::new();
    for index in reader.best(sweep, spec.keep_models.count())? {
        let Some(row) = reader.trials(sweep, index, 1)?.into_iter().next() else { continue };
        let run = run_of(&row);
        let (Some(result), Some(run)) = (row.result, run) else { continue };
        let metrics = final_points(&result, Time(row.finished_ms.unwrap_or_default()));
        let inputs = inputs(&spec.pinned_dataset(), &result);
        let Some(files) = result.model else { continue };
        models.push(KeptModel {
            sweep: sweep.to_string(),
            trial: index,
            run,
            files,
            base: spec.model.clone(),
            params: tell::params(&spec.model, &dataset, &spec.space.point(index)),
            metrics,
            inputs,
            finished_ms: row.finished_ms.unwrap_or_default(),
        });
    }
    Ok(KeptModels { register: spec.register, models })
}
