//! What goes wrong when: a function of a seed. Pure.

use std::{fmt, time::Duration};

use rand::{RngExt, SeedableRng, rngs::Xoshiro256PlusPlus};

use super::{EXTENSION, TRIALS};

/// Workers of a sweep.
pub const WORKERS: usize = 4;

/// Faults fall into this time from the start of the sweep, which takes longer even undisturbed.
const WINDOW_MS: std::ops::Range<u64> = 200..6_000;

/// All faults of a seed, by the time of the first.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Schedule {
    /// Whose they are.
    pub seed: u64,
    /// Whether an MLflow is told.
    pub mlflow: bool,
    /// Earliest first.
    pub faults: Vec<Planned>,
}

/// A fault and when it begins, counted from the start of the sweep. It waits where what it strikes is struck already.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct Planned {
    /// When.
    pub at: Duration,
    /// What.
    pub fault: Fault,
}

/// What it strikes: one fault at a time.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Target {
    /// A worker or its connection.
    Worker(usize),
    /// The coordinator.
    Coordinator,
    /// MLflow.
    Mlflow,
    /// The sweep.
    Sweep,
}

/// One thing that goes wrong, and when it is mended.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Fault {
    /// SIGKILL of a worker; another one comes later.
    KillWorker {
        /// Which.
        worker: usize,
        /// Until another comes.
        away: Duration,
    },
    /// SIGSTOP of a worker, and SIGCONT.
    StopWorker {
        /// Which.
        worker: usize,
        /// Until SIGCONT.
        away: Duration,
    },
    /// SIGTERM of a worker, which drains; another one takes its place.
    DrainWorker {
        /// Which.
        worker: usize,
    },
    /// `worker drain`, which does the same.
    OrderDrain {
        /// Which.
        worker: usize,
    },
    /// `sweep pause`, and `sweep resume`.
    Pause {
        /// Until it is resumed.
        away: Duration,
    },
    /// `sweep extend` with one more value of a parameter.
    Extend,
    /// `trial stop` of a trial that runs, and `trial retry`.
    StopTrial {
        /// Until it is tried again.
        away: Duration,
    },
    /// SIGKILL of the coordinator, which is started again on the same state and address.
    KillCoordinator {
        /// Until it is.
        away: Duration,
    },
    /// SIGSTOP of the coordinator, and SIGCONT.
    StopCoordinator {
        /// Until SIGCONT.
        away: Duration,
    },
    /// The coordinator's files cannot grow, it ends, and is started again when there is room.
    FillDisk {
        /// From its end until it is.
        away: Duration,
    },
    /// A worker's connections break.
    Cut {
        /// Whose.
        worker: usize,
    },
    /// A worker's connections break, and new ones are refused.
    Refuse {
        /// Whose.
        worker: usize,
        /// Until they are taken.
        away: Duration,
    },
    /// What a worker and the coordinator say to each other takes longer.
    Delay {
        /// Whose.
        worker: usize,
        /// How much.
        by: Duration,
        /// Until it does not.
        away: Duration,
    },
    /// A worker's connection stays and nothing passes.
    BlackHole {
        /// Whose.
        worker: usize,
        /// Until it passes, or breaks.
        away: Duration,
        /// Whether it breaks in the end.
        cut: bool,
    },
    /// MLflow is away.
    StopMlflow {
        /// From its end until it is started again.
        away: Duration,
    },
}

impl Schedule {
    /// Trials that the sweep has in the end.
    pub(super) fn trials(&self) -> usize {
        let extended = self.faults.iter().any(|planned| planned.fault == Fault::Extend);
        if extended { EXTENSION.1 } else { TRIALS }
    }

    /// The schedule of a seed. Every fourth has MLflow.
    pub fn from_seed(seed: u64) -> Self {
        let mut random = Xoshiro256PlusPlus::seed_from_u64(seed);
        let mlflow = seed.is_multiple_of(4);
        let mut faults: Vec<Planned> = (0..random.random_range(4..=7))
            .map(|_| Planned { at: ms(&mut random, WINDOW_MS), fault: Fault::draw(&mut random) })
            .collect();
        // One a sweep, while it still has much to write.
        if random.random_ratio(1, 3) {
            let fault = Fault::FillDisk { away: ms(&mut random, 100..1_000) };
            faults.push(Planned { at: ms(&mut random, 200..3_000), fault });
        }
        if random.random_ratio(1, 4) {
            let fault = Fault::Pause { away: ms(&mut random, 200..2_000) };
            faults.push(Planned { at: ms(&mut random, WINDOW_MS), fault });
        }
        if random.random_ratio(1, 4) {
            faults.push(Planned { at: ms(&mut random, WINDOW_MS), fault: Fault::Extend });
        }
        if random.random_ratio(1, 4) {
            let fault = Fault::StopTrial { away: ms(&mut random, 0..1_500) };
            faults.push(Planned { at: ms(&mut random, WINDOW_MS), fault });
        }
        if mlflow {
            let fault = Fault::StopMlflow { away: ms(&mut random, 500..3_000) };
            faults.push(Planned { at: ms(&mut random, WINDOW_MS), fault });
        }
        faults.sort_by_key(|planned| planned.at);
        Self { seed, mlflow, faults }
    }
}

impl Fault {
    /// Each kind of fault, as [`Fault::kind`] names it.
    pub const KINDS: [&str; 15] = [
        "kill-worker",
        "stop-worker",
        "drain-worker",
        "order-drain",
        "pause",
        "extend",
        "stop-trial",
        "kill-coordinator",
        "stop-coordinator",
        "fill-disk",
        "cut",
        "refuse",
        "delay",
        "black-hole",
        "stop-mlflow",
    ];

    fn draw(random: &mut Xoshiro256PlusPlus) -> Self {
        let worker = random.random_range(0..WORKERS);
        // Shorter and longer than the time-out of a lease.
        let silence = if random.random_ratio(1, 2) { 200..1_000 } else { 3_000..4_500 };
        match random.random_range(0..21) {
            0..4 => Self::KillWorker { worker, away: ms(random, 0..1_500) },
            4..6 => Self::StopWorker { worker, away: ms(random, silence) },
            6..8 => Self::DrainWorker { worker },
            8..11 => Self::KillCoordinator { away: ms(random, 0..2_000) },
            11..13 => Self::StopCoordinator { away: ms(random, silence) },
            13..15 => Self::Cut { worker },
            15 => Self::Refuse { worker, away: ms(random, silence) },
            20 => Self::OrderDrain { worker },
            16..18 => Self::Delay { worker, by: ms(random, 50..500), away: ms(random, 1_000..3_000) },
            _ => Self::BlackHole { worker, away: ms(random, silence), cut: random.random_ratio(1, 2) },
        }
    }

    /// What it strikes.
    pub fn target(&self) -> Target {
        match *self {
            Self::KillWorker { worker, .. }
            | Self::StopWorker { worker, .. }
            | Self::DrainWorker { worker }
            | Self::OrderDrain { worker }
            | Self::Cut { worker }
            | Self::Refuse { worker, .. }
            | Self::Delay { worker, .. }
            | Self::BlackHole { worker, .. } => Target::Worker(worker),
            Self::KillCoordinator { .. } | Self::StopCoordinator { .. } | Self::FillDisk { .. } => {
                Target::Coordinator
            }
            Self::StopMlflow { .. } => Target::Mlflow,
            Self::Pause { .. } | Self::Extend | Self::StopTrial { .. } => Target::Sweep,
        }
    }

    /// One word for it.
    pub fn kind(&self) -> &'static str {
        match self {
            Self::KillWorker { .. } => "kill-worker",
            Self::StopWorker { .. } => "stop-worker",
            Self::DrainWorker { .. } => "drain-worker",
            Self::OrderDrain { .. } => "order-drain",
            Self::Pause { .. } => "pause",
            Self::Extend => "extend",
            Self::StopTrial { .. } => "stop-trial",
            Self::KillCoordinator { .. } => "kill-coordinator",
            Self::StopCoordinator { .. } => "stop-coordinator",
            Self::FillDisk { .. } => "fill-disk",
            Self::Cut { .. } => "cut",
            Self::Refuse { .. } => "refuse",
            Self::Delay { .. } => "delay",
            Self::BlackHole { .. } => "black-hole",
            Self::StopMlflow { .. } => "stop-mlflow",
        }
    }
}

fn ms(random: &mut Xoshiro256PlusPlus, range: std::ops::Range<u64>) -> Duration {
    Duration::from_millis(random.random_range(range))
}

impl fmt::Display for Schedule {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        writeln!(f, "seed {}{}", self.seed, if self.mlflow { ", with MLflow" } else { "" })?;
        self.faults
            .iter()
            .try_for_each(|Planned { at, fault }| writeln!(f, "  {:5} ms  {fault}", at.as_millis()))
    }
}

impl fmt::Display for Fault {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        match self {
            Self::KillWorker { worker, away } => {
                write!(f, "SIGKILL of worker {worker}, another after {} ms", away.as_millis())
            }
            Self::StopWorker { worker, away } => {
                write!(f, "SIGSTOP of worker {worker} for {} ms", away.as_millis())
            }
            Self::DrainWorker { worker } => {
                write!(f, "SIGTERM of worker {worker}, another when it has drained")
            }
            Self::OrderDrain { worker } => {
                write!(f, "`worker drain` of worker {worker}, another when it has drained")
            }
            Self::Pause { away } => write!(f, "`sweep pause`, `sweep resume` after {} ms", away.as_millis()),
            Self::StopTrial { away } => {
                write!(f, "`trial stop` of one that runs, `trial retry` after {} ms", away.as_millis())
            }
            Self::Extend => write!(f, "`sweep extend` by one value"),
            Self::KillCoordinator { away } => {
                write!(f, "SIGKILL of the coordinator, started again after {} ms", away.as_millis())
            }
            Self::StopCoordinator { away } => {
                write!(f, "SIGSTOP of the coordinator for {} ms", away.as_millis())
            }
            Self::FillDisk { away } => {
                write!(
                    f,
                    "no room for the coordinator's files, started again {} ms after its end",
                    away.as_millis()
                )
            }
            Self::Cut { worker } => write!(f, "connections of worker {worker} cut"),
            Self::Refuse { worker, away } => {
                write!(f, "connections of worker {worker} cut and refused for {} ms", away.as_millis())
            }
            Self::Delay { worker, by, away } => write!(
                f,
                "connections of worker {worker} delayed by {} ms for {} ms",
                by.as_millis(),
                away.as_millis()
            ),
            Self::BlackHole { worker, away, cut } => write!(
                f,
                "nothing passes between worker {worker} and the coordinator for {} ms{}",
                away.as_millis(),
                if *cut { ", then the connection breaks" } else { "" }
            ),
            Self::StopMlflow { away } => {
                write!(f, "MLflow stopped, started again after {} ms", away.as_millis())
            }
        }
    }
}

#[cfg(test)]
mod tests {
    use std::collections::BTreeSet;

    use super::*;

    #[test]
    fn a_seed_has_one_schedule_and_another_seed_another() {
        assert_eq!(Schedule::from_seed(7), Schedule::from_seed(7));
        assert_ne!(Schedule::from_seed(7).faults, Schedule::from_seed(8).faults);
    }

    #[test]
    fn faults_are_in_order_within_the_sweep_and_leave_mlflow_alone_where_there_is_none() {
        for schedule in (0..1_000).map(Schedule::from_seed) {
            assert!(schedule.faults.is_sorted_by_key(|planned| planned.at), "{schedule}");
            assert!((4..=12).contains(&schedule.faults.len()), "{schedule}");
            let mlflow = schedule.faults.iter().any(|planned| planned.fault.target() == Target::Mlflow);
            assert_eq!(mlflow, schedule.mlflow, "{schedule}");
        }
    }

    #[test]
    fn fifty_seeds_have_every_kind_of_fault() {
        let kinds: BTreeSet<&str> = (0..50)
            .flat_map(|seed| Schedule::from_seed(seed).faults)
            .map(|planned| planned.fault.kind())
            .collect();
        assert_eq!(kinds, BTreeSet::from(Fault::KINDS));
    }
}
