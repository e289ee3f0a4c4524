//! Removing checkpoints that nothing needs any more: of trials that have their result, should their worker have died
//! before it could, and in time of those that ended without one.
//!
//! Owns no state that a crash could lose: what cannot be removed now is removed at the next look. Models are never
//! touched, nor is anything of a sweep that this state does not know: stores are shared.

use std::{collections::BTreeMap, time::Duration};

use distilsweep_proto::{
    ids::TrialId,
    manifest::{CHECKPOINT, MANIFEST},
    storage::{self, Storage},
};
use futures::TryStreamExt;
use object_store::{ObjectStore, ObjectStoreExt, path::Path};
use url::Url;

use crate::{
    clock::Clock,
    engine::EngineHandle,
    scheduler::Time,
    store::{Ending, StoreError},
};

/// How often the store is looked through.
const PERIOD: Duration = Duration::from_secs(3600);

/// Why a look through the store ended early.
#[derive(Debug, thiserror::Error)]
enum GarbageError {
    #[error(transparent)]
    State(#[from] StoreError),
    #[error("the store {url} is no URL: {source}")]
    Url { url: String, source: url::ParseError },
    #[error("the store {url} cannot be looked through: {source}")]
    Store { url: String, source: object_store::Error },
}

/// Looks through the store now and every hour, for as long as it is polled. `retention` is how long the checkpoints of a
/// trial that ended without a result stay, for an order to try it again.
pub(crate) async fn collect(engine: EngineHandle, store_url: String, retention: Duration) {
    let mut interval = tokio::time::interval(PERIOD);
    interval.set_missed_tick_behavior(tokio::time::MissedTickBehavior::Delay);
    loop {
        interval.tick().await;
        match look_through(&engine, &store_url, retention).await {
            Ok(removed) => {
                tracing::info!(removed, "looked through the store for checkpoints that nothing needs")
            }
            // A coordinator need not reach what its workers publish under.
            Err(error) => tracing::warn!(%error, "checkpoints that nothing needs may be left"),
        }
    }
}

/// Answers how many files were removed.
async fn look_through(engine: &EngineHandle, url: &str, retention: Duration) -> Result<usize, GarbageError> {
    let failed = |source| GarbageError::Store { url: url.to_owned(), source };
    let parsed = Url::parse(url).map_err(|source| GarbageError::Url { url: url.to_owned(), source })?;
    let Storage { store, path, .. } = storage::open(&parsed).map_err(failed)?;
    let mut removed = 0;
    for sweep in engine.read(|state| state.sweeps()).await? {
        let prefix = path.clone().join(sweep.id.as_str());
        // Listed before the state is read: what a trial that is tried again publishes meanwhile is not among it.
        let listed = store.list(Some(&prefix)).map_ok(|object| object.location);
        let checkpoints = by_trial(&prefix, listed.try_collect().await.map_err(failed)?);
        let trials: Vec<TrialId> =
            checkpoints.keys().map(|&index| TrialId { sweep: sweep.id.clone(), index }).collect();
        let endings = engine
            .read(move |state| trials.iter().map(|trial| Ok((trial.index, state.ending(trial)?))).collect())
            .await?;
        let now = Clock::wall();
        for file in superfluous(checkpoints, &endings, now, retention) {
            match store.delete(&file).await {
                // Its worker was faster.
                Ok(()) | Err(object_store::Error::NotFound { .. }) => removed += 1,
                Err(source) => return Err(failed(source)),
            }
        }
    }
    Ok(removed)
}

/// The files of checkpoints below a sweep's directory, by trial. Others are left out.
fn by_trial(sweep: &Path, files: Vec<Path>) -> BTreeMap<u64, Vec<Path>> {
    let mut checkpoints: BTreeMap<u64, Vec<Path>> = BTreeMap::new();
    for file in files {
        if let Some(trial) = trial_of(sweep, &file) {
            checkpoints.entry(trial).or_default().push(file);
        }
    }
    checkpoints
}

/// The trial whose checkpoint a file belongs to: `TRIAL/TERM/checkpoint-STEP/NAME`.
fn trial_of(sweep: &Path, file: &Path) -> Option<u64> {
    let parts: Vec<String> = file.prefix_match(sweep)?.map(|part| part.as_ref().to_owned()).collect();
    let [trial, term, directory, _name] = parts.try_into().ok()?;
    let step = directory.strip_prefix(CHECKPOINT)?;
    (term.parse::<u64>().is_ok() && step.parse::<u64>().is_ok()).then(|| trial.parse().ok())?
}

/// The files that nothing needs, the manifests first: what is left without one does not exist for readers, should the
/// rest fail.
fn superfluous(
    checkpoints: BTreeMap<u64, Vec<Path>>,
    endings: &BTreeMap<u64, Option<Ending>>,
    now: Time,
    retention: Duration,
) -> Vec<Path> {
    let retention = i64::try_from(retention.as_millis()).unwrap_or(i64::MAX);
    let is_superfluous = |trial: &u64| match endings.get(trial) {
        Some(Some(Ending::WithResult)) => true,
        Some(Some(Ending::WithoutResult { at })) => at.plus(retention) <= now,
        Some(None) | None => false,
    };
    let mut files: Vec<Path> = checkpoints
        .into_iter()
        .filter(|(trial, _)| is_superfluous(trial))
        .flat_map(|(_, files)| files)
        .collect();
    files.sort_by_key(|file| file.filename() != Some(MANIFEST));
    files
}

#[cfg(test)]
mod tests {
    use super::*;

    const WEEK: Duration = Duration::from_secs(7 * 24 * 3600);

    fn paths(names: &[&str]) -> Vec<Path> {
        names.iter().map(|name| Path::from(*name)).collect()
    }

    #[test]
    fn models_and_what_is_not_of_a_checkpoint_are_never_touched() {
        let files = paths(&[
            "trials/demo-1/0/7/40/manifest.json",
            "trials/demo-1/0/7/40/checkpoint-1/model.safetensors",
            "trials/demo-1/0/7/checkpoint-20/manifest.json",
            "trials/demo-1/0/7/checkpoint-last/manifest.json",
            "trials/demo-1/notes.txt",
            "trials/demo-10/0/7/checkpoint-20/manifest.json",
        ]);
        let found = by_trial(&Path::from("trials/demo-1"), files);
        assert_eq!(found, BTreeMap::from([(0, paths(&["trials/demo-1/0/7/checkpoint-20/manifest.json"]))]));
    }

    #[test]
    fn checkpoints_go_with_a_result_and_else_after_the_retention() {
        let checkpoints: BTreeMap<u64, Vec<Path>> = (0..5)
            .map(|trial| (trial, paths(&[&format!("s/{trial}/1/checkpoint-9/manifest.json")])))
            .collect();
        let week = i64::try_from(WEEK.as_millis()).unwrap();
        let endings = BTreeMap::from([
            (0, Some(Ending::WithResult)),
            (1, Some(Ending::WithoutResult { at: Time(1) })),
            (2, Some(Ending::WithoutResult { at: Time(2) })),
            (3, None),
        ]);
        let gone = superfluous(checkpoints, &endings, Time(week + 1), WEEK);
        assert_eq!(gone, paths(&["s/0/1/checkpoint-9/manifest.json", "s/1/1/checkpoint-9/manifest.json"]));
    }

    #[test]
    fn manifests_go_first() {
        let files = paths(&["s/0/1/checkpoint-9/a.bin", "s/0/1/checkpoint-9/manifest.json"]);
        let endings = BTreeMap::from([(0, Some(Ending::WithResult))]);
        let gone = superfluous(BTreeMap::from([(0, files)]), &endings, Time(0), WEEK);
        assert_eq!(gone[0].filename(), Some(MANIFEST));
    }
}
