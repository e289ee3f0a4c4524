//! The cache of repositories in the layout of `huggingface_hub`, so that Python programs find what was downloaded here,
//! and the other way round.
//!
//! ```text
//!   models--owner--name/refs/main                 the commit that a branch was at
//!                      /snapshots/COMMIT/FILE     a link to
//!                      /blobs/ETAG                a file's content; ETAG is its SHA-256, or git's SHA-1 of small ones
//!                      /blobs/ETAG.incomplete     as far as it has come
//!                      /files/COMMIT.json         what the repository has there: ours, for a commit does not change
//!   .locks/models--owner--name/ETAG.lock          who downloads it
//! ```

use std::{
    fs::{self, File},
    io,
    path::{Path, PathBuf},
};

use hf_hub::{Cache, Repo, RepoType};
use serde::{Deserialize, Serialize};

use super::Kind;

/// What a repository has at a commit.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
pub(super) struct Listing {
    pub(super) files: Vec<String>,
    pub(super) license: Option<String>,
}

/// A repository's part of the cache.
#[derive(Clone, Debug)]
pub(super) struct RepoCache {
    root: PathBuf,
    repo: Repo,
}

impl RepoCache {
    pub(super) fn new(root: &Path, kind: Kind, id: &str, revision: &str) -> Self {
        let kind = match kind {
            Kind::Model => RepoType::Model,
            Kind::Dataset => RepoType::Dataset,
        };
        Self { root: root.to_owned(), repo: Repo::with_revision(id.to_owned(), kind, revision.to_owned()) }
    }

    fn directory(&self) -> PathBuf {
        self.root.join(self.repo.folder_name())
    }

    pub(super) fn root(&self) -> &Path {
        &self.root
    }

    /// The files of a commit.
    pub(super) fn snapshot(&self, commit: &str) -> PathBuf {
        self.directory().join("snapshots").join(commit)
    }

    fn listing(&self, commit: &str) -> PathBuf {
        self.directory().join("files").join(format!("{commit}.json"))
    }

    /// What a repository has at a commit, if it was written down.
    pub(super) fn listed(&self, commit: &str) -> Option<Listing> {
        serde_json::from_slice(&fs::read(self.listing(commit)).ok()?).ok()
    }

    /// Writes down what a repository has at a commit. A snapshot that a crash left half is not taken for a whole one then.
    pub(super) fn list(&self, commit: &str, listing: &Listing) -> io::Result<()> {
        let path = self.listing(commit);
        let folder = path.parent().unwrap_or(&path);
        fs::create_dir_all(folder)?;
        let mut file = tempfile::NamedTempFile::new_in(folder)?;
        serde_json::to_writer(&mut file, listing)?;
        file.persist(&path)?;
        Ok(())
    }

    /// The commit that the revision was at when it was last asked for; a commit is one itself.
    pub(super) fn commit(&self) -> String {
        let revision = self.repo.revision();
        fs::read_to_string(self.directory().join("refs").join(revision))
            .map_or_else(|_| revision.to_owned(), |commit| commit.trim().to_owned())
    }

    /// Writes down which commit the revision is at, for the days without a network.
    pub(super) fn remember(&self, commit: &str) -> io::Result<()> {
        if self.repo.revision() == commit {
            return Ok(());
        }
        Cache::new(self.root.clone()).repo(self.repo.clone()).create_ref(commit)
    }

    pub(super) fn blob(&self, etag: &str) -> PathBuf {
        self.directory().join("blobs").join(etag)
    }

    /// Where a blob grows.
    pub(super) fn incomplete(&self, etag: &str) -> PathBuf {
        self.directory().join("blobs").join(format!("{etag}.incomplete"))
    }

    /// The lock of whoever downloads a blob; it ends with its process.
    pub(super) fn lock(&self, etag: &str) -> io::Result<File> {
        let directory = self.root.join(".locks").join(self.repo.folder_name());
        fs::create_dir_all(&directory)?;
        File::options().create(true).write(true).truncate(false).open(directory.join(format!("{etag}.lock")))
    }

    /// Makes a file of a snapshot out of a blob.
    pub(super) fn link(&self, commit: &str, path: &str, etag: &str) -> io::Result<PathBuf> {
        let file = self.snapshot(commit).join(path);
        let folder = file.parent().unwrap_or(&file);
        fs::create_dir_all(folder)?;
        // Relative, so that the cache can be moved.
        let up = "../".repeat(2 + path.split('/').count() - 1);
        let linked = std::os::unix::fs::symlink(format!("{up}blobs/{etag}"), &file);
        match linked {
            Err(error) if error.kind() == io::ErrorKind::AlreadyExists => {}
            Err(error) if error.kind() == io::ErrorKind::PermissionDenied => return Err(error),
            // A file system without links.
            Err(_) => _ = fs::copy(self.blob(etag), &file)?,
            Ok(()) => {}
        }
        Ok(file)
    }
}
