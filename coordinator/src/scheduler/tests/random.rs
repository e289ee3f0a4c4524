//! Random lives of a cluster: whatever happens in whatever order, the contract holds.

mod steps;

use std::collections::BTreeSet;

use proptest::prelude::*;

use super::{super::*, PATIENCE, TIMEOUT, submission};
use steps::{Body, Memory, Numbered};
pub(crate) use steps::{Step, steps};

/// A scheduler in a world that checks every effect against what was recorded before.
pub(crate) struct World {
    scheduler: Scheduler,
    pub(crate) now: Time,
    /// Everything recorded so far and when, unless it was taken out.
    pub(crate) records: Vec<(Time, Record)>,
    live: BTreeMap<Term, (Lease, WorkerId, u64)>,
    /// Of every lease, ended ones included.
    packs: BTreeMap<Term, Pack>,
    /// What each worker said of itself when it joined last.
    rooms: BTreeMap<WorkerId, (u32, Room)>,
    every_lease: Vec<Lease>,
    /// The checkpoint that each trial goes on from.
    checkpoints: BTreeMap<TrialId, StoredFiles>,
    ended: BTreeSet<TrialId>,
    /// What came to which rung, and what went on from there.
    rungs: BTreeSet<(TrialId, u32, u32)>,
    promoted: BTreeSet<(TrialId, u32, u32)>,
    counts: BTreeMap<SweepId, Counts>,
    finished: BTreeMap<SweepId, SweepState>,
    paused: BTreeSet<SweepId>,
    /// Trials that ended without a result, as a store would know them.
    without: BTreeMap<TrialId, Ended>,
    /// Trials that are under way, as they were before the event that is followed.
    before: BTreeMap<TrialId, Trial>,
    /// What each worker believes: its leases, and the sequence of the last report of each.
    belief: BTreeMap<WorkerId, BTreeMap<Term, (Lease, u64)>>,
    connected: BTreeSet<WorkerId>,
    draining: BTreeSet<WorkerId>,
    submitted: usize,
    /// Sweeps whose data or model was found to be at fault.
    at_fault: BTreeSet<SweepId>,
}

impl World {
    pub(crate) fn new() -> Self {
        Self {
            scheduler: Scheduler::new(PATIENCE),
            now: Time(1),
            records: Vec::new(),
            live: BTreeMap::new(),
            packs: BTreeMap::new(),
            rooms: BTreeMap::new(),
            every_lease: Vec::new(),
            checkpoints: BTreeMap::new(),
            ended: BTreeSet::new(),
            rungs: BTreeSet::new(),
            promoted: BTreeSet::new(),
            counts: BTreeMap::new(),
            finished: BTreeMap::new(),
            paused: BTreeSet::new(),
            without: BTreeMap::new(),
            before: BTreeMap::new(),
            belief: BTreeMap::new(),
            connected: BTreeSet::new(),
            draining: BTreeSet::new(),
            submitted: 0,
            at_fault: BTreeSet::new(),
        }
    }

    /// Lets it happen, if it can.
    pub(crate) fn step(&mut self, step: &Step) {
        let id = |worker: &usize| WorkerId::new(format!("w{worker}"));
        match step {
            Step::Submit { size, max_retries, structure, early } => {
                self.submitted += 1;
                let name = format!("s{}", self.submitted);
                let new = Submission {
                    limits: Limits {
                        max_retries: *max_retries,
                        max_concurrent_trials: (*size > 6).then_some(2),
                        early_terminate: early.rule(),
                        target: (*size == 5).then_some(3.0),
                        ..Limits::default()
                    },
                    force_new: true,
                    structure: alike_by(*structure),
                    maximize: self.submitted.is_multiple_of(2),
                    ..submission(&name, *size)
                };
                self.event(Event::Submitted(new));
            }
            Step::Cancel(sweep) => {
                self.order(*sweep, Order::Cancel("enough".into()));
            }
            Step::Pause(sweep) => self.order(*sweep, Order::Pause),
            Step::Resume(sweep) => self.order(*sweep, Order::Resume),
            Step::Priority(sweep, priority) => self.order(*sweep, Order::Priority(*priority)),
            Step::Extend(sweep, more) => {
                let id = SweepId::new(format!("s{sweep}"));
                if let Some(sweep_now) = self.scheduler.sweep(&id) {
                    let extension = Extension {
                        size: sweep_now.size + more,
                        structure: sweep_now.structure.clone(),
                        spec: "{}".into(),
                        what: "more".into(),
                    };
                    self.order(*sweep, Order::Extend(extension));
                }
            }
            Step::Retry(sweep, one) => {
                let id = SweepId::new(format!("s{sweep}"));
                let of_it = self.without.iter().filter(|(trial, _)| trial.sweep == id);
                let mut ended: Vec<Ended> = of_it.map(|(_, ended)| ended.clone()).collect();
                if let Some(one) = one {
                    ended = ended.into_iter().skip(*one).take(1).collect();
                }
                self.order(*sweep, Order::Retry(ended));
            }
            Step::Stop(sweep, trial) => self.order(*sweep, Order::Stop(*trial)),
            Step::DrainOrdered(worker) => {
                let worker = id(worker);
                if self.scheduler.workers.get(&worker).is_some() {
                    self.draining.insert(worker.clone());
                }
                self.event(Event::DrainOrdered { worker, by: "ada".into() });
            }
            Step::Join { worker, slots, lanes, memory } => self.join(&id(worker), *slots, *lanes, *memory),
            Step::Leave(worker) => {
                let worker = id(worker);
                self.connected.remove(&worker);
                self.event(Event::Left { worker });
            }
            Step::Heartbeat { worker, lane_bytes } => {
                let worker = id(worker);
                let known = self.belief.get(&worker).into_iter().flat_map(BTreeMap::keys);
                let seen = known.map(|term| Seen {
                    term: *term,
                    step: self.now.0,
                    total_steps: 0,
                    phase: Phase::Training,
                    lane_bytes: Some(*lane_bytes),
                });
                let seen = seen.collect();
                self.event(Event::Heartbeat { worker, seen });
            }
            Step::Drain(worker) => {
                let worker = id(worker);
                if self.connected.contains(&worker) {
                    self.draining.insert(worker.clone());
                    self.event(Event::Draining { worker });
                }
            }
            Step::Report { worker, lease, place, body } => self.report(&id(worker), *lease, *place, *body),
            Step::Wait(milliseconds) => {
                for step in super::ticks(*milliseconds) {
                    self.now = self.now.plus(step);
                    self.event(Event::Tick);
                }
            }
            Step::Crash => self.crash(),
        }
    }

    /// What a restart must find again; the sweeps' structure and limits come from their files.
    pub(crate) fn durable(&self) -> Durable {
        let mut durable = self.scheduler.durable();
        for sweep in &mut durable.sweeps {
            (sweep.structure, sweep.limits, sweep.packs) = (Structure::default(), Limits::default(), 0);
        }
        durable
    }

    fn order(&mut self, sweep: usize, order: Order) {
        self.event(Event::Ordered { sweep: SweepId::new(format!("s{sweep}")), order, by: "ada".into() });
    }

    fn join(&mut self, worker: &WorkerId, slots: u32, lanes: u32, memory: Memory) {
        let held = match memory {
            Memory::True => {
                self.belief.entry(worker.clone()).or_default().values().map(|(l, _)| l.clone()).collect()
            }
            Memory::None => {
                self.belief.remove(worker);
                Vec::new()
            }
            Memory::Everything => self.every_lease.clone(),
        };
        self.connected.insert(worker.clone());
        let room = Room { max_lanes: lanes, memory_bytes: 1000 };
        self.rooms.insert(worker.clone(), (slots, room));
        self.event(Event::Joined { worker: worker.clone(), slots, room, held });
    }

    fn report(&mut self, worker: &WorkerId, lease: usize, place: Numbered, body: Body) {
        let known = self.belief.entry(worker.clone()).or_default();
        let Some((lease, last)) = known.values_mut().nth(lease) else { return };
        let sequence = match place {
            Numbered::Next => {
                *last += 1;
                *last
            }
            Numbered::Again => (*last).max(1),
            Numbered::TooFar => *last + 2,
        };
        let files = |step| StoredFiles { url: "file:///x".into(), step, manifest_sha256: "00".into() };
        let body = match body {
            Body::Metrics(step) => ReportBody::Metrics(vec![Point {
                key: "loss".into(),
                value: if step == 7 { f64::NAN } else { 0.5 },
                timestamp_ms: self.now.0,
                step,
            }]),
            Body::Evaluated(step, value) => ReportBody::Metrics(vec![Point {
                key: "eval_f1_score".into(),
                value: if value == 0 { f64::NAN } else { f64::from(value) / 37.0 },
                timestamp_ms: self.now.0,
                step,
            }]),
            Body::Checkpoint(step) => ReportBody::Checkpoint(files(step)),
            Body::Completed(value) => {
                let value = if value == 0 { f64::NAN } else { f64::from(value) / 37.0 };
                ReportBody::Ended(AttemptEnd::Completed(super::result(value)))
            }
            Body::Stopped => ReportBody::Ended(AttemptEnd::Stopped),
            Body::Paused => ReportBody::Ended(AttemptEnd::Paused),
            Body::Failed(kind) => ReportBody::Ended(AttemptEnd::Failed(super::failure(kind))),
        };
        let report = Report { lease: lease.clone(), sequence, body };
        self.event(Event::Reported { worker: worker.clone(), report });
    }

    fn crash(&mut self) {
        self.scheduler = Scheduler::restarted(self.now, PATIENCE, self.scheduler.durable());
        self.connected.clear();
    }

    fn event(&mut self, event: Event) {
        let under_way = self.scheduler.sweeps.iter().flat_map(|sweep| {
            let id = |index: u64| TrialId { sweep: sweep.id.clone(), index };
            sweep.trials.iter().map(move |(index, trial)| (id(*index), trial.clone()))
        });
        self.before = under_way.collect();
        for effect in self.scheduler.apply(self.now, event) {
            match effect {
                Effect::Record(record) => {
                    self.record(&record);
                    self.records.push((self.now, record));
                }
                Effect::Send(worker, message) => self.deliver(&worker, message),
                Effect::Disconnect(worker) => {
                    self.connected.remove(&worker);
                }
                Effect::Accepted { .. } | Effect::Answered(_) => {}
            }
        }
        self.check();
    }

    fn record(&mut self, record: &Record) {
        match record {
            Record::SweepSubmitted(submission) => {
                self.counts.insert(submission.id.clone(), Counts::default());
            }
            Record::SweepEnded(sweep, state, _) => {
                self.paused.remove(sweep);
                assert!(self.live.values().all(|(l, ..)| l.trial.sweep != *sweep), "leases outlive {sweep}");
                assert_eq!(self.finished.insert(sweep.clone(), *state), None, "{sweep} ended twice");
            }
            Record::LeaseGranted(lease, worker, pack) => {
                self.granted(lease, worker, *pack);
                assert!(self.every_lease.iter().all(|l| l.term < lease.term), "terms only grow: {lease}");
                assert!(self.live.values().all(|(l, ..)| l.trial != lease.trial), "two leases: {lease}");
                assert!(!self.ended.contains(&lease.trial), "{lease} after the end");
                assert!(!self.finished.contains_key(&lease.trial.sweep), "{lease} after its sweep");
                assert!(!self.paused.contains(&lease.trial.sweep), "{lease} of a paused sweep");
                assert!(self.connected.contains(worker), "{worker} is not there");
                assert!(!self.draining.contains(worker), "{worker} drains");
                self.every_lease.push(lease.clone());
                self.live.insert(lease.term, (lease.clone(), worker.clone(), 0));
            }
            Record::SweepChanged(sweep, change, _) => match change {
                Change::Paused => assert!(self.paused.insert(sweep.clone()), "{sweep} paused twice"),
                Change::Resumed => assert!(self.paused.remove(sweep), "{sweep} resumed twice"),
                Change::Priority(_) => {}
                Change::Extended(_) => {
                    let ended = self.finished.remove(sweep);
                    assert!(ended.is_none_or(|state| state == SweepState::Completed), "{sweep}: {ended:?}");
                }
                Change::Reopened => {
                    let ended = self.finished.remove(sweep).expect("it had ended");
                    assert_ne!(ended, SweepState::Cancelled, "{sweep}");
                    self.at_fault.remove(sweep);
                }
            },
            Record::LeaseEnded(lease, worker, failure) => {
                let (_, holder, _) = &self.live[&lease.term];
                assert_eq!(holder, worker, "{lease}");
                if let (Some(trial), Some(failure)) = (self.before.get_mut(&lease.trial), failure) {
                    trial.remember(Past {
                        attempt: lease.attempt,
                        worker: worker.clone(),
                        failure: failure.clone(),
                    });
                }
                if failure.as_ref().is_some_and(|f| f.kind == FailureKind::BadInput) {
                    self.at_fault.insert(lease.trial.sweep.clone());
                }
                assert!(self.live.remove(&lease.term).is_some(), "{lease} ended twice");
            }
            Record::Metrics(lease, sequence, points) => {
                self.reported(lease, *sequence);
                if let Some(trial) = self.before.get_mut(&lease.trial) {
                    trial.fresh(points.clone());
                }
            }
            Record::Evaluated(trial, evaluations, best) => {
                if let Some(trial) = self.before.get_mut(trial) {
                    (trial.evaluations, trial.best) = (*evaluations, *best);
                }
            }
            Record::RungReached { trial, place, .. } => {
                assert!(self.rungs.insert((trial.clone(), place.bracket, place.rung)), "{trial} came twice");
            }
            Record::Promoted(trial, place) => {
                let reached = (trial.clone(), place.bracket, place.rung);
                assert!(self.rungs.contains(&reached), "{trial} was not at {place:?}");
                assert!(self.promoted.insert(reached), "{trial} was promoted twice");
                assert!(!self.ended.contains(trial), "{trial} after its end");
            }
            Record::Checkpoint(lease, sequence, files) => {
                self.reported(lease, *sequence);
                let before = self.checkpoints.insert(lease.trial.clone(), files.clone());
                assert!(before.is_none_or(|before| before.step <= files.step), "{lease} went back");
            }
            Record::TrialEnded(trial, end) => {
                assert!(self.live.values().all(|(l, ..)| l.trial != *trial), "{trial} is still leased");
                assert!(self.ended.insert(trial.clone()), "{trial} ended twice");
                let counts = self.counts.get_mut(&trial.sweep).expect("its sweep was submitted");
                match end {
                    TrialEnd::Completed(_) => counts.completed += 1,
                    TrialEnd::Diverged(_) => counts.diverged += 1,
                    TrialEnd::Failed(_) => counts.failed += 1,
                    TrialEnd::EarlyStopped(_) => counts.early_stopped += 1,
                    TrialEnd::Cancelled(_) => counts.cancelled += 1,
                }
                let how = match end {
                    TrialEnd::Completed(_) => return,
                    TrialEnd::Diverged(_) => EndedHow::Diverged,
                    TrialEnd::Failed(_) => EndedHow::Failed,
                    TrialEnd::EarlyStopped(_) => EndedHow::EarlyStopped,
                    TrialEnd::Cancelled(_) => EndedHow::Cancelled,
                };
                let ended = Ended { index: trial.index, how, trial: self.before[trial].clone() };
                self.without.insert(trial.clone(), ended);
            }
            Record::TrialExcluded(trial, _) => {
                assert!(self.ended.insert(trial.clone()), "{trial} was left out after its end");
                assert!(self.every_lease.iter().all(|lease| lease.trial != *trial), "{trial} had begun");
                self.counts.get_mut(&trial.sweep).expect("its sweep was submitted").cancelled += 1;
                let how = EndedHow::Cancelled;
                let ended = Ended { index: trial.index, how, trial: Trial::default() };
                self.without.insert(trial.clone(), ended);
            }
            Record::TrialIncluded(trial, _) | Record::TrialRetried(trial, _) => {
                assert!(self.ended.remove(trial), "{trial} had not ended");
                let counts = self.counts.get_mut(&trial.sweep).expect("its sweep was submitted");
                match self.without.remove(trial).expect("it has no result").how {
                    EndedHow::Failed => counts.failed -= 1,
                    EndedHow::Diverged => counts.diverged -= 1,
                    EndedHow::EarlyStopped => counts.early_stopped -= 1,
                    EndedHow::Cancelled => counts.cancelled -= 1,
                }
            }
            Record::WorkerMarked(..) => {}
        }
    }

    fn reported(&mut self, lease: &Lease, sequence: u64) {
        let (_, _, last) = self.live.get_mut(&lease.term).expect("only a live lease reports");
        assert_eq!(sequence, *last + 1, "{lease}: without gaps");
        *last = sequence;
    }

    /// A pack is of one sweep, one structure, one worker; it has the lanes that it says and no more than fit, and a
    /// worker has no more packs than slots.
    fn granted(&mut self, lease: &Lease, worker: &WorkerId, pack: Pack) {
        let (slots, room) = self.rooms[worker];
        assert!((1..=room.max_lanes.max(1)).contains(&pack.lanes), "{lease}: {pack:?} in {room:?}");
        assert!((pack.first.0..pack.first.0 + u64::from(pack.lanes)).contains(&lease.term.0), "{lease}");
        self.packs.insert(lease.term, pack);
        let sweep = self.scheduler.sweep(&lease.trial.sweep).expect("its sweep is there");
        for (other, holder, _) in self.live.values() {
            if self.packs[&other.term].first != pack.first {
                continue;
            }
            assert_eq!((&other.trial.sweep, holder), (&lease.trial.sweep, worker), "{lease} beside {other}");
            assert!(sweep.structure.alike(other.trial.index, lease.trial.index), "{lease} beside {other}");
        }
        let held = self.live.values().filter(|(_, holder, _)| holder == worker);
        let mut packs: BTreeSet<Term> = held.map(|(l, ..)| self.packs[&l.term].first).collect();
        packs.insert(pack.first);
        assert!(packs.len() <= slots as usize, "{worker} has {packs:?} on {slots} slots");
    }

    fn deliver(&mut self, worker: &WorkerId, message: Message) {
        let belief = self.belief.entry(worker.clone()).or_default();
        match message {
            Message::Welcome(ended) => {
                for lease in ended {
                    assert!(
                        self.live.get(&lease.term).is_none_or(|(_, holder, _)| holder != worker),
                        "{lease} lives"
                    );
                    belief.remove(&lease.term);
                }
            }
            Message::Assign(lanes) => {
                let pack = self.packs[&lanes[0].lease.term];
                assert_eq!(lanes.len(), pack.lanes as usize, "all of a pack goes together");
                for Lane { lease, resume, pause: _ } in lanes {
                    let (_, holder, _) = &self.live[&lease.term];
                    assert_eq!((holder, self.packs[&lease.term]), (worker, pack));
                    assert_eq!(resume.as_ref(), self.checkpoints.get(&lease.trial), "{lease}");
                    belief.insert(lease.term, (lease, 0));
                }
            }
            Message::Acknowledge(lease, sequence) => match self.live.get(&lease.term) {
                Some((_, _, recorded)) => assert!(sequence <= *recorded, "{lease}: not durable yet"),
                None => {
                    belief.remove(&lease.term);
                }
            },
            Message::Stop(lease, _) => {
                assert!(self.live.get(&lease.term).is_none_or(|(_, holder, _)| holder != worker));
                belief.remove(&lease.term);
            }
            Message::Drain(_) => assert!(self.draining.contains(worker), "{worker} is to drain"),
        }
    }

    /// The state is what the records say.
    fn check(&self) {
        let scheduler = &self.scheduler;
        for sweep in &scheduler.sweeps {
            assert_eq!(sweep.counts, self.counts[&sweep.id], "{}", sweep.id);
            let open = match self.paused.contains(&sweep.id) {
                true => SweepState::Paused,
                false => SweepState::Running,
            };
            let state = self.finished.get(&sweep.id).copied().unwrap_or(open);
            let under_way = scheduler.leases.values().filter(|active| active.lease.trial.sweep == sweep.id);
            let packs: BTreeSet<Term> = under_way.clone().map(|active| active.pack.first).collect();
            assert_eq!(sweep.packs, packs.len() as u64, "{}", sweep.id);
            let most = sweep.limits.max_concurrent_trials.unwrap_or(u64::MAX);
            assert!(under_way.count() as u64 <= most, "{}", sweep.id);
            assert_eq!(sweep.state, state, "{}", sweep.id);
            assert_eq!(state == SweepState::Failed, self.at_fault.contains(&sweep.id), "{}", sweep.id);
            if state == SweepState::Completed {
                let Counts { completed, diverged, failed, early_stopped, cancelled } = sweep.counts;
                let ended = completed + diverged + failed + early_stopped + cancelled;
                assert!(sweep.has_reached_its_target() || ended == sweep.size, "{}", sweep.id);
                assert!(ended <= sweep.size, "{}", sweep.id);
            }
            for (index, trial) in &sweep.trials {
                let (waits, pauses) = (sweep.waiting.contains(index), sweep.paused.contains(index));
                assert_eq!(trial.lease.is_none(), waits || pauses, "{}/{index}", sweep.id);
                assert!(!(waits && pauses), "{}/{index}", sweep.id);
            }
        }
        let live: Vec<_> = scheduler.leases.values().map(|a| (&a.lease, &a.worker, a.sequence)).collect();
        assert_eq!(live, self.live.values().map(|(l, w, s)| (l, w, *s)).collect::<Vec<_>>());
        for (id, worker) in scheduler.workers.iter() {
            let mut packs: BTreeMap<Term, BTreeSet<Term>> = BTreeMap::new();
            for active in scheduler.leases.values().filter(|active| active.worker == *id) {
                assert_eq!(active.pack, self.packs[&active.lease.term], "{}", active.lease);
                packs.entry(active.pack.first).or_default().insert(active.lease.term);
            }
            assert_eq!(worker.packs, packs, "{id}");
        }
        assert!(scheduler.leases.values().all(|a| scheduler.workers.get(&a.worker).is_some()));
    }

    /// Everybody goes but one, who does all that is left.
    fn behave(&mut self) {
        for worker in 0..4 {
            self.step(&Step::Leave(worker));
        }
        self.step(&Step::Wait(TIMEOUT));
        assert!(self.live.is_empty(), "deadlines end what nobody trains");
        for sweep in 1..=self.submitted {
            self.step(&Step::Resume(sweep));
        }
        self.join(&WorkerId::new("w9"), 2, 3, Memory::None);
        let left: u64 = self.scheduler.sweeps.iter().map(|sweep| sweep.size).sum();
        for _ in 0..left {
            self.step(&Step::Report { worker: 9, lease: 0, place: Numbered::Next, body: Body::Completed(1) });
        }
        assert_eq!(self.finished.len(), self.scheduler.sweeps.len(), "every sweep ends");
    }
}

/// Points may share a pack where their index agrees modulo this number.
fn alike_by(base: u64) -> Structure {
    Structure::new(vec![(0, vec![Digit { stride: 1, base, first: 0 }])])
}

proptest! {
    #[test]
    fn whatever_happens_no_trial_is_leased_twice_at_a_time_or_ends_twice_and_every_sweep_ends(steps in steps()) {
        let mut world = World::new();
        for step in &steps {
            world.step(step);
        }
        world.behave();
    }
}
