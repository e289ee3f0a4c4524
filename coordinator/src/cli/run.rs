//! `distilsweep run`: a sweep on this machine, from its file to its ranking.

use std::{net::Ipv4Addr, path::PathBuf, thread, time::Duration};

use clap::Args;
use distilsweep_proto::{examples, exit::Exit, resource::Resource, v1};
use tokio::signal::unix::{SignalKind, signal};

use super::{
    CliError, connect,
    files::SweepFile,
    fleet::{self, WorkerOptions, Workers},
    mlflow::Recording,
    origin::Experiment,
    results, terminal, watch,
};
use crate::{
    grpc::convert::ended,
    mlflow::client::Client,
    results::{Summary, TrialState, labels::counted},
    server::{HANG_TIMEOUT_MS, Server, ServerOptions},
    spec::{Local, Origin},
    text::escape_controls,
};

/// Workers are on this machine: one that is silent for so long is gone.
const LEASE_TIMEOUT_MS: u64 = 15_000;

/// How long the end of a sweep waits for MLflow to be told the rest.
const MLFLOW_GRACE: Duration = Duration::from_secs(30);

/// Arguments of `run`.
#[derive(Debug, Args)]
#[command(after_help = examples![
    "distilsweep run sweep.yaml",
    "distilsweep run sweep.yaml --workers 2 --threads 1 --mlflow http://127.0.0.1:5000",
    "distilsweep run sweep.yaml --new --state runs",
])]
pub(super) struct Run {
    /// The sweep file
    file: PathBuf,

    /// Start another sweep even where this file's is there
    #[arg(long)]
    new: bool,

    /// The state directory
    #[arg(long, value_name = "DIR", default_value = ".distilsweep")]
    state: PathBuf,

    /// Worker processes [default: `resources` of the file, else one a GPU; without one, one a core while memory lasts]
    #[arg(long, value_parser = clap::value_parser!(u16).range(1..=1024))]
    workers: Option<u16>,

    /// Threads of a worker on a CPU [default: `resources` of the file, else the cores shared out among the workers]
    #[arg(long, value_parser = clap::value_parser!(u16).range(1..=1024))]
    threads: Option<u16>,

    /// Where trials are trained: auto, cpu or cuda:N [default: `resources` of the file, else auto]
    #[arg(long)]
    device: Option<String>,

    /// Seconds between two checkpoints of a trial; each epoch makes one too
    #[arg(long, value_name = "SECONDS", default_value_t = 300.0, value_parser = positive)]
    checkpoint_interval: f64,

    /// Trials that may train in one pack on a worker [default: `resources` of the file, else 16 on CUDA, 1 on a CPU]
    #[arg(long, value_parser = clap::value_parser!(u32).range(1..=1024))]
    lanes: Option<u32>,

    #[command(flatten)]
    recording: Recording,

    #[command(flatten)]
    experiment: Experiment,

    /// Follow a script of STEPSxMILLISECONDS instead of training; for tests
    #[arg(long, hide = true, value_name = "SCRIPT")]
    scripted: Option<String>,
}

/// How the watching ended.
enum Watched {
    Final(Box<v1::SweepStatus>),
    Interrupted,
}

impl Run {
    pub(super) async fn run(mut self) -> Result<Exit, CliError> {
        let file = SweepFile::read(&self.file)?;
        file.warn();
        self.default_to(&file.local);
        let store_url = file.store()?;
        let mlflow = self.recording.client()?;
        let mut resources = Vec::new();
        if self.scripted.is_none() {
            let taken = file.take_in().await?;
            for note in taken.notes {
                terminal::note(format_args!("note: {}", escape_controls(&note)));
            }
            resources = taken.resources;
        }
        if let Some(client) = &mlflow
            && let Err(error) = client.check().await
        {
            eprintln!("warning: {error}; the sweep runs, and MLflow is told when it answers");
        }
        let server = Server::start(ServerOptions {
            lease_timeout_ms: LEASE_TIMEOUT_MS,
            hang_timeout_ms: HANG_TIMEOUT_MS,
            mlflow: mlflow.clone(),
            store_url,
            http: Some((Ipv4Addr::LOCALHOST, 0).into()),
            ..ServerOptions::private(self.state.clone(), connect::user())
        })
        .await?;
        let ended = self.sweep(&file, resources, &server, mlflow.as_ref()).await;
        let stopped = server.stop().await;
        let exit = ended?;
        stopped?;
        Ok(exit)
    }

    /// Takes from the file what was not asked for.
    fn default_to(&mut self, file: &Local) {
        let Local { workers, threads, lanes, device, tracking, storage: _, unheeded: _ } = file;
        self.workers = self.workers.or(*workers);
        self.threads = self.threads.or(*threads);
        self.lanes = self.lanes.or(*lanes);
        self.device = self.device.take().or_else(|| device.clone());
        self.recording = self.recording.or(tracking.as_ref());
    }

    fn device(&self) -> &str {
        self.device.as_deref().unwrap_or("auto")
    }

    async fn sweep(
        &self,
        file: &SweepFile,
        resources: Vec<Resource>,
        server: &Server,
        mlflow: Option<&Client>,
    ) -> Result<Exit, CliError> {
        let client = connect::connect_to(server).await?;
        let origin = Origin { resources, ..file.origin(&self.experiment)? };
        let submitted = client.clone().submit_sweep(file.submission(self.new, origin)).await?.into_inner();
        let sweep = submitted.sweep;
        let status =
            client.clone().get_sweep(v1::GetSweepRequest { sweep: sweep.clone() }).await?.into_inner();
        if status.state() == v1::SweepState::Paused {
            let message = format!(
                "sweep {sweep} is paused: `distilsweep sweep resume {sweep}` lets it go on, then run it again"
            );
            return Err(CliError::new(Exit::Incomplete, message));
        }
        if status.state() == v1::SweepState::Running {
            let from = if submitted.created { "starting" } else { "going on with" };
            terminal::note(format_args!("{from} sweep {sweep}: {} points", status.total));
            if let Some(pages) = &server.http {
                terminal::note(format_args!("watch   {pages}/sweeps/{sweep}"));
            }
            let varied: Vec<String> = file.spec.space.varied().into_iter().map(ToOwned::to_owned).collect();
            let count = self.worker_count(status.total - ended(&status));
            let mut workers = Workers::start(self.worker_options(server, count), count)?;
            let watched = tokio::select! {
                status = watch::follow(client.clone(), &sweep, &varied) => status.map(|s| Watched::Final(Box::new(s))),
                interrupted = interrupted() => interrupted.map(|()| Watched::Interrupted),
                failed = tend(&mut workers) => Err(failed),
            };
            if matches!(watched, Ok(Watched::Interrupted)) {
                terminal::note("\nstopping: running trials are handed back");
            }
            workers.stop().await;
            match watched? {
                Watched::Interrupted => {
                    terminal::note(format_args!("sweep {sweep} is kept: the same command goes on with it"));
                    return Ok(Exit::Interrupted);
                }
                Watched::Final(status) if status.state() == v1::SweepState::Failed => {
                    return Err(CliError::new(
                        Exit::BadInput,
                        format!("sweep {sweep} failed: {}", status.reason),
                    ));
                }
                Watched::Final(_) => {}
            }
        } else {
            terminal::note(format_args!("sweep {sweep} of this file has ended; --new starts another"));
        }
        if let Some(mlflow) = mlflow {
            told(&client, &sweep, mlflow).await?;
        }
        let summary = results::fetch(&client, &sweep).await?;
        let report = results::write(&self.state.join("results").join(&summary.sweep), &summary)?;
        results::print(&crate::results::table(&summary, terminal::width(), terminal::color()));
        results::print(&format!("report   {}", report.display()));
        Ok(exit(&summary))
    }

    fn worker_options(&self, server: &Server, count: usize) -> WorkerOptions {
        let gpu_each = self.device() == "auto" && fleet::gpus() > 0;
        WorkerOptions {
            program: fleet::program(),
            url: server.url.clone(),
            token: server.worker.clone(),
            device: self.device().to_owned(),
            threads: self.threads.map_or_else(|| (cores() / count).max(1), usize::from),
            gpu_each,
            checkpoint_interval: self.checkpoint_interval,
            lanes: self.lanes,
            scripted: self.scripted.clone(),
            state: server.engine.directory().to_owned(),
        }
    }

    /// As asked for, else what this machine holds; never more than there are trials left.
    fn worker_count(&self, trials_left: u64) -> usize {
        if let Some(workers) = self.workers {
            return usize::from(workers);
        }
        let gpus = if self.device() == "auto" { fleet::gpus() } else { 0 };
        let most = if gpus > 0 {
            gpus
        } else if self.device().starts_with("cuda") {
            1
        } else {
            let threads = self.threads.map_or(1, usize::from);
            (cores() / threads).min(fleet::that_fit_in_memory())
        };
        most.min(usize::try_from(trials_left).unwrap_or(usize::MAX)).max(1)
    }
}

/// Reads a positive number.
fn positive(text: &str) -> Result<f64, String> {
    let number = text.parse().ok().filter(|number: &f64| *number > 0.0 && number.is_finite());
    number.ok_or_else(|| format!("{text} must be a positive number"))
}

fn cores() -> usize {
    thread::available_parallelism().map_or(1, usize::from)
}

/// Returns at Ctrl-C and SIGTERM.
async fn interrupted() -> Result<(), CliError> {
    let handler =
        |kind| signal(kind).map_err(|error| CliError::failure(format!("no signal handler: {error}")));
    let (mut interrupt, mut terminate) =
        (handler(SignalKind::interrupt())?, handler(SignalKind::terminate())?);
    tokio::select! {
        _ = interrupt.recv() => {}
        _ = terminate.recv() => {}
    }
    Ok(())
}

/// Keeps workers running; returns only with what makes that pointless.
async fn tend(workers: &mut Workers) -> CliError {
    let mut interval = tokio::time::interval(Duration::from_millis(500));
    loop {
        interval.tick().await;
        if let Err(error) = workers.tend() {
            return error;
        }
    }
}

/// Waits until MLflow has been told everything about a sweep, or long enough.
async fn told(client: &connect::Client, sweep: &str, mlflow: &Client) -> Result<(), CliError> {
    let deadline = tokio::time::Instant::now() + MLFLOW_GRACE;
    loop {
        let request = v1::GetSweepRequest { sweep: sweep.to_owned() };
        let status = client.clone().get_sweep(request).await?.into_inner();
        let waiting = status.outbox_depth;
        if waiting == 0 {
            if status.outbox_refused > 0 {
                let refused = counted(status.outbox_refused, "message");
                let why = status.outbox_refusal;
                eprintln!("warning: MLflow at {} did not take {refused}: {why}", mlflow.address());
            }
            return Ok(());
        }
        if tokio::time::Instant::now() >= deadline {
            eprintln!("warning: MLflow at {} has still to be told {waiting} messages", mlflow.address());
            return Ok(());
        }
        tokio::time::sleep(Duration::from_millis(200)).await;
    }
}

fn exit(summary: &Summary) -> Exit {
    let without_result = summary.count(TrialState::Failed) + summary.count(TrialState::Cancelled);
    if without_result == 0 && summary.state == "completed" { Exit::Success } else { Exit::Incomplete }
}
