//! The scheduler: `apply(now, event)` changes the state and answers with effects. It is pure: no clock, no I/O, no
//! randomness, so a whole life of a cluster can be told in a test.
//!
//! The engine owns the one [`Scheduler`]. After a crash it is rebuilt from the store, which holds every
//! [`Record`] of the past, and [`Scheduler::restarted`] sets the deadlines anew.
//!
//! The contract (leases fence, terms only grow, a trial has at most one live lease and exactly one end) is checked
//! over random event sequences in `tests.rs`.

mod assign;
mod census;
mod event;
mod pack;
mod sweep;
#[cfg(test)]
pub(crate) mod tests;
mod trial;

use std::collections::BTreeMap;

use distilsweep_proto::ids::{Lease, SweepId, Term, TrialId, WorkerId};

pub use census::{Census, SweepCensus, WorkerCensus};
pub use event::{
    AttemptEnd, Effect, Event, Failure, FailureKind, Lane, Message, Point, Record, Report, ReportBody,
    StoredFiles, Submission, SweepState, Time, TrialEnd, TrialResult,
};
pub use pack::{Pack, Room, Structure};
pub use sweep::{Best, Counts, Sweep};
pub use trial::{MAX_LOSSES, Next, Trial};

/// A live lease.
#[derive(Clone, Debug, PartialEq)]
pub struct Active {
    /// What it allows.
    pub lease: Lease,
    /// Who holds it.
    pub worker: WorkerId,
    /// Sequence of the last report that was recorded.
    pub sequence: u64,
    /// The pack that it is a lane of.
    pub pack: Pack,
}

/// A worker that is connected, or holds leases and may come back.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Worker {
    /// Packs that it trains at a time.
    pub slots: u32,
    /// Lanes that each of them may have.
    pub room: Room,
    /// Whether its stream is open.
    pub connected: bool,
    /// Whether it takes no more work.
    pub draining: bool,
    /// When its leases end unless it is heard of.
    pub deadline: Time,
    /// Leases that it holds, by the first term of their pack: a pack is there until its last lane ended.
    pub packs: BTreeMap<Term, usize>,
}

impl Worker {
    fn is_free(&self) -> bool {
        self.connected && !self.draining && self.packs.len() < self.slots as usize
    }
}

/// All sweeps, workers and live leases.
#[derive(Clone, Debug, Default, PartialEq)]
pub struct Scheduler {
    /// In order of submission.
    sweeps: Vec<Sweep>,
    workers: BTreeMap<WorkerId, Worker>,
    leases: BTreeMap<Term, Active>,
    last_term: Term,
    lease_timeout_ms: i64,
    /// Memory that a trial of a sweep takes, the most that was measured. Not stored: after a restart the workers tell
    /// it again.
    lane_bytes: BTreeMap<SweepId, u64>,
    /// Lanes that packs of a sweep may have at most, after one was too large. Not stored either.
    lane_limits: BTreeMap<SweepId, u32>,
    /// Of the last event.
    latest: Time,
}

/// A gap between events that no busy machine explains, in milliseconds: ticks come every fraction of a second.
const STALL_MS: i64 = 2_000;

impl Scheduler {
    /// A scheduler without any sweep.
    pub fn new(lease_timeout_ms: i64) -> Self {
        Self { lease_timeout_ms, ..Self::default() }
    }

    /// The state after a restart: what the store holds. Leases go on, with deadlines from now; their workers are
    /// expected back.
    pub fn restarted(
        now: Time,
        lease_timeout_ms: i64,
        sweeps: Vec<Sweep>,
        leases: Vec<Active>,
        last_term: Term,
    ) -> Self {
        let deadline = now.plus(lease_timeout_ms);
        let mut workers: BTreeMap<WorkerId, Worker> = BTreeMap::new();
        for active in &leases {
            let absent = Worker {
                slots: 0,
                room: Room::default(),
                connected: false,
                draining: false,
                deadline,
                packs: BTreeMap::new(),
            };
            let worker = workers.entry(active.worker.clone()).or_insert(absent);
            *worker.packs.entry(active.pack.first).or_default() += 1;
        }
        let leases = leases.into_iter().map(|active| (active.lease.term, active)).collect();
        Self {
            sweeps,
            workers,
            leases,
            last_term,
            lease_timeout_ms,
            lane_bytes: BTreeMap::new(),
            lane_limits: BTreeMap::new(),
            latest: now,
        }
    }

    /// All sweeps in order of submission.
    pub fn sweeps(&self) -> &[Sweep] {
        &self.sweeps
    }

    /// The live leases of a sweep.
    pub fn leases_of<'a>(&'a self, sweep: &'a SweepId) -> impl Iterator<Item = &'a Active> {
        self.leases.values().filter(move |active| active.lease.trial.sweep == *sweep)
    }

    /// Whether a worker holds the live lease of this term.
    pub fn holds(&self, worker: &WorkerId, term: Term) -> bool {
        self.leases.get(&term).is_some_and(|active| active.worker == *worker)
    }

    /// Workers whose stream is open.
    pub fn connected(&self) -> usize {
        self.workers.values().filter(|worker| worker.connected).count()
    }

    /// Takes an event and answers what follows, in order.
    pub fn apply(&mut self, now: Time, event: Event) -> Vec<Effect> {
        let mut effects = Vec::new();
        self.forgive_stall(now);
        match event {
            Event::Submitted(submission) => self.submit(submission, &mut effects),
            Event::Cancelled { sweep, reason } => self.cancel(&sweep, reason, &mut effects),
            Event::Joined { worker, slots, room, held } => {
                self.join(now, worker, slots, room, held, &mut effects);
            }
            Event::Left { worker } => {
                if let Some(known) = self.workers.get_mut(&worker) {
                    known.connected = false;
                }
            }
            Event::Heartbeat { worker, measured } => {
                self.hear(now, &worker);
                self.measured(&worker, measured);
            }
            Event::Draining { worker } => {
                self.hear(now, &worker);
                if let Some(known) = self.workers.get_mut(&worker) {
                    known.draining = true;
                }
            }
            Event::Reported { worker, report } => {
                self.hear(now, &worker);
                self.report(&worker, report, &mut effects);
            }
            Event::Tick => {}
        }
        self.expire(now, &mut effects);
        self.assign(&mut effects);
        effects
    }

    /// A coordinator that was stopped for a while (a paused machine, a disk that hangs) heard nobody: that time counts
    /// against no worker, for what they sent meanwhile still waits behind this event.
    fn forgive_stall(&mut self, now: Time) {
        let away = now.0.saturating_sub(self.latest.0);
        self.latest = now;
        if away > STALL_MS.max(self.lease_timeout_ms / 2) {
            for worker in self.workers.values_mut() {
                worker.deadline = worker.deadline.plus(away);
            }
        }
    }

    fn submit(&mut self, submission: Submission, effects: &mut Vec<Effect>) {
        // A sweep that failed or was cancelled is no answer to its file: the same file then starts another.
        let same = self.sweeps.iter().rev().find(|sweep| {
            sweep.name == submission.name
                && sweep.digest == submission.digest
                && matches!(sweep.state, SweepState::Running | SweepState::Completed)
        });
        if let Some(sweep) = same.filter(|_| !submission.force_new) {
            effects.push(Effect::Accepted { sweep: sweep.id.clone(), created: false });
            return;
        }
        self.sweeps.push(Sweep {
            id: submission.id.clone(),
            name: submission.name.clone(),
            digest: submission.digest.clone(),
            state: SweepState::Running,
            size: submission.size,
            structure: submission.structure.clone(),
            max_retries: submission.max_retries,
            metric: submission.metric.clone(),
            maximize: submission.maximize,
            next_point: 0,
            skipped: Default::default(),
            trials: BTreeMap::new(),
            waiting: Default::default(),
            counts: Counts::default(),
            best: None,
        });
        let sweep = submission.id.clone();
        effects.push(Effect::Record(Record::SweepSubmitted(submission)));
        effects.push(Effect::Accepted { sweep, created: true });
    }

    fn cancel(&mut self, sweep: &SweepId, reason: String, effects: &mut Vec<Effect>) {
        if self.sweep(sweep).is_some_and(|sweep| sweep.state == SweepState::Running) {
            self.end_sweep(sweep, SweepState::Cancelled, Some(reason), effects);
        }
    }

    fn join(
        &mut self,
        now: Time,
        worker: WorkerId,
        slots: u32,
        room: Room,
        held: Vec<Lease>,
        effects: &mut Vec<Effect>,
    ) {
        let deadline = now.plus(self.lease_timeout_ms);
        // A worker that drains never takes work again, whatever its stream does meanwhile.
        let (draining, packs) =
            self.workers.remove(&worker).map(|known| (known.draining, known.packs)).unwrap_or_default();
        self.workers
            .insert(worker.clone(), Worker { slots, room, connected: true, draining, deadline, packs });
        let (live, ended): (Vec<Lease>, Vec<Lease>) = held.into_iter().partition(|lease| {
            self.leases.get(&lease.term).is_some_and(|a| a.lease == *lease && a.worker == worker)
        });
        effects.push(Effect::Send(worker.clone(), Message::Welcome(ended)));
        // An assignment that was recorded and never arrived: the worker does not know of it.
        let lost: Vec<Term> = self
            .leases
            .values()
            .filter(|active| active.worker == worker && !live.contains(&active.lease))
            .map(|active| active.lease.term)
            .collect();
        for term in lost {
            let failure = Failure {
                kind: FailureKind::Preempted,
                message: format!("the assignment did not reach worker {worker}"),
            };
            self.fail(term, failure, effects);
        }
    }

    fn hear(&mut self, now: Time, worker: &WorkerId) {
        if let Some(known) = self.workers.get_mut(worker) {
            known.deadline = now.plus(self.lease_timeout_ms);
        }
    }

    /// Remembers what a lane of each sweep takes, so that the next pack is as large as fits.
    fn measured(&mut self, worker: &WorkerId, measured: Vec<(Term, u64)>) {
        for (term, bytes) in measured {
            let Some(active) = self.leases.get(&term).filter(|active| active.worker == *worker) else {
                continue;
            };
            let known = self.lane_bytes.entry(active.lease.trial.sweep.clone()).or_default();
            *known = bytes.max(*known);
        }
    }

    fn report(&mut self, worker: &WorkerId, report: Report, effects: &mut Vec<Effect>) {
        let Report { lease, sequence, body } = report;
        let Some(active) =
            self.leases.get_mut(&lease.term).filter(|a| a.lease == lease && a.worker == *worker)
        else {
            let reason = "the lease has ended".to_owned();
            effects.push(Effect::Send(worker.clone(), Message::Stop(lease, reason)));
            return;
        };
        if sequence <= active.sequence {
            let acknowledge = Message::Acknowledge(lease, active.sequence);
            effects.push(Effect::Send(worker.clone(), acknowledge));
            return;
        }
        if sequence != active.sequence + 1 {
            // Never from our own worker: its stream keeps the order, and a new stream starts at what is missing.
            // The rest is not acknowledged, so it is sent again.
            return;
        }
        active.sequence = sequence;
        match body {
            ReportBody::Metrics(points) => {
                let fresh = self.trial_mut(&lease.trial).map(|trial| trial.fresh(points)).unwrap_or_default();
                effects.push(Effect::Record(Record::Metrics(lease.clone(), sequence, fresh)));
            }
            ReportBody::Checkpoint(files) => {
                // Under a live lease its trial is there.
                if let Some(trial) = self.trial_mut(&lease.trial) {
                    let files = trial.published(files);
                    effects.push(Effect::Record(Record::Checkpoint(lease.clone(), sequence, files)));
                }
            }
            ReportBody::Ended(AttemptEnd::Completed(result)) => {
                self.take_back(lease.term);
                effects.push(Effect::Record(Record::LeaseEnded(lease.clone(), None)));
                self.end_trial(&lease.trial, TrialEnd::Completed(result), effects);
            }
            ReportBody::Ended(AttemptEnd::Stopped) => {
                let message = format!("worker {worker} handed it back");
                self.fail(lease.term, Failure { kind: FailureKind::Preempted, message }, effects);
            }
            ReportBody::Ended(AttemptEnd::Failed(failure)) => self.fail(lease.term, failure, effects),
        }
        effects.push(Effect::Send(worker.clone(), Message::Acknowledge(lease, sequence)));
    }

    /// Ends a lease without a result; the failure decides what becomes of its trial.
    fn fail(&mut self, term: Term, failure: Failure, effects: &mut Vec<Effect>) {
        let Some(Active { lease, pack, .. }) = self.take_back(term) else { return };
        effects.push(Effect::Record(Record::LeaseEnded(lease.clone(), Some(failure.clone()))));
        if failure.kind == FailureKind::OutOfMemory {
            let limit = self.lane_limits.entry(lease.trial.sweep.clone()).or_insert(u32::MAX);
            *limit = (pack.lanes / 2).max(1).min(*limit);
        }
        let Some(sweep) = self.sweep_mut(&lease.trial.sweep) else { return };
        let max_retries = sweep.max_retries;
        let Some(trial) = sweep.trials.get_mut(&lease.trial.index) else { return };
        trial.lease = None;
        match trial.after_failure(failure.kind, pack.lanes, max_retries) {
            Next::Again => {
                sweep.waiting.insert(lease.trial.index);
            }
            Next::Diverged => self.end_trial(&lease.trial, TrialEnd::Diverged(failure), effects),
            Next::Failed => self.end_trial(&lease.trial, TrialEnd::Failed(failure), effects),
            Next::SweepFailed => {
                let reason = failure.message.clone();
                // Not `end_trial`: were this the last trial, that would complete the sweep instead.
                self.count_trial(&lease.trial, TrialEnd::Failed(failure), effects);
                self.end_sweep(&lease.trial.sweep, SweepState::Failed, Some(reason), effects);
            }
        }
    }

    /// Ends a lease, whatever becomes of its trial.
    fn take_back(&mut self, term: Term) -> Option<Active> {
        let active = self.leases.remove(&term)?;
        if let Some(worker) = self.workers.get_mut(&active.worker) {
            match worker.packs.get_mut(&active.pack.first) {
                Some(lanes) if *lanes > 1 => *lanes -= 1,
                Some(_) | None => {
                    worker.packs.remove(&active.pack.first);
                }
            }
        }
        Some(active)
    }

    /// Ends a trial, and its sweep where it was the last.
    fn end_trial(&mut self, trial: &TrialId, end: TrialEnd, effects: &mut Vec<Effect>) {
        self.count_trial(trial, end, effects);
        if self.sweep(&trial.sweep).is_some_and(Sweep::is_done) {
            self.end_sweep(&trial.sweep, SweepState::Completed, None, effects);
        }
    }

    fn count_trial(&mut self, trial: &TrialId, end: TrialEnd, effects: &mut Vec<Effect>) {
        let Some(sweep) = self.sweep_mut(&trial.sweep) else { return };
        sweep.ended(trial.index, &end);
        effects.push(Effect::Record(Record::TrialEnded(trial.clone(), end)));
    }

    /// Ends a sweep and whatever of it is under way. Does nothing where it has ended.
    fn end_sweep(
        &mut self,
        id: &SweepId,
        state: SweepState,
        reason: Option<String>,
        effects: &mut Vec<Effect>,
    ) {
        let Some(sweep) = self.sweep_mut(id).filter(|sweep| sweep.state == SweepState::Running) else {
            return;
        };
        sweep.state = state;
        let unfinished: Vec<u64> = sweep.trials.keys().copied().collect();
        let live: Vec<Active> = self.leases_of(id).cloned().collect();
        for active in live {
            self.take_back(active.lease.term);
            effects.push(Effect::Record(Record::LeaseEnded(active.lease.clone(), None)));
            let why = reason.clone().unwrap_or_else(|| "the sweep has ended".to_owned());
            effects.push(Effect::Send(active.worker, Message::Stop(active.lease, why)));
        }
        for index in unfinished {
            self.count_trial(&TrialId { sweep: id.clone(), index }, TrialEnd::Cancelled, effects);
        }
        effects.push(Effect::Record(Record::SweepEnded(id.clone(), state, reason)));
    }

    /// Ends the leases of workers that were not heard of, and forgets workers that are gone and hold nothing.
    fn expire(&mut self, now: Time, effects: &mut Vec<Effect>) {
        let silent: Vec<WorkerId> =
            self.workers.iter().filter(|(_, w)| w.deadline <= now).map(|(id, _)| id.clone()).collect();
        for worker in silent {
            self.workers.remove(&worker);
            effects.push(Effect::Disconnect(worker.clone()));
            let terms: Vec<Term> =
                self.leases.values().filter(|a| a.worker == worker).map(|a| a.lease.term).collect();
            for term in terms {
                let message =
                    format!("worker {worker} was not heard of for {} s", self.lease_timeout_ms / 1000);
                self.fail(term, Failure { kind: FailureKind::WorkerLost, message }, effects);
            }
        }
        self.workers.retain(|_, worker| worker.connected || !worker.packs.is_empty());
    }

    fn sweep(&self, id: &SweepId) -> Option<&Sweep> {
        self.sweeps.iter().find(|sweep| sweep.id == *id)
    }

    fn sweep_mut(&mut self, id: &SweepId) -> Option<&mut Sweep> {
        self.sweeps.iter_mut().find(|sweep| sweep.id == *id)
    }

    fn trial_mut(&mut self, trial: &TrialId) -> Option<&mut Trial> {
        self.sweep_mut(&trial.sweep)?.trials.get_mut(&trial.index)
    }
}
