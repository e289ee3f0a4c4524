//! What may happen in a random life.

use proptest::prelude::*;

use super::super::{super::FailureKind, TIMEOUT};
use crate::search::{Bands, EarlyTerminate, Resource};

/// Something that happens; numbers pick among what is there.
#[derive(Clone, Debug)]
pub(crate) enum Step {
    Submit {
        size: u64,
        max_retries: u32,
        structure: u64,
        early: Early,
    },
    Cancel(usize),
    Pause(usize),
    Resume(usize),
    Priority(usize, u32),
    Extend(usize, u64),
    /// Every trial without a result, or one of them.
    Retry(usize, Option<usize>),
    Stop(usize, u64),
    DrainOrdered(usize),
    Join {
        worker: usize,
        slots: u32,
        lanes: u32,
        memory: Memory,
    },
    Leave(usize),
    Heartbeat {
        worker: usize,
        lane_bytes: u64,
    },
    Drain(usize),
    Report {
        worker: usize,
        lease: usize,
        place: Numbered,
        body: Body,
    },
    Wait(i64),
    Crash,
}

/// Which leases a joining worker says that it holds.
#[derive(Clone, Copy, Debug)]
pub(crate) enum Memory {
    True,
    /// It was started anew, or its assignments did not arrive.
    None,
    /// Those of everybody, ended ones included.
    Everything,
}

/// How a sweep ends trials early, if it does.
#[derive(Clone, Copy, Debug)]
pub(crate) enum Early {
    Never,
    Asha,
    Hyperband,
    Median,
}

impl Early {
    pub(super) fn rule(self) -> Option<EarlyTerminate> {
        let bands = Bands::From(1);
        Some(match self {
            Early::Never => return None,
            Early::Asha => EarlyTerminate::Asha { first: Resource::Epochs(1.0), eta: 2.0, brackets: 2 },
            Early::Hyperband => EarlyTerminate::Hyperband { bands, eta: 2.0, strict: true },
            Early::Median => EarlyTerminate::Median { min_iter: 1, min_trials: 1 },
        })
    }
}

/// Which sequence a report has.
#[derive(Clone, Copy, Debug)]
pub(crate) enum Numbered {
    Next,
    Again,
    TooFar,
}

#[derive(Clone, Copy, Debug)]
pub(crate) enum Body {
    Metrics(i64),
    /// An evaluation at a step.
    Evaluated(i64, i8),
    Checkpoint(i64),
    Completed(i8),
    Stopped,
    Paused,
    Failed(FailureKind),
}

/// Steps of a life, from nothing.
pub(crate) fn steps() -> impl Strategy<Value = Vec<Step>> {
    let worker = || 0..4_usize;
    let sweep = || 1..5_usize;
    let memory = prop_oneof![4 => Just(Memory::True), 1 => Just(Memory::None), 1 => Just(Memory::Everything)];
    let place =
        prop_oneof![6 => Just(Numbered::Next), 1 => Just(Numbered::Again), 1 => Just(Numbered::TooFar)];
    let kind = prop_oneof![
        Just(FailureKind::Preempted),
        Just(FailureKind::WorkerLost),
        Just(FailureKind::OutOfMemory),
        Just(FailureKind::Diverged),
        Just(FailureKind::Hung),
        Just(FailureKind::BadInput),
        Just(FailureKind::BadPoint),
        Just(FailureKind::Internal),
    ];
    let body = prop_oneof![
        4 => (0..50_i64).prop_map(Body::Metrics),
        4 => (0..50_i64, any::<i8>()).prop_map(|(step, value)| Body::Evaluated(step, value)),
        1 => (0..50_i64).prop_map(Body::Checkpoint),
        4 => any::<i8>().prop_map(Body::Completed),
        1 => Just(Body::Stopped),
        3 => Just(Body::Paused),
        2 => kind.prop_map(Body::Failed),
    ];
    let early = prop_oneof![
        2 => Just(Early::Never),
        2 => Just(Early::Asha),
        1 => Just(Early::Hyperband),
        1 => Just(Early::Median),
    ];
    let step = prop_oneof![
        2 => (1..9_u64, 0..3_u32, 1..4_u64, early).prop_map(|(size, max_retries, structure, early)| {
            Step::Submit { size, max_retries, structure, early }
        }),
        1 => sweep().prop_map(Step::Cancel),
        1 => sweep().prop_map(Step::Pause),
        2 => sweep().prop_map(Step::Resume),
        1 => (sweep(), 1..4_u32).prop_map(|(sweep, priority)| Step::Priority(sweep, priority)),
        1 => (sweep(), 0..4_u64).prop_map(|(sweep, more)| Step::Extend(sweep, more)),
        2 => (sweep(), prop::option::of(0..4_usize)).prop_map(|(sweep, one)| Step::Retry(sweep, one)),
        2 => (sweep(), 0..12_u64).prop_map(|(sweep, trial)| Step::Stop(sweep, trial)),
        1 => worker().prop_map(Step::DrainOrdered),
        6 => (worker(), 0..3_u32, 0..5_u32, memory)
            .prop_map(|(worker, slots, lanes, memory)| Step::Join { worker, slots, lanes, memory }),
        2 => worker().prop_map(Step::Leave),
        4 => (worker(), 0..500_u64).prop_map(|(worker, lane_bytes)| Step::Heartbeat { worker, lane_bytes }),
        1 => worker().prop_map(Step::Drain),
        20 => (worker(), 0..4_usize, place, body)
            .prop_map(|(worker, lease, place, body)| Step::Report { worker, lease, place, body }),
        4 => (1..TIMEOUT).prop_map(Step::Wait),
        1 => Just(Step::Crash),
    ];
    prop::collection::vec(step, 1..120)
}
