//! Removing checkpoints that nobody will go on from. Of each the manifest goes first: what is left without one does not
//! exist for readers, should the rest fail.

use std::{
    cmp::Reverse,
    fs, io,
    path::{Path, PathBuf},
};

use distilsweep_proto::ids::Lease;
use object_store::ObjectStoreExt;

use super::{CHECKPOINT, Found, MANIFEST, StoreError, TrialFiles, blocking};

impl TrialFiles {
    /// After a checkpoint of `lease` at `step` was accepted: keeps it and the newest one before it, in case it turns out
    /// not to be sound, and what this lease may be writing now.
    ///
    /// # Errors
    /// Where the store cannot be listed or written to; the next call tries again.
    pub async fn keep_last_two(&self, lease: &Lease, step: u64) -> Result<(), StoreError> {
        self.remove(superseded(self.checkpoints().await?, lease, step)).await
    }

    /// After the trial has its result: removes all its checkpoints, and no model.
    ///
    /// # Errors
    /// Where the store cannot be listed or written to.
    pub async fn remove_checkpoints(&self) -> Result<(), StoreError> {
        self.remove(self.checkpoints().await?).await?;
        let Some(directory) = self.local.clone() else { return Ok(()) };
        blocking(move || sweep(&directory).map_err(|source| StoreError::File { path: directory, source }))
            .await
    }

    async fn remove(&self, checkpoints: Vec<Found>) -> Result<(), StoreError> {
        for Found { mut files, .. } in checkpoints {
            files.sort_by_key(|file| file.filename() != Some(MANIFEST));
            for file in files {
                match self.store.delete(&file).await {
                    // Removed by a call that began before.
                    Ok(()) | Err(object_store::Error::NotFound { .. }) => {}
                    Err(source) => return Err(self.failed(file.to_string(), source)),
                }
            }
        }
        Ok(())
    }
}

/// Removes from a trial's directory what is left of checkpoints and shows in no list: files that a killed process was
/// still staging, directories that it had made for one.
fn sweep(trial: &Path) -> io::Result<()> {
    for term in entries(trial)? {
        for files in entries(&term)? {
            let name = files.file_name().unwrap_or_default().to_string_lossy();
            if name.starts_with(CHECKPOINT) {
                unless_gone(fs::remove_dir_all(&files))?;
            }
        }
        remove_empty(&term);
    }
    remove_empty(trial);
    trial.parent().into_iter().for_each(remove_empty);
    Ok(())
}

/// What is in a directory; nothing where it is none.
fn entries(directory: &Path) -> io::Result<Vec<PathBuf>> {
    match fs::read_dir(directory) {
        Ok(entries) => entries.map(|entry| entry.map(|entry| entry.path())).collect(),
        Err(error) if matches!(error.kind(), io::ErrorKind::NotFound | io::ErrorKind::NotADirectory) => {
            Ok(Vec::new())
        }
        Err(error) => Err(error),
    }
}

fn unless_gone(removed: io::Result<()>) -> io::Result<()> {
    match removed {
        Err(error) if error.kind() != io::ErrorKind::NotFound => Err(error),
        Ok(()) | Err(_) => Ok(()),
    }
}

/// Refused where it holds anything, which is as well.
fn remove_empty(directory: &Path) {
    let _ = fs::remove_dir(directory);
}

/// Those that go once the checkpoint of `lease` at `step` is accepted.
fn superseded(mut found: Vec<Found>, lease: &Lease, step: u64) -> Vec<Found> {
    found.retain(|found| found.term != lease.term || found.step < step);
    found.sort_by_key(|found| Reverse((found.step, found.term)));
    // Of more steps under an earlier term: its points were never recorded, nobody may go on from it.
    let second = found.iter().position(|found| found.published && found.step <= step);
    second.map(|second| found.remove(second));
    found
}

#[cfg(test)]
mod tests {
    use distilsweep_proto::ids::{SweepId, Term, TrialId};

    use super::*;

    fn found(term: u64, step: u64, published: bool) -> Found {
        Found { step, term: Term(term), published, files: Vec::new() }
    }

    #[test]
    fn the_accepted_one_stays_with_the_newest_before_it_and_what_is_being_written() {
        let lease =
            Lease { trial: TrialId { sweep: SweepId::new("s"), index: 0 }, attempt: 2, term: Term(5) };
        let there = vec![
            found(3, 10, true),
            found(3, 20, true),
            found(3, 25, false),
            found(3, 90, true),
            found(5, 30, true),
            found(5, 40, false),
        ];
        let gone = superseded(there, &lease, 30);
        let gone: Vec<(u64, u64)> = gone.iter().map(|found| (found.term.0, found.step)).collect();
        assert_eq!(gone, [(3, 90), (3, 25), (3, 10)]);
    }
}
