//! How fast a backlog reaches MLflow, beside what MLflow takes from a bare load generator.

use std::{
    collections::BTreeMap,
    path::Path,
    sync::atomic::{AtomicU64, Ordering},
    time::Duration,
};

use anyhow::{Context, ensure};
use distilsweep::{
    engine::EngineOutbox,
    mlflow::{
        client::Client,
        drain::{Drained, drain_until_empty},
        op::RunKey,
        settings::Settings,
        tell::{self, Place, Recorded, TrialStart},
    },
    scheduler::{Limits, Pack, Point, Record, Structure, Submission, Time},
    server::{Server, ServerOptions},
    spec,
    store::{Store, SweepFile, Write},
};
use distilsweep_proto::{
    ids::{Lease, SweepId, Term, TrialId, WorkerId},
    params::Params,
};
use serde_json::{Value, json};
use tokio::time::Instant;

use crate::{mlflow::Mlflow, sweep::forty_trials};

/// What is measured.
#[derive(Clone, Copy, Debug, clap::Parser)]
#[command(name = "mlflow_load", about = "Measures how fast a backlog of metric points reaches MLflow")]
pub struct Load {
    /// Points of the backlog
    #[arg(long, default_value_t = 1_000_000)]
    points: u64,

    /// Runs that they belong to
    #[arg(long, default_value_t = 8)]
    runs: u64,

    /// Points of one report, of which the backlog has a row each
    #[arg(long, default_value_t = 100)]
    report: u64,

    /// Clients of the bare load generator
    #[arg(long, default_value_t = 4)]
    clients: u64,

    /// Worker processes of MLflow; its own default is 4
    #[arg(long, default_value_t = 4)]
    server_workers: u32,
}

/// Points of a call: MLflow's limit, and what the drainer sends.
const BATCH: u64 = 1000;

/// Runs the bare generator with half the points, the drainer with all of them, and the generator with the other half;
/// answers with one line of JSON.
///
/// # Errors
/// MLflow does not start or refuses something, or the state cannot be made.
pub fn load(load: Load) -> anyhow::Result<String> {
    let directory = tempfile::Builder::new().prefix("distilsweep-load-").tempdir()?;
    let server = Mlflow::start_with(&directory.path().join("mlflow"), load.server_workers)?;
    let state = directory.path().join("state");
    fill(&state, load)?;
    let before = bare(&server, load, "before")?;
    let drained = drain(&state, &server, load)?;
    let after = bare(&server, load, "after")?;
    server.stop()?;
    let bare = f64::midpoint(before, after);
    let figures = json!({
        "points": load.points,
        "runs": load.runs,
        "server_workers": load.server_workers,
        "bare_points_per_second": [before.round(), after.round()],
        "drained_points_per_second": drained.round(),
        "ratio": (drained / bare * 1000.0).round() / 1000.0,
    });
    Ok(figures.to_string())
}

/// What MLflow takes of a program that does nothing but send, by clients of a new connection a call.
fn bare(server: &Mlflow, load: Load, name: &str) -> anyhow::Result<f64> {
    let made = server.post("experiments/create", &json!({"name": name}))?;
    let run = |_| -> anyhow::Result<String> {
        let new = json!({"experiment_id": made["experiment_id"], "start_time": 1});
        let run = server.post("runs/create", &new)?;
        Ok(run["run"]["info"]["run_id"].as_str().context("a run")?.to_owned())
    };
    let runs = (0..load.clients).map(run).collect::<anyhow::Result<Vec<String>>>()?;
    let calls = load.points / 2 / BATCH;
    let next = AtomicU64::new(0);
    let start = crate::wait::now();
    let sent = std::thread::scope(|scope| {
        let client = |run: &String| -> anyhow::Result<()> {
            while let Some(call) = Some(next.fetch_add(1, Ordering::Relaxed)).filter(|call| *call < calls) {
                let steps = call * BATCH / 2..(call + 1) * BATCH / 2;
                let metrics: Vec<Value> = points(steps).iter().map(metric).collect();
                server.post("runs/log-batch", &json!({"run_id": run, "metrics": metrics}))?;
            }
            Ok(())
        };
        let clients: Vec<_> = runs.iter().map(|run| scope.spawn(move || client(run))).collect();
        clients.into_iter().try_for_each(|client| {
            client.join().unwrap_or_else(|_| Err(anyhow::anyhow!("a client panicked")))
        })
    });
    sent?;
    Ok((calls * BATCH) as f64 / (crate::wait::now() - start).as_secs_f64())
}

fn metric(point: &Point) -> Value {
    json!({"key": point.key, "value": point.value, "timestamp": point.timestamp_ms, "step": point.step})
}

/// Two points a step.
fn points(steps: std::ops::Range<u64>) -> Vec<Point> {
    let point = |key: &str, step: u64| Point {
        key: key.to_owned(),
        value: 1.0 / (step as f64 + 1.0),
        timestamp_ms: 1_700_000_000_000 + step.cast_signed(),
        step: step.cast_signed(),
    };
    steps.flat_map(|step| [point("loss", step), point("learning_rate", step)]).collect()
}

/// Makes a state whose outbox has the backlog, as the engine writes it.
fn fill(state: &Path, load: Load) -> anyhow::Result<()> {
    let mut store = Store::open(state, "c0ffee")?;
    let sweep = SweepId::new("load-000001");
    let source = forty_trials("load", 10);
    let spec = spec::parse(&source).map_err(|problems| anyhow::anyhow!(problems.in_file("load.yaml")))?;
    let submission = Submission {
        id: sweep.clone(),
        name: spec.name.clone(),
        digest: spec.digest(),
        size: spec.space.len(),
        structure: Structure::default(),
        limits: Limits::default(),
        metric: spec.metric.selection.best.to_owned(),
        maximize: true,
        force_new: false,
    };
    let stored = SweepFile { name: "load.yaml".into(), source, spec: serde_json::to_string(&spec)? };
    let now = Time(1_700_000_000_000);
    let none = BTreeMap::new();
    let recorded = Recorded {
        sweep: &sweep,
        experiment: "backlog",
        coordinator: "c0ffee",
        user: "load",
        place: Place::Local,
        tags: &none,
    };
    let tell = |told: Vec<(RunKey, _)>| told.into_iter().map(|(run, op)| Write::Tell(run, op));
    let mut batch = vec![Write::Record(Record::SweepSubmitted(submission), Some(stored))];
    batch.extend(tell(tell::sweep_goes_on(recorded, None, now.0)));
    let params = Params::new();
    let worker = WorkerId::new("w");
    let leases: Vec<Lease> = (0..load.runs)
        .map(|index| Lease {
            trial: TrialId { sweep: sweep.clone(), index },
            attempt: 1,
            term: Term(index + 1),
        })
        .collect();
    for lease in &leases {
        let pack = Pack { first: lease.term, lanes: 1 };
        batch.push(Write::Record(Record::LeaseGranted(lease.clone(), worker.clone(), pack), None));
        let start = TrialStart {
            index: lease.trial.index,
            attempt: 1,
            worker: &worker,
            model: "m",
            dataset: "d",
            params: &params,
            start_ms: now.0,
        };
        batch.extend(tell(tell::trial_started(recorded, start)));
    }
    // In the order of trials that train side by side.
    for report in 0..load.points / load.runs / load.report {
        let steps = report * load.report / 2..(report + 1) * load.report / 2;
        for lease in &leases {
            batch
                .push(Write::Record(Record::Metrics(lease.clone(), report + 1, points(steps.clone())), None));
        }
        if batch.len() > 1_000 {
            store.commit(now, &std::mem::take(&mut batch))?;
        }
    }
    store.commit(now, &batch)?;
    Ok(())
}

/// Tells MLflow the whole backlog; answers points a second.
fn drain(state: &Path, server: &Mlflow, load: Load) -> anyhow::Result<f64> {
    let runtime = tokio::runtime::Builder::new_multi_thread().worker_threads(2).enable_all().build()?;
    runtime.block_on(async {
        let coordinator = Server::start(ServerOptions::private(state.to_owned(), "load".to_owned())).await?;
        let outbox = EngineOutbox::new(coordinator.engine.clone());
        let client = Client::new(&Settings::at(&server.url, |_| None)?)?;
        let start = Instant::now();
        let deadline = start + Duration::from_secs(3600);
        let drained = drain_until_empty(&outbox, &client, rand::random::<f64>, deadline).await?;
        let seconds = start.elapsed().as_secs_f64();
        coordinator.stop().await?;
        ensure!(drained == Drained::Empty, "{drained:?}");
        let sent = load.points / load.runs / load.report * load.report * load.runs;
        anyhow::Ok(sent as f64 / seconds)
    })
}
