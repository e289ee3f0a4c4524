//! An outbox in memory that checks how it is used.

use std::{
    collections::{BTreeMap, BTreeSet},
    convert::Infallible,
    sync::Mutex,
};

use tokio::sync::Notify;

use crate::mlflow::{
    models::KeptModels,
    op::{Op, OutboxRow, RunIds, RunKey},
    outbox::Outbox,
};

#[derive(Default)]
pub(super) struct Memory {
    state: Mutex<State>,
    news: Notify,
}

#[derive(Default)]
struct State {
    rows: BTreeMap<i64, OutboxRow>,
    next: i64,
    runs: BTreeMap<RunKey, RunIds>,
    aside: Vec<(i64, String)>,
    batches: usize,
    kept: KeptModels,
}

impl Memory {
    pub(super) fn holding(ops: impl IntoIterator<Item = (RunKey, Op)>) -> Self {
        let outbox = Self::default();
        outbox.add(ops);
        outbox
    }

    pub(super) fn add(&self, ops: impl IntoIterator<Item = (RunKey, Op)>) {
        let mut state = self.state.lock().unwrap();
        for (run, op) in ops {
            state.next += 1;
            let id = state.next;
            state.rows.insert(id, OutboxRow { id, run, op });
        }
        self.news.notify_one();
    }

    pub(super) fn left(&self) -> Vec<i64> {
        self.state.lock().unwrap().rows.keys().copied().collect()
    }

    pub(super) fn aside(&self) -> Vec<(i64, String)> {
        self.state.lock().unwrap().aside.clone()
    }

    pub(super) fn ids(&self, run: &str) -> Option<RunIds> {
        self.state.lock().unwrap().runs.get(&RunKey::new(run)).cloned()
    }

    /// The models that the sweep keeps from now on.
    pub(super) fn keep(&self, kept: KeptModels) {
        self.state.lock().unwrap().kept = kept;
    }

    /// How often rows were asked for.
    pub(super) fn batches(&self) -> usize {
        self.state.lock().unwrap().batches
    }
}

impl State {
    fn remove(&mut self, ids: &[i64]) {
        for id in ids {
            let row = self.rows.remove(id).unwrap_or_else(|| panic!("row {id} is not there"));
            let earlier = self.rows.values().find(|other| other.run == row.run && other.id < *id);
            assert!(earlier.is_none(), "row {id} overtook {earlier:?}");
        }
    }
}

impl Outbox for Memory {
    type Error = Infallible;

    async fn batch(&self, limit: usize, except: &BTreeSet<RunKey>) -> Result<Vec<OutboxRow>, Infallible> {
        let mut state = self.state.lock().unwrap();
        state.batches += 1;
        Ok(state.rows.values().filter(|row| !except.contains(&row.run)).take(limit).cloned().collect())
    }

    async fn run_ids(&self, run: &RunKey) -> Result<Option<RunIds>, Infallible> {
        Ok(self.state.lock().unwrap().runs.get(run).cloned())
    }

    async fn ranking(&self, sweep: &RunKey, _: &str) -> Result<Vec<(String, String)>, Infallible> {
        Ok(vec![("ranking.md".to_owned(), format!("| {sweep} |\n"))])
    }

    async fn kept_models(&self, _: &RunKey) -> Result<KeptModels, Infallible> {
        Ok(self.state.lock().unwrap().kept.clone())
    }

    async fn done(&self, ids: &[i64], learned: &[(RunKey, RunIds)]) -> Result<(), Infallible> {
        let mut state = self.state.lock().unwrap();
        state.remove(ids);
        state.runs.extend(learned.iter().cloned());
        Ok(())
    }

    async fn set_aside(&self, ids: &[i64], reason: &str) -> Result<(), Infallible> {
        let mut state = self.state.lock().unwrap();
        state.remove(ids);
        state.aside.extend(ids.iter().map(|id| (*id, reason.to_owned())));
        Ok(())
    }

    async fn wait_for_rows(&self) -> Result<(), Infallible> {
        self.news.notified().await;
        Ok(())
    }
}
