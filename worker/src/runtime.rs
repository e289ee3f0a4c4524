//! The bridge from the session's tasks to the one named thread that owns the device. The thread trains one pack at
//! a time and never waits for the network; the session never waits for the thread.

use std::{
    collections::BTreeMap,
    io,
    path::{Path, PathBuf},
    thread,
    time::Duration,
};

use distilsweep_proto::ids::{Lease, Term, TrialId};
use tempfile::TempDir;
use tokio::sync::mpsc::{UnboundedReceiver, UnboundedSender, unbounded_channel};

use crate::{
    clock,
    store::Resume,
    teller::{Teller, Wish},
    trainer::{Checkpoint, Ended, Job, Observer, Phase, Request, Trained, Trainer},
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

/// Handle of whoever trains.
#[derive(Debug)]
pub struct Runtime {
    packs: UnboundedSender<Vec<(Lane, Wish)>>,
    under_way: BTreeMap<Term, (TrialId, Wish)>,
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
        let (runtime, mut packs, events) = Self::queue(scratch, checkpoint_interval);
        thread::Builder::new().name(format!("device-{device}")).spawn(move || {
            let mut trainer = make();
            while let Some(pack) = packs.blocking_next() {
                match &mut trainer {
                    Ok(trainer) => pack.train(trainer.as_mut()),
                    Err(why) => pack.fail(why),
                }
            }
        })?;
        Ok((runtime, events))
    }

    /// A handle whose packs are trained by whoever takes them from the queue: the device's thread, or a simulation
    /// whose time is not this machine's.
    pub fn queue(
        scratch: PathBuf,
        checkpoint_interval: Duration,
    ) -> (Self, Packs, UnboundedReceiver<RuntimeEvent>) {
        let (events, receiver) = unbounded_channel();
        let (packs, queue) = unbounded_channel();
        let queue = Packs { queue, scratch, checkpoint_interval, events };
        (Self { packs, under_way: BTreeMap::new() }, queue, receiver)
    }

    /// Takes a trial on: from here on it can be stopped, though it is trained later.
    pub fn open(&mut self, lease: &Lease) {
        self.under_way.insert(lease.term, (lease.trial.clone(), Wish::default()));
    }

    /// Queues a pack of trials that were taken on.
    pub fn train(&self, lanes: Vec<Lane>) {
        let wish = |lane: &Lane| {
            let known = self.under_way.get(&lane.assignment.lease.term);
            known.map(|(_, wish)| wish.clone()).unwrap_or_default()
        };
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
        self.under_way.get(&lease.term).into_iter().for_each(|(_, wish)| wish.raise(Wish::STOP));
    }

    /// The same after a last checkpoint.
    pub fn hand_back(&self, lease: &Lease) {
        self.under_way.get(&lease.term).into_iter().for_each(|(_, wish)| wish.raise(Wish::HAND_BACK));
    }

    /// Forgets a trial that has ended.
    pub fn ended(&mut self, lease: &Lease) {
        self.under_way.remove(&lease.term);
    }

    /// The trials that were taken on and have not ended, those that were asked to stop included.
    pub fn under_way(&self) -> impl Iterator<Item = &TrialId> {
        self.under_way.values().map(|(trial, _)| trial)
    }
}

/// The packs that are to be trained, in order.
#[derive(Debug)]
pub struct Packs {
    queue: UnboundedReceiver<Vec<(Lane, Wish)>>,
    scratch: PathBuf,
    checkpoint_interval: Duration,
    events: UnboundedSender<RuntimeEvent>,
}

impl Packs {
    /// The next one; nothing once the session is over.
    pub async fn next(&mut self) -> Option<PackedTrials> {
        let lanes = self.queue.recv().await?;
        Some(self.pack(lanes))
    }

    /// The same for a thread of its own.
    fn blocking_next(&mut self) -> Option<PackedTrials> {
        let lanes = self.queue.blocking_recv()?;
        Some(self.pack(lanes))
    }

    fn pack(&self, lanes: Vec<(Lane, Wish)>) -> PackedTrials {
        let mut pack = PackedTrials::default();
        let count = u32::try_from(lanes.len()).unwrap_or(u32::MAX);
        for (place, (Lane { assignment, resume }, wish)) in (1_u32..).zip(lanes) {
            let lease = assignment.lease.clone();
            if wish.request() != Request::GoOn {
                self.ended(lease, Ended::Stopped);
                continue;
            }
            match self.output() {
                Ok(output) => {
                    let pause = assignment.pause;
                    pack.jobs.push(job(assignment, output.path(), &resume));
                    let interval = self.checkpoint_interval;
                    // Their first ones are spread, so that not all copies are in memory at once.
                    let due = clock::now() + interval * place / count;
                    let (events, output) = (self.events.clone(), Some(output));
                    pack.tellers.push(Teller {
                        lease,
                        wish,
                        interval,
                        due,
                        events,
                        pause,
                        is_to_pause: false,
                        output,
                    });
                    pack.resume.push(resume);
                }
                Err(why) => self.ended(lease, why),
            }
        }
        pack.tellers.iter_mut().for_each(|teller| teller.progress(Phase::Loading, 0, 0));
        pack
    }

    fn output(&self) -> Result<TempDir, Ended> {
        std::fs::create_dir_all(&self.scratch).and_then(|()| tempfile::tempdir_in(&self.scratch)).map_err(
            |error| {
                let scratch = self.scratch.display();
                Ended::Internal(format!("scratch directory {scratch} cannot be used: {error}"))
            },
        )
    }

    fn ended(&self, lease: Lease, why: Ended) {
        let _ = self.events.send(RuntimeEvent::Ended(lease, Err(why)));
    }
}

/// The trials of a pack that are still wanted, with those who listen to them.
#[derive(Debug, Default)]
pub struct PackedTrials {
    jobs: Vec<Job>,
    tellers: Vec<Teller>,
    /// Directories that go with the value.
    resume: Vec<Resume>,
}

impl PackedTrials {
    /// What to train, and who listens to each: for a trainer that is not called but steps by itself.
    pub fn parts(&mut self) -> (&[Job], Vec<&mut dyn Observer>) {
        let observers = self.tellers.iter_mut().map(|teller| teller as &mut dyn Observer).collect();
        (&self.jobs, observers)
    }

    fn train(mut self, trainer: &mut dyn Trainer) {
        let (jobs, mut observers) = self.parts();
        if !jobs.is_empty() {
            trainer.train(jobs, &mut observers);
        }
        self.fail(&Ended::Internal("the trainer gave no result".to_owned()));
    }

    /// Ends those that have not ended.
    fn fail(mut self, why: &Ended) {
        self.tellers.iter_mut().for_each(|teller| teller.ended(Err(why.clone())));
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
