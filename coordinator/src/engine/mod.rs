//! The only writer: one named thread that takes commands, stamps the time, lets the scheduler decide, commits, and
//! only then acts. Nothing else changes state, so there are no locks; the price is that everything waits for the
//! disk, which batching (all commands that are there share a transaction) makes cheap.
//!
//! Crash at any point: what was committed is loaded again, what was not has had no effect outside.

mod handle;
mod meters;
mod telling;
#[cfg(test)]
mod tests;
mod types;

use std::{
    collections::{BTreeMap, HashMap},
    io,
    path::Path,
    sync::Arc,
    thread,
};

use distilsweep_proto::{
    ids::{Lease, SweepId, Term, WorkerId},
    params::STRUCTURAL,
};
use tokio::sync::{mpsc, oneshot, watch};

pub use handle::{EngineHandle, EngineOutbox, EngineStopped, OutboxError};
pub use meters::Meters;
pub use types::{EngineOptions, NewSweep, Progress, RunningTrial, Snapshot, StreamNumber, ToWorker};

use crate::{
    clock::Clock,
    mlflow::op::{RunIds, RunKey},
    scheduler::{
        Active, Census, Effect, Event, Lane, Message, Record, Report, Room, Scheduler, Structure, Submission,
        Time,
    },
    spec::SweepSpec,
    store::{Loaded, Store, StoreError, SweepFile, Write},
};
use telling::Telling;

/// Commands that share a transaction at most.
const BATCH: usize = 1024;

/// What the engine is asked.
#[derive(Debug)]
enum Command {
    Submit(Box<NewSweep>, u64, oneshot::Sender<(SweepId, bool)>),
    Cancel(SweepId, String, oneshot::Sender<()>),
    Join {
        worker: WorkerId,
        stream: StreamNumber,
        slots: u32,
        room: Room,
        held: Vec<Lease>,
        to: mpsc::UnboundedSender<ToWorker>,
    },
    Leave(WorkerId, StreamNumber),
    Heartbeat(WorkerId, Vec<(Term, Progress)>),
    Draining(WorkerId),
    Report(WorkerId, Report),
    Snapshot(SweepId, oneshot::Sender<Option<Snapshot>>),
    Count(oneshot::Sender<Census>),
    Told {
        rows: Vec<i64>,
        runs: Vec<(RunKey, RunIds)>,
        done: oneshot::Sender<()>,
    },
    Refused {
        rows: Vec<i64>,
        reason: String,
        done: oneshot::Sender<()>,
    },
    Tick,
    Stop,
}

/// What happens after a commit.
enum Act {
    /// On the stream that was the worker's when it was decided: a later one starts with its own welcome.
    Send(mpsc::UnboundedSender<ToWorker>, ToWorker),
    /// Dropping it closes the stream.
    Disconnect(mpsc::UnboundedSender<ToWorker>),
    Accepted(oneshot::Sender<(SweepId, bool)>, (SweepId, bool)),
    Show(oneshot::Sender<Option<Snapshot>>, Option<Box<Snapshot>>),
    Tally(oneshot::Sender<Census>, Census),
    Done(oneshot::Sender<()>),
}

/// The thread's state.
struct Engine {
    scheduler: Scheduler,
    store: Store,
    clock: Clock,
    options: EngineOptions,
    telling: Telling,
    specs: BTreeMap<SweepId, Arc<SweepSpec>>,
    streams: HashMap<WorkerId, (StreamNumber, mpsc::UnboundedSender<ToWorker>)>,
    progress: HashMap<Term, Progress>,
    changed: watch::Sender<u64>,
    outbox_grew: watch::Sender<u64>,
    meters: Meters,
}

/// Opens the state directory and starts the engine's thread on it. `new_id` names the state where it is new.
///
/// # Errors
/// Where the state cannot be opened or read.
pub fn start(directory: &Path, new_id: &str, options: EngineOptions) -> Result<EngineHandle, StoreError> {
    let store = Store::open(directory, new_id)?;
    let loaded = store.load()?;
    let (engine, changes, outbox_growth) = Engine::new(store, loaded, options)?;
    let meters = engine.meters.clone();
    let (commands, queue) = mpsc::channel(4096);
    let thread = thread::Builder::new()
        .name("engine".to_owned())
        .spawn(move || engine.run(queue))
        .map_err(|source: io::Error| StoreError::Directory { path: directory.to_owned(), source })?;
    Ok(EngineHandle::new(commands, changes, outbox_growth, meters, directory.to_owned(), thread))
}

impl Engine {
    /// An engine that goes on where the store's last left off, with what tells of its changes and of its outbox.
    fn new(
        store: Store,
        loaded: Loaded,
        options: EngineOptions,
    ) -> Result<(Self, watch::Receiver<u64>, watch::Receiver<u64>), StoreError> {
        let clock = Clock::start_after(loaded.latest);
        let specs: BTreeMap<SweepId, Arc<SweepSpec>> = loaded
            .specs
            .iter()
            .map(|(id, text)| Ok((id.clone(), Arc::new(serde_json::from_str(text)?))))
            .collect::<Result<_, serde_json::Error>>()?;
        let timeout = i64::try_from(options.lease_timeout_ms).unwrap_or(i64::MAX);
        let mut sweeps = loaded.sweeps;
        for sweep in &mut sweeps {
            sweep.structure = specs.get(&sweep.id).map(|spec| structure(spec)).unwrap_or_default();
        }
        let scheduler = Scheduler::restarted(clock.now(), timeout, sweeps, loaded.leases, loaded.last_term);
        let (changed, changes) = watch::channel(0);
        let (outbox_grew, outbox_growth) = watch::channel(0);
        let engine = Self {
            scheduler,
            store,
            clock,
            telling: Telling::new(loaded.coordinator, options.user.clone(), options.service),
            options,
            specs,
            streams: HashMap::new(),
            progress: HashMap::new(),
            changed,
            outbox_grew,
            meters: Meters::default(),
        };
        Ok((engine, changes, outbox_growth))
    }

    /// Serves commands until told to stop, or until a commit fails: then memory is ahead of the disk, and the only
    /// honest thing is to end and be loaded again.
    fn run(mut self, mut queue: mpsc::Receiver<Command>) -> Result<(), StoreError> {
        while let Some(first) = queue.blocking_recv() {
            let now = self.clock.now();
            let began = self.clock.elapsed();
            let mut writes = Vec::new();
            let mut acts = Vec::new();
            let mut stop = false;
            let mut taken = 0;
            let mut next = Some(first);
            while let Some(command) = next {
                if matches!(command, Command::Stop) {
                    stop = true;
                    break;
                }
                self.take(now, command, &mut writes, &mut acts);
                taken += 1;
                next = if taken < BATCH { queue.try_recv().ok() } else { None };
            }
            let told =
                writes.iter().any(|w| matches!(w, Write::Tell(..) | Write::Record(Record::Metrics(..), _)));
            self.meters.took(taken);
            if !writes.is_empty() {
                let before = self.clock.elapsed();
                self.store.commit(now, &writes).inspect_err(|error| {
                    tracing::error!(%error, "the state could not be written, stopping");
                })?;
                self.meters.committed(self.clock.elapsed().saturating_sub(before));
            }
            for act in acts {
                if matches!(act, Act::Send(_, ToWorker::Assign { .. })) {
                    self.meters.assigned(self.clock.elapsed().saturating_sub(began));
                }
                Self::act(act);
            }
            self.changed.send_modify(|version| *version += 1);
            if told {
                self.outbox_grew.send_modify(|version| *version += 1);
            }
            if stop {
                return Ok(());
            }
        }
        Ok(())
    }

    fn take(&mut self, now: Time, command: Command, writes: &mut Vec<Write>, acts: &mut Vec<Act>) {
        match command {
            Command::Submit(new, random, reply) => self.submit(now, *new, random, reply, writes, acts),
            Command::Cancel(sweep, reason, reply) => {
                let effects = self.scheduler.apply(now, Event::Cancelled { sweep, reason });
                self.follow(now, effects, None, writes, acts);
                acts.push(Act::Done(reply));
            }
            Command::Join { worker, stream, slots, room, held, to } => {
                let newest = self.streams.get(&worker).is_none_or(|(known, _)| *known < stream);
                if newest {
                    self.streams.insert(worker.clone(), (stream, to));
                    let effects = self.scheduler.apply(now, Event::Joined { worker, slots, room, held });
                    self.follow(now, effects, None, writes, acts);
                }
            }
            Command::Leave(worker, stream) => {
                if self.streams.get(&worker).is_some_and(|(known, _)| *known == stream) {
                    self.streams.remove(&worker);
                    self.event(now, Event::Left { worker }, writes, acts);
                }
            }
            Command::Heartbeat(worker, progress) => {
                let held = |(term, _): &(Term, Progress)| self.scheduler.holds(&worker, *term);
                let measured =
                    progress.iter().filter_map(|(term, progress)| Some((*term, progress.lane_bytes?)));
                let measured = measured.collect();
                self.progress.extend(progress.into_iter().filter(held));
                self.event(now, Event::Heartbeat { worker, measured }, writes, acts);
            }
            Command::Draining(worker) => self.event(now, Event::Draining { worker }, writes, acts),
            Command::Report(worker, report) => {
                self.event(now, Event::Reported { worker, report }, writes, acts)
            }
            Command::Snapshot(sweep, reply) => {
                acts.push(Act::Show(reply, self.snapshot(&sweep).map(Box::new)));
            }
            Command::Count(reply) => acts.push(Act::Tally(reply, self.scheduler.census())),
            Command::Told { rows, runs, done } => {
                self.meters.told(rows.len());
                writes.push(Write::Told { rows, runs });
                acts.push(Act::Done(done));
            }
            Command::Refused { rows, reason, done } => {
                self.meters.refused(rows.len());
                writes.push(Write::Refused { rows, reason });
                acts.push(Act::Done(done));
            }
            Command::Tick => self.event(now, Event::Tick, writes, acts),
            // Handled by the loop.
            Command::Stop => {}
        }
    }

    fn event(&mut self, now: Time, event: Event, writes: &mut Vec<Write>, acts: &mut Vec<Act>) {
        let effects = self.scheduler.apply(now, event);
        self.follow(now, effects, None, writes, acts);
    }

    fn submit(
        &mut self,
        now: Time,
        new: NewSweep,
        random: u64,
        reply: oneshot::Sender<(SweepId, bool)>,
        writes: &mut Vec<Write>,
        acts: &mut Vec<Act>,
    ) {
        let NewSweep { spec, source, file_name, force_new } = new;
        // Six digits are for people; where they are taken, the next ones are.
        let mut digits = random;
        let mut id = sweep_id(&spec.name, digits);
        while self.specs.contains_key(&id) {
            digits = digits.wrapping_add(1);
            id = sweep_id(&spec.name, digits);
        }
        let submission = Submission {
            id: id.clone(),
            name: spec.name.clone(),
            digest: spec.digest(),
            size: spec.space.len(),
            structure: structure(&spec),
            max_retries: spec.limits.max_retries,
            metric: spec.metric.selection.best.to_owned(),
            maximize: spec.metric.maximize,
            force_new,
        };
        // Text keys and finite numbers alone: it always becomes JSON.
        let stored = serde_json::to_string(&spec).unwrap_or_default();
        let file = SweepFile { name: file_name, source, spec: stored };
        self.specs.insert(id.clone(), Arc::new(spec));
        let mut effects = self.scheduler.apply(now, Event::Submitted(submission));
        let accepted = effects.iter().find_map(|effect| match effect {
            Effect::Accepted { sweep, created } => Some((sweep.clone(), *created)),
            Effect::Record(_) | Effect::Send(..) | Effect::Disconnect(_) => None,
        });
        effects.retain(|effect| !matches!(effect, Effect::Accepted { .. }));
        self.follow(now, effects, Some(file), writes, acts);
        if let Some((sweep, created)) = accepted {
            if !created {
                self.specs.remove(&id);
            }
            acts.push(Act::Accepted(reply, (sweep, created)));
        }
    }

    /// Turns effects into what to commit and what to do after.
    fn follow(
        &mut self,
        now: Time,
        effects: Vec<Effect>,
        file: Option<SweepFile>,
        writes: &mut Vec<Write>,
        acts: &mut Vec<Act>,
    ) {
        for effect in effects {
            match effect {
                Effect::Record(record) => {
                    self.meters.decided(&record);
                    if let Record::LeaseEnded(lease, _) = &record {
                        self.progress.remove(&lease.term);
                    }
                    let source = file.as_ref().map(|file| file.source.as_str());
                    let told = self.telling.about(now, &record, &self.specs, source);
                    let file = matches!(record, Record::SweepSubmitted(_)).then(|| file.clone()).flatten();
                    writes.push(Write::Record(record, file));
                    writes.extend(told.into_iter().map(|(run, op)| Write::Tell(run, op)));
                }
                Effect::Send(worker, message) => {
                    // A stream that has just closed: the worker presents its leases when it comes back.
                    let stream = self.streams.get(&worker).map(|(_, to)| to.clone());
                    if let (Some(to), Some(message)) = (stream, self.complete(message)) {
                        acts.push(Act::Send(to, message));
                    }
                }
                Effect::Disconnect(worker) => {
                    acts.extend(self.streams.remove(&worker).map(|(_, to)| Act::Disconnect(to)));
                }
                // Taken out where it is answered.
                Effect::Accepted { .. } => {}
            }
        }
    }

    fn complete(&self, message: Message) -> Option<ToWorker> {
        Some(match message {
            Message::Welcome(ended) => ToWorker::Welcome {
                heartbeat_interval_ms: (self.options.lease_timeout_ms / 10).clamp(100, 2_000),
                lease_timeout_ms: self.options.lease_timeout_ms,
                ended,
            },
            Message::Assign(lanes) => {
                let spec = Arc::clone(self.specs.get(&lanes.first()?.lease.trial.sweep)?);
                let point = |lane: Lane| {
                    let params = spec.space.point(lane.lease.trial.index);
                    (lane, params)
                };
                let lanes = lanes.into_iter().map(point).collect();
                ToWorker::Assign { lanes, spec, store_url: self.options.store_url.clone() }
            }
            Message::Acknowledge(lease, sequence) => ToWorker::Acknowledge(lease, sequence),
            Message::Stop(lease, reason) => ToWorker::Stop(lease, reason),
        })
    }

    fn act(act: Act) {
        match act {
            Act::Send(to, message) => {
                let _ = to.send(message);
            }
            Act::Disconnect(to) => drop(to),
            Act::Show(reply, snapshot) => {
                let _ = reply.send(snapshot.map(|snapshot| *snapshot));
            }
            Act::Tally(reply, census) => {
                let _ = reply.send(census);
            }
            Act::Accepted(reply, accepted) => {
                let _ = reply.send(accepted);
            }
            Act::Done(reply) => {
                let _ = reply.send(());
            }
        }
    }

    fn snapshot(&self, id: &SweepId) -> Option<Snapshot> {
        let sweep = self.scheduler.sweeps().iter().find(|sweep| sweep.id == *id)?.clone();
        let spec = self.specs.get(id)?;
        let running = self
            .scheduler
            .leases_of(id)
            .map(|Active { lease, worker, .. }| RunningTrial {
                lease: lease.clone(),
                worker: worker.clone(),
                params: spec.space.point(lease.trial.index),
                progress: self.progress.get(&lease.term).cloned().unwrap_or_default(),
            })
            .collect();
        Some(Snapshot { sweep, running, workers: self.scheduler.connected() })
    }
}

/// Which points of a sweep's space may share a pack.
fn structure(spec: &SweepSpec) -> Structure {
    Structure::new(spec.space.digits(STRUCTURAL))
}

fn sweep_id(name: &str, random: u64) -> SweepId {
    SweepId::new(format!("{name}-{:06x}", random & 0xff_ffff))
}
