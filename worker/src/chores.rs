//! What is done beside a session, in tasks of its own: fetching and saving checkpoints, publishing models, tidying.

use std::path::{Path, PathBuf};

use distilsweep_proto::ids::Lease;

use crate::{
    live::final_metrics,
    runtime::Lane,
    store::{self, Kind, Resume, StoreError, TrialFiles},
    trainer::{Checkpoint, Ended, Trained},
    wire::{Assignment, Completed, Published, ReportBody},
};

/// A lane with what it goes on from. Where nothing can be fetched it begins again: slower, and the same result.
pub(crate) async fn fetch(assignment: Assignment, scratch: &Path) -> Lane {
    let Assignment { store_url, lease, resume, .. } = &assignment;
    let resume = store::resume(store_url, lease, resume.as_ref(), scratch).await.unwrap_or_else(|error| {
        tracing::warn!(%lease, %error, "no checkpoint can be fetched, beginning again");
        Resume::default()
    });
    Lane { assignment, resume }
}

/// Writes a checkpoint's files below `scratch` and publishes them.
///
/// # Errors
/// Where either cannot be done.
pub(crate) async fn save(
    store_url: &str,
    lease: &Lease,
    checkpoint: Checkpoint,
    scratch: PathBuf,
) -> Result<Published, StoreError> {
    let step = checkpoint.step;
    let directory = store::blocking(move || {
        let write = |scratch: &Path| {
            std::fs::create_dir_all(scratch)?;
            let directory = tempfile::tempdir_in(scratch)?;
            (checkpoint.write)(directory.path())?;
            Ok(directory)
        };
        write(&scratch).map_err(|source| StoreError::File { path: scratch, source })
    })
    .await?;
    let files = TrialFiles::open(store_url, &lease.trial)?;
    files.publish(lease, Kind::Checkpoint, step, directory.path()).await
}

/// Publishes the model of a result, and answers what to report: a result without its model is none.
pub(crate) async fn publish(assignment: &Assignment, trained: Trained, model: &Path) -> ReportBody {
    let Assignment { store_url, lease, .. } = assignment;
    let published = match TrialFiles::open(store_url, &lease.trial) {
        Ok(files) => files.publish(lease, Kind::Model, trained.best.step, model).await,
        Err(error) => Err(error),
    };
    match published {
        Ok(model) => {
            let metrics = final_metrics(assignment, &trained);
            ReportBody::Completed(Box::new(Completed { trained, metrics, model }))
        }
        Err(error) => ReportBody::Failed(Ended::Internal(error.to_string())),
    }
}

/// Which checkpoints of a trial nobody will go on from.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(crate) enum Superfluous {
    /// All: it has its result.
    All,
    /// Those before the last but one, now that the one of this step is accepted.
    Before(u64),
}

/// Removes what is superfluous; what cannot be removed now is with the next.
pub(crate) async fn tidy(store_url: String, lease: Lease, superfluous: Superfluous) {
    let tidied = match (TrialFiles::open(&store_url, &lease.trial), superfluous) {
        (Ok(files), Superfluous::All) => files.remove_checkpoints().await,
        (Ok(files), Superfluous::Before(step)) => files.keep_last_two(&lease, step).await,
        (Err(error), _) => Err(error),
    };
    if let Err(error) = tidied {
        tracing::warn!(%lease, %error, "old checkpoints could not be removed");
    }
}
