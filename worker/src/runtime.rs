//! The bridge from the session's tasks to the one named thread that owns the device. The thread trains one trial at
//! a time and never waits for the network; the session never waits for the thread.

use std::{
    collections::BTreeMap,
    io,
    path::PathBuf,
    sync::{
        Arc,
        atomic::{AtomicBool, Ordering},
        mpsc,
    },
    thread,
};

use distilsweep_proto::{
    ids::{Lease, Term},
    names::{GRAD_NORM, LEARNING_RATE, LOSS},
};
use tempfile::TempDir;
use tokio::sync::mpsc::{UnboundedReceiver, UnboundedSender, unbounded_channel};

use crate::{
    clock,
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
    /// It came to its end; of a result the model's files are in `model/` of the directory, which goes with the
    /// value.
    Ended(Lease, Result<(Box<Trained>, TempDir), Ended>),
}

/// Makes the trainer on the thread that is to own the device.
pub type MakeTrainer = Box<dyn FnOnce() -> Result<Box<dyn Trainer>, Ended> + Send>;

/// Handle of the training thread.
#[derive(Debug)]
pub struct Runtime {
    jobs: mpsc::Sender<(Assignment, Arc<AtomicBool>)>,
    stops: BTreeMap<Term, Arc<AtomicBool>>,
}

impl Runtime {
    /// Starts the thread of a device. Trials write below `scratch`.
    ///
    /// # Errors
    /// Where the system gives no thread.
    pub fn start(
        device: &str,
        scratch: PathBuf,
        make: MakeTrainer,
    ) -> io::Result<(Self, UnboundedReceiver<RuntimeEvent>)> {
        let (events, receiver) = unbounded_channel();
        let (jobs, queue) = mpsc::channel::<(Assignment, Arc<AtomicBool>)>();
        thread::Builder::new().name(format!("device-{device}")).spawn(move || {
            let mut trainer = make();
            while let Ok((assignment, stop)) = queue.recv() {
                let lease = assignment.lease.clone();
                let ended = match &mut trainer {
                    Ok(trainer) => train(trainer.as_mut(), assignment, &scratch, stop, &events),
                    Err(why) => Err(why.clone()),
                };
                if events.send(RuntimeEvent::Ended(lease, ended)).is_err() {
                    return;
                }
            }
        })?;
        Ok((Self { jobs, stops: BTreeMap::new() }, receiver))
    }

    /// Queues a trial.
    pub fn train(&mut self, assignment: Assignment) {
        let stop = Arc::new(AtomicBool::new(false));
        self.stops.insert(assignment.lease.term, Arc::clone(&stop));
        // The thread ends only with its process.
        let _ = self.jobs.send((assignment, stop));
    }

    /// Asks a trial to stop at its next step; it then ends as stopped, unless it has ended already.
    pub fn stop(&self, lease: &Lease) {
        if let Some(stop) = self.stops.get(&lease.term) {
            stop.store(true, Ordering::Relaxed);
        }
    }

    /// Forgets a trial that has ended.
    pub fn ended(&mut self, lease: &Lease) {
        self.stops.remove(&lease.term);
    }
}

fn train(
    trainer: &mut dyn Trainer,
    assignment: Assignment,
    scratch: &PathBuf,
    stop: Arc<AtomicBool>,
    events: &UnboundedSender<RuntimeEvent>,
) -> Result<(Box<Trained>, TempDir), Ended> {
    let unusable = |error: io::Error| {
        Ended::Internal(format!("scratch directory {} cannot be used: {error}", scratch.display()))
    };
    std::fs::create_dir_all(scratch).map_err(unusable)?;
    let output = tempfile::tempdir_in(scratch).map_err(unusable)?;
    let job = Job {
        model: assignment.model,
        model_revision: assignment.model_revision,
        dataset: assignment.dataset,
        params: assignment.params,
        arguments: assignment.arguments,
        selection: assignment.selection,
        maximize: assignment.maximize,
        output: output.path().to_owned(),
        checkpoints: false,
        resume: Vec::new(),
    };
    let mut observer = Teller { lease: assignment.lease, stop, events, ended: None };
    observer.progress(Phase::Loading, 0, 0);
    trainer.train(&[job], &mut [&mut observer]);
    let trained =
        observer.ended.unwrap_or_else(|| Err(Ended::Internal("the trainer gave no result".to_owned())))?;
    Ok((Box::new(trained), output))
}

/// Passes what a trainer says on to the session.
struct Teller<'a> {
    lease: Lease,
    stop: Arc<AtomicBool>,
    events: &'a UnboundedSender<RuntimeEvent>,
    ended: Option<Result<Trained, Ended>>,
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
        if self.stop.load(Ordering::Relaxed) { Request::Stop } else { Request::GoOn }
    }

    fn checkpointed(&mut self, _checkpoint: Checkpoint) {}

    fn measured(&mut self, _lane_bytes: u64) {}

    fn ended(&mut self, ended: Result<Trained, Ended>) {
        self.ended = Some(ended);
    }
}
