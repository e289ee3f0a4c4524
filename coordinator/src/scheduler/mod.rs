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
mod control;
mod early;
mod effect;
mod ending;
mod event;
mod order;
mod pace;
mod pack;
mod sweep;
#[cfg(test)]
pub(crate) mod tests;
mod trial;
mod worker;

use std::collections::{BTreeMap, BTreeSet};

use distilsweep_proto::ids::{Lease, SweepId, Term, TrialId, WorkerId};

pub use census::{Census, SweepCensus, WorkerCensus};
pub use effect::{Change, Effect, Lane, Mark, Message, Record, SweepState, TrialEnd};
pub use event::{
    AttemptEnd, Event, Failure, FailureKind, Limits, Mistake, Point, Report, ReportBody, Split, StoredFiles,
    Submission, Time, TrialResult,
};
pub use order::{Answer, Ended, EndedHow, Extension, Order, Refusal};
pub use pace::{Pace, Phase, Seen};
pub use pack::{Digit, Pack, Room, Structure};
pub use sweep::{Best, Counts, Sweep};
pub use trial::{MAX_LOSSES, Next, Past, Trial};
pub use worker::{FAILURES_BEFORE_QUARANTINE, Worker};

use crate::search::Rungs;
use worker::Workers;

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
    /// How it comes further. Not stored: after a restart heartbeats tell it again.
    pub pace: Pace,
}

/// How long the scheduler waits before it acts, in milliseconds.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
pub struct Patience {
    /// Without a word for this long, a worker's leases end.
    pub lease_timeout_ms: i64,
    /// A trial may stand still for at least this long before it is taken for hung.
    pub hang_floor_ms: i64,
}

/// All sweeps, workers and live leases.
#[derive(Clone, Debug, Default, PartialEq)]
pub struct Scheduler {
    /// In order of submission.
    sweeps: Vec<Sweep>,
    workers: Workers,
    /// What sets workers apart, those included that are away.
    marks: BTreeMap<WorkerId, BTreeSet<Mark>>,
    leases: BTreeMap<Term, Active>,
    last_term: Term,
    patience: Patience,
    /// Milliseconds of the slowest step of a sweep's trials.
    step_ms: BTreeMap<SweepId, i64>,
    /// Memory that a trial of a sweep takes, the most that was measured. Not stored: after a restart the workers tell
    /// it again.
    lane_bytes: BTreeMap<SweepId, u64>,
    /// Lanes that packs of a sweep may have at most, after one was too large. Not stored either.
    lane_limits: BTreeMap<SweepId, u32>,
    /// Of the last event.
    latest: Time,
}

/// Who did it, where nobody else did.
const COORDINATOR: &str = "coordinator";

/// A gap between events that no busy machine explains, in milliseconds: ticks come every fraction of a second.
const STALL_MS: i64 = 2_000;

/// What outlives a crash: all that the store holds.
#[derive(Clone, Debug, Default, PartialEq)]
pub struct Durable {
    /// In order of submission.
    pub sweeps: Vec<Sweep>,
    /// Those that have not ended, by term.
    pub leases: Vec<Active>,
    /// What sets workers apart.
    pub marks: BTreeMap<WorkerId, BTreeSet<Mark>>,
    /// The highest term given out.
    pub last_term: Term,
}

impl Scheduler {
    /// A scheduler without any sweep.
    pub fn new(patience: Patience) -> Self {
        Self { patience, ..Self::default() }
    }

    /// The state after a restart. Leases go on, with deadlines from now; their workers are expected back.
    pub fn restarted(now: Time, patience: Patience, durable: Durable) -> Self {
        let Durable { mut sweeps, leases, marks, last_term } = durable;
        let deadline = now.plus(patience.lease_timeout_ms);
        let mut holders: BTreeMap<WorkerId, Worker> = BTreeMap::new();
        let mut packs: BTreeMap<SweepId, BTreeSet<Term>> = BTreeMap::new();
        for active in &leases {
            let absent = || {
                let marks = marks.get(&active.worker).cloned().unwrap_or_default();
                Worker { deadline, marks, ..Worker::default() }
            };
            let worker = holders.entry(active.worker.clone()).or_insert_with(absent);
            worker.packs.entry(active.pack.first).or_default().insert(active.lease.term);
            packs.entry(active.lease.trial.sweep.clone()).or_default().insert(active.pack.first);
        }
        for sweep in &mut sweeps {
            sweep.packs = packs.get(&sweep.id).map_or(0, BTreeSet::len) as u64;
        }
        let mut workers = Workers::default();
        for (id, worker) in holders {
            workers.insert(id, worker);
        }
        let leases = leases.into_iter().map(|active| (active.lease.term, active)).collect();
        Self { sweeps, workers, marks, leases, last_term, patience, latest: now, ..Self::default() }
    }

    /// What a restart must find again.
    #[cfg(test)]
    pub(crate) fn durable(&self) -> Durable {
        let bare = |active: &Active| Active { pace: Pace::default(), ..active.clone() };
        Durable {
            sweeps: self.sweeps.clone(),
            leases: self.leases.values().map(bare).collect(),
            marks: self.marks.clone(),
            last_term: self.last_term,
        }
    }

    /// All sweeps in order of submission.
    pub fn sweeps(&self) -> &[Sweep] {
        &self.sweeps
    }

    /// All workers that are connected or expected back.
    pub fn workers(&self) -> impl Iterator<Item = (&WorkerId, &Worker)> {
        self.workers.iter()
    }

    /// All live leases by term.
    pub fn leases(&self) -> impl Iterator<Item = &Active> {
        self.leases.values()
    }

    /// The live lease of a term.
    pub fn lease_of(&self, term: Term) -> Option<&Active> {
        self.leases.get(&term)
    }

    /// The live leases of a sweep.
    pub fn leases_of<'a>(&'a self, sweep: &'a Sweep) -> impl Iterator<Item = &'a Active> {
        sweep.trials.values().filter_map(|trial| self.leases.get(&trial.lease?))
    }

    /// Whether a worker holds the live lease of this term.
    pub fn holds(&self, worker: &WorkerId, term: Term) -> bool {
        self.leases.get(&term).is_some_and(|active| active.worker == *worker)
    }

    /// Takes an event and answers what follows, in order.
    pub fn apply(&mut self, now: Time, event: Event) -> Vec<Effect> {
        let mut effects = Vec::new();
        self.forgive_stall(now);
        match event {
            Event::Submitted(submission) => self.submit(now, submission, &mut effects),
            Event::Ordered { sweep, order, by } => self.order(now, &sweep, order, by, &mut effects),
            Event::DrainOrdered { worker, by } => self.drain(&worker, by, &mut effects),
            Event::Joined { worker, slots, room, held } => {
                self.join(now, worker, slots, room, held, &mut effects);
            }
            Event::Left { worker } => {
                self.workers.change(&worker, |known| known.connected = false);
                self.workers.forget_gone();
            }
            Event::Heartbeat { worker, seen } => {
                self.hear(now, &worker);
                self.seen(now, &worker, seen, &mut effects);
            }
            Event::Draining { worker } => {
                self.hear(now, &worker);
                let by = worker.to_string();
                self.mark(&worker, Mark::Draining, "it ends".to_owned(), by, &mut effects);
            }
            Event::Reported { worker, report } => {
                self.hear(now, &worker);
                self.report(now, &worker, report, &mut effects);
            }
            Event::Tick => {
                self.expire(now, &mut effects);
                self.spend_time(now, &mut effects);
            }
        }
        self.assign(&mut effects);
        effects
    }

    /// A coordinator that was stopped for a while (a paused machine, a disk that hangs) heard nobody: that time counts
    /// against no worker, for what they sent meanwhile still waits behind this event.
    fn forgive_stall(&mut self, now: Time) {
        let away = now.0.saturating_sub(self.latest.0);
        self.latest = now;
        if away > STALL_MS.max(self.patience.lease_timeout_ms / 2) {
            self.workers.forgive(away);
        }
    }

    fn submit(&mut self, now: Time, submission: Submission, effects: &mut Vec<Effect>) {
        // A sweep that failed or was cancelled is no answer to its file: the same file then starts another.
        let same = self.sweeps.iter().rev().find(|sweep| {
            sweep.name == submission.name
                && sweep.digest == submission.digest
                && (sweep.state.is_open() || sweep.state == SweepState::Completed)
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
            limits: submission.limits,
            priority: 1,
            spent_ms: 0,
            running_since: now,
            metric: submission.metric.clone(),
            maximize: submission.maximize,
            next_point: 0,
            skipped: BTreeSet::new(),
            excluded: BTreeSet::new(),
            packs: 0,
            trials: BTreeMap::new(),
            waiting: BTreeSet::new(),
            paused: BTreeSet::new(),
            rungs: Rungs::default(),
            counts: Counts::default(),
            best: None,
        });
        let sweep = submission.id.clone();
        effects.push(Effect::Record(Record::SweepSubmitted(submission)));
        effects.push(Effect::Accepted { sweep, created: true });
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
        let deadline = now.plus(self.patience.lease_timeout_ms);
        let known = self.workers.remove(&worker).unwrap_or_default();
        // A worker that drains never takes work again, whatever its stream does meanwhile.
        let marks = self.marks.get(&worker).cloned().unwrap_or_default();
        let told = marks.contains(&Mark::Draining);
        let joined = Worker { slots, room, connected: true, marks, deadline, ..known };
        let terms: Vec<Term> = joined.terms().collect();
        self.workers.insert(worker.clone(), joined);
        let (live, ended): (Vec<Lease>, Vec<Lease>) = held.into_iter().partition(|lease| {
            self.leases.get(&lease.term).is_some_and(|a| a.lease == *lease && a.worker == worker)
        });
        effects.push(Effect::Send(worker.clone(), Message::Welcome(ended)));
        if told {
            effects.push(Effect::Send(worker.clone(), Message::Drain("it was told to before".to_owned())));
        }
        // An assignment that was recorded and never arrived: the worker does not know of it.
        let live: BTreeSet<Term> = live.iter().map(|lease| lease.term).collect();
        let lost = terms.into_iter().filter(|term| !live.contains(term));
        for term in lost {
            let failure = Failure {
                kind: FailureKind::Preempted,
                message: format!("the assignment did not reach worker {worker}"),
            };
            self.fail(now, term, failure, effects);
        }
    }

    fn hear(&mut self, now: Time, worker: &WorkerId) {
        self.workers.hear(worker, now.plus(self.patience.lease_timeout_ms));
    }

    /// Takes what a heartbeat says: what a lane of a sweep takes, so that the next pack is as large as fits, and
    /// whether it comes further.
    fn seen(&mut self, now: Time, worker: &WorkerId, seen: Vec<Seen>, effects: &mut Vec<Effect>) {
        // The lanes of a pack share a thread: while one reads data or evaluates, the others stand still.
        let pack_of = |seen: &Seen| Some(self.leases.get(&seen.term)?.pack.first);
        let waiting: BTreeSet<Term> =
            seen.iter().filter(|seen| seen.phase == Phase::Other).filter_map(pack_of).collect();
        let mut hung = Vec::new();
        for seen in seen {
            let Some(active) = self.leases.get_mut(&seen.term).filter(|active| active.worker == *worker)
            else {
                continue;
            };
            let phase = if waiting.contains(&active.pack.first) { Phase::Other } else { seen.phase };
            let seen = Seen { phase, ..seen };
            let sweep = &active.lease.trial.sweep;
            if let Some(bytes) = seen.lane_bytes {
                let known = self.lane_bytes.entry(sweep.clone()).or_default();
                *known = bytes.max(*known);
            }
            if let Some(slowest) = active.pace.hear(now, seen) {
                let known = self.step_ms.entry(sweep.clone()).or_default();
                *known = slowest.max(*known);
            }
            let learned = self.step_ms.get(sweep).copied();
            if let Some(why) = active.pace.hung(self.patience.hang_floor_ms, learned) {
                hung.push((active.lease.clone(), why));
            }
        }
        for (lease, why) in hung {
            effects.push(Effect::Send(worker.clone(), Message::Stop(lease.clone(), why.clone())));
            self.fail(now, lease.term, Failure { kind: FailureKind::Hung, message: why.clone() }, effects);
            // Its thread stands still, and nothing but another process helps.
            let reason = format!("a training hangs: {why}");
            self.mark(worker, Mark::Draining, reason.clone(), COORDINATOR.to_owned(), effects);
            effects.push(Effect::Send(worker.clone(), Message::Drain(reason)));
        }
    }

    fn report(&mut self, now: Time, worker: &WorkerId, report: Report, effects: &mut Vec<Effect>) {
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
                let evaluations = self.evaluations(&lease.trial, &fresh);
                effects.push(Effect::Record(Record::Metrics(lease.clone(), sequence, fresh)));
                self.evaluated(now, &lease, &evaluations, effects);
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
                self.workers.change(worker, |worker| worker.failed.clear());
                effects.push(Effect::Record(Record::LeaseEnded(lease.clone(), worker.clone(), None)));
                self.end_trial(now, &lease.trial, TrialEnd::Completed(result), effects);
            }
            ReportBody::Ended(AttemptEnd::Stopped) => {
                let message = format!("worker {worker} handed it back");
                self.fail(now, lease.term, Failure { kind: FailureKind::Preempted, message }, effects);
            }
            ReportBody::Ended(AttemptEnd::Paused) => self.pause(now, &lease, worker, effects),
            ReportBody::Ended(AttemptEnd::Failed(failure)) => self.fail(now, lease.term, failure, effects),
        }
        effects.push(Effect::Send(worker.clone(), Message::Acknowledge(lease, sequence)));
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
