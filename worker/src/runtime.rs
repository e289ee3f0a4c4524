//! The bridge from the session's tasks to the one named thread that owns the device. The thread trains one pack at
//! a time and never waits for the network; the session never waits for the thread.

use std::{
    collections::BTreeMap,
    io,
    path::{Path, PathBuf},
    sync::{
        Arc,
        atomic::{AtomicU8, Ordering},
        mpsc,
    },
    thread,
    time::{Duration, Instant},
};

use distilsweep_proto::{
    ids::{Lease, Term},
    names::{GRAD_NORM, LEARNING_RATE, LOSS},
};
use tempfile::TempDir;
use tokio::sync::mpsc::{UnboundedReceiver, UnboundedSender, unbounded_channel};

use crate::{
    clock,
    store::Resume,
    trainer::{
        Checkpoint, Ended, EvaluationRecord, Job, Observer, Phase, Request, StepRecord, Trained, Trainer,
    },
    wire::{Assignment, Point},
};

/// What the thread tells the session.
#[derive(Debug)]
pub enum RuntimeEvent {
    /// A trial came further.
    Progress {
        /// Which one.
        lease: Lease,
        /// What it is doing.
        phase: Phase,
        /// Optimizer steps done.
        step: u64,
        /// Optimizer steps in all.
        total_steps: u64,
    },
    /// New points of its curves.
    Points(Lease, Vec<Point>),
    /// A state to go on from.
    Checkpoint(Lease, Checkpoint),
    /// Memory of the device that it takes, in bytes.
    Measured(Lease, u64),
    /// It came to its end; of a result the model's files are in `model/` of the directory, which goes with the
    /// value.
    Ended(Lease, TrialEnded),
}

/// How a trial ended.
pub type TrialEnded = Result<(Box<Trained>, TempDir), Ended>;

/// Makes the trainer on the thread that is to own the device.
pub type MakeTrainer = Box<dyn FnOnce() -> Result<Box<dyn Trainer>, Ended> + Send>;

/// A trial of a pack with what it goes on from.
#[derive(Debug)]
pub struct Lane {
    /// What to train.
    pub assignment: Assignment,
    /// Checkpoints on this machine.
    pub resume: Resume,
}

/// What the session wants of a trial under way; the later of these stays.
#[derive(Clone, Debug, Default)]
struct Wish(Arc<AtomicU8>);

impl Wish {
    const HAND_BACK: u8 = 1;
    const STOP: u8 = 2;

    fn raise(&self, to: u8) {
        self.0.fetch_max(to, Ordering::Relaxed);
    }

    fn request(&self) -> Request {
        match self.0.load(Ordering::Relaxed) {
            Self::HAND_BACK => Request::HandBack,
            Self::STOP => Request::Stop,
            _ => Request::GoOn,
        }
    }
}

/// Handle of the training thread.
#[derive(Debug)]
pub struct Runtime {
    packs: mpsc::Sender<Vec<(Lane, Wish)>>,
    wishes: BTreeMap<Term, Wish>,
}

impl Runtime {
    /// Starts the thread of a device. Trials write below `scratch`, and are asked for a checkpoint this long after
    /// their last.
    ///
    /// # Errors
    /// Where the system gives no thread.
    pub fn start(
        device: &str,
        scratch: PathBuf,
        checkpoint_interval: Duration,
        make: MakeTrainer,
    ) -> io::Result<(Self, UnboundedReceiver<RuntimeEvent>)> {
        let (events, receiver) = unbounded_channel();
        let (packs, queue) = mpsc::channel::<Vec<(Lane, Wish)>>();
        thread::Builder::new().name(format!("device-{device}")).spawn(move || {
            let mut trainer = make();
            while let Ok(pack) = queue.recv() {
                let mut tellers = Tellers { scratch: &scratch, checkpoint_interval, events: &events };
                match &mut trainer {
                    Ok(trainer) => tellers.train(trainer.as_mut(), pack),
                    Err(why) => pack.into_iter().for_each(|(lane, _)| {
                        tellers.ended(lane.assignment.lease, Err(why.clone()));
                    }),
                }
                if events.is_closed() {
                    return;
                }
            }
        })?;
        Ok((Self { packs, wishes: BTreeMap::new() }, receiver))
    }

    /// Takes a trial on: from here on it can be stopped, though it is trained later.
    pub fn open(&mut self, lease: &Lease) {
        self.wishes.insert(lease.term, Wish::default());
    }

    /// Queues a pack of trials that were taken on.
    pub fn train(&self, lanes: Vec<Lane>) {
        let wish = |lane: &Lane| self.wishes.get(&lane.assignment.lease.term).cloned().unwrap_or_default();
        let pack: Vec<(Lane, Wish)> = lanes
            .into_iter()
            .map(|lane| {
                let wish = wish(&lane);
                (lane, wish)
            })
            .collect();
        // The thread ends only with its process.
        let _ = self.packs.send(pack);
    }

    /// Asks a trial to stop at its next step; it then ends as stopped, unless it has ended already.
    pub fn stop(&self, lease: &Lease) {
        self.wishes.get(&lease.term).into_iter().for_each(|wish| wish.raise(Wish::STOP));
    }

    /// The same after a last checkpoint.
    pub fn hand_back(&self, lease: &Lease) {
        self.wishes.get(&lease.term).into_iter().for_each(|wish| wish.raise(Wish::HAND_BACK));
    }

    /// Forgets a trial that has ended.
    pub fn ended(&mut self, lease: &Lease) {
        self.wishes.remove(&lease.term);
    }
}

/// Makes the observers of packs.
struct Tellers<'a> {
    scratch: &'a Path,
    checkpoint_interval: Duration,
    events: &'a UnboundedSender<RuntimeEvent>,
}

impl Tellers<'_> {
    fn train(&mut self, trainer: &mut dyn Trainer, pack: Vec<(Lane, Wish)>) {
        let (mut jobs, mut tellers, mut kept) = (Vec::new(), Vec::new(), Vec::new());
        let lanes = u32::try_from(pack.len()).unwrap_or(u32::MAX);
        for (place, (Lane { assignment, resume }, wish)) in (1_u32..).zip(pack) {
            let lease = assignment.lease.clone();
            if wish.request() != Request::GoOn {
                self.ended(lease, Err(Ended::Stopped));
                continue;
            }
            match self.output() {
                Ok(output) => {
                    jobs.push(job(assignment, output.path(), &resume));
                    // Their first ones are spread, so that not all copies are in memory at once.
                    let due = clock::now() + self.checkpoint_interval * place / lanes;
                    let (interval, events) = (self.checkpoint_interval, self.events);
                    tellers.push(Teller { lease, wish, interval, due, events, output: Some(output) });
                    kept.push(resume);
                }
                Err(why) => self.ended(lease, Err(why)),
            }
        }
        if jobs.is_empty() {
            return;
        }
        for teller in &mut tellers {
            teller.progress(Phase::Loading, 0, 0);
        }
        let mut observers: Vec<&mut dyn Observer> =
            tellers.iter_mut().map(|teller| teller as &mut dyn Observer).collect();
        trainer.train(&jobs, &mut observers);
        for mut teller in tellers {
            teller.ended(Err(Ended::Internal("the trainer gave no result".to_owned())));
        }
    }

    fn output(&self) -> Result<TempDir, Ended> {
        std::fs::create_dir_all(self.scratch).and_then(|()| tempfile::tempdir_in(self.scratch)).map_err(
            |error| {
                let scratch = self.scratch.display();
                Ended::Internal(format!("scratch directory {scratch} cannot be used: {error}"))
            },
        )
    }

    fn ended(&self, lease: Lease, ended: TrialEnded) {
        let _ = self.events.send(RuntimeEvent::Ended(lease, ended));
    }
}

fn job(assignment: Assignment, output: &Path, resume: &Resume) -> Job {
    Job {
        model: assignment.model,
        model_revision: assignment.model_revision,
        dataset: assignment.dataset,
        params: assignment.params,
        arguments: assignment.arguments,
        selection: assignment.selection,
        maximize: assignment.maximize,
        output: output.to_owned(),
        checkpoints: true,
        resume: resume.directories.clone(),
    }
}

/// Passes what a trainer says about one trial on to the session.
struct Teller<'a> {
    lease: Lease,
    wish: Wish,
    interval: Duration,
    /// When the next checkpoint is asked for.
    due: Instant,
    events: &'a UnboundedSender<RuntimeEvent>,
    /// Until the trial ended.
    output: Option<TempDir>,
}

impl Teller<'_> {
    fn points(&self, step: u64, values: impl IntoIterator<Item = (String, f64)>) {
        let timestamp_ms = clock::unix_ms();
        let points =
            values.into_iter().map(|(key, value)| Point { key, value, step, timestamp_ms }).collect();
        let _ = self.events.send(RuntimeEvent::Points(self.lease.clone(), points));
    }
}

impl Observer for Teller<'_> {
    fn progress(&mut self, phase: Phase, step: u64, total_steps: u64) {
        let lease = self.lease.clone();
        let _ = self.events.send(RuntimeEvent::Progress { lease, phase, step, total_steps });
    }

    fn logged(&mut self, record: &StepRecord) {
        let values =
            [(LOSS, record.loss), (LEARNING_RATE, record.learning_rate), (GRAD_NORM, record.grad_norm)];
        self.points(record.step, values.map(|(key, value)| (key.to_owned(), value)));
    }

    fn evaluated(&mut self, record: &EvaluationRecord) {
        let mut values = record.scores.named("eval");
        values.insert("epoch".to_owned(), record.epoch);
        self.points(record.step, values);
    }

    fn request(&mut self) -> Request {
        let request = self.wish.request();
        let now = clock::now();
        if request != Request::GoOn || now < self.due {
            return request;
        }
        self.due = now + self.interval;
        Request::Checkpoint
    }

    fn checkpointed(&mut self, checkpoint: Checkpoint) {
        self.due = clock::now() + self.interval;
        let _ = self.events.send(RuntimeEvent::Checkpoint(self.lease.clone(), checkpoint));
    }

    fn measured(&mut self, lane_bytes: u64) {
        let _ = self.events.send(RuntimeEvent::Measured(self.lease.clone(), lane_bytes));
    }

    fn ended(&mut self, ended: Result<Trained, Ended>) {
        // Once: what comes after the last call is none of the trial's.
        if let Some(output) = self.output.take() {
            let ended = ended.map(|trained| (Box::new(trained), output));
            let _ = self.events.send(RuntimeEvent::Ended(self.lease.clone(), ended));
        }
    }
}
