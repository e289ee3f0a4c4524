//! What was already read and drawn of each sweep: with ten thousand trials that takes longer than anybody waits twice.

use std::{
    collections::BTreeMap,
    sync::{Arc, Mutex, OnceLock, PoisonError},
    time::Duration,
};

use distilsweep_proto::{ids::SweepId, v1};
use tokio::{sync::Mutex as Turn, task::spawn_blocking, time::Instant};

use super::{Pages, asked::Refused};
use crate::{
    clock::Clock,
    grpc::{self, convert::ended},
    results::{self, Insight, Ranked, Summary, html},
};

/// While trials end faster than a sweep is read, it is read this much less often than it takes.
const REST: u32 = 4;
/// Settings up to which what mattered is worked out while a page is made.
pub(super) const AT_ONCE: usize = 200;
/// Sweeps that are kept.
const KEPT: usize = 32;

/// What a sweep's page depends on, but for how far its trials are.
#[derive(Clone, Debug, PartialEq)]
struct Key {
    state: i32,
    counts: [u64; 3],
    running: Vec<(u64, u32)>,
}

impl Key {
    fn of(status: &v1::SweepStatus) -> Self {
        let counts = [status.completed, ended(status), status.total];
        let running = status.running.iter().map(|trial| (trial.trial, trial.attempt)).collect();
        Self { state: status.state, counts, running }
    }
}

/// A sweep as it was read once, with what has been drawn of it.
#[derive(Debug)]
pub(super) struct Shown {
    pub(super) summary: Summary,
    /// Rank and place in the summary, in order.
    order: Vec<(Option<u64>, usize)>,
    insight: OnceLock<Option<Insight>>,
    drawn: [OnceLock<String>; 3],
    key: Key,
    at: Instant,
    cost: Duration,
}

impl Shown {
    fn new(summary: Summary, key: Key, since: Instant) -> Self {
        let places: BTreeMap<u64, usize> =
            summary.trials.iter().enumerate().map(|(place, row)| (row.trial, place)).collect();
        let order =
            results::rank(&summary).iter().map(|ranked| (ranked.rank, places[&ranked.row.trial])).collect();
        let at = Instant::now();
        let cost = at - since;
        Self { summary, order, insight: OnceLock::new(), drawn: Default::default(), key, at, cost }
    }

    pub(super) fn ranked(&self) -> Vec<Ranked<'_>> {
        self.order
            .iter()
            .map(|(rank, place)| Ranked { rank: *rank, row: &self.summary.trials[*place] })
            .collect()
    }

    /// What mattered, where that is known or quickly worked out.
    pub(super) fn insight_at_once(&self) -> Option<Option<&Insight>> {
        match self.insight.get() {
            Some(known) => Some(known.as_ref()),
            None => (self.summary.trials.len() <= AT_ONCE).then(|| self.insight()),
        }
    }

    /// What mattered; it takes its time.
    pub(super) fn insight(&self) -> Option<&Insight> {
        self.insight.get_or_init(|| results::insight(&self.summary)).as_ref()
    }

    pub(super) fn curves(&self) -> &str {
        self.drawn[0].get_or_init(|| html::curves(&self.summary))
    }

    pub(super) fn coordinates(&self) -> &str {
        let insight = self.insight_at_once().flatten();
        self.drawn[1].get_or_init(|| html::coordinates(&self.summary, &self.ranked(), insight))
    }

    pub(super) fn scores(&self) -> &str {
        self.drawn[2].get_or_init(|| html::scores(&self.summary, &self.ranked()))
    }
}

type Kept = Arc<Turn<Option<Arc<Shown>>>>;

/// Each sweep that was looked at.
#[derive(Debug, Default)]
pub(super) struct Drawn(Mutex<BTreeMap<SweepId, Kept>>);

impl Drawn {
    fn of(&self, sweep: &SweepId) -> Kept {
        let mut kept = self.0.lock().unwrap_or_else(PoisonError::into_inner);
        if kept.len() >= KEPT && !kept.contains_key(sweep) {
            kept.clear();
        }
        Arc::clone(kept.entry(sweep.clone()).or_default())
    }
}

impl Pages {
    /// The sweep of an address.
    pub(super) async fn find(&self, sweep: String) -> Result<SweepId, Refused> {
        let found = self.engine.read(move |reader| reader.find(&sweep)).await?;
        Ok(found.map_err(tonic::Status::from)?)
    }

    /// How a sweep stands.
    pub(super) async fn status(&self, sweep: &SweepId) -> Result<v1::SweepStatus, Refused> {
        let id = sweep.clone();
        let row = self.engine.read(move |reader| reader.sweep(&id)).await?;
        let status = v1::SweepStatus { mlflow_url: self.mlflow_url.clone(), ..grpc::convert::status(&row) };
        Ok(match self.engine.snapshot(sweep.clone()).await? {
            Some(snapshot) => grpc::convert::with_snapshot(status, snapshot),
            None => status,
        })
    }

    /// A sweep with all its trials, read again where it has changed since.
    pub(super) async fn shown(
        &self,
        sweep: &SweepId,
        status: &v1::SweepStatus,
    ) -> Result<Arc<Shown>, Refused> {
        let key = Key::of(status);
        let kept = self.drawn.of(sweep);
        // One reads, the others take what he has read.
        let mut kept = kept.lock().await;
        if let Some(shown) = kept.as_ref() {
            let open = !grpc::is_final(status);
            if shown.key == key || open && shown.at.elapsed() < shown.cost * REST {
                return Ok(Arc::clone(shown));
            }
        }
        let (id, mlflow) = (sweep.clone(), self.mlflow_url.clone());
        let since = Instant::now();
        let whole = self.engine.read(move |reader| grpc::results::whole(reader, &id, &mlflow)).await?;
        let shown = drawn(move || {
            let now = Clock::wall().0;
            Shown::new(results::convert::summary(whole, now), key, since)
        })
        .await?;
        let shown = Arc::new(shown);
        *kept = Some(Arc::clone(&shown));
        Ok(shown)
    }
}

/// Draws where it keeps nobody waiting.
pub(super) async fn drawn<T: Send + 'static>(
    draw: impl FnOnce() -> T + Send + 'static,
) -> Result<T, Refused> {
    let failed =
        |_| Refused::new(axum::http::StatusCode::INTERNAL_SERVER_ERROR, "the page could not be drawn");
    spawn_blocking(draw).await.map_err(failed)
}
