//! A sweep under faults: a coordinator, four workers that follow a script, and a [`Schedule`] of what goes wrong. Each
//! planned fault is shown to have happened, and the sweep must end as if none had.
//!
//! `drill` owns the processes, `strike` does the faults, `verdict` judges the results and what is on record.

mod drill;
mod errand;
mod recorded;
mod schedule;
mod strike;
mod verdict;

pub use drill::{Outcome, survive, undisturbed};
pub use recorded::losses;
pub use schedule::{Fault, Planned, Schedule, Target, WORKERS};

/// Trials of the sweep as it is handed in.
const TRIALS: usize = 40;
/// What [`Fault::Extend`] adds, and how many trials that makes in all.
const EXTENSION: (&str, usize) = ("seed=9", 45);
/// Steps of each.
const STEPS: u64 = 20;
/// Milliseconds that each takes.
const STEP_MS: u64 = 40;
/// Steps between two points of a curve.
const LOGGING: u64 = 1;
