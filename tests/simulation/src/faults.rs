//! What goes wrong in a simulation and when, as its seed says.

use std::time::Duration;

use rand::{RngExt, rngs::StdRng, seq::IndexedRandom};

use crate::coordinator::Stage;

/// Something that goes wrong.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(crate) enum Fault {
    /// The coordinator crashes and is started again after this time.
    CoordinatorCrash(Stage, Duration),
    /// A worker crashes, and another takes its place after this time.
    WorkerCrash(usize, Duration),
    /// A worker is told to drain, and another takes its place this long after its end.
    Drain(usize, Duration),
    /// The coordinator is told to drain a worker; another takes its place at its end.
    OrderedDrain(usize),
    /// Nothing passes between a worker and the coordinator for this time.
    Partition(usize, Duration),
    /// Everything on a worker's line takes this long, for the second time.
    Slow(usize, Duration, Duration),
    /// A worker's connection breaks.
    Cut(usize),
}

/// The kinds of faults.
pub(crate) const KINDS: [&str; 10] = [
    "coordinator crash before a commit",
    "coordinator crash before acting",
    "coordinator crash between turns",
    "worker crash",
    "drain",
    "ordered drain",
    "partition",
    "slow line",
    "cut connection",
    "hung training",
];

/// Place of hung trainings among [`KINDS`]: they strike by the workers' script, and are counted as the coordinator
/// finds them.
pub(crate) const HUNG: usize = 9;

impl Fault {
    /// Which of [`KINDS`] it is.
    pub(crate) fn kind(self) -> usize {
        match self {
            Fault::CoordinatorCrash(Stage::BeforeCommit, _) => 0,
            Fault::CoordinatorCrash(Stage::BeforeActing, _) => 1,
            Fault::CoordinatorCrash(Stage::Idle, _) => 2,
            Fault::WorkerCrash(..) => 3,
            Fault::Drain(..) => 4,
            Fault::OrderedDrain(_) => 5,
            Fault::Partition(..) => 6,
            Fault::Slow(..) => 7,
            Fault::Cut(_) => 8,
        }
    }

    fn draw(random: &mut StdRng, workers: usize) -> Self {
        const STAGES: [Stage; 3] = [Stage::BeforeCommit, Stage::BeforeActing, Stage::Idle];
        let worker = random.random_range(0..workers);
        match random.random_range(0..9) {
            0 | 1 => {
                let stage = STAGES.choose(random).copied().unwrap_or(Stage::Idle);
                Fault::CoordinatorCrash(stage, time(random, 0, 12_000))
            }
            2 | 3 => Fault::WorkerCrash(worker, time(random, 0, 5_000)),
            4 => Fault::Drain(worker, time(random, 0, 5_000)),
            5 => Fault::OrderedDrain(worker),
            6 => Fault::Partition(worker, time(random, 100, 25_000)),
            7 => Fault::Slow(worker, time(random, 100, 3_000), time(random, 1_000, 15_000)),
            _ => Fault::Cut(worker),
        }
    }
}

/// All that a seed decides.
#[derive(Clone, Debug, PartialEq, Eq)]
pub(crate) struct Plan {
    /// Workers at a time.
    pub(crate) workers: usize,
    /// Trials of a pack at most.
    pub(crate) lanes: u32,
    /// After how long a silent worker's leases end.
    pub(crate) lease_timeout: Duration,
    /// Time that a commit takes.
    pub(crate) commit_time: Duration,
    /// Time between two checkpoints.
    pub(crate) checkpoint_interval: Duration,
    /// The step that never ends in a trial that begins with the very first worker of the first place.
    pub(crate) hang: Option<u64>,
    /// Delays of the workers' lines.
    pub(crate) delays: Vec<Duration>,
    /// Pauses before the faults, each after the one before.
    pub(crate) faults: Vec<(Duration, Fault)>,
}

impl Plan {
    /// A cluster that nothing happens to.
    pub(crate) fn undisturbed() -> Self {
        Self {
            workers: 2,
            lanes: 1,
            lease_timeout: Duration::from_secs(10),
            commit_time: Duration::from_millis(1),
            checkpoint_interval: Duration::from_secs(5),
            hang: None,
            delays: vec![Duration::from_millis(1); 2],
            faults: Vec::new(),
        }
    }

    /// The plan of a seed's random numbers.
    pub(crate) fn draw(random: &mut StdRng) -> Self {
        let workers = random.random_range(1..=4);
        let faults = random.random_range(2..=8);
        Self {
            workers,
            lanes: random.random_range(1..=3),
            lease_timeout: time(random, 3_000, 12_000),
            commit_time: time(random, 0, 40),
            checkpoint_interval: time(random, 500, 6_000),
            hang: Some(random.random_range(2..30)).filter(|step| *step <= 12),
            delays: (0..workers).map(|_| time(random, 0, 80)).collect(),
            faults: (0..faults).map(|_| (time(random, 0, 6_000), Fault::draw(random, workers))).collect(),
        }
    }
}

fn time(random: &mut StdRng, least: u64, most: u64) -> Duration {
    Duration::from_millis(random.random_range(least..=most))
}
