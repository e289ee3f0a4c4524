//! An outbox in memory: what is told again to mend what MLflow holds.

use std::{
    collections::{BTreeMap, BTreeSet},
    convert::Infallible,
    future,
    sync::{Mutex, MutexGuard, PoisonError},
};

use crate::mlflow::{
    models::KeptModels,
    op::{Op, OutboxRow, RunIds, RunKey},
    outbox::Outbox,
};

/// Rows that are told again.
#[derive(Debug, Default)]
pub struct Resend(Mutex<State>);

#[derive(Debug, Default)]
struct State {
    rows: BTreeMap<i64, OutboxRow>,
    last: i64,
    runs: BTreeMap<RunKey, RunIds>,
    learned: BTreeMap<RunKey, RunIds>,
    refused: Vec<(RunKey, String)>,
    files: Vec<(String, String)>,
    kept: KeptModels,
}

/// What came of it.
#[derive(Debug, Default)]
pub struct Resent {
    /// What MLflow calls runs that were made or found.
    pub learned: BTreeMap<RunKey, RunIds>,
    /// What it does not take, and why.
    pub refused: Vec<(RunKey, String)>,
}

impl Resend {
    /// An empty one that knows runs.
    pub fn new(runs: BTreeMap<RunKey, RunIds>) -> Self {
        Self(Mutex::new(State { runs, ..State::default() }))
    }

    /// Adds what is to be told. Tags of a new run are also told by themselves: it may be there, with others.
    pub fn add(&self, told: impl IntoIterator<Item = (RunKey, Op)>) {
        let mut state = self.state();
        let told = told.into_iter().flat_map(|(run, op)| {
            let tags = match &op {
                Op::CreateRun(new) => Some((run.clone(), Op::Tags(new.tags.clone()))),
                _ => None,
            };
            std::iter::once((run, op)).chain(tags)
        });
        for (run, op) in told {
            state.last += 1;
            let id = state.last;
            state.rows.insert(id, OutboxRow { id, run, op });
        }
    }

    /// Sets what the sweep's end is made of.
    pub fn end_with(&self, files: Vec<(String, String)>, kept: KeptModels) {
        let mut state = self.state();
        (state.files, state.kept) = (files, kept);
    }

    /// What MLflow calls the runs.
    pub fn runs(&self) -> BTreeMap<RunKey, RunIds> {
        self.state().runs.clone()
    }

    /// What came of it.
    pub fn resent(self) -> Resent {
        let State { learned, refused, .. } = self.0.into_inner().unwrap_or_else(PoisonError::into_inner);
        Resent { learned, refused }
    }

    fn state(&self) -> MutexGuard<'_, State> {
        self.0.lock().unwrap_or_else(PoisonError::into_inner)
    }
}

impl Outbox for Resend {
    type Error = Infallible;

    async fn batch(&self, limit: usize, except: &BTreeSet<RunKey>) -> Result<Vec<OutboxRow>, Infallible> {
        let state = self.state();
        Ok(state.rows.values().filter(|row| !except.contains(&row.run)).take(limit).cloned().collect())
    }

    async fn run_ids(&self, run: &RunKey) -> Result<Option<RunIds>, Infallible> {
        Ok(self.state().runs.get(run).cloned())
    }

    async fn ranking(&self, _: &RunKey, _: &str) -> Result<Vec<(String, String)>, Infallible> {
        Ok(self.state().files.clone())
    }

    async fn kept_models(&self, _: &RunKey) -> Result<KeptModels, Infallible> {
        Ok(self.state().kept.clone())
    }

    async fn done(&self, ids: &[i64], learned: &[(RunKey, RunIds)]) -> Result<(), Infallible> {
        let mut state = self.state();
        ids.iter().for_each(|id| drop(state.rows.remove(id)));
        state.runs.extend(learned.iter().cloned());
        state.learned.extend(learned.iter().cloned());
        Ok(())
    }

    async fn set_aside(&self, ids: &[i64], reason: &str) -> Result<(), Infallible> {
        let mut state = self.state();
        for id in ids {
            if let Some(row) = state.rows.remove(id) {
                state.refused.push((row.run, reason.to_owned()));
            }
        }
        Ok(())
    }

    /// Nothing is added while it is drained.
    async fn wait_for_rows(&self) -> Result<(), Infallible> {
        future::pending().await
    }
}
