//! A whole sweep in simulated time: the coordinator's engine, scheduler, store and gRPC services and the workers'
//! sessions as they are, over connections in memory whose network fails by seed.
//!
//! Time is tokio's, paused: it jumps to the next timer whenever nobody has anything to do, so a minute of a cluster
//! takes milliseconds. Replaced are the network (pipes), the training thread (a task that steps the scripted trainer)
//! and the crash of a process (its tasks are dropped; of a coordinator between any two of deciding, committing and
//! acting). The database and the workers' files are real, in memory where the machine has such a directory.
//!
//! What must hold is checked at each commit by the [`witness`], and at the end against an undisturbed run of the
//! same sweep.

//!
//! ```text
//! cargo test --release -p distilsweep-simulation -- --nocapture      DISTILSWEEP_TEST_SEEDS says how many seeds,
//!                                                                    DISTILSWEEP_TEST_FIRST_SEED which is the first
//! ```

mod cluster;
mod coordinator;
mod faults;
mod network;
mod run;
mod witness;
mod worker;

use std::{
    panic::AssertUnwindSafe,
    sync::{
        OnceLock,
        atomic::{AtomicU64, Ordering},
    },
    thread,
};

use anyhow::Context;
use tokio::time::Instant;

use faults::{KINDS, Plan};
use run::Figures;
use witness::Outcome;

fn from_environment(name: &str, otherwise: u64) -> anyhow::Result<u64> {
    let Ok(text) = std::env::var(name) else { return Ok(otherwise) };
    text.parse().with_context(|| format!("{name} is `{text}`, it must be a number"))
}

/// Runs the seeds on all cores.
fn run_all(
    first: u64,
    count: u64,
    run: impl Fn(u64) -> anyhow::Result<Figures> + Sync,
) -> Vec<(u64, thread::Result<anyhow::Result<Figures>>)> {
    let run = AssertUnwindSafe(&run);
    let next = AtomicU64::new(first);
    let serve = || {
        let seeds = std::iter::from_fn(|| {
            let seed = next.fetch_add(1, Ordering::Relaxed);
            (seed - first < count).then_some(seed)
        });
        // What is broken at a commit panics where it is found.
        seeds.map(|seed| (seed, std::panic::catch_unwind(|| run(seed)))).collect::<Vec<_>>()
    };
    thread::scope(|scope| {
        let cores = thread::available_parallelism().map_or(1, usize::from);
        let threads: Vec<_> = (0..cores).map(|_| scope.spawn(serve)).collect();
        threads.into_iter().flat_map(|thread| thread.join().expect("panics are caught")).collect()
    })
}

/// The sweep as it is when nothing happens to it.
fn undisturbed() -> &'static Outcome {
    static UNDISTURBED: OnceLock<Outcome> = OnceLock::new();
    UNDISTURBED
        .get_or_init(|| run::simulate(run::SWEEP, &Plan::undisturbed(), 0).expect("nothing happens to it").0)
}

#[test]
fn every_seed_ends_with_the_results_of_an_undisturbed_sweep() -> anyhow::Result<()> {
    let first = from_environment("DISTILSWEEP_TEST_FIRST_SEED", 1)?;
    let seeds = from_environment("DISTILSWEEP_TEST_SEEDS", 200)?;
    let (start, expected) = (Instant::now(), undisturbed());
    let ran = run_all(first, seeds, |seed| run::seed(seed, expected));
    let (mut simulated, mut attempts, mut struck, mut failed) = (0.0, 0, [0; KINDS.len()], Vec::new());
    for (seed, result) in ran {
        match result {
            Ok(Ok(figures)) => {
                simulated += figures.simulated_seconds;
                attempts += figures.attempts;
                struck.iter_mut().zip(figures.faults).for_each(|(sum, fault)| *sum += fault);
            }
            Ok(Err(error)) => {
                eprintln!("{error:#}");
                failed.push(seed);
            }
            // It has printed itself.
            Err(_) => failed.push(seed),
        }
    }
    let faults: Vec<String> = KINDS.iter().zip(struck).map(|(kind, n)| format!("\"{kind}\": {n}")).collect();
    println!(
        "{{\"seeds\": {seeds}, \"seconds\": {:.1}, \"simulated_seconds\": {simulated:.0}, \"attempts\": {attempts}, \
         \"faults\": {{{}}}}}",
        start.elapsed().as_secs_f64(),
        faults.join(", ")
    );
    failed.sort_unstable();
    assert!(failed.is_empty(), "seeds that failed: {failed:?}");
    // Of few seeds not every kind is among the plans.
    assert!(seeds < 50 || struck.iter().all(|n| *n > 0), "a kind of fault never struck");
    Ok(())
}

#[test]
fn a_sweep_that_nothing_happens_to_is_whole() {
    let outcome = undisturbed();
    assert_eq!(outcome.results.len(), 6);
    let losses: Vec<i64> = outcome.curves[&(0, "loss".to_owned())].iter().map(|(step, _)| *step).collect();
    assert_eq!(losses, [2, 4, 6, 8, 10, 12]);
    let best: Vec<u64> = outcome.results.values().map(|metrics| metrics["best_validation_f1"]).collect();
    assert!(best.iter().all(|value| best.iter().filter(|other| *other == value).count() == 1), "{best:?}");
}

#[test]
fn a_search_that_learns_trains_each_point_as_it_proposed_it_whoever_is_killed_in_between() {
    let ran = run_all(1, 40, run::search);
    let mut struck = [0; KINDS.len()];
    for (seed, result) in ran {
        let figures = result.unwrap_or_else(|_| panic!("seed {seed}"));
        let figures = figures.unwrap_or_else(|error| panic!("seed {seed}: {error:#}"));
        struck.iter_mut().zip(figures.faults).for_each(|(sum, fault)| *sum += fault);
    }
    assert!(struck[..4].iter().all(|n| *n > 0), "coordinators and workers crashed: {struck:?}");
}

#[test]
fn trials_end_early_and_the_best_is_found_whoever_is_killed_in_between() -> anyhow::Result<()> {
    let whole = run::HALVING.replace("early_terminate: {type: asha, min_epochs: 1, eta: 2}\n", "");
    let (expected, _) = run::simulate(&whole, &Plan::undisturbed(), 0)?;
    let ran = run_all(1, 100, |seed| run::halving(seed, &expected));
    let mut struck = [0; KINDS.len()];
    for (seed, result) in ran {
        let figures = result.unwrap_or_else(|_| panic!("seed {seed}"));
        let figures = figures.unwrap_or_else(|error| panic!("seed {seed}: {error:#}"));
        struck.iter_mut().zip(figures.faults).for_each(|(sum, fault)| *sum += fault);
    }
    assert!(struck[..4].iter().all(|n| *n > 0), "coordinators and workers crashed: {struck:?}");
    Ok(())
}
