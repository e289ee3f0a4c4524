//! What watches every commit, and what it has seen at the end.

use std::{
    collections::{BTreeMap, BTreeSet},
    sync::{Arc, Mutex, MutexGuard, PoisonError},
};

use distilsweep::{
    scheduler::{Failure, FailureKind, Record, SweepState, TrialEnd},
    store::Write,
};
use distilsweep_proto::ids::{Term, TrialId, WorkerId};
use tokio::sync::watch;

/// A curve: the value at each step, as bits, in the order in which they were recorded.
pub(crate) type Curve = Vec<(i64, u64)>;

/// Everything of a sweep that no fault may change.
#[derive(Clone, Debug, Default, PartialEq)]
pub(crate) struct Outcome {
    /// How the sweep ended.
    pub(crate) state: Option<SweepStateName>,
    /// Final metrics by trial, as bits.
    pub(crate) results: BTreeMap<u64, BTreeMap<String, u64>>,
    /// Curves by trial and metric.
    pub(crate) curves: BTreeMap<(u64, String), Curve>,
    /// Trials that were ended early; these too.
    pub(crate) early_stopped: BTreeSet<u64>,
    /// Shares that a search proposed by trial; these do go by who was quick.
    pub(crate) proposed: BTreeMap<u64, Vec<f64>>,
}

/// The state of a sweep in words.
pub(crate) type SweepStateName = String;

#[derive(Debug, Default)]
struct Seen {
    last_term: Term,
    live: BTreeMap<u64, (Term, WorkerId)>,
    attempts: u64,
    hung: u64,
    outcome: Outcome,
}

/// Watches the commits of one sweep, over all lives of its coordinator.
#[derive(Clone, Debug)]
pub(crate) struct Witness {
    seen: Arc<Mutex<Seen>>,
    ended: watch::Sender<bool>,
}

impl Default for Witness {
    fn default() -> Self {
        Self { seen: Arc::default(), ended: watch::Sender::new(false) }
    }
}

impl Witness {
    /// Sees what was committed.
    ///
    /// # Panics
    /// Where the contract of leases is broken.
    pub(crate) fn committed(&self, writes: &[Write]) {
        let mut seen = self.seen();
        for write in writes {
            match write {
                Write::Record(record, _) => seen.recorded(record),
                Write::Proposed { trial, shares } => {
                    let other = seen.outcome.proposed.insert(trial.index, shares.clone());
                    assert_eq!(other, None, "the point of trial {} is proposed twice", trial.index);
                }
                _ => {}
            }
            if matches!(write, Write::Record(Record::SweepEnded(..), _)) {
                self.ended.send_replace(true);
            }
        }
    }

    /// Waits until the sweep has ended.
    pub(crate) async fn sweep_ended(&self) {
        // The sender lives in this value.
        let _ = self.ended.subscribe().wait_for(|ended| *ended).await;
    }

    /// What was seen so far.
    pub(crate) fn outcome(&self) -> Outcome {
        self.seen().outcome.clone()
    }

    /// Leases that were granted.
    pub(crate) fn attempts(&self) -> u64 {
        self.seen().attempts
    }

    /// Leases that ended because nothing moved.
    pub(crate) fn hung(&self) -> u64 {
        self.seen().hung
    }

    fn seen(&self) -> MutexGuard<'_, Seen> {
        self.seen.lock().unwrap_or_else(PoisonError::into_inner)
    }
}

impl Seen {
    fn recorded(&mut self, record: &Record) {
        match record {
            Record::LeaseGranted(lease, worker, ..) => {
                let trial = lease.trial.index;
                assert!(lease.term > self.last_term, "term {:?} after {:?}", lease.term, self.last_term);
                self.last_term = lease.term;
                let other = self.live.insert(trial, (lease.term, worker.clone()));
                assert_eq!(other, None, "trial {trial} is leased twice, now by {lease} to {worker}");
                assert!(!self.outcome.results.contains_key(&trial), "trial {trial} has a result already");
                self.attempts += 1;
            }
            Record::LeaseEnded(lease, _, failure) => {
                let hung = |failure: &&Failure| failure.kind == FailureKind::Hung;
                self.hung += failure.iter().filter(hung).count() as u64;
                let live = self.live.remove(&lease.trial.index);
                assert_eq!(live.map(|(term, _)| term), Some(lease.term), "{lease} ends and is not live");
            }
            Record::Metrics(lease, _, points) => {
                assert_eq!(self.live.get(&lease.trial.index).map(|(term, _)| *term), Some(lease.term));
                for point in points {
                    let curve =
                        self.outcome.curves.entry((lease.trial.index, point.key.clone())).or_default();
                    curve.push((point.step, point.value.to_bits()));
                }
            }
            Record::TrialEnded(TrialId { index, .. }, end) => self.trial_ended(*index, end),
            Record::SweepEnded(_, state, ..) => {
                assert_eq!(self.live, BTreeMap::new(), "the sweep ended with live leases");
                self.outcome.state = Some(name(*state));
            }
            _ => {}
        }
    }

    fn trial_ended(&mut self, index: u64, end: &TrialEnd) {
        let result = match end {
            TrialEnd::Completed(result) => result,
            TrialEnd::EarlyStopped(_) => {
                assert!(self.outcome.early_stopped.insert(index), "trial {index} is stopped early twice");
                return;
            }
            other => panic!("trial {index} has no result: {other:?}"),
        };
        let metrics = result.metrics.iter().map(|(key, value)| (key.clone(), value.to_bits())).collect();
        let other = self.outcome.results.insert(index, metrics);
        assert_eq!(other, None, "trial {index} has two results");
    }
}

fn name(state: SweepState) -> SweepStateName {
    format!("{state:?}")
}
