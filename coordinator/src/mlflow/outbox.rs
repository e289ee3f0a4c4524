//! The drainer's view of the outbox; the engine keeps the real one in its database.

use std::{collections::BTreeSet, error::Error, future::Future};

use super::{
    models::KeptModels,
    op::{OutboxRow, RunIds, RunKey},
};

/// Rows that MLflow has still to be told, and what MLflow calls the runs it was told of.
///
/// An error of any method means that the outbox itself is gone or broken: draining ends with it.
pub trait Outbox: Sync {
    /// Why the outbox could not be read or written.
    type Error: Error + Send + Sync + 'static;

    /// The oldest `limit` rows that are neither done nor set aside, by growing id, leaving out the rows of the runs in
    /// `except`: those wait for another try, and must not keep the others from theirs.
    fn batch(
        &self,
        limit: usize,
        except: &BTreeSet<RunKey>,
    ) -> impl Future<Output = Result<Vec<OutboxRow>, Self::Error>> + Send;

    /// What MLflow calls a run, if [`Outbox::done`] was ever told.
    fn run_ids(&self, run: &RunKey) -> impl Future<Output = Result<Option<RunIds>, Self::Error>> + Send;

    /// The files that show how a sweep stands, as names and texts; `mlflow` is the server's address.
    fn ranking(
        &self,
        sweep: &RunKey,
        mlflow: &str,
    ) -> impl Future<Output = Result<Vec<(String, String)>, Self::Error>> + Send;

    /// The models that a sweep keeps, as it stands.
    fn kept_models(&self, sweep: &RunKey) -> impl Future<Output = Result<KeptModels, Self::Error>> + Send;

    /// Removes rows that MLflow holds, and remembers in the same transaction what it calls the runs it made, in place
    /// of what was known of them: a sweep that goes on with another server gets new runs there.
    fn done(
        &self,
        ids: &[i64],
        learned: &[(RunKey, RunIds)],
    ) -> impl Future<Output = Result<(), Self::Error>> + Send;

    /// Takes rows out of the way that MLflow will never accept, keeping them with the reason for people to see.
    fn set_aside(&self, ids: &[i64], reason: &str) -> impl Future<Output = Result<(), Self::Error>> + Send;

    /// Returns once rows may have been added after the last call of [`Outbox::batch`]. It must not return merely
    /// because old ones are left, or the drainer would spin while MLflow is away. It may be dropped while it waits.
    fn wait_for_rows(&self) -> impl Future<Output = Result<(), Self::Error>> + Send;
}
