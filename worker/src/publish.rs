//! Publishing a trial's files at a URL: parts first, then a manifest that names each with its hash. Readers look for
//! the manifest alone, so files without one do not exist for them. Nothing relies on renaming.

use std::path::{Path, PathBuf};

use distilsweep_proto::ids::Lease;
use object_store::{ObjectStore, PutMode, PutPayload, path::Path as StorePath};
use serde::{Deserialize, Serialize};
use sha2::{Digest, Sha256};
use url::Url;

use crate::wire::Published;

/// Name of the manifest beside the parts.
pub const MANIFEST: &str = "manifest.json";

/// What the manifest says.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
pub struct Manifest {
    /// The lease that the files were made under.
    pub lease: Lease,
    /// Optimizer steps behind them.
    pub step: u64,
    /// Every file, by name.
    pub parts: Vec<Part>,
}

/// One file.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
pub struct Part {
    /// Name in the directory.
    pub name: String,
    /// Its size.
    pub bytes: u64,
    /// SHA-256 in hexadecimal.
    pub sha256: String,
}

/// Why files could not be published; trying again may help.
#[derive(Debug, thiserror::Error)]
pub enum PublishError {
    /// The URL is none that files can go to.
    #[error("store URL {url}: {problem}")]
    Url {
        /// As given.
        url: String,
        /// What is wrong with it.
        problem: String,
    },
    /// A file that was just written cannot be read.
    #[error("{path} cannot be read: {source}")]
    Read {
        /// Which one.
        path: PathBuf,
        /// Why.
        source: std::io::Error,
    },
    /// The store said no.
    #[error("{name} could not be written to {url}: {source}")]
    Store {
        /// Which part.
        name: String,
        /// Where to.
        url: String,
        /// Why.
        source: object_store::Error,
    },
}

/// Publishes the files of `directory` as `<store>/<sweep>/<trial>/<term>/<step>/` and answers where they are.
///
/// # Errors
/// Where the store cannot be written to; what arrived without a manifest is as good as absent.
pub async fn publish(
    store_url: &str,
    lease: &Lease,
    step: u64,
    directory: &Path,
) -> Result<Published, PublishError> {
    let url_error = |problem: String| PublishError::Url { url: store_url.to_owned(), problem };
    let base = Url::parse(store_url).map_err(|error| url_error(error.to_string()))?;
    let (store, prefix) = object_store::parse_url(&base).map_err(|error| url_error(error.to_string()))?;
    let under = format!("{}/{}/{}/{step}", lease.trial.sweep, lease.trial.index, lease.term.0);
    let url = format!("{}/{under}", store_url.trim_end_matches('/'));
    let directory_in_store = under.split('/').fold(prefix, |path, segment| path.join(segment.to_owned()));

    let mut manifest = Manifest { lease: lease.clone(), step, parts: Vec::new() };
    for path in files(directory)? {
        let bytes =
            std::fs::read(&path).map_err(|source| PublishError::Read { path: path.clone(), source })?;
        let name = path.file_name().unwrap_or_default().to_string_lossy().into_owned();
        manifest.parts.push(Part {
            name: name.clone(),
            bytes: bytes.len() as u64,
            sha256: hex(&Sha256::digest(&bytes)),
        });
        let to = directory_in_store.clone().join(name.clone());
        put(&*store, &to, bytes, PutMode::Overwrite).await.map_err(|source| PublishError::Store {
            name,
            url: url.clone(),
            source,
        })?;
    }
    let text = serde_json::to_vec_pretty(&manifest).map_err(|error| url_error(error.to_string()))?;
    let manifest_sha256 = hex(&Sha256::digest(&text));
    let to = directory_in_store.join(MANIFEST);
    match put(&*store, &to, text, PutMode::Create).await {
        // There already: the same lease published it, and its acknowledgement was lost.
        Ok(()) | Err(object_store::Error::AlreadyExists { .. }) => {}
        Err(source) => return Err(PublishError::Store { name: MANIFEST.to_owned(), url, source }),
    }
    Ok(Published { url, step, manifest_sha256 })
}

async fn put(
    store: &dyn ObjectStore,
    to: &StorePath,
    bytes: Vec<u8>,
    mode: PutMode,
) -> Result<(), object_store::Error> {
    store.put_opts(to, PutPayload::from(bytes), mode.into()).await.map(|_| ())
}

/// The files of a directory, by name.
fn files(directory: &Path) -> Result<Vec<PathBuf>, PublishError> {
    let read = || -> std::io::Result<Vec<PathBuf>> {
        let mut paths: Vec<PathBuf> =
            std::fs::read_dir(directory)?.map(|entry| entry.map(|e| e.path())).collect::<Result<_, _>>()?;
        paths.sort();
        Ok(paths)
    };
    read().map_err(|source| PublishError::Read { path: directory.to_owned(), source })
}

fn hex(bytes: &[u8]) -> String {
    bytes.iter().map(|byte| format!("{byte:02x}")).collect()
}

#[cfg(test)]
mod tests {
    use distilsweep_proto::ids::{SweepId, Term, TrialId};

    use super::*;

    fn lease() -> Lease {
        Lease { trial: TrialId { sweep: SweepId::new("s-1"), index: 4 }, attempt: 1, term: Term(9) }
    }

    #[tokio::test]
    async fn files_are_published_with_a_manifest_that_names_their_hashes() {
        let (from, to) = (tempfile::tempdir().unwrap(), tempfile::tempdir().unwrap());
        std::fs::write(from.path().join("config.json"), "{}").unwrap();
        let store = Url::from_directory_path(to.path()).unwrap();
        let published = publish(store.as_str(), &lease(), 100, from.path()).await.unwrap();
        let directory = Url::parse(&published.url).unwrap().to_file_path().unwrap();
        assert_eq!(directory, to.path().join("s-1/4/9/100"));
        assert_eq!(std::fs::read_to_string(directory.join("config.json")).unwrap(), "{}");
        let text = std::fs::read(directory.join(MANIFEST)).unwrap();
        assert_eq!(hex(&Sha256::digest(&text)), published.manifest_sha256);
        let manifest: Manifest = serde_json::from_slice(&text).unwrap();
        assert_eq!(manifest.parts[0].sha256, hex(&Sha256::digest(b"{}")));
    }

    #[tokio::test]
    async fn publishing_again_under_the_same_lease_changes_nothing() {
        let (from, to) = (tempfile::tempdir().unwrap(), tempfile::tempdir().unwrap());
        std::fs::write(from.path().join("config.json"), "{}").unwrap();
        let store = Url::from_directory_path(to.path()).unwrap();
        let first = publish(store.as_str(), &lease(), 100, from.path()).await.unwrap();
        let again = publish(store.as_str(), &lease(), 100, from.path()).await.unwrap();
        assert_eq!(first, again);
    }

    #[tokio::test]
    async fn a_url_of_no_store_is_refused() {
        let from = tempfile::tempdir().unwrap();
        let error = publish("ftp://x/y", &lease(), 1, from.path()).await.unwrap_err();
        assert!(error.to_string().starts_with("store URL ftp://x/y: "), "{error}");
    }
}
