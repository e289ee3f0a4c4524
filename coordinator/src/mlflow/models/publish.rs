//! Logging the models of a sweep, each step so that a second time changes nothing.

use std::{collections::BTreeMap, sync::atomic::Ordering, time::Duration};

use distilsweep_proto::manifest::Part;
use reqwest::Body;

use super::{
    KeptModel, KeptModels, MANIFEST_TAG,
    directory::{self, Facts},
};
use crate::{
    mlflow::{
        client::{Client, LoggedModel, NewModel},
        error::{MlflowError, Verdict},
        op::RunIds,
    },
    published::{self, Pieces, Published},
};

/// Alias of the best trial's version.
const CHAMPION: &str = "champion";
/// Name of a logged model within its run: `runs:/ID/model` finds it.
pub(super) const NAME: &str = "model";

/// Rests between tries of one step.
const RESTS: [Duration; 2] = [Duration::from_millis(250), Duration::from_secs(1)];

/// Logs and registers models. One that cannot be logged keeps no other from it.
///
/// # Errors
/// The first that MLflow may get over, at once; else, after all others, the first that it never will.
pub(in crate::mlflow) async fn publish(client: &Client, kept: &KeptModels) -> Result<(), MlflowError> {
    let mut refused = None;
    if let Some(name) = &kept.register {
        patiently(|| client.create_registered_model(name)).await?;
    }
    // The best comes last: its version is the newest.
    for (rank, model) in kept.models.iter().enumerate().rev() {
        match log(client, kept.register.as_deref(), model, rank == 0).await {
            Err(error) if error.verdict() == Verdict::Refused => {
                refused.get_or_insert(error);
            }
            logged => logged?,
        }
    }
    refused.map_or(Ok(()), Err)
}

async fn log(
    client: &Client,
    register: Option<&str>,
    model: &KeptModel,
    best: bool,
) -> Result<(), MlflowError> {
    let logged = patiently(|| logged(client, model)).await?;
    let id = &logged.model_id;
    patiently(|| client.link_model(&model.run, id, model.files.step)).await?;
    if !logged.is_ready() {
        upload(client, &logged, model).await?;
        patiently(|| client.model_is_ready(id)).await?;
    }
    patiently(|| client.log_model_metrics(model, id)).await?;
    let Some(name) = register else { return Ok(()) };
    let version = patiently(|| registered(client, name, model, id)).await?;
    if best {
        patiently(|| client.set_alias(name, CHAMPION, &version)).await?;
    }
    Ok(())
}

/// Does a step again that may succeed then. All of a model's steps are behind one row of the outbox, which would be sent
/// from its beginning, after longer and longer rests.
async fn patiently<T, F: Future<Output = Result<T, MlflowError>>>(
    step: impl Fn() -> F,
) -> Result<T, MlflowError> {
    for rest in RESTS {
        match step().await {
            Err(error) if error.verdict() == Verdict::Again => tokio::time::sleep(rest).await,
            done => return done,
        }
    }
    step().await
}

/// The version of a logged model under a registered name, which is made where there is none.
async fn registered(
    client: &Client,
    name: &str,
    model: &KeptModel,
    model_id: &str,
) -> Result<String, MlflowError> {
    if let Some(version) = client.version_of(name, &model.run, model_id).await? {
        return Ok(version);
    }
    client.create_version(name, &model.run, model_id, &origin(model)).await
}

fn origin(model: &KeptModel) -> BTreeMap<String, String> {
    BTreeMap::from([("sweep".to_owned(), model.sweep.clone()), ("trial".to_owned(), model.trial.to_string())])
}

/// The logged model of these files, which is made where there is none.
async fn logged(client: &Client, model: &KeptModel) -> Result<LoggedModel, MlflowError> {
    let manifest = &model.files.manifest_sha256;
    let of_run = client.logged_models(&model.run).await?;
    let found = of_run.into_iter().find(|found| found.tag(MANIFEST_TAG) == Some(manifest));
    match found {
        Some(found) => Ok(found),
        None => {
            let mut tags = origin(model);
            tags.insert(MANIFEST_TAG.to_owned(), manifest.clone());
            tags.insert("mlflow.source.name".to_owned(), "distilsweep".to_owned());
            client
                .create_model(&NewModel { run: &model.run, name: NAME, params: &model.params, tags: &tags })
                .await
        }
    }
}

/// Sends what is not there yet: the descriptions, then the files, the weights last.
async fn upload(client: &Client, logged: &LoggedModel, model: &KeptModel) -> Result<(), MlflowError> {
    let unusable = |error| MlflowError::published(&model.files.url, error);
    let source = Published::open(&model.files).await.map_err(unusable)?;
    let there = patiently(|| client.model_files(&logged.model_id)).await?;
    let RunIds { run_id, .. } = &model.run;
    let facts = Facts {
        model_id: &logged.model_id,
        artifact_uri: &logged.artifact_uri,
        run_id,
        base: &model.base,
        has_vocabulary: source.has(directory::VOCABULARY),
        bytes: source.bytes(),
        created_ms: model.finished_ms,
    };
    let root = &logged.artifact_uri;
    for (path, text) in directory::texts(facts) {
        patiently(|| client.put_file(root, path, text.len() as u64, text.clone().into())).await?;
    }
    for (name, path) in files(&source) {
        let part = source.part(name).map_err(unusable)?;
        // An upload is there as a whole or not at all.
        if there.get(path) != Some(&part.bytes) {
            patiently(|| send(client, (root, path), (&model.files.url, &source), part)).await?;
        }
    }
    Ok(())
}

/// The files of a model and where they go.
fn files(source: &Published) -> impl Iterator<Item = (&'static str, &'static str)> {
    let has_vocabulary = source.has(directory::VOCABULARY);
    directory::FILES.into_iter().filter(move |(name, _)| has_vocabulary || *name != directory::VOCABULARY)
}

async fn send(
    client: &Client,
    (root, path): (&str, &str),
    (url, source): (&str, &Published),
    part: &Part,
) -> Result<(), MlflowError> {
    let unusable = |error| MlflowError::published(url, error);
    let Pieces { stream, wrong } = source.pieces(part).await.map_err(unusable)?;
    let sent = client.put_file(root, path, part.bytes, Body::wrap_stream(stream)).await;
    if sent.is_err() && wrong.load(Ordering::Relaxed) {
        return Err(unusable(published::other(&part.name)));
    }
    sent
}

/// Where the logged and registered model that MLflow holds of a trial is not what was published.
///
/// # Errors
/// [`MlflowError`].
pub(in crate::mlflow) async fn differences(
    client: &Client,
    register: Option<&str>,
    model: &KeptModel,
    best: bool,
) -> Result<Vec<String>, MlflowError> {
    let manifest = &model.files.manifest_sha256;
    let of_run: Vec<LoggedModel> = client
        .logged_models(&model.run)
        .await?
        .into_iter()
        .filter(|logged| logged.tag(MANIFEST_TAG) == Some(manifest))
        .collect();
    let Some(logged) = of_run.first() else { return Ok(vec!["its model is not logged".to_owned()]) };
    let mut found = Vec::new();
    if of_run.len() > 1 {
        found.push(format!("its model is logged {} times", of_run.len()));
    }
    if !logged.is_ready() {
        found.push("its logged model is not ready".to_owned());
    }
    let there = client.model_files(&logged.model_id).await?;
    let unusable = |error| MlflowError::published(&model.files.url, error);
    match Published::open(&model.files).await {
        Ok(source) => {
            for (name, path) in files(&source) {
                let bytes = source.part(name).map_err(unusable)?.bytes;
                if there.get(path) != Some(&bytes) {
                    found.push(format!("`{path}` of its logged model is not the file that was published"));
                }
            }
        }
        Err(error) => found.push(unusable(error).to_string()),
    }
    if let Some(name) = register {
        let version = client.version_of(name, &model.run, &logged.model_id).await?;
        match version {
            None => found.push(format!("its model is no version of `{name}`")),
            Some(version) if best && client.version_with(name, CHAMPION).await? != Some(version.clone()) => {
                found.push(format!("version {version} of `{name}` has not the alias {CHAMPION}"));
            }
            Some(_) => {}
        }
    }
    Ok(found)
}
