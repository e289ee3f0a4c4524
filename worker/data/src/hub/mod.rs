//! The Hugging Face Hub: models and data sets by their ids, in the cache that Python programs share.
//!
//! Environment: `HF_HOME`, `HF_HUB_CACHE`, `HF_ENDPOINT`, `HF_TOKEN`, `HF_TOKEN_PATH` and `HF_HUB_OFFLINE`, as
//! `huggingface_hub` reads them.

mod cache;
mod client;
mod download;
mod model;
mod repository;
mod settings;
mod wire;

use std::{
    path::{Path, PathBuf},
    sync::{Arc, OnceLock},
};

use distilsweep_proto::dataset::{DatasetSource, DatasetSpec};

use self::{client::Client, repository::Repository};
use crate::{
    DataError, excerpt,
    layout::{self, Chosen},
    listing,
};

pub use settings::Settings;
pub use wire::{RepoFile, RepoInfo, Safetensors};

/// What a repository holds.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Kind {
    /// A checkpoint.
    Model,
    /// Rows.
    Dataset,
}

impl Kind {
    /// In addresses of the API.
    fn plural(self) -> &'static str {
        match self {
            Self::Model => "models",
            Self::Dataset => "datasets",
        }
    }

    /// Before an id in addresses of files and pages.
    fn prefix(self) -> &'static str {
        match self {
            Self::Model => "",
            Self::Dataset => "datasets/",
        }
    }

    /// In sentences.
    fn word(self) -> &'static str {
        match self {
            Self::Model => "model",
            Self::Dataset => "data set",
        }
    }
}

/// How far a download has come.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct Progress<'a> {
    /// Of which repository.
    pub repository: &'a str,
    /// Of which of its files.
    pub file: &'a str,
    /// Bytes that are there.
    pub done: u64,
    /// Bytes that there will be; none where the Hub does not say.
    pub bytes: Option<u64>,
}

/// Somebody who looks on.
type Watch = Arc<dyn Fn(Progress<'_>) + Send + Sync>;

/// The Hub and its cache.
#[derive(Clone)]
pub struct Hub {
    settings: Settings,
    /// Made when the Hub is first asked: who reads directories has no use for it.
    client: Arc<OnceLock<Client>>,
    watch: Watch,
}

/// A repository's files at one commit, as far as they are in the cache.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Snapshot {
    /// The commit; none for a directory that is no repository.
    pub commit: Option<String>,
    /// Its licence, where the Hub was asked and knows it.
    pub license: Option<String>,
    /// Where the files are.
    pub directory: PathBuf,
    /// Paths of all its files, with `/` between folders; those not asked for may not be there.
    pub files: Vec<String>,
}

impl Snapshot {
    /// All files of a directory; none where there is no such directory.
    fn of_directory(directory: &Path) -> Result<Option<Self>, DataError> {
        if !directory.is_dir() {
            return Ok(None);
        }
        let files = listing::list(directory)?;
        Ok(Some(Self { commit: None, license: None, directory: directory.to_owned(), files }))
    }

    pub(crate) fn has(&self, name: &str) -> bool {
        self.files.iter().any(|file| file == name)
    }
}

impl Hub {
    /// The one that the environment names.
    pub fn from_environment() -> Self {
        Self::new(Settings::from_environment())
    }

    /// The one of these settings.
    pub fn new(settings: Settings) -> Self {
        Self { settings, client: Arc::default(), watch: Arc::new(|_| {}) }
    }

    fn client(&self) -> Result<&Client, DataError> {
        if let Some(client) = self.client.get() {
            return Ok(client);
        }
        let client = Client::new(&self.settings)?;
        Ok(self.client.get_or_init(|| client))
    }

    /// The same, with somebody who looks on while files come.
    pub fn watched(self, watch: impl Fn(Progress<'_>) + Send + Sync + 'static) -> Self {
        Self { watch: Arc::new(watch), ..self }
    }

    /// Whether a repository can be called so.
    pub(crate) fn is_id(id: &str) -> bool {
        let is_name = |part: &str| {
            !part.is_empty()
                && part.chars().all(|c| c.is_ascii_alphanumeric() || matches!(c, '-' | '_' | '.'))
        };
        id.split('/').count() <= 2 && !id.starts_with('.') && id.split('/').all(is_name)
    }

    /// A repository as it stands, of which no file is fetched. Blocks.
    pub(crate) fn stand(&self, kind: Kind, id: &str, revision: Option<&str>) -> Result<Snapshot, DataError> {
        block_on(async { Repository::new(self, kind, id, revision)?.snapshot().await })
    }

    /// The page of a repository.
    pub fn page(&self, kind: Kind, id: &str) -> String {
        format!("{}/{}{id}", self.settings.endpoint, kind.prefix())
    }

    /// Which files of a data set would be read as which split, in a sentence, or why none. Blocks.
    ///
    /// # Errors
    /// A sentence that says why it cannot be read.
    pub fn splits(&self, id: &str, revision: Option<&str>, config: Option<&str>) -> Result<String, String> {
        let spec = DatasetSpec::of(DatasetSource::Id {
            id: id.to_owned(),
            config: config.map(str::to_owned),
            revision: revision.map(str::to_owned),
        });
        let chosen = block_on(async {
            let repository = Repository::new(self, Kind::Dataset, id, revision)?;
            let found = repository.snapshot().await?;
            let card = repository.card(&found).await?;
            Ok(layout::choose(&found.files, &card, &spec))
        })
        .map_err(|error| error.to_string())??;
        let splits = [
            ("train", &chosen.splits.train),
            ("validation", &chosen.splits.validation),
            ("test", &chosen.splits.test),
        ];
        let named = |(name, files): (&str, &Vec<String>)| match &files[..] {
            [] => None,
            [one] => Some(format!("{name} {}", excerpt(one))),
            several => Some(format!("{name} {} and {} more", excerpt(&several[0]), several.len() - 1)),
        };
        let config =
            chosen.config.map_or_else(String::new, |config| format!("configuration {}: ", excerpt(&config)));
        Ok(format!("{config}{}", splits.into_iter().filter_map(named).collect::<Vec<_>>().join(", ")))
    }

    /// The repository `id` with the files that `spec` chooses of it, which are downloaded. Blocks.
    ///
    /// # Errors
    /// There is no such repository, it has no training rows, or the Hub cannot be reached.
    pub(crate) fn dataset(
        &self,
        id: &str,
        revision: Option<&str>,
        spec: &DatasetSpec,
    ) -> Result<(Snapshot, Chosen), DataError> {
        block_on(async {
            let repository = Repository::new(self, Kind::Dataset, id, revision)?;
            let found = repository.snapshot().await?;
            let card = repository.card(&found).await?;
            let chosen = layout::choose(&found.files, &card, spec)
                .map_err(|problem| repository.asked().error(problem, false))?;
            for name in chosen.splits.files() {
                repository.fetch(&found, name).await?;
            }
            repository.remember(&found)?;
            Ok((found, chosen))
        })
    }

    /// What the Hub says of a repository. Blocks.
    ///
    /// # Errors
    /// There is none, or the Hub cannot be reached.
    pub fn info(&self, kind: Kind, id: &str, revision: Option<&str>) -> Result<RepoInfo, DataError> {
        block_on(async {
            let repository = Repository::new(self, kind, id, revision)?;
            repository.online()?;
            self.client()?.info(repository.asked()).await
        })
    }

    /// Repositories that fit a query of the Hub's API, at most `limit`. Blocks.
    ///
    /// # Errors
    /// The Hub cannot be reached.
    pub fn list(
        &self,
        kind: Kind,
        query: &[(&str, String)],
        limit: usize,
    ) -> Result<Vec<RepoInfo>, DataError> {
        block_on(async {
            if self.settings.offline {
                return Err(DataError::Hub {
                    repository: "the Hub".to_owned(),
                    problem: "cannot be searched while HF_HUB_OFFLINE is set; unset it".to_owned(),
                    retryable: false,
                });
            }
            self.client()?.list(kind, query, limit).await
        })
    }
}

impl std::fmt::Debug for Hub {
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        f.debug_struct("Hub").field("settings", &self.settings).finish_non_exhaustive()
    }
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
