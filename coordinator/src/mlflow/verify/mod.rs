//! Whether MLflow holds what the coordinator recorded, and telling it what it lacks.

mod expected;
mod resend;

use std::collections::BTreeMap;

use futures::{StreamExt, stream};

use super::{
    client::{Client, HeldRun},
    error::MlflowError,
    models::{self, KeptModels},
    op::{IDENTITY_TAG, Op, RunIds, RunKey, identity},
};

pub use expected::Expected;
pub use resend::{Resend, Resent};

/// Calls under way at a time.
const AT_ONCE: usize = 4;

/// What MLflow holds of a sweep's runs.
#[derive(Debug, Default)]
pub struct Held {
    /// By our names.
    pub runs: BTreeMap<RunKey, HeldRun>,
    /// Runs that are there more than once, with all their ids.
    pub doubled: BTreeMap<RunKey, Vec<String>>,
}

impl Held {
    /// What MLflow calls the runs.
    pub fn ids(&self) -> BTreeMap<RunKey, RunIds> {
        self.runs.iter().map(|(run, held)| (run.clone(), held.ids.clone())).collect()
    }
}

/// Finds the runs of a sweep in an experiment, by the tags that they were made with.
///
/// # Errors
/// [`MlflowError`].
pub async fn held(
    client: &Client,
    coordinator: &str,
    experiment: &str,
    sweep: &str,
) -> Result<Held, MlflowError> {
    let Some(experiment) = client.experiment_id(experiment).await? else { return Ok(Held::default()) };
    let prefix = identity(coordinator, &RunKey::new(""));
    let mut by_key: BTreeMap<RunKey, Vec<HeldRun>> = BTreeMap::new();
    for run in client.runs(&experiment, &format!("tags.`sweep` = '{sweep}'")).await? {
        let key = run.tags.get(IDENTITY_TAG).and_then(|tag| tag.strip_prefix(&prefix));
        if let Some(key) = key.map(RunKey::new) {
            by_key.entry(key).or_default().push(run);
        }
    }
    let mut held = Held::default();
    for (key, mut runs) in by_key {
        // The one that a creation would find.
        runs.sort_by(|a, b| a.ids.run_id.cmp(&b.ids.run_id));
        if runs.len() > 1 {
            held.doubled.insert(key.clone(), runs.iter().map(|run| run.ids.run_id.clone()).collect());
        }
        held.runs.extend(runs.into_iter().next().map(|run| (key, run)));
    }
    Ok(held)
}

/// What was looked at.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
#[expect(missing_docs, reason = "the names say it")]
pub struct Looked {
    pub runs: u64,
    pub params: u64,
    pub points: u64,
    pub artifacts: u64,
    pub models: u64,
}

/// Compares one run with what MLflow holds of it; answers every difference.
///
/// # Errors
/// [`MlflowError`].
pub async fn compare(
    client: &Client,
    ops: &[Op],
    held: Option<&HeldRun>,
    parent: Option<&str>,
    files: &[(String, String)],
    looked: &mut Looked,
) -> Result<Vec<String>, MlflowError> {
    let Some(mut expected) = Expected::after(ops) else { return Ok(Vec::new()) };
    expected.texts.extend(files.iter().cloned());
    let Some(held) = held else { return Ok(vec!["it has no run".to_owned()]) };
    let mut found = expected.differences(held, parent);
    looked.runs += 1;
    looked.params += expected.params.len() as u64;
    let keys: Vec<&String> = {
        let own = expected.points.keys();
        let foreign = held.metrics.keys().filter(|key| !expected.points.contains_key(*key));
        own.chain(foreign).collect()
    };
    let histories: Vec<_> = stream::iter(keys)
        .map(|key| async move { (key, client.history(&held.ids, key).await) })
        .buffered(AT_ONCE)
        .collect()
        .await;
    for (key, points) in histories {
        let points = points?;
        looked.points += points.len() as u64;
        found.extend(expected.differing_points(key, &points));
    }
    for (path, content) in &expected.texts {
        looked.artifacts += 1;
        match client.text(held, path).await? {
            Some(there) if there == *content => {}
            Some(_) => found.push(format!("artifact `{path}` is another")),
            None => found.push(format!("artifact `{path}` is missing")),
        }
    }
    Ok(found)
}

/// Compares the logged and registered models of a sweep; answers the differences by trial.
///
/// # Errors
/// [`MlflowError`].
pub async fn compare_models(
    client: &Client,
    kept: &KeptModels,
    looked: &mut Looked,
) -> Result<Vec<(u64, String)>, MlflowError> {
    let mut found = Vec::new();
    for (rank, model) in kept.models.iter().enumerate() {
        looked.models += 1;
        let wrong = models::differences(client, kept.register.as_deref(), model, rank == 0).await?;
        found.extend(wrong.into_iter().map(|wrong| (model.trial, wrong)));
    }
    Ok(found)
}
