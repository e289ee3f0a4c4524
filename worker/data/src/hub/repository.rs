//! One repository at one revision: what the Hub has of it, else what the cache has.

use std::{io, path::PathBuf};

use super::{
    Hub, Kind, Snapshot,
    cache::{Listing, RepoCache},
    client::Asked,
    download::{Wanted, download, unwritable},
};
use crate::{
    DataError,
    card::{CARD, Card},
    listing,
};

/// One repository at one revision.
pub(super) struct Repository<'a> {
    hub: &'a Hub,
    kind: Kind,
    id: &'a str,
    revision: &'a str,
    cache: RepoCache,
}

impl<'a> Repository<'a> {
    pub(super) fn new(
        hub: &'a Hub,
        kind: Kind,
        id: &'a str,
        revision: Option<&'a str>,
    ) -> Result<Self, DataError> {
        if !Hub::is_id(id) {
            return Err(DataError::Missing {
                path: id.into(),
                wanted: "it must be a directory or an id of the Hub (owner/name)".to_owned(),
            });
        }
        let revision = revision.unwrap_or("main");
        let cache = RepoCache::new(&hub.settings.cache, kind, id, revision);
        Ok(Self { hub, kind, id, revision, cache })
    }

    pub(super) fn asked(&self) -> Asked<'_> {
        Asked { kind: self.kind, id: self.id, revision: self.revision }
    }

    pub(super) fn online(&self) -> Result<(), DataError> {
        if self.hub.settings.offline { Err(self.absent()) } else { Ok(()) }
    }

    fn absent(&self) -> DataError {
        let problem = "HF_HUB_OFFLINE is set and the cache does not hold it; unset it, or name a directory";
        self.asked().error(problem.to_owned(), false)
    }

    /// What the Hub has; when it cannot be reached, what the cache has.
    pub(super) async fn snapshot(&self) -> Result<Snapshot, DataError> {
        if self.hub.settings.offline {
            return self.cached().map_or_else(|| Err(self.absent()), Ok);
        }
        // A commit stays as it is.
        if let Some(listing) = self.cache.listed(self.revision) {
            return Ok(self.at(self.revision, listing));
        }
        match self.hub.client()?.info(self.asked()).await {
            Ok(info) => {
                let license = info.license();
                let files = info.siblings.into_iter().map(|file| file.path).collect();
                let listing = Listing { files, license };
                self.cache.list(&info.sha, &listing).map_err(|error| self.unwritable(&error))?;
                Ok(self.at(&info.sha, listing))
            }
            Err(error) if error.is_retryable() => {
                let cached = self.cached().ok_or_else(|| unreached(error))?;
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

    fn at(&self, commit: &str, listing: Listing) -> Snapshot {
        let Listing { files, license } = listing;
        Snapshot { commit: Some(commit.to_owned()), license, directory: self.cache.snapshot(commit), files }
    }

    /// The snapshot that an earlier download left. What Python left says nothing of files that it did not want.
    fn cached(&self) -> Option<Snapshot> {
        let commit = self.cache.commit();
        let listing = self.cache.listed(&commit).or_else(|| {
            let files = listing::list(&self.cache.snapshot(&commit)).ok()?;
            Some(Listing { files, license: None })
        })?;
        Some(self.at(&commit, listing))
    }

    /// One file of the snapshot, downloaded unless the cache has it.
    pub(super) async fn fetch(&self, snapshot: &Snapshot, name: &str) -> Result<PathBuf, DataError> {
        let path = snapshot.directory.join(name);
        if path.exists() {
            return Ok(path);
        }
        if self.hub.settings.offline {
            let problem = format!("HF_HUB_OFFLINE is set and the cache has no {name} of it");
            return Err(self.asked().error(problem, false));
        }
        let commit = snapshot.commit.as_deref().unwrap_or(self.revision);
        let wanted = Wanted {
            asked: self.asked(),
            cache: &self.cache,
            endpoint: &self.hub.settings.endpoint,
            commit,
            path: name,
        };
        download(self.hub.client()?, wanted, &*self.hub.watch).await
    }

    /// What the card of the snapshot says.
    pub(super) async fn card(&self, snapshot: &Snapshot) -> Result<Card, DataError> {
        if snapshot.has(CARD) {
            self.fetch(snapshot, CARD).await?;
        }
        Card::of_directory(&snapshot.directory)
    }

    pub(super) fn remember(&self, snapshot: &Snapshot) -> Result<(), DataError> {
        let commit = snapshot.commit.as_deref().unwrap_or(self.revision);
        self.cache.remember(commit).map_err(|error| self.unwritable(&error))
    }

    fn unwritable(&self, error: &io::Error) -> DataError {
        unwritable(self.asked(), &self.cache, error)
    }
}

/// A path that is misspelt looks like an id.
fn unreached(error: DataError) -> DataError {
    match error {
        DataError::Hub { repository, problem, retryable } => {
            DataError::Hub { repository, problem: format!("is no directory here, and {problem}"), retryable }
        }
        other => other,
    }
}
