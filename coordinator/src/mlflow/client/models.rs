//! Logged and registered models.

use std::{collections::BTreeMap, time::Duration};

use serde::{Deserialize, Serialize};

use super::Client;
use crate::mlflow::{
    error::MlflowError,
    models::KeptModel,
    op::RunIds,
    wire::{self, KeyValue},
};

/// Bytes a second that a connection carries at the least, or an upload has failed.
const SLOWEST: u64 = 100_000;

/// A logged model that exists.
#[derive(Clone, Debug, PartialEq, Eq)]
pub(in crate::mlflow) struct LoggedModel {
    /// `m-` and 32 hexadecimal digits.
    pub(in crate::mlflow) model_id: String,
    /// Where its files go, as MLflow names it.
    pub(in crate::mlflow) artifact_uri: String,
    /// Its name within its run.
    pub(in crate::mlflow) name: String,
    status: String,
    tags: BTreeMap<String, String>,
}

impl LoggedModel {
    /// Whether all its files are there.
    pub(in crate::mlflow) fn is_ready(&self) -> bool {
        self.status == READY
    }

    /// The value of a tag.
    pub(in crate::mlflow) fn tag(&self, key: &str) -> Option<&String> {
        self.tags.get(key)
    }
}

const READY: &str = "LOGGED_MODEL_READY";

/// A logged model to make.
pub(in crate::mlflow) struct NewModel<'a> {
    /// The run that made it.
    pub(in crate::mlflow) run: &'a RunIds,
    /// Its name within the run.
    pub(in crate::mlflow) name: &'a str,
    /// Hyperparameters.
    pub(in crate::mlflow) params: &'a BTreeMap<String, String>,
    /// Tags.
    pub(in crate::mlflow) tags: &'a BTreeMap<String, String>,
}

#[derive(Serialize)]
struct CreateModel<'a> {
    experiment_id: &'a str,
    name: &'a str,
    source_run_id: &'a str,
    params: Vec<KeyValue<'a>>,
    tags: Vec<KeyValue<'a>>,
}

#[derive(Serialize)]
struct SearchModels<'a> {
    experiment_ids: [&'a str; 1],
    filter: String,
    max_results: u32,
}

#[derive(Deserialize)]
struct ModelAnswer {
    model: Model,
}

#[derive(Deserialize)]
struct ModelsAnswer {
    #[serde(default)]
    models: Vec<Model>,
}

#[derive(Deserialize)]
struct Model {
    info: ModelInfo,
}

#[derive(Deserialize)]
struct ModelInfo {
    model_id: String,
    #[serde(default)]
    name: String,
    #[serde(default)]
    artifact_uri: String,
    #[serde(default)]
    status: String,
    #[serde(default)]
    tags: Vec<Tag>,
}

#[derive(Deserialize)]
struct Tag {
    key: String,
    #[serde(default)]
    value: String,
}

impl From<Model> for LoggedModel {
    fn from(Model { info }: Model) -> Self {
        let ModelInfo { model_id, name, artifact_uri, status, tags } = info;
        let tags = tags.into_iter().map(|tag| (tag.key, tag.value)).collect();
        Self { model_id, artifact_uri, name, status, tags }
    }
}

#[derive(Serialize)]
struct Outputs<'a> {
    run_id: &'a str,
    models: [Output<'a>; 1],
}

#[derive(Serialize)]
struct Output<'a> {
    model_id: &'a str,
    step: i64,
}

#[derive(Serialize)]
struct Finalize<'a> {
    model_id: &'a str,
    status: &'static str,
}

#[derive(Serialize)]
struct RegisteredModel<'a> {
    name: &'a str,
}

#[derive(Serialize)]
struct CreateVersion<'a> {
    name: &'a str,
    source: String,
    model_id: &'a str,
    run_id: &'a str,
    tags: Vec<KeyValue<'a>>,
}

#[derive(Deserialize)]
struct VersionAnswer {
    model_version: Version,
}

#[derive(Deserialize)]
struct VersionsAnswer {
    #[serde(default)]
    model_versions: Vec<Version>,
}

#[derive(Deserialize)]
struct Version {
    #[serde(default)]
    name: String,
    version: String,
    #[serde(default)]
    source: String,
}

#[derive(Serialize)]
struct Alias<'a> {
    name: &'a str,
    alias: &'a str,
    version: &'a str,
}

#[derive(Deserialize)]
struct Files {
    #[serde(default)]
    files: Vec<File>,
}

#[derive(Deserialize)]
struct File {
    path: String,
    #[serde(default)]
    is_dir: bool,
    #[serde(default)]
    file_size: u64,
}

impl Client {
    /// The logged models that a run made.
    pub(in crate::mlflow) async fn logged_models(
        &self,
        run: &RunIds,
    ) -> Result<Vec<LoggedModel>, MlflowError> {
        let call = "logged-models/search";
        let body = SearchModels {
            experiment_ids: [&run.experiment_id],
            filter: format!("source_run_id = '{}'", run.run_id),
            max_results: 50,
        };
        let found: ModelsAnswer = self.send(call, self.post(call).json(&body)).await?;
        Ok(found.models.into_iter().map(LoggedModel::from).collect())
    }

    /// Makes a logged model; done twice it makes two.
    pub(in crate::mlflow) async fn create_model(
        &self,
        new: &NewModel<'_>,
    ) -> Result<LoggedModel, MlflowError> {
        let call = "logged-models";
        let body = CreateModel {
            experiment_id: &new.run.experiment_id,
            name: new.name,
            source_run_id: &new.run.run_id,
            params: wire::pairs(new.params),
            tags: wire::pairs(new.tags),
        };
        let made: ModelAnswer = self.send(call, self.post(call).json(&body)).await?;
        Ok(made.model.into())
    }

    /// Names a model among what a run put out.
    pub(in crate::mlflow) async fn link_model(
        &self,
        run: &RunIds,
        model_id: &str,
        step: i64,
    ) -> Result<(), MlflowError> {
        let call = "runs/outputs";
        let body = Outputs { run_id: &run.run_id, models: [Output { model_id, step }] };
        match self.send(call, self.post(call).json(&body)).await {
            Ok(wire::Nothing {}) => Ok(()),
            // It is named already.
            Err(error) if error.is_duplicate() => Ok(()),
            Err(error) => Err(error),
        }
    }

    /// Says that all files of a model are there.
    pub(in crate::mlflow) async fn model_is_ready(&self, model_id: &str) -> Result<(), MlflowError> {
        let request = self.http.patch(self.url(&format!("logged-models/{model_id}")));
        let body = Finalize { model_id, status: READY };
        self.answer("logged-models", request.json(&body)).await.map(|_| ())
    }

    /// Records points of a run that are also a model's.
    pub(in crate::mlflow) async fn log_model_metrics(
        &self,
        model: &KeptModel,
        model_id: &str,
    ) -> Result<(), MlflowError> {
        let call = "runs/log-batch";
        let body = wire::LogModelMetrics::new(model, model_id);
        self.send(call, self.post(call).json(&body)).await.map(|wire::Nothing {}| ())
    }

    /// The files of a logged model by path, with their sizes.
    pub(in crate::mlflow) async fn model_files(
        &self,
        model_id: &str,
    ) -> Result<BTreeMap<String, u64>, MlflowError> {
        let mut sizes = BTreeMap::new();
        let mut directories = vec![String::new()];
        while let Some(directory) = directories.pop() {
            let mut request =
                self.http.get(self.url(&format!("logged-models/{model_id}/artifacts/directories")));
            if !directory.is_empty() {
                request = request.query(&[("artifact_directory_path", &directory)]);
            }
            let listed: Files = self.send("logged-models", request).await?;
            for file in listed.files {
                if file.is_dir {
                    directories.push(file.path);
                } else {
                    sizes.insert(file.path, file.file_size);
                }
            }
        }
        Ok(sizes)
    }

    /// Stores a file of `bytes` under `path` below an artifact root, over what is there.
    pub(in crate::mlflow) async fn put_file(
        &self,
        root: &str,
        path: &str,
        bytes: u64,
        body: reqwest::Body,
    ) -> Result<(), MlflowError> {
        let url = self.artifact_url(root, path).ok_or_else(|| MlflowError::ArtifactsNotServed {
            address: self.address.clone(),
            root: root.to_owned(),
        })?;
        let request = self
            .http
            .put(url)
            .timeout(self.timeout + Duration::from_secs(bytes / SLOWEST))
            .header(reqwest::header::CONTENT_TYPE, "application/octet-stream")
            .header(reqwest::header::CONTENT_LENGTH, bytes)
            .body(body);
        self.answer("the upload of a model", request).await.map(|_| ())
    }

    /// Makes a registered model where there is none of the name.
    pub(in crate::mlflow) async fn create_registered_model(&self, name: &str) -> Result<(), MlflowError> {
        let call = "registered-models/create";
        let made: Result<serde_json::Value, _> =
            self.send(call, self.post(call).json(&RegisteredModel { name })).await;
        match made {
            Err(MlflowError::Refused { message, .. }) if message.starts_with("RESOURCE_ALREADY_EXISTS") => {
                Ok(())
            }
            made => made.map(|_| ()),
        }
    }

    /// The version that a logged model of a run has under a registered name.
    pub(in crate::mlflow) async fn version_of(
        &self,
        name: &str,
        run: &RunIds,
        model_id: &str,
    ) -> Result<Option<String>, MlflowError> {
        let call = "model-versions/search";
        let filter = format!("run_id='{}'", run.run_id);
        let request =
            self.http.get(self.url(call)).query(&[("filter", filter.as_str()), ("max_results", "1000")]);
        let found: VersionsAnswer = self.send(call, request).await?;
        let source = format!("models:/{model_id}");
        let of_model = |version: &Version| version.name == name && version.source == source;
        Ok(found.model_versions.into_iter().find(of_model).map(|version| version.version))
    }

    /// Registers a logged model; done twice it makes two versions.
    pub(in crate::mlflow) async fn create_version(
        &self,
        name: &str,
        run: &RunIds,
        model_id: &str,
        tags: &BTreeMap<String, String>,
    ) -> Result<String, MlflowError> {
        let call = "model-versions/create";
        let source = format!("models:/{model_id}");
        let body = CreateVersion { name, source, model_id, run_id: &run.run_id, tags: wire::pairs(tags) };
        let made: VersionAnswer = self.send(call, self.post(call).json(&body)).await?;
        Ok(made.model_version.version)
    }

    /// The version that has an alias.
    pub(in crate::mlflow) async fn version_with(
        &self,
        name: &str,
        alias: &str,
    ) -> Result<Option<String>, MlflowError> {
        let call = "registered-models/alias";
        let request = self.http.get(self.url(call)).query(&[("name", name), ("alias", alias)]);
        match self.send::<VersionAnswer>(call, request).await {
            Ok(found) => Ok(Some(found.model_version.version)),
            // Also for an alias that there is not.
            Err(MlflowError::Refused { status: 400 | 404, .. }) => Ok(None),
            Err(error) => Err(error),
        }
    }

    /// Gives a version an alias, taken from whichever had it.
    pub(in crate::mlflow) async fn set_alias(
        &self,
        name: &str,
        alias: &str,
        version: &str,
    ) -> Result<(), MlflowError> {
        let call = "registered-models/alias";
        let body = Alias { name, alias, version };
        self.send(call, self.post(call).json(&body)).await.map(|wire::Nothing {}| ())
    }
}
