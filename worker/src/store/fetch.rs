//! Fetching a checkpoint: the one that the coordinator accepted last, or an older one where that is not sound.

use std::{
    fs::File,
    io::{self, Write},
    path::{Path, PathBuf},
};

use distilsweep_proto::ids::{Lease, TrialId};
use futures::TryStreamExt;
use object_store::{ObjectStoreExt, path::Path as StorePath};
use sha2::{Digest, Sha256};
use tempfile::TempDir;

use super::{Found, Kind, MANIFEST, Manifest, Part, StoreError, TrialFiles, blocking, hex};
use crate::wire::Published;

/// Sound checkpoints that a trainer is handed at most: it may refuse the first for what is in it.
const CANDIDATES: usize = 2;

/// Why a published checkpoint is not used.
#[derive(Debug, thiserror::Error)]
pub enum Refused {
    /// No manifest, so nothing was published.
    #[error("{url} has no {MANIFEST}")]
    NoManifest {
        /// The directory.
        url: String,
    },
    /// The manifest is another than the one that was reported.
    #[error("{url}/{MANIFEST} has SHA-256 {found}, the coordinator knows it with {expected}")]
    OtherManifest {
        /// The directory.
        url: String,
        /// As reported.
        expected: String,
        /// As read.
        found: String,
    },
    /// The manifest is none.
    #[error("{url}/{MANIFEST} cannot be read: {problem}")]
    Manifest {
        /// The directory.
        url: String,
        /// What is wrong with it.
        problem: String,
    },
    /// The files are another trial's.
    #[error("{url} is of trial {found}, not of {trial}")]
    Foreign {
        /// The directory.
        url: String,
        /// Whose it is.
        found: TrialId,
        /// Whose it should be.
        trial: TrialId,
    },
    /// A part is not there.
    #[error("part {name} of {url} is missing")]
    Missing {
        /// Which part.
        name: String,
        /// Of which directory.
        url: String,
    },
    /// A part is not as it was written.
    #[error("part {name} of {url} has {found}, its manifest says {expected}")]
    Torn {
        /// Which part.
        name: String,
        /// Of which directory.
        url: String,
        /// Size or hash as read.
        found: String,
        /// The same as written.
        expected: String,
    },
    /// The store or this machine's disk is at fault, not the checkpoint.
    #[error(transparent)]
    Store(#[from] StoreError),
}

/// Checkpoints of one trial on this machine, gone with the value.
#[derive(Debug, Default)]
pub struct Resume {
    /// Their directories, the best first.
    pub directories: Vec<PathBuf>,
    _scratch: Option<TempDir>,
}

/// Fetches what a trial goes on from into `scratch`: the accepted checkpoint where it is sound, and the newest others of
/// no more steps. None of more steps is taken, for the points up to it need not be recorded; nor any where none was
/// accepted. What is refused is logged with the reason.
///
/// # Errors
/// Where `scratch` cannot be written to.
pub async fn resume(
    store_url: &str,
    lease: &Lease,
    accepted: Option<&Published>,
    scratch: &Path,
) -> Result<Resume, StoreError> {
    let Some(accepted) = accepted else { return Ok(Resume::default()) };
    let files = TrialFiles::open(store_url, &lease.trial)?;
    let mut candidates = vec![Candidate::accepted(&files, accepted)];
    match files.checkpoints().await {
        Ok(found) => candidates.extend(older(&files, found, accepted)),
        Err(error) => tracing::warn!(%lease, %error, "older checkpoints cannot be looked for"),
    }
    files.sound(candidates, scratch).await
}

/// A checkpoint that may be one.
pub(super) struct Candidate {
    path: StorePath,
    url: String,
    pub(super) step: u64,
    /// SHA-256 of its manifest, where somebody knows.
    manifest_sha256: Option<String>,
}

impl Candidate {
    pub(super) fn accepted(files: &TrialFiles, accepted: &Published) -> Self {
        // Under another store than today's it is not found, and the newest that was copied along is taken.
        let name = accepted.url.strip_prefix(&files.url).unwrap_or_default().trim_matches('/');
        let (path, _) = files.below(name);
        Self {
            path,
            url: accepted.url.clone(),
            step: accepted.step,
            manifest_sha256: Some(accepted.manifest_sha256.clone()),
        }
    }
}

/// Those of no more steps than the accepted one, newest first.
pub(super) fn older<'a>(
    files: &'a TrialFiles,
    mut found: Vec<Found>,
    accepted: &'a Published,
) -> impl Iterator<Item = Candidate> + 'a {
    found.retain(|found| found.published && found.step <= accepted.step);
    found.sort_by_key(|found| std::cmp::Reverse((found.step, found.term)));
    found.into_iter().filter_map(|Found { step, term, .. }| {
        let (path, url) = files.below(&TrialFiles::name(Kind::Checkpoint, term, step));
        (url != accepted.url).then_some(Candidate { path, url, step, manifest_sha256: None })
    })
}

impl TrialFiles {
    /// Fetches the newest checkpoints into `scratch`, for a trial that nobody else keeps the record of.
    ///
    /// # Errors
    /// Where the store cannot be listed or `scratch` not be written to.
    pub async fn newest(&self, scratch: &Path) -> Result<Resume, StoreError> {
        let mut found = self.checkpoints().await?;
        found.retain(|found| found.published);
        found.sort_by_key(|found| std::cmp::Reverse((found.step, found.term)));
        let candidates = found.into_iter().map(|Found { step, term, .. }| {
            let (path, url) = self.below(&Self::name(Kind::Checkpoint, term, step));
            Candidate { path, url, step, manifest_sha256: None }
        });
        self.sound(candidates.collect(), scratch).await
    }

    /// Fetches the first of `candidates` that are sound.
    async fn sound(&self, candidates: Vec<Candidate>, scratch: &Path) -> Result<Resume, StoreError> {
        let directory = std::fs::create_dir_all(scratch)
            .and_then(|()| tempfile::tempdir_in(scratch))
            .map_err(|source| unusable(scratch, source))?;
        let trial = &self.trial;
        let mut sound = Vec::new();
        for (number, candidate) in candidates.iter().enumerate() {
            if sound.len() == CANDIDATES {
                break;
            }
            let into = directory.path().join(number.to_string());
            match self.fetch(candidate, &into).await {
                Ok(()) => {
                    tracing::debug!(%trial, step = candidate.step, from = candidate.url, "checkpoint fetched");
                    sound.push(into);
                }
                Err(why) => tracing::warn!(%trial, step = candidate.step, %why, "checkpoint refused"),
            }
        }
        if sound.is_empty() && !candidates.is_empty() {
            tracing::warn!(%trial, "no sound checkpoint, beginning again");
        }
        Ok(Resume { directories: sound, _scratch: Some(directory) })
    }

    /// Fetches a checkpoint into a new directory, checking every byte of it.
    pub(super) async fn fetch(&self, from: &Candidate, into: &Path) -> Result<(), Refused> {
        let url = &from.url;
        let text = match self.store.get(&from.path.clone().join(MANIFEST)).await {
            Ok(got) => got.bytes().await.map_err(|source| self.failed(MANIFEST, source))?,
            Err(object_store::Error::NotFound { .. }) => {
                return Err(Refused::NoManifest { url: url.clone() });
            }
            Err(source) => return Err(self.failed(MANIFEST, source).into()),
        };
        let found = hex(&Sha256::digest(&text));
        if let Some(expected) = from.manifest_sha256.as_ref().filter(|expected| **expected != found) {
            return Err(Refused::OtherManifest { url: url.clone(), expected: expected.clone(), found });
        }
        let manifest: Manifest = serde_json::from_slice(&text)
            .map_err(|error| Refused::Manifest { url: url.clone(), problem: error.to_string() })?;
        if manifest.lease.trial != self.trial {
            let (found, trial) = (manifest.lease.trial, self.trial.clone());
            return Err(Refused::Foreign { url: url.clone(), found, trial });
        }
        let directory = into.to_owned();
        blocking(move || std::fs::create_dir(&directory)).await.map_err(|error| unusable(into, error))?;
        for part in &manifest.parts {
            self.fetch_part(part, from, into).await?;
        }
        Ok(())
    }

    async fn fetch_part(&self, part: &Part, from: &Candidate, into: &Path) -> Result<(), Refused> {
        let (name, url) = (part.name.clone(), from.url.clone());
        // A manifest is another process's word: it must not name files outside.
        if Path::new(&name).file_name() != Some(name.as_ref()) {
            return Err(Refused::Manifest { url, problem: format!("part `{name}` is no file name") });
        }
        let got = match self.store.get(&from.path.clone().join(name.as_str())).await {
            Ok(got) => got,
            Err(object_store::Error::NotFound { .. }) => return Err(Refused::Missing { name, url }),
            Err(source) => return Err(self.failed(name, source).into()),
        };
        let torn = |found: String, expected: String| Refused::Torn {
            name: name.clone(),
            url: url.clone(),
            found,
            expected,
        };
        if got.meta.size != part.bytes {
            return Err(torn(format!("{} bytes", got.meta.size), format!("{}", part.bytes)));
        }
        let path = into.join(&name);
        let to = path.clone();
        let mut file =
            blocking(move || File::create_new(&to)).await.map_err(|error| unusable(&path, error))?;
        let mut sha256 = Sha256::new();
        let mut pieces = got.into_stream();
        while let Some(piece) =
            pieces.try_next().await.map_err(|source| self.failed(name.as_str(), source))?
        {
            sha256.update(&piece);
            file = blocking(move || file.write_all(&piece).map(|()| file))
                .await
                .map_err(|error| unusable(&path, error))?;
        }
        let found = hex(&sha256.finalize());
        if found != part.sha256 {
            return Err(torn(format!("SHA-256 {found}"), part.sha256.clone()));
        }
        Ok(())
    }
}

fn unusable(path: &Path, source: io::Error) -> StoreError {
    StoreError::File { path: path.to_owned(), source }
}
