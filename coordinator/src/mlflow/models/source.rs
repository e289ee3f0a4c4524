//! A trial's model where its worker published it.

use std::sync::{
    Arc,
    atomic::{AtomicBool, Ordering},
};

use bytes::Bytes;
use distilsweep_proto::{
    hex::hex,
    manifest::{MANIFEST, Manifest, Part},
    storage::{self, Storage},
};
use futures::{StreamExt, stream};
use object_store::{ObjectStore, ObjectStoreExt, path::Path};
use sha2::{Digest, Sha256};
use url::Url;

use crate::{mlflow::error::MlflowError, scheduler::StoredFiles};

/// Published files whose manifest is the recorded one.
pub(super) struct Source {
    store: Arc<dyn ObjectStore>,
    directory: Path,
    url: String,
    manifest: Manifest,
}

/// A file on its way. Its last piece is sent only once all of it has the recorded hash, so that nobody takes another.
pub(super) struct Stream {
    pub(super) body: reqwest::Body,
    /// Set where it is broken off because the file is not the recorded one.
    pub(super) wrong: Arc<AtomicBool>,
}

impl Source {
    /// Reads the manifest.
    ///
    /// # Errors
    /// [`MlflowError::Model`] where the files are gone or others than were recorded, [`MlflowError::Store`] where the
    /// store does not answer.
    pub(super) async fn open(files: &StoredFiles) -> Result<Self, MlflowError> {
        let unusable = |why: String| MlflowError::Model { url: files.url.clone(), why };
        let url = Url::parse(&files.url).map_err(|error| unusable(error.to_string()))?;
        let Storage { store, path: directory, .. } =
            storage::open(&url).map_err(|error| unusable(error.to_string()))?;
        let text = store.get(&directory.clone().join(MANIFEST)).await;
        let text = match text {
            Ok(found) => found.bytes().await,
            Err(error) => Err(error),
        };
        let text = text.map_err(|error| failed(&files.url, MANIFEST, error))?;
        if hex(&Sha256::digest(&text)) != files.manifest_sha256 {
            return Err(unusable(format!("its {MANIFEST} is not the one that was recorded")));
        }
        let manifest = serde_json::from_slice(&text).map_err(|error| unusable(error.to_string()))?;
        Ok(Self { store, directory, url: files.url.clone(), manifest })
    }

    /// A file by its name.
    ///
    /// # Errors
    /// [`MlflowError::Model`] where the worker published none.
    pub(super) fn part(&self, name: &str) -> Result<&Part, MlflowError> {
        self.manifest
            .parts
            .iter()
            .find(|part| part.name == name)
            .ok_or_else(|| MlflowError::Model { url: self.url.clone(), why: format!("it has no {name}") })
    }

    /// Bytes of all files.
    pub(super) fn bytes(&self) -> u64 {
        self.manifest.parts.iter().map(|part| part.bytes).sum()
    }

    /// A file as a request's body, a piece in memory at a time.
    ///
    /// # Errors
    /// As [`Source::open`].
    pub(super) async fn stream(&self, part: &Part) -> Result<Stream, MlflowError> {
        let found = self.store.get(&self.directory.clone().join(part.name.as_str())).await;
        let found = found.map_err(|error| failed(&self.url, &part.name, error))?;
        if found.meta.size != part.bytes {
            return Err(self.other(part));
        }
        let wrong = Arc::new(AtomicBool::new(false));
        let pieces = Pieces {
            from: found.into_stream(),
            held: None,
            hash: Sha256::new(),
            expected: part.sha256.clone(),
            wrong: Arc::clone(&wrong),
        };
        let body = stream::try_unfold(pieces, |mut pieces| async move {
            Ok::<_, std::io::Error>(pieces.next().await?.map(|piece| (piece, pieces)))
        });
        Ok(Stream { body: reqwest::Body::wrap_stream(body), wrong })
    }

    /// What to say of a file that is not the recorded one.
    pub(super) fn other(&self, part: &Part) -> MlflowError {
        let why = format!("its {} is not the file that was recorded", part.name);
        MlflowError::Model { url: self.url.clone(), why }
    }
}

/// A file's pieces, one held back.
struct Pieces {
    from: stream::BoxStream<'static, Result<Bytes, object_store::Error>>,
    held: Option<Bytes>,
    hash: Sha256,
    expected: String,
    wrong: Arc<AtomicBool>,
}

impl Pieces {
    async fn next(&mut self) -> Result<Option<Bytes>, std::io::Error> {
        loop {
            match self.from.next().await {
                Some(piece) => {
                    let piece = piece.map_err(std::io::Error::other)?;
                    self.hash.update(&piece);
                    if let Some(before) = self.held.replace(piece) {
                        return Ok(Some(before));
                    }
                }
                None => {
                    let Some(last) = self.held.take() else { return Ok(None) };
                    let hash = std::mem::take(&mut self.hash).finalize();
                    if hex(&hash) == self.expected {
                        return Ok(Some(last));
                    }
                    self.wrong.store(true, Ordering::Relaxed);
                    return Err(std::io::Error::other("the file is not the recorded one"));
                }
            }
        }
    }
}

fn failed(url: &str, name: &str, error: object_store::Error) -> MlflowError {
    let url = url.to_owned();
    match error {
        object_store::Error::NotFound { .. } => {
            MlflowError::Model { url, why: format!("its {name} is gone") }
        }
        other => MlflowError::Store { url, name: name.to_owned(), cause: other.to_string() },
    }
}
