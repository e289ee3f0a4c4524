//! A state directory with a long past, and how soon a coordinator serves on it.

use std::{collections::BTreeMap, path::Path};

use distilsweep::{
    scheduler::{
        Failure, FailureKind, Limits, Pack, Point, Record, StoredFiles, Structure, Submission, Time,
        TrialEnd, TrialResult,
    },
    spec,
    store::{Store, SweepFile, Write},
};
use distilsweep_proto::{
    ids::{Lease, SweepId, Term, TrialId, WorkerId},
    v1::{self, sweeps_client::SweepsClient},
};
use serde_json::json;
use tokio::time::Instant;

use super::{coordinator::Coordinator, submission, tally::round, worker::METRIC};

/// What the state directory is to hold.
#[derive(Clone, Copy, Debug, clap::Parser)]
#[command(name = "restart", about = "Measures how soon a coordinator serves on a state with a long past")]
pub struct Past {
    /// Trials with a result
    #[arg(long, default_value_t = 100_000)]
    finished: u64,

    /// Trials under way
    #[arg(long, default_value_t = 1_000)]
    running: u64,

    /// Reports of ten points each that every finished trial has
    #[arg(long, default_value_t = 2)]
    reports: u64,

    /// Reports of ten points each that every trial under way has: one a second of an hour
    #[arg(long, default_value_t = 1_000)]
    running_reports: u64,
}

/// Makes the past through the coordinator's own store, starts a coordinator on it, and answers with one line of JSON:
/// the time from starting the process to its first answer, and to that about the sweep.
///
/// # Errors
/// The state cannot be made, or the coordinator does not serve.
pub fn restart(past: Past) -> anyhow::Result<String> {
    let directory = Coordinator::directory()?;
    let state = Coordinator::state(&directory);
    fill(&state, past)?;
    let size = std::fs::metadata(state.join("coordinator.db"))?.len();
    let start = Instant::now();
    let coordinator = Coordinator::start(directory, 30, &[])?;
    let listening = start.elapsed().as_secs_f64();
    let runtime = tokio::runtime::Builder::new_current_thread().enable_all().build()?;
    let status = runtime.block_on(async {
        let mut sweeps = SweepsClient::connect(coordinator.url.clone()).await?;
        let request = v1::GetSweepRequest { sweep: String::new() };
        anyhow::Ok(sweeps.get_sweep(request).await?.into_inner())
    })?;
    let answered = start.elapsed().as_secs_f64();
    anyhow::ensure!(
        status.completed == past.finished && status.running.len() as u64 == past.running,
        "it says {} completed and {} running, and {past:?} was made",
        status.completed,
        status.running.len()
    );
    let figures = json!({
        "finished": past.finished,
        "running": past.running,
        "database_mb": round(size as f64 / 1_048_576.0),
        "seconds_to_listen": round(listening),
        "seconds_to_first_answer": round(answered),
        "coordinator_rss_mb": round(coordinator.peak_mb()?),
    });
    Ok(figures.to_string())
}

fn fill(state: &Path, past: Past) -> anyhow::Result<()> {
    let mut store = Store::open(state, "c0ffee")?;
    let sweep = SweepId::new("past-000001");
    let file = submission(past.finished + past.running);
    let spec =
        spec::parse(&file.source).map_err(|problems| anyhow::anyhow!(problems.in_file("past.yaml")))?;
    let submission = Submission {
        id: sweep.clone(),
        name: spec.name.clone(),
        digest: spec.digest(),
        size: spec.space.len(),
        structure: Structure::default(),
        limits: Limits::default(),
        metric: METRIC.to_owned(),
        maximize: true,
        force_new: false,
    };
    let stored =
        SweepFile { name: "past.yaml".into(), source: file.source, spec: serde_json::to_string(&spec)? };
    let mut time = Time(1_700_000_000_000);
    store.commit(time, &[Write::Record(Record::SweepSubmitted(submission), Some(stored))])?;
    let mut term = 0;
    let mut batch = Vec::new();
    for index in 0..past.finished + past.running {
        let finished = index < past.finished;
        // One in ten lost a worker first.
        let attempts = if index % 10 == 0 { 2 } else { 1 };
        for attempt in 1..=attempts {
            term += 1;
            let lease = Lease { trial: TrialId { sweep: sweep.clone(), index }, attempt, term: Term(term) };
            let worker = WorkerId::new(format!("worker-{}", index % 1000));
            let pack = Pack { first: Term(term), lanes: 1 };
            batch.push(Record::LeaseGranted(lease.clone(), worker.clone(), pack));
            if attempt < attempts {
                let failure = Failure { kind: FailureKind::WorkerLost, message: "not heard of".into() };
                batch.push(Record::LeaseEnded(lease, worker, Some(failure)));
                continue;
            }
            let reports = if finished { past.reports } else { past.running_reports };
            batch.extend((1..=reports).map(|number| Record::Metrics(lease.clone(), number, points(number))));
            if finished {
                batch.push(Record::LeaseEnded(lease.clone(), worker, None));
                batch.push(Record::TrialEnded(lease.trial, TrialEnd::Completed(result(index))));
            }
        }
        if batch.len() > 5_000 || index + 1 == past.finished + past.running {
            time = time.plus(1000);
            let writes: Vec<Write> =
                std::mem::take(&mut batch).into_iter().map(|record| Write::Record(record, None)).collect();
            store.commit(time, &writes)?;
        }
    }
    Ok(())
}

fn points(report: u64) -> Vec<Point> {
    let point = |number: u64| Point {
        key: ["loss", "learning_rate"][usize::from(number % 2 == 1)].to_owned(),
        value: 0.5,
        timestamp_ms: 1_700_000_000_000,
        step: (report * 5 + number / 2).cast_signed(),
    };
    (0..10).map(point).collect()
}

fn result(index: u64) -> TrialResult {
    TrialResult {
        metrics: BTreeMap::from([(METRIC.to_owned(), (index % 997) as f64 / 997.0)]),
        model: Some(StoredFiles {
            url: format!("file:///nowhere/{index}"),
            step: 100,
            manifest_sha256: "0".repeat(64),
        }),
        ..TrialResult::default()
    }
}
