//! The directory of tokenized data sets, shared by all processes of a user.
//!
//! A file is written under another name and then renamed, so that whoever looks finds a whole one or none. Of processes
//! that want the same at the same time one tokenizes and the others wait for it; a lock ends with its process. What a
//! crash leaves is a file under such a name, which goes when it is a day old.

use std::{
    fs::{self, File, Metadata},
    io,
    path::{Path, PathBuf},
    time::{Duration, SystemTime},
};

use super::{TokenizedDataset, file};
use crate::DataError;

/// Bytes that the directory may hold; the file just written stays, whatever its size.
const MOST_BYTES: u64 = 4 << 30;

/// Age at which a half-written file belongs to nobody any more.
const ABANDONED: Duration = Duration::from_secs(24 * 60 * 60);

/// Extension of the files that are kept.
const KEPT: &str = "tokens";

/// The directory, and how much it may hold.
#[derive(Debug)]
pub(super) struct Cache {
    pub(super) directory: PathBuf,
    pub(super) most_bytes: u64,
}

impl Cache {
    /// That of the user, unless there is no home.
    pub(super) fn of_user() -> Option<Self> {
        let variable =
            |name: &str| std::env::var_os(name).filter(|value| !value.is_empty()).map(PathBuf::from);
        let directory = variable("DISTILSWEEP_CACHE").or_else(|| {
            let caches = variable("XDG_CACHE_HOME").or_else(|| Some(variable("HOME")?.join(".cache")));
            Some(caches?.join("distilsweep"))
        })?;
        Some(Self { directory: directory.join("tokens"), most_bytes: MOST_BYTES })
    }

    /// What is kept under `key`; else what `make` makes, which is kept if it can be.
    pub(super) fn through(
        &self,
        key: &str,
        make: impl FnOnce() -> Result<TokenizedDataset, DataError>,
    ) -> Result<TokenizedDataset, DataError> {
        let path = self.directory.join(format!("{key}.{KEPT}"));
        if let Some(kept) = found(&path, key) {
            return Ok(kept);
        }
        let lock = self.directory.join(format!("{key}.lock"));
        // Without a lock two processes do the same work, and either file is the right one.
        let held = fs::create_dir_all(&self.directory).and_then(|()| locked(&lock)).ok();
        let kept = if held.is_some() { found(&path, key) } else { None };
        let outcome = kept.map_or_else(
            || {
                let made = make()?;
                match self.write(&path, key, &made) {
                    Ok(()) => tracing::debug!(path = %path.display(), "tokens are kept"),
                    Err(error) => tracing::warn!(path = %path.display(), %error, "tokens cannot be kept"),
                }
                Ok(made)
            },
            Ok,
        );
        if held.is_some() {
            let _ = fs::remove_file(&lock);
        }
        outcome
    }

    fn write(&self, path: &Path, key: &str, data: &TokenizedDataset) -> io::Result<()> {
        let mut written = tempfile::Builder::new().suffix(".part").tempfile_in(&self.directory)?;
        file::write(written.as_file_mut(), key, data)?;
        let written = written.persist(path).map_err(|error| error.error)?;
        self.make_room(path, written.metadata()?.modified()?)
    }

    /// Removes the oldest files until the others fit, and what crashes left.
    fn make_room(&self, newest: &Path, now: SystemTime) -> io::Result<()> {
        let mut kept: Vec<(SystemTime, PathBuf, Metadata)> = Vec::new();
        for entry in fs::read_dir(&self.directory)? {
            let (path, metadata) = match entry.and_then(|entry| Ok((entry.path(), entry.metadata()?))) {
                Ok(found) => found,
                // Another process removed it.
                Err(_) => continue,
            };
            let modified = metadata.modified()?;
            let abandoned = now.duration_since(modified).is_ok_and(|age| age >= ABANDONED);
            match path.extension().and_then(|extension| extension.to_str()) {
                Some(KEPT) if path != newest => kept.push((modified, path, metadata)),
                Some("part") if abandoned => _ = fs::remove_file(&path),
                Some(_) | None => {}
            }
        }
        kept.sort_by_key(|(modified, ..)| std::cmp::Reverse(*modified));
        let mut held = fs::metadata(newest)?.len();
        for (_, path, metadata) in kept {
            held += metadata.len();
            if held > self.most_bytes {
                // One that is mapped stays readable until its last reader is gone.
                let _ = fs::remove_file(&path);
            }
        }
        Ok(())
    }
}

/// The data set in a file, if it is whole and of this key.
fn found(path: &Path, key: &str) -> Option<TokenizedDataset> {
    match file::read(path, key) {
        Ok(data) => {
            tracing::debug!(path = %path.display(), "tokens come from the cache");
            Some(data)
        }
        Err(file::Unusable::Absent) => None,
        Err(file::Unusable::Because(reason)) => {
            tracing::warn!(path = %path.display(), reason, "not a usable file of tokens, it is written anew");
            None
        }
    }
}

/// Waits until no other process holds the lock.
fn locked(path: &Path) -> io::Result<File> {
    let file = File::options().create(true).truncate(false).write(true).open(path)?;
    file.lock()?;
    Ok(file)
}
