//! A trial's model where its worker published it, read so that nobody takes another for it: by the manifest whose hash was
//! recorded with the result, and each file by the hash in the manifest.

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
use futures::{
    StreamExt,
    stream::{self, BoxStream},
};
use object_store::{ObjectStore, ObjectStoreExt, path::Path};
use sha2::{Digest, Sha256};
use url::Url;

use crate::scheduler::StoredFiles;

/// Why published files cannot be taken.
#[derive(Clone, Debug, PartialEq, Eq, thiserror::Error)]
pub enum PublishedError {
    /// They are not there any more, or not here.
    #[error("its {name} is gone")]
    Gone {
        /// Which file.
        name: String,
    },
    /// They are not what was recorded.
    #[error("{0}")]
    Other(String),
    /// The store does not answer.
    #[error("{name} cannot be read: {cause}")]
    Unreadable {
        /// Which file.
        name: String,
        /// Why.
        cause: String,
    },
}

/// Published files whose manifest is the recorded one.
#[derive(Debug)]
pub struct Published {
    store: Arc<dyn ObjectStore>,
    directory: Path,
    manifest: Manifest,
}

/// A file on its way. Its last piece comes only once all of it has the recorded hash, so that nobody takes another.
pub struct Pieces {
    /// The pieces.
    pub stream: BoxStream<'static, Result<Bytes, std::io::Error>>,
    /// Set where it is broken off because the file is not the recorded one.
    pub wrong: Arc<AtomicBool>,
}

impl Published {
    /// Reads the manifest.
    ///
    /// # Errors
    /// [`PublishedError`].
    pub async fn open(files: &StoredFiles) -> Result<Self, PublishedError> {
        let url = Url::parse(&files.url).map_err(|error| PublishedError::Other(error.to_string()))?;
        let Storage { store, path: directory, .. } =
            storage::open(&url).map_err(|error| PublishedError::Other(error.to_string()))?;
        let text = store.get(&directory.clone().join(MANIFEST)).await;
        let text = match text {
            Ok(found) => found.bytes().await,
            Err(error) => Err(error),
        };
        let text = text.map_err(|error| failed(MANIFEST, error))?;
        if hex(&Sha256::digest(&text)) != files.manifest_sha256 {
            return Err(other(MANIFEST));
        }
        let manifest: Manifest =
            serde_json::from_slice(&text).map_err(|error| PublishedError::Other(error.to_string()))?;
        // A worker wrote it: none of its names may lead out of a directory.
        let plain = |name: &str| !name.is_empty() && !name.starts_with('.') && !name.contains(['/', '\\']);
        if let Some(part) = manifest.parts.iter().find(|part| !plain(&part.name)) {
            let why = format!("its {MANIFEST} has a file `{}`, which is no plain name", part.name);
            return Err(PublishedError::Other(why));
        }
        Ok(Self { store, directory, manifest })
    }

    /// All files.
    pub fn parts(&self) -> &[Part] {
        &self.manifest.parts
    }

    /// Whether the worker published a file of this name.
    pub fn has(&self, name: &str) -> bool {
        self.manifest.parts.iter().any(|part| part.name == name)
    }

    /// A file by its name.
    ///
    /// # Errors
    /// Where the worker published none.
    pub fn part(&self, name: &str) -> Result<&Part, PublishedError> {
        let found = self.manifest.parts.iter().find(|part| part.name == name);
        found.ok_or_else(|| PublishedError::Other(format!("it has no {name}")))
    }

    /// Bytes of all files.
    pub fn bytes(&self) -> u64 {
        self.manifest.parts.iter().map(|part| part.bytes).sum()
    }

    /// A file, a piece in memory at a time.
    ///
    /// # Errors
    /// As [`Published::open`].
    pub async fn pieces(&self, part: &Part) -> Result<Pieces, PublishedError> {
        let found = self.store.get(&self.directory.clone().join(part.name.as_str())).await;
        let found = found.map_err(|error| failed(&part.name, error))?;
        if found.meta.size != part.bytes {
            return Err(other(&part.name));
        }
        let wrong = Arc::new(AtomicBool::new(false));
        let held_back = HeldBack {
            from: found.into_stream(),
            held: None,
            hash: Sha256::new(),
            expected: part.sha256.clone(),
            wrong: Arc::clone(&wrong),
        };
        let stream = stream::try_unfold(held_back, |mut pieces| async move {
            Ok::<_, std::io::Error>(pieces.next().await?.map(|piece| (piece, pieces)))
        });
        Ok(Pieces { stream: stream.boxed(), wrong })
    }
}

/// What to say of a file that is not the recorded one.
pub fn other(name: &str) -> PublishedError {
    PublishedError::Other(format!("its {name} is not the file that was recorded"))
}

/// A file's pieces, one held back.
struct HeldBack {
    from: BoxStream<'static, Result<Bytes, object_store::Error>>,
    held: Option<Bytes>,
    hash: Sha256,
    expected: String,
    wrong: Arc<AtomicBool>,
}

impl HeldBack {
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

fn failed(name: &str, error: object_store::Error) -> PublishedError {
    let name = name.to_owned();
    match error {
        object_store::Error::NotFound { .. } => PublishedError::Gone { name },
        other => PublishedError::Unreadable { name, cause: other.to_string() },
    }
}
