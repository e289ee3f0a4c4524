//! Runs many seeds of the chaos test, several at a time, each in a process of its own; `tests/chaos/soak.sh` builds all
//! that it needs. One line a seed on standard output, a summary at the end. Exit code 1 where a seed failed.

use std::{
    fs::File,
    path::{Path, PathBuf},
    process::{Command, ExitCode},
    sync::{
        Mutex, PoisonError,
        atomic::{AtomicU64, Ordering},
    },
    thread,
};

use anyhow::Context;
use clap::Parser;
use distilsweep_tests::{
    chaos::{Schedule, survive, undisturbed},
    sweep::Ranking,
    wait::now,
};

/// Sweeps under seeded faults: each must end as if nothing had happened
#[derive(Debug, Parser)]
struct Soak {
    /// How many seeds to run
    #[arg(long, default_value_t = 20)]
    seeds: u64,

    /// The first of them
    #[arg(long, default_value_t = 0)]
    from: u64,

    /// Seeds at a time; one mostly waits
    #[arg(long, default_value_t = 3, value_parser = clap::value_parser!(u64).range(1..=64))]
    jobs: u64,

    /// Run this seed alone, with its schedule and the output of all processes
    #[arg(long, conflicts_with_all = ["seeds", "from", "jobs"])]
    seed: Option<u64>,

    /// Print the schedules and run none
    #[arg(long)]
    plan: bool,

    /// Directory for the output of seeds that fail
    #[arg(long, value_name = "DIR", default_value = "soak-failures")]
    logs: PathBuf,

    /// File with the undisturbed sweep's ranking; that sweep is run where it is left out
    #[arg(long, hide = true, value_name = "FILE")]
    undisturbed: Option<PathBuf>,

    /// Run the undisturbed sweep alone and print its ranking
    #[arg(long, hide = true)]
    run_undisturbed: bool,
}

fn main() -> anyhow::Result<ExitCode> {
    let soak = Soak::parse();
    let seeds =
        || soak.seed.map_or_else(|| soak.from..soak.from.saturating_add(soak.seeds), |seed| seed..seed + 1);
    if soak.plan {
        seeds().for_each(|seed| print!("{}", Schedule::from_seed(seed)));
        return Ok(ExitCode::SUCCESS);
    }
    if soak.run_undisturbed {
        println!("{}", undisturbed()?.text());
        return Ok(ExitCode::SUCCESS);
    }
    match soak.seed {
        Some(seed) => alone(seed, soak.undisturbed.as_deref()).map(|()| ExitCode::SUCCESS),
        None => many(&soak),
    }
}

fn alone(seed: u64, baseline: Option<&Path>) -> anyhow::Result<()> {
    eprint!("{}", Schedule::from_seed(seed));
    let baseline = match baseline {
        Some(path) => {
            Ranking::parse(&std::fs::read_to_string(path).with_context(|| path.display().to_string())?)?
        }
        None => undisturbed()?,
    };
    println!("{}", survive(seed, &baseline)?);
    Ok(())
}

fn many(soak: &Soak) -> anyhow::Result<ExitCode> {
    let start = now();
    let directory = tempfile::tempdir()?;
    let baseline = directory.path().join("undisturbed.json");
    std::fs::create_dir_all(&soak.logs).with_context(|| soak.logs.display().to_string())?;
    let ranking = child(&["--run-undisturbed"], &soak.logs.join("undisturbed.log"))?;
    std::fs::write(&baseline, ranking).with_context(|| baseline.display().to_string())?;

    let next = AtomicU64::new(0);
    let failed = Mutex::new(Vec::new());
    thread::scope(|scope| {
        let run = || {
            loop {
                let number = next.fetch_add(1, Ordering::Relaxed);
                if number >= soak.seeds {
                    return;
                }
                let seed = soak.from + number;
                let schedule = Schedule::from_seed(seed);
                let arguments = ["--seed", &seed.to_string(), "--undisturbed", &baseline.to_string_lossy()];
                let (ok, said) = match child(&arguments, &log(&soak.logs, seed)) {
                    Ok(said) => (true, said),
                    Err(why) => (false, format!("{why:#}")),
                };
                let kinds: Vec<&str> = schedule.faults.iter().map(|planned| planned.fault.kind()).collect();
                let verdict = if ok { "ok    " } else { "FAILED" };
                println!("seed {seed:5}  {verdict}  {said}  [{}]", kinds.join(" "));
                if !ok {
                    failed.lock().unwrap_or_else(PoisonError::into_inner).push(seed);
                }
            }
        };
        for _ in 0..soak.jobs {
            scope.spawn(run);
        }
    });

    let mut failed = failed.into_inner().unwrap_or_else(PoisonError::into_inner);
    failed.sort_unstable();
    let faults: usize =
        (soak.from..soak.from + soak.seeds).map(|seed| Schedule::from_seed(seed).faults.len()).sum();
    println!(
        "{} of {} seeds passed, {faults} faults, {} at a time, in {} s",
        soak.seeds - failed.len() as u64,
        soak.seeds,
        soak.jobs,
        start.elapsed().as_secs()
    );
    for seed in &failed {
        println!(
            "seed {seed} failed: {}; again: tests/chaos/soak.sh --seed {seed}",
            log(&soak.logs, *seed).display()
        );
    }
    // Only an empty one goes.
    let _ = std::fs::remove_dir(&soak.logs);
    Ok(if failed.is_empty() { ExitCode::SUCCESS } else { ExitCode::FAILURE })
}

/// This program again in a process of its own: what it prints. Its log stays where it fails.
fn child(arguments: &[&str], log: &Path) -> anyhow::Result<String> {
    let output = Command::new(std::env::current_exe()?)
        .args(arguments)
        .stderr(File::create(log).with_context(|| log.display().to_string())?)
        .output()?;
    anyhow::ensure!(output.status.success(), "see {}", log.display());
    std::fs::remove_file(log)?;
    Ok(String::from_utf8_lossy(&output.stdout).trim().to_owned())
}

fn log(logs: &Path, seed: u64) -> PathBuf {
    logs.join(format!("seed-{seed}.log"))
}
