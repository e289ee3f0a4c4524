//! A trial's published files behind a URL: models and checkpoints, each a directory of parts under one manifest.
//!
//! Parts come first, then the manifest that names each with its hash, created and never overwritten. Readers look for
//! the manifest alone, so files without one do not exist for them, and believe no part whose hash differs. Nothing
//! relies on renaming or on what a store calls a directory. All of it survives the process; what a killed process left
//! half written is removed with the trial's other checkpoints.
//!
//! ```text
//! STORE/SWEEP/TRIAL/TERM/STEP/               a model
//! STORE/SWEEP/TRIAL/TERM/checkpoint-STEP/    a state to go on from
//! ```

mod fetch;
mod publish;
mod tidy;

use std::{path::PathBuf, sync::Arc};

use distilsweep_proto::{
    hex::hex,
    ids::{Term, TrialId},
    manifest::{CHECKPOINT, MANIFEST, Manifest, Part},
    storage::{self, Storage},
};
use futures::{StreamExt, TryStreamExt};
use object_store::{ObjectMeta, ObjectStore, path::Path as StorePath};
use url::Url;

pub use fetch::{Refused, Resume, resume};

/// What is published.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Kind {
    /// The best evaluation's weights.
    Model,
    /// A state to go on from.
    Checkpoint,
}

/// Why a store cannot be used; trying again may help.
#[derive(Debug, thiserror::Error)]
pub enum StoreError {
    /// The URL is none that files can go to.
    #[error("store URL {url}: {problem}")]
    Url {
        /// As given.
        url: String,
        /// What is wrong with it.
        problem: String,
    },
    /// A file of this machine cannot be read or written.
    #[error("{path} cannot be used: {source}")]
    File {
        /// Which one.
        path: PathBuf,
        /// Why.
        source: std::io::Error,
    },
    /// The store said no.
    #[error("{name} in {url}: {source}")]
    Store {
        /// Which part.
        name: String,
        /// In which directory.
        url: String,
        /// Why.
        source: object_store::Error,
    },
}

/// The directory of one trial.
#[derive(Clone, Debug)]
pub struct TrialFiles {
    store: Arc<dyn ObjectStore>,
    directory: StorePath,
    url: String,
    trial: TrialId,
    /// The same directory as a path, where the store is this machine's.
    local: Option<PathBuf>,
}

/// A checkpoint's directory as it was listed.
#[derive(Clone, Debug, PartialEq, Eq)]
struct Found {
    step: u64,
    term: Term,
    /// Whether its manifest is there.
    published: bool,
    /// Its files, the manifest among them.
    files: Vec<StorePath>,
}

impl TrialFiles {
    /// The directory of `trial` under a store.
    ///
    /// # Errors
    /// [`StoreError::Url`] where it is no URL of a store.
    pub fn open(store_url: &str, trial: &TrialId) -> Result<Self, StoreError> {
        let problem = |problem: String| StoreError::Url { url: store_url.to_owned(), problem };
        let base = Url::parse(store_url).map_err(|error| problem(error.to_string()))?;
        let Storage { store, path, local } =
            storage::open(&base).map_err(|error| problem(error.to_string()))?;
        let index = trial.index.to_string();
        let directory = path.join(trial.sweep.as_str()).join(index.as_str());
        let local = local.map(|local| local.join(trial.sweep.as_str()).join(&index));
        let url = format!("{}/{}/{index}", store_url.trim_end_matches('/'), trial.sweep);
        let trial = trial.clone();
        Ok(Self { store, directory, url, trial, local })
    }

    /// The next term of a trial that nobody gives terms to: above that of every checkpoint there.
    ///
    /// # Errors
    /// Where the store cannot be listed.
    pub async fn next_term(&self) -> Result<Term, StoreError> {
        let found = self.checkpoints().await?;
        Ok(Term(found.iter().map(|found| found.term.0).max().unwrap_or(0) + 1))
    }

    fn name(kind: Kind, term: Term, step: u64) -> String {
        match kind {
            Kind::Model => format!("{}/{step}", term.0),
            Kind::Checkpoint => format!("{}/{CHECKPOINT}{step}", term.0),
        }
    }

    /// A directory below the trial's, by its name from [`Self::name`].
    fn below(&self, name: &str) -> (StorePath, String) {
        let path = name.split('/').fold(self.directory.clone(), |path, segment| path.join(segment));
        (path, format!("{}/{name}", self.url))
    }

    /// All checkpoints of the trial, torn ones included, in no order.
    async fn checkpoints(&self) -> Result<Vec<Found>, StoreError> {
        let listed: Vec<ObjectMeta> = self
            .store
            .list(Some(&self.directory))
            .map(|object| object)
            .try_collect()
            .await
            .map_err(|source| self.failed("the list of files", source))?;
        let mut found: Vec<Found> = Vec::new();
        for object in listed {
            let Some((term, step, name)) = self.place(&object.location) else { continue };
            let published = name == MANIFEST;
            match found.iter_mut().find(|known| (known.term, known.step) == (term, step)) {
                Some(known) => {
                    known.published |= published;
                    known.files.push(object.location);
                }
                None => found.push(Found { step, term, published, files: vec![object.location] }),
            }
        }
        Ok(found)
    }

    /// Term, step and name of a checkpoint's file; nothing for another's.
    fn place(&self, location: &StorePath) -> Option<(Term, u64, String)> {
        let parts: Vec<String> =
            location.prefix_match(&self.directory)?.map(|part| part.as_ref().to_owned()).collect();
        let [term, directory, name] = parts.try_into().ok()?;
        let step = directory.strip_prefix(CHECKPOINT)?.parse().ok()?;
        Some((Term(term.parse().ok()?), step, name))
    }

    fn failed(&self, name: impl Into<String>, source: object_store::Error) -> StoreError {
        StoreError::Store { name: name.into(), url: self.url.clone(), source }
    }
}

/// Runs blocking file work and waits for it, off the thread that keeps the connection.
pub(crate) async fn blocking<T: Send + 'static>(work: impl FnOnce() -> T + Send + 'static) -> T {
    match tokio::task::spawn_blocking(work).await {
        Ok(done) => done,
        Err(error) => std::panic::resume_unwind(error.into_panic()),
    }
}

#[cfg(test)]
mod tests;
