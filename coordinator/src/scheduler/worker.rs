//! Workers as the scheduler sees them, and the census that makes asking for a free one cheap.

use std::{
    collections::{BTreeMap, BTreeSet},
    ops::Bound,
};

use distilsweep_proto::ids::{Term, TrialId, WorkerId};

use super::{effect::Mark, event::Time, pack::Room};

/// Different trials that fail on a worker, with no trial completed between, before it is set aside.
pub const FAILURES_BEFORE_QUARANTINE: usize = 3;

/// A worker that is connected, or holds leases and may come back.
///
/// ```text
///   join ──▶ serving ──drains, is told to──▶ draining ──leaves──▶ (forgotten)
///             │   ▲ no other worker is there
///             ▼   │
///          quarantined
/// ```
#[derive(Clone, Debug, Default, PartialEq, Eq)]
pub struct Worker {
    /// Packs that it trains at a time.
    pub slots: u32,
    /// Lanes that each of them may have.
    pub room: Room,
    /// Whether its stream is open.
    pub connected: bool,
    /// What sets it apart from others.
    pub marks: BTreeSet<Mark>,
    /// When its leases end unless it is heard of.
    pub deadline: Time,
    /// Live leases by the first term of their pack: a pack is there until its last lane ended.
    pub packs: BTreeMap<Term, BTreeSet<Term>>,
    /// Different trials that failed on it since it completed one.
    pub failed: BTreeSet<TrialId>,
}

impl Worker {
    /// Whether it takes no more work.
    pub fn is_draining(&self) -> bool {
        self.marks.contains(&Mark::Draining)
    }

    /// Whether many different trials failed on it.
    pub fn is_quarantined(&self) -> bool {
        self.marks.contains(&Mark::Quarantined)
    }

    /// Its live leases.
    pub fn terms(&self) -> impl Iterator<Item = Term> {
        self.packs.values().flatten().copied()
    }

    fn serves(&self) -> bool {
        self.connected && !self.is_draining()
    }

    fn is_free(&self) -> bool {
        self.serves() && self.packs.len() < self.slots as usize
    }
}

/// All workers. Every change goes through [`Workers::change`] or one of its likes, which keep the census.
#[derive(Clone, Debug, Default, PartialEq)]
pub(super) struct Workers {
    all: BTreeMap<WorkerId, Worker>,
    free: BTreeSet<WorkerId>,
    /// Slots of those that serve.
    slots: u64,
    /// Those that serve and are not quarantined.
    sound: usize,
}

impl Workers {
    pub(super) fn get(&self, id: &WorkerId) -> Option<&Worker> {
        self.all.get(id)
    }

    pub(super) fn iter(&self) -> impl Iterator<Item = (&WorkerId, &Worker)> {
        self.all.iter()
    }

    /// Slots of all that take work.
    pub(super) fn slots(&self) -> u64 {
        self.slots
    }

    /// How many take work and are not quarantined.
    pub(super) fn sound(&self) -> usize {
        self.sound
    }

    /// The first free worker after this one, in the order of their names.
    pub(super) fn free_after(&self, id: Option<&WorkerId>) -> Option<WorkerId> {
        let from = id.map_or(Bound::Unbounded, Bound::Excluded);
        self.free.range((from, Bound::Unbounded)).next().cloned()
    }

    /// Changes one that is there.
    pub(super) fn change<T>(&mut self, id: &WorkerId, change: impl FnOnce(&mut Worker) -> T) -> Option<T> {
        let mut worker = self.remove(id)?;
        let answer = change(&mut worker);
        self.insert(id.clone(), worker);
        Some(answer)
    }

    pub(super) fn insert(&mut self, id: WorkerId, worker: Worker) {
        if worker.serves() {
            self.slots += u64::from(worker.slots);
            self.sound += usize::from(!worker.is_quarantined());
        }
        if worker.is_free() {
            self.free.insert(id.clone());
        }
        self.all.insert(id, worker);
    }

    pub(super) fn remove(&mut self, id: &WorkerId) -> Option<Worker> {
        let worker = self.all.remove(id)?;
        if worker.serves() {
            self.slots -= u64::from(worker.slots);
            self.sound -= usize::from(!worker.is_quarantined());
        }
        self.free.remove(id);
        Some(worker)
    }

    /// Moves a deadline: nothing that the census counts.
    pub(super) fn hear(&mut self, id: &WorkerId, deadline: Time) {
        if let Some(worker) = self.all.get_mut(id) {
            worker.deadline = deadline;
        }
    }

    /// Moves all deadlines.
    pub(super) fn forgive(&mut self, milliseconds: i64) {
        for worker in self.all.values_mut() {
            worker.deadline = worker.deadline.plus(milliseconds);
        }
    }

    /// Those whose deadline has passed.
    pub(super) fn silent(&self, now: Time) -> Vec<WorkerId> {
        self.all.iter().filter(|(_, worker)| worker.deadline <= now).map(|(id, _)| id.clone()).collect()
    }

    /// Forgets those that are gone and hold nothing.
    pub(super) fn forget_gone(&mut self) {
        // They serve nobody: the census does not change.
        self.all.retain(|_, worker| worker.connected || !worker.packs.is_empty());
    }
}
