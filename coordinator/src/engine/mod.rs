//! The only writer: one named thread that takes commands, stamps the time, lets the scheduler decide, commits, and
//! only then acts. Nothing else changes state, so there are no locks; the price is that everything waits for the
//! disk, which batching (all commands that are there share a transaction) makes cheap.
//!
//! Crash at any point: what was committed is loaded again, what was not has had no effect outside.

mod handle;
mod kept;
mod meters;
mod readers;
mod retell;
mod searches;
mod telling;
#[cfg(test)]
mod tests;
mod turns;
mod types;

use std::{
    collections::{BTreeMap, HashMap},
    io,
    path::Path,
    sync::Arc,
    thread,
};

use distilsweep_proto::{
    ids::{SweepId, Term, WorkerId},
    params::STRUCTURAL,
};
use tokio::sync::{mpsc, oneshot, watch};

pub use handle::{EngineError, EngineHandle, EngineOutbox, EngineStopped, OutboxError};
pub use meters::Meters;
pub use retell::{Retelling, Told};
pub use turns::{Turn, Turns};
pub use types::{
    About, Chosen, EngineOptions, Joining, NewSweep, OrderError, Ordered, Progress, RunningTrial, Snapshot,
    StreamNumber, ToWorker, WorkerNow,
};

use crate::{
    clock::Clock,
    mlflow::op::{RunIds, RunKey},
    scheduler::{
        Active, Answer, Census, Digit, Effect, Event, Extension, Lane, Limits, Message, Order, Patience,
        Phase, Record, Refusal, Report, Scheduler, Seen, Structure, Submission, Sweep, Time, Worker,
    },
    search::History,
    spec::{self, Method, SweepSpec},
    store::{Loaded, Store, StoreError, SweepFile, Write},
};
use readers::Readers;
use telling::Telling;

/// What a heartbeat calls the phase in which steps are to be expected.
const TRAINING: &str = "training";

/// What the engine is asked.
#[derive(Debug)]
enum Command {
    Submit(Box<NewSweep>, u64, oneshot::Sender<(SweepId, bool)>),
    Order { sweep: SweepId, order: Ordered, by: String, reply: oneshot::Sender<Result<Answer, OrderError>> },
    Drain(WorkerId, String, oneshot::Sender<Result<Answer, OrderError>>),
    Workers(oneshot::Sender<Vec<WorkerNow>>),
    Join(Joining),
    Leave(WorkerId, StreamNumber),
    Heartbeat(WorkerId, Vec<(Term, Progress)>),
    Draining(WorkerId),
    Report(WorkerId, Report),
    Snapshot(SweepId, oneshot::Sender<Option<Snapshot>>),
    Count(oneshot::Sender<Census>),
    Told { rows: Vec<i64>, runs: Vec<(RunKey, RunIds)>, done: oneshot::Sender<()> },
    Refused { rows: Vec<i64>, reason: String, done: oneshot::Sender<()> },
    Restore(oneshot::Sender<()>),
    Tick,
    Stop,
}

impl Command {
    /// Whether it asks the store, so that all before it must be durable first.
    fn reads(&self) -> bool {
        matches!(self, Command::Order { order: Ordered::Retry(_), .. })
    }
}

/// What happens after a commit.
#[derive(Debug)]
enum Act {
    /// On the stream that was the worker's when it was decided: a later one starts with its own welcome.
    Send(mpsc::UnboundedSender<ToWorker>, ToWorker),
    /// Dropping it closes the stream.
    Disconnect(mpsc::UnboundedSender<ToWorker>),
    Accepted(oneshot::Sender<(SweepId, bool)>, (SweepId, bool)),
    Answer(oneshot::Sender<Result<Answer, OrderError>>, Result<Answer, OrderError>),
    ShowWorkers(oneshot::Sender<Vec<WorkerNow>>, Vec<WorkerNow>),
    Show(oneshot::Sender<Option<Snapshot>>, Option<Box<Snapshot>>),
    Tally(oneshot::Sender<Census>, Census),
    Done(oneshot::Sender<()>),
}

/// The thread's state.
#[derive(Debug)]
struct Engine {
    scheduler: Scheduler,
    store: Store,
    clock: Clock,
    options: EngineOptions,
    telling: Telling,
    specs: BTreeMap<SweepId, Arc<SweepSpec>>,
    /// What has come of the trials of searches that learn.
    histories: BTreeMap<SweepId, History>,
    streams: HashMap<WorkerId, (StreamNumber, mpsc::UnboundedSender<ToWorker>)>,
    /// Of workers that are connected.
    about: HashMap<WorkerId, About>,
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
    let (turns, handle) = open(directory, new_id, options)?;
    let thread = thread::Builder::new()
        .name("engine".to_owned())
        .spawn(move || turns.run())
        .map_err(|source: io::Error| StoreError::Directory { path: directory.to_owned(), source })?;
    Ok(handle.on(thread))
}

/// The same without the thread: whoever has the [`Turns`] takes them.
///
/// # Errors
/// Where the state cannot be opened or read.
pub fn open(
    directory: &Path,
    new_id: &str,
    options: EngineOptions,
) -> Result<(Turns, EngineHandle), StoreError> {
    let store = Store::open(directory, new_id)?;
    let loaded = store.load()?;
    let (engine, changes, outbox_growth) = Engine::new(store, loaded, options)?;
    let (commands, queue) = mpsc::channel(4096);
    let meters = engine.meters.clone();
    let handle = EngineHandle::new(
        commands,
        changes,
        outbox_growth,
        meters,
        Readers::new(directory.to_owned()).reserve()?,
    );
    Ok((Turns { engine, queue, held: None }, handle))
}

impl Engine {
    /// An engine that goes on where the store's last left off, with what tells of its changes and of its outbox.
    fn new(
        store: Store,
        loaded: Loaded,
        options: EngineOptions,
    ) -> Result<(Self, watch::Receiver<u64>, watch::Receiver<u64>), StoreError> {
        let clock = Clock::start_after(loaded.latest);
        let (mut specs, mut histories) = (BTreeMap::new(), BTreeMap::new());
        for Sweep { id, .. } in &loaded.durable.sweeps {
            let spec = store.spec(id)?;
            if spec.method == Method::Bayes {
                histories.insert(id.clone(), store.history(id)?);
            }
            specs.insert(id.clone(), Arc::new(spec));
        }
        let whole = |milliseconds| i64::try_from(milliseconds).unwrap_or(i64::MAX);
        let patience = Patience {
            lease_timeout_ms: whole(options.lease_timeout_ms),
            hang_floor_ms: whole(options.hang_timeout_ms),
        };
        let mut durable = loaded.durable;
        for sweep in &mut durable.sweeps {
            if let Some(spec) = specs.get(&sweep.id) {
                (sweep.structure, sweep.limits) = (structure(spec), limits(spec));
            }
        }
        let scheduler = Scheduler::restarted(clock.now(), patience, durable);
        let (changed, changes) = watch::channel(0);
        let (outbox_grew, outbox_growth) = watch::channel(0);
        let engine = Self {
            scheduler,
            store,
            clock,
            telling: Telling::new(loaded.coordinator, options.user.clone(), options.service),
            options,
            specs,
            histories,
            streams: HashMap::new(),
            about: HashMap::new(),
            progress: HashMap::new(),
            changed,
            outbox_grew,
            meters: Meters::default(),
        };
        Ok((engine, changes, outbox_growth))
    }

    fn take(&mut self, now: Time, command: Command, writes: &mut Vec<Write>, acts: &mut Vec<Act>) {
        match command {
            Command::Submit(new, random, reply) => self.submit(now, *new, random, reply, writes, acts),
            Command::Order { sweep, order, by, reply } => {
                let answer = self.order(now, sweep, order, by, writes, acts);
                acts.push(Act::Answer(reply, answer));
            }
            Command::Drain(worker, by, reply) => {
                let answer = self.event(now, Event::DrainOrdered { worker, by }, writes, acts);
                acts.push(Act::Answer(reply, Ok(answer)));
            }
            Command::Workers(reply) => acts.push(Act::ShowWorkers(reply, self.workers())),
            Command::Join(Joining { worker, stream, slots, room, about, held, to }) => {
                let newest = self.streams.get(&worker).is_none_or(|(known, _)| *known < stream);
                if newest {
                    self.streams.insert(worker.clone(), (stream, to));
                    self.about.insert(worker.clone(), about);
                    self.event(now, Event::Joined { worker, slots, room, held }, writes, acts);
                }
            }
            Command::Leave(worker, stream) => {
                if self.streams.get(&worker).is_some_and(|(known, _)| *known == stream) {
                    self.streams.remove(&worker);
                    self.about.remove(&worker);
                    self.event(now, Event::Left { worker }, writes, acts);
                }
            }
            Command::Heartbeat(worker, progress) => {
                let held = |(term, _): &(Term, Progress)| self.scheduler.holds(&worker, *term);
                let seen = progress.iter().map(|(term, progress)| Seen {
                    term: *term,
                    step: progress.step,
                    total_steps: progress.total_steps,
                    phase: if progress.phase == TRAINING { Phase::Training } else { Phase::Other },
                    lane_bytes: progress.lane_bytes,
                });
                let seen = seen.collect();
                self.progress.extend(progress.into_iter().filter(held));
                self.event(now, Event::Heartbeat { worker, seen }, writes, acts);
            }
            Command::Draining(worker) => {
                self.event(now, Event::Draining { worker }, writes, acts);
            }
            Command::Report(worker, report) => {
                self.event(now, Event::Reported { worker, report }, writes, acts);
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
            Command::Restore(done) => {
                writes.push(Write::Restored);
                acts.push(Act::Done(done));
            }
            Command::Tick => {
                self.event(now, Event::Tick, writes, acts);
            }
            // Handled by the loop.
            Command::Stop => {}
        }
    }

    /// Lets it happen. The answer is that to an order; to anything else there is none that matters.
    fn event(&mut self, now: Time, event: Event, writes: &mut Vec<Write>, acts: &mut Vec<Act>) -> Answer {
        let mut effects = self.scheduler.apply(now, event);
        let answered = effects.iter().position(|effect| matches!(effect, Effect::Answered(_)));
        let answer = match answered.map(|at| effects.remove(at)) {
            Some(Effect::Answered(answer)) => answer,
            _ => Answer::Done(0),
        };
        self.follow(now, effects, None, writes, acts);
        answer
    }

    /// Follows what people ordered about a sweep: completes it with what the scheduler does not know.
    fn order(
        &mut self,
        now: Time,
        sweep: SweepId,
        order: Ordered,
        by: String,
        writes: &mut Vec<Write>,
        acts: &mut Vec<Act>,
    ) -> Result<Answer, OrderError> {
        let spec = self.specs.get(&sweep).cloned();
        let mut before = None;
        let order = match (order, &spec) {
            (Ordered::Ready(order), _) => order,
            (Ordered::Extend(additions), Some(spec)) => {
                let larger = spec.extended(&additions)?;
                let extension = Extension {
                    size: larger.space.len(),
                    structure: structure(&larger),
                    spec: serde_json::to_string(&larger).map_err(StoreError::from)?,
                    what: additions.join(" "),
                };
                // Before it happens: a new point may be leased at once.
                before = self.specs.insert(sweep.clone(), Arc::new(larger));
                Order::Extend(extension)
            }
            (Ordered::Retry(chosen), Some(spec)) => {
                let wanted = |index, how| chosen.matches(index, how, || spec.space.point(index));
                Order::Retry(self.store.ended(&sweep, wanted)?)
            }
            (Ordered::Extend(_) | Ordered::Retry(_), None) => {
                return Ok(Answer::Refused(Refusal::NoSweep(sweep)));
            }
        };
        let answer = self.event(now, Event::Ordered { sweep: sweep.clone(), order, by }, writes, acts);
        if let (Answer::Refused(_), Some(before)) = (&answer, before) {
            self.specs.insert(sweep, before);
        }
        Ok(answer)
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
            limits: limits(&spec),
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
            Effect::Record(_) | Effect::Send(..) | Effect::Disconnect(_) | Effect::Answered(_) => None,
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
                    if let Record::LeaseEnded(lease, ..) = &record {
                        self.progress.remove(&lease.term);
                    }
                    // First: what is told of a lease names its point.
                    let proposed = self.learn(&record);
                    let source = file.as_ref().map(|file| file.source.as_str());
                    let told = self.telling.about(now, &record, &self.specs, source);
                    let file = matches!(record, Record::SweepSubmitted(_)).then(|| file.clone()).flatten();
                    writes.push(Write::Record(record, file));
                    writes.extend(proposed);
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
                    self.about.remove(&worker);
                    acts.extend(self.streams.remove(&worker).map(|(_, to)| Act::Disconnect(to)));
                }
                // Taken out where they are answered.
                Effect::Accepted { .. } | Effect::Answered(_) => {}
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
            Message::Drain(reason) => ToWorker::Drain(reason),
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
            Act::Answer(reply, answer) => {
                let _ = reply.send(answer);
            }
            Act::ShowWorkers(reply, workers) => {
                let _ = reply.send(workers);
            }
            Act::Done(reply) => {
                let _ = reply.send(());
            }
        }
    }

    fn snapshot(&self, id: &SweepId) -> Option<Snapshot> {
        let sweep = self.scheduler.sweeps().iter().find(|sweep| sweep.id == *id)?;
        let spec = self.specs.get(id)?;
        let running = self
            .scheduler
            .leases_of(sweep)
            .map(|Active { lease, worker, .. }| RunningTrial {
                lease: lease.clone(),
                worker: worker.clone(),
                params: spec.space.point(lease.trial.index),
                progress: self.progress.get(&lease.term).cloned().unwrap_or_default(),
            })
            .collect();
        let connected = || self.scheduler.workers().filter(|(_, worker)| worker.connected);
        let quarantined = connected().filter(|(_, worker)| worker.is_quarantined()).count();
        Some(Snapshot {
            counts: sweep.counts,
            best: sweep.best,
            running,
            workers: connected().count(),
            quarantined,
        })
    }

    /// All workers that are connected or expected back.
    fn workers(&self) -> Vec<WorkerNow> {
        let now = |(id, worker): (&WorkerId, &Worker)| {
            let leases = worker.terms().filter_map(|term| self.scheduler.lease_of(term));
            WorkerNow {
                id: id.clone(),
                about: self.about.get(id).cloned().unwrap_or_default(),
                connected: worker.connected,
                marks: worker.marks.clone(),
                slots: worker.slots,
                leases: leases.map(|active| active.lease.clone()).collect(),
            }
        };
        self.scheduler.workers().map(now).collect()
    }
}

/// Which points of a sweep's space may share a pack.
fn structure(spec: &SweepSpec) -> Structure {
    let digit = |digit: spec::Digit| Digit { stride: digit.stride, base: digit.base, first: digit.first };
    let parts = spec.space.digits(STRUCTURAL).into_iter();
    Structure::new(parts.map(|(start, digits)| (start, digits.into_iter().map(digit).collect())).collect())
}

/// What bounds a sweep.
fn limits(spec: &SweepSpec) -> Limits {
    let spec::Limits { max_retries, max_concurrent_trials, max_failed_trials, time_budget } = spec.limits;
    let (target, early_terminate) = (spec.metric.target, spec.early_terminate);
    let time_budget_ms = time_budget.map(|s| i64::try_from(s.saturating_mul(1000)).unwrap_or(i64::MAX));
    Limits { max_retries, max_concurrent_trials, max_failed_trials, time_budget_ms, target, early_terminate }
}

fn sweep_id(name: &str, random: u64) -> SweepId {
    SweepId::new(format!("{name}-{:06x}", random & 0xff_ffff))
}
