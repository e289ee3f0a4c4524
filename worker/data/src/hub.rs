//! The Hugging Face Hub: models and data sets by their ids, in the cache that Python programs share.
//!
//! Environment: `HF_HOME` (the cache), `HF_ENDPOINT`, `HF_TOKEN` and `HF_HUB_OFFLINE`, as `huggingface_hub` reads them.
//! A download that breaks off goes on where it was.

use std::{
    path::{Path, PathBuf},
    time::Duration,
};

use hf_hub::{
    Cache, Repo, RepoType,
    api::tokio::{Api, ApiBuilder, ApiError},
};

use crate::{DataError, layout};

/// How long the Hub may take to say what a repository holds.
const PATIENCE: Duration = Duration::from_secs(30);

/// How often a file that another process downloads is asked for again, some seconds apart.
const LOCK_ATTEMPTS: u32 = 300;

/// Files without which a model is none.
const NEEDED: [&str; 3] = ["config.json", WEIGHTS, "tokenizer.json"];
const WEIGHTS: &str = "model.safetensors";
/// In place of the weights: which of several files holds which.
const INDEX: &str = "model.safetensors.index.json";
/// Files that are taken along where they are.
const WELCOME: [&str; 3] = ["tokenizer_config.json", "vocab.txt", "special_tokens_map.json"];

/// The directory of a model: `id` itself where it is one, else the Hub's files of that id. Blocks.
///
/// # Errors
/// There is no such directory or repository, it lacks a file, or the Hub cannot be reached.
pub fn model_directory(id: &str, revision: Option<&str>) -> Result<PathBuf, DataError> {
    block_on(model_directory_async(id, revision))
}

/// [`model_directory`] for callers that have a runtime.
///
/// # Errors
/// As there.
pub async fn model_directory_async(id: &str, revision: Option<&str>) -> Result<PathBuf, DataError> {
    model_in(&Settings::from_environment(), id, revision).await
}

async fn model_in(settings: &Settings, id: &str, revision: Option<&str>) -> Result<PathBuf, DataError> {
    let directory = Path::new(id);
    if directory.is_dir() {
        return match absent(|name| directory.join(name).is_file()) {
            None => Ok(directory.to_owned()),
            Some(absent) => Err(DataError::Missing {
                path: directory.join(absent),
                wanted: format!("a model directory needs {}", NEEDED.join(", ")),
            }),
        };
    }
    let repository = Repository::open(settings, id, RepoType::Model, revision)?;
    let snapshot = repository.snapshot().await?;
    let sharded = !snapshot.has(WEIGHTS) && snapshot.has(INDEX);
    if let Some(absent) = absent(|name| snapshot.has(name)) {
        return Err(
            repository.error(format!("it has no {absent}; a model needs {}", NEEDED.join(", ")), false)
        );
    }
    let shards = snapshot.files.iter().map(String::as_str).filter(|name| sharded && is_weights(name));
    let others = NEEDED.into_iter().filter(|name| !(sharded && *name == WEIGHTS));
    for name in others.chain(shards).chain(WELCOME.into_iter().filter(|name| snapshot.has(name))) {
        repository.fetch(&snapshot, name).await?;
    }
    repository.remember(&snapshot)?;
    Ok(snapshot.directory)
}

/// A file that a model cannot do without and that is not there.
fn absent(has: impl Fn(&str) -> bool) -> Option<&'static str> {
    NEEDED.into_iter().find(|name| !(has(name) || *name == WEIGHTS && has(INDEX)))
}

/// Whether a file is a shard of the weights as save_pretrained names it, or their index.
fn is_weights(name: &str) -> bool {
    name == INDEX || (name.starts_with("model-") && name.ends_with(".safetensors"))
}

/// The files of a data set's training, validation and test split, and what was chosen for the user. Blocks.
pub(crate) fn dataset_files(
    id: &str,
    config: Option<&str>,
    revision: Option<&str>,
) -> Result<([Vec<PathBuf>; 3], Vec<String>), DataError> {
    block_on(dataset_in(&Settings::from_environment(), id, config, revision))
}

async fn dataset_in(
    settings: &Settings,
    id: &str,
    config: Option<&str>,
    revision: Option<&str>,
) -> Result<([Vec<PathBuf>; 3], Vec<String>), DataError> {
    let repository = Repository::open(settings, id, RepoType::Dataset, revision)?;
    let snapshot = repository.snapshot().await?;
    let (splits, notes) =
        layout::choose(&snapshot.files, config).map_err(|problem| repository.error(problem, false))?;
    let mut paths = [splits.train, splits.validation, splits.test].map(|names| (names, Vec::new()));
    for (names, paths) in &mut paths {
        for name in names.iter() {
            paths.push(repository.fetch(&snapshot, name).await?);
        }
    }
    repository.remember(&snapshot)?;
    Ok((paths.map(|(_, paths)| paths), notes))
}

/// Runs a future to its end on a thread of its own, so that callers inside a runtime are served too.
fn block_on<T: Send>(future: impl Future<Output = Result<T, DataError>> + Send) -> Result<T, DataError> {
    let failed = |problem: String| DataError::Hub {
        repository: "the Hub's client".to_owned(),
        problem,
        retryable: true,
    };
    std::thread::scope(|scope| {
        let thread = scope.spawn(|| {
            tokio::runtime::Builder::new_current_thread()
                .enable_all()
                .build()
                .map_err(|error| failed(error.to_string()))?
                .block_on(future)
        });
        thread.join().unwrap_or_else(|_| Err(failed("it panicked".to_owned())))
    })
}

/// Where the Hub and its cache are.
struct Settings {
    cache: Cache,
    /// The Hub's address; None is the public one.
    endpoint: Option<String>,
    /// None takes the one that `hf auth login` wrote.
    token: Option<String>,
    offline: bool,
}

impl Settings {
    fn from_environment() -> Self {
        let variable = |name: &str| {
            std::env::var(name).ok().map(|value| value.trim().to_owned()).filter(|value| !value.is_empty())
        };
        let offline = variable("HF_HUB_OFFLINE").unwrap_or_default().to_ascii_uppercase();
        Self {
            cache: Cache::from_env(),
            endpoint: variable("HF_ENDPOINT"),
            token: variable("HF_TOKEN"),
            offline: matches!(offline.as_str(), "1" | "ON" | "YES" | "TRUE"),
        }
    }
}

/// One repository at one revision.
struct Repository {
    id: String,
    kind: RepoType,
    revision: String,
    cache: Cache,
    /// None when HF_HUB_OFFLINE forbids to ask.
    api: Option<Api>,
}

/// The files of a repository at one commit.
struct Snapshot {
    commit: String,
    /// Where the cache has it.
    directory: PathBuf,
    files: Vec<String>,
}

impl Snapshot {
    fn has(&self, name: &str) -> bool {
        self.files.iter().any(|file| file == name)
    }
}

impl Repository {
    fn open(
        settings: &Settings,
        id: &str,
        kind: RepoType,
        revision: Option<&str>,
    ) -> Result<Self, DataError> {
        let is_id = id.split('/').count() <= 2
            && !id.starts_with('.')
            && id.split('/').all(|part| {
                !part.is_empty()
                    && part.chars().all(|c| c.is_ascii_alphanumeric() || matches!(c, '-' | '_' | '.'))
            });
        if !is_id {
            return Err(DataError::Missing {
                path: id.into(),
                wanted: "it must be a directory or an id of the Hub (owner/name)".to_owned(),
            });
        }
        let revision = revision.unwrap_or("main").to_owned();
        let cache = settings.cache.clone();
        let mut repository = Self { id: id.to_owned(), kind, revision, cache, api: None };
        if !settings.offline {
            let mut builder = ApiBuilder::from_cache(repository.cache.clone()).with_progress(false);
            if let Some(endpoint) = &settings.endpoint {
                builder = builder.with_endpoint(endpoint.trim_end_matches('/').to_owned());
            }
            if let Some(token) = &settings.token {
                builder = builder.with_token(Some(token.clone()));
            }
            repository.api = Some(builder.build().map_err(|error| repository.api_error(&error))?);
        }
        Ok(repository)
    }

    fn repo(&self, revision: &str) -> Repo {
        Repo::with_revision(self.id.clone(), self.kind, revision.to_owned())
    }

    fn error(&self, problem: String, retryable: bool) -> DataError {
        DataError::Hub { repository: self.id.clone(), problem, retryable }
    }

    /// What the Hub has; when it cannot be reached, what the cache has.
    async fn snapshot(&self) -> Result<Snapshot, DataError> {
        let Some(api) = &self.api else {
            return self.cached().ok_or_else(|| {
                let problem =
                    "HF_HUB_OFFLINE is set and the cache does not hold it; unset it, or name a directory";
                self.error(problem.to_owned(), false)
            });
        };
        let repo = api.repo(self.repo(&self.revision));
        let answer = match tokio::time::timeout(PATIENCE, repo.info()).await {
            Ok(answer) => answer.map_err(|error| self.api_error(&error)),
            Err(_) => {
                Err(self.error(format!("the Hub did not answer within {} s", PATIENCE.as_secs()), true))
            }
        };
        match answer {
            Ok(info) => Ok(Snapshot {
                directory: self.snapshot_directory(&info.sha),
                commit: info.sha,
                files: info.siblings.into_iter().map(|sibling| sibling.rfilename).collect(),
            }),
            Err(error) if error.is_retryable() => {
                let cached = self.cached().ok_or(error)?;
                tracing::warn!(
                    repository = self.id,
                    commit = cached.commit,
                    "the Hub does not answer, taking the cache"
                );
                Ok(cached)
            }
            Err(error) => Err(error),
        }
    }

    fn snapshot_directory(&self, commit: &str) -> PathBuf {
        self.cache.path().join(self.repo(commit).folder_name()).join("snapshots").join(commit)
    }

    /// The snapshot that an earlier download left.
    fn cached(&self) -> Option<Snapshot> {
        let refs = self.cache.path().join(self.repo(&self.revision).folder_name()).join("refs");
        let commit = std::fs::read_to_string(refs.join(&self.revision))
            .map_or_else(|_| self.revision.clone(), |commit| commit.trim().to_owned());
        let directory = self.snapshot_directory(&commit);
        let files = layout::list(&directory).ok()?;
        Some(Snapshot { commit, directory, files })
    }

    /// One file of the snapshot, downloaded unless the cache has it.
    async fn fetch(&self, snapshot: &Snapshot, name: &str) -> Result<PathBuf, DataError> {
        let path = snapshot.directory.join(name);
        for _ in 0..LOCK_ATTEMPTS {
            if path.exists() {
                return Ok(path);
            }
            let Some(api) = &self.api else {
                return Err(
                    self.error(format!("HF_HUB_OFFLINE is set and the cache has no {name} of it"), false)
                );
            };
            tracing::info!(repository = self.id, file = name, "downloading");
            match api.repo(self.repo(&snapshot.commit)).download(name).await {
                Ok(_) => {}
                // Another process of this machine downloads the same file.
                Err(ApiError::LockAcquisition(_)) => tokio::time::sleep(Duration::from_secs(1)).await,
                Err(error) => return Err(self.api_error(&error)),
            }
        }
        Err(self.error(format!("{name} is locked by another download; end that one, or wait for it"), true))
    }

    /// Writes down which commit the revision is, for the days without a network.
    fn remember(&self, snapshot: &Snapshot) -> Result<(), DataError> {
        let written = self.cache.repo(self.repo(&self.revision)).create_ref(&snapshot.commit);
        written.map_err(|error| {
            self.error(format!("cannot write the cache {}: {error}", self.cache.path().display()), true)
        })
    }

    fn api_error(&self, error: &ApiError) -> DataError {
        let what = match self.kind {
            RepoType::Model => "model",
            RepoType::Dataset | RepoType::Space => "data set",
        };
        let (problem, retryable) = match error {
            ApiError::RequestError(request) => match request.status().map(|status| status.as_u16()) {
                Some(code @ (401 | 403)) => (
                    format!(
                        "the Hub refuses it ({code}): it does not exist, or HF_TOKEN must hold a token that may read it"
                    ),
                    false,
                ),
                Some(404) => {
                    (format!("the Hub has no such {what}, or not the revision \"{}\"", self.revision), false)
                }
                Some(code) => (format!("the Hub answers with status {code}"), code == 429 || code >= 500),
                None => (
                    format!("is no directory here, and the Hub cannot be reached ({})", innermost(request)),
                    true,
                ),
            },
            ApiError::IoError(io) => {
                (format!("cannot write the cache {}: {io}", self.cache.path().display()), true)
            }
            other => (format!("the Hub's answer is not understood: {other}"), false),
        };
        self.error(problem, retryable)
    }
}

/// The cause at the bottom, which says more than "error sending request".
fn innermost(error: &dyn std::error::Error) -> String {
    let mut error = error;
    while let Some(source) = error.source() {
        error = source;
    }
    error.to_string()
}

#[cfg(test)]
mod tests;
