//! Removing checkpoints that nobody will go on from. Of each the manifest goes first: what is left without one does not
//! exist for readers, should the rest fail.

use std::cmp::Reverse;

use distilsweep_proto::ids::Lease;
use object_store::ObjectStoreExt;

use super::{Found, MANIFEST, StoreError, TrialFiles};

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
        self.remove(self.checkpoints().await?).await
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
