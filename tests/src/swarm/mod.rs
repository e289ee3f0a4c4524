//! A swarm: one real coordinator process and thousands of scripted workers on connections of their own, driven as fast
//! as asked for, measured from the workers' side and counted through the API.

mod coordinator;
mod restart;
mod rush;
mod tally;
mod worker;

use std::{sync::Arc, time::Duration};

use anyhow::Context;
use distilsweep_proto::v1::{self, sweeps_client::SweepsClient};
use rand::{RngExt, SeedableRng, rngs::StdRng};
use serde_json::json;
use tokio::{sync::Semaphore, task::JoinHandle, time::Instant};
use tonic::transport::Channel;

use coordinator::Coordinator;
pub use coordinator::coordinator;
pub use restart::{Past, restart};
use tally::{Tally, round};
use worker::{Connected, Script};

/// What to drive a coordinator with.
#[derive(Clone, Debug, clap::Parser)]
#[command(name = "swarm", about = "Drives a real coordinator with scripted workers and prints what it took")]
pub struct Options {
    /// Workers, each with a connection of its own
    #[arg(long, default_value_t = 1000)]
    workers: usize,

    /// Points of the sweep
    #[arg(long, default_value_t = 22_500)]
    trials: u64,

    /// Reports of metrics a trial, before the one that completes it
    #[arg(long, default_value_t = 2)]
    reports: u64,

    /// Stop after this long instead of at the end of the sweep
    #[arg(long)]
    seconds: Option<f64>,

    /// Points of curves a report: a worker flushes once a second
    #[arg(long, default_value_t = 10)]
    points_per_report: u64,

    /// Completions a second that all workers together offer: a trial lasts workers / rate seconds, its reports evenly
    /// over it; 0 reports as fast as the coordinator acknowledges [default: 1250, or less where that is more than
    /// 25,000 points a second]
    #[arg(long)]
    rate: Option<f64>,

    /// Share of the workers that drops its connection without a word each second; new ones take their places
    #[arg(long, default_value_t = 0.0)]
    kill_percent: f64,

    /// Seconds without a word after which the coordinator takes a worker for lost
    #[arg(long, default_value_t = 30)]
    lease_timeout: u64,

    /// All workers come in the same moment, take a trial each and keep it; then the coordinator is killed and another
    /// takes its place. Measures how they come in, both times, and how soon others are answered meanwhile
    #[arg(long, conflicts_with_all = ["seconds", "rate", "kill_percent"])]
    at_once: bool,

    /// Seconds without a coordinator, with --at-once
    #[arg(long, default_value_t = 5.0, requires = "at_once")]
    away: f64,

    /// Serve TLS, with --at-once
    #[arg(long, requires = "at_once")]
    tls: bool,

    /// Of the random draws: who is killed, and when a worker's first trial ends
    #[arg(long, default_value_t = 1)]
    seed: u64,
}

/// What was measured.
#[derive(Debug)]
pub struct Figures {
    /// One line.
    pub json: String,
    /// What must not be: results and points disagree.
    pub faults: Vec<String>,
}

impl Options {
    fn rate(&self) -> f64 {
        let points = (self.reports * self.points_per_report).max(1) as f64;
        self.rate.unwrap_or_else(|| (25_000.0 / points).min(1_250.0))
    }

    /// How long a trial lasts.
    fn trial(&self) -> Duration {
        match self.rate() {
            0.0 => Duration::ZERO,
            rate => Duration::from_secs_f64(self.workers as f64 / rate),
        }
    }
}

/// Drives a coordinator, and answers with what was measured.
///
/// # Errors
/// The coordinator does not start or does not serve.
pub fn run(options: &Options) -> anyhow::Result<Figures> {
    raise_limit(options.workers)?;
    if options.at_once {
        return rush::run(options);
    }
    let coordinator = Coordinator::start(Coordinator::directory()?, options.lease_timeout, &[])?;
    let runtime = tokio::runtime::Builder::new_multi_thread().worker_threads(2).enable_all().build()?;
    let figures = runtime.block_on(drive(options, &coordinator));
    runtime.shutdown_background();
    figures
}

async fn drive(options: &Options, coordinator: &Coordinator) -> anyhow::Result<Figures> {
    let mut sweeps =
        SweepsClient::connect(coordinator.url.clone()).await?.max_decoding_message_size(usize::MAX);
    let tally = Arc::new(Tally::default());
    let script = Arc::new(Script {
        url: coordinator.url.clone(),
        reports: options.reports,
        points: options.points_per_report,
        trial: options.trial(),
        gate: Semaphore::new(256),
        connected: Connected::default(),
        tally: Arc::clone(&tally),
    });
    let mut random = StdRng::seed_from_u64(options.seed);
    let mut workers: Vec<JoinHandle<()>> =
        (0..options.workers).map(|number| worker::spawn(&script, number, random.random())).collect();
    let deadline = Instant::now() + Duration::from_secs(120);
    while script.connected.count() < options.workers {
        anyhow::ensure!(
            Instant::now() < deadline,
            "{} of {} workers could connect in 120 s",
            script.connected.count(),
            options.workers
        );
        tokio::time::sleep(Duration::from_millis(50)).await;
    }

    let cpu = coordinator.cpu_seconds()?;
    let start = Instant::now();
    let submitted = sweeps.submit_sweep(submission(options.trials)).await?.into_inner();
    let mut numbers = options.workers;
    let mut killed = 0_usize;
    let mut owed = 0.0;
    let mut tick = tokio::time::interval(Duration::from_millis(100));
    for number in 1_u64.. {
        tick.tick().await;
        // Of a worker that was killed nobody knows whether its last report arrived.
        if options.kill_percent > 0.0 && number.is_multiple_of(20) {
            let request = v1::GetSweepRequest { sweep: submitted.sweep.clone() };
            if distilsweep::grpc::is_final(&sweeps.get_sweep(request).await?.into_inner()) {
                break;
            }
        }
        let elapsed = start.elapsed().as_secs_f64();
        if options.seconds.is_some_and(|seconds| elapsed >= seconds) || tally.completions() >= options.trials
        {
            break;
        }
        owed += options.workers as f64 * options.kill_percent / 100.0 / 10.0;
        while owed >= 1.0 {
            owed -= 1.0;
            let victim = random.random_range(0..workers.len());
            let new = worker::spawn(&script, numbers, random.random());
            std::mem::replace(&mut workers[victim], new).abort();
            numbers += 1;
            killed += 1;
        }
    }
    let seconds = start.elapsed().as_secs_f64();
    let cpu = coordinator.cpu_seconds()? - cpu;
    let (completions, points, reports) = (tally.completions(), tally.points(), tally.reports());
    let ended = ended(&mut sweeps, &submitted.sweep, options.seconds.is_none()).await;
    for worker in workers {
        worker.abort();
    }
    let counted = count(ended?, options.trials);

    let mut faults = Vec::new();
    if options.seconds.is_none() && (counted.results != options.trials || counted.wrong > 0) {
        faults.push(format!(
            "{} results of {} points, {} of them not what their workers reported",
            counted.results, options.trials, counted.wrong
        ));
    }
    if counted.duplicates > 0 {
        faults.push(format!("{} points have more than one result", counted.duplicates));
    }
    let assign = tally.assign.percentiles();
    let ack = tally.ack.percentiles();
    let json = json!({
        "completions_per_second": round(completions as f64 / seconds),
        "points_per_second": round(points as f64 / seconds),
        "reports_per_second": round(reports as f64 / seconds),
        "assign_p50_ms": assign.0,
        "assign_p99_ms": assign.1,
        "ack_p50_ms": ack.0,
        "ack_p99_ms": ack.1,
        "coordinator_cpu_seconds": round(cpu),
        "coordinator_rss_mb": round(coordinator.peak_mb()?),
        "results": counted.results,
        "points": options.trials,
        "duplicates": counted.duplicates,
        "lost": options.seconds.is_none().then(|| options.trials.saturating_sub(counted.results)),
        "killed": killed,
        "reconnects": tally.reconnects(),
        "seconds": round(seconds),
        "workers": options.workers,
        "trials": options.trials,
        "reports": options.reports,
        "points_per_report": options.points_per_report,
        "offered_completions_per_second": options.rate(),
    });
    Ok(Figures { json: json.to_string(), faults })
}

/// The sweep's results, once it has ended where that is asked for.
async fn ended(
    sweeps: &mut SweepsClient<Channel>,
    sweep: &str,
    wait: bool,
) -> anyhow::Result<v1::SweepResults> {
    let request = || v1::GetSweepRequest { sweep: sweep.to_owned() };
    let deadline = Instant::now() + Duration::from_secs(60);
    loop {
        let status = sweeps.get_sweep(request()).await?.into_inner();
        if !wait || distilsweep::grpc::is_final(&status) {
            break;
        }
        anyhow::ensure!(
            Instant::now() < deadline,
            "the sweep did not end within 60 s of its last report: {status:?}"
        );
        tokio::time::sleep(Duration::from_millis(100)).await;
    }
    let mut parts = sweeps.get_results(request()).await.context("results")?.into_inner();
    let mut results = v1::SweepResults::default();
    while let Some(part) = parts.message().await? {
        results.trials.extend(part.trials);
    }
    Ok(results)
}

#[derive(Debug, Default)]
struct Counted {
    results: u64,
    duplicates: u64,
    wrong: u64,
}

/// Points with a result, those that have another, and results that are not the one of their point.
fn count(results: v1::SweepResults, points: u64) -> Counted {
    let mut counted = Counted::default();
    let mut seen = vec![false; usize::try_from(points).unwrap_or_default()];
    for trial in results.trials {
        if trial.state() != v1::TrialState::Completed {
            continue;
        }
        let known = usize::try_from(trial.trial).ok().and_then(|index| seen.get_mut(index));
        match known {
            Some(known) if *known => counted.duplicates += 1,
            Some(known) => {
                *known = true;
                counted.results += 1;
            }
            None => counted.wrong += 1,
        }
        if trial.metrics.get(worker::METRIC) != Some(&worker::score(trial.trial)) {
            counted.wrong += 1;
        }
    }
    counted
}

/// How a scripted worker introduces itself.
fn hello(number: usize) -> v1::Hello {
    v1::Hello {
        worker: format!("swarm-{number}"),
        hostname: "swarm".into(),
        process: std::process::id(),
        version: env!("CARGO_PKG_VERSION").into(),
        devices: vec![v1::Device { name: "cpu".into(), max_lanes: 1, ..Default::default() }],
        slots: 1,
        held: Vec::new(),
    }
}

/// A grid of this many points: two parameters, as even as the number allows.
fn submission(trials: u64) -> v1::SubmitSweepRequest {
    let rates = (1..=trials.isqrt()).rev().find(|divisor| trials.is_multiple_of(*divisor)).unwrap_or(1);
    let list = |values: &mut dyn Iterator<Item = String>| values.collect::<Vec<_>>().join(", ");
    let source = format!(
        "name: swarm
model: ./model
dataset: {{train: train.csv, validation: validation.csv}}
method: grid
parameters:
  learning_rate: {{values: [{}]}}
  seed: {{values: [{}]}}
",
        list(&mut (1..=rates).map(|rate| format!("{rate}e-7"))),
        list(&mut (0..trials / rates).map(|seed| seed.to_string())),
    );
    v1::SubmitSweepRequest {
        source,
        file_name: "swarm.yaml".into(),
        force_new: false,
        base_directory: "/nowhere".into(),
        home_directory: String::new(),
        ..v1::SubmitSweepRequest::default()
    }
}

/// A connection a worker, and some files.
fn raise_limit(workers: usize) -> anyhow::Result<()> {
    use rustix::process::{Resource, getrlimit, setrlimit};
    let limit = getrlimit(Resource::Nofile);
    setrlimit(Resource::Nofile, rustix::process::Rlimit { current: limit.maximum, ..limit })?;
    let wanted = workers as u64 + 100;
    anyhow::ensure!(
        limit.maximum.is_none_or(|hard| hard >= wanted),
        "{workers} workers take {wanted} open files, and this process may have {:?}: raise it with `ulimit -Hn`",
        limit.maximum
    );
    Ok(())
}
