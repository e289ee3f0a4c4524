//! `distilsweep-worker join`: serve a coordinator until told to stop.

use std::{net::SocketAddr, path::PathBuf, time::Duration};

use clap::Args;
use distilsweep_proto::{dial::Dial, examples, exit::Exit, v1};
use tokio::sync::watch;

use super::{CliError, leave};
use crate::{
    ledger::Bounds,
    link::{Connector, Refusal},
    machine,
    runtime::{MakeTrainer, Runtime},
    scratch::Scratch,
    scripted::ScriptedTrainer,
    session::{self, SessionError, SessionOptions},
    spot::Source,
    web::{self, WebError},
};

/// Arguments of `join`.
#[derive(Debug, Args)]
#[command(after_help = examples![
    "distilsweep-worker join http://127.0.0.1:7070",
    "distilsweep-worker join https://sweeps.example.org:7070 --token-file token --tls-ca ca.pem",
    "distilsweep-worker join http://127.0.0.1:7070 --device cuda:0 --spot-notice aws",
])]
pub(super) struct Join {
    /// Where the coordinator is, http://host:port or https://host:port
    url: String,

    #[command(flatten)]
    dial: Dial,

    /// Where trials are trained: auto (a GPU where libtorch has one), cpu, cuda or cuda:NUMBER
    #[arg(long, default_value = "auto")]
    device: String,

    /// Threads of libtorch on a CPU [default: all cores]
    #[arg(long)]
    threads: Option<usize>,

    /// Directory for what a trial writes before it is published [default: the system's for temporary files]
    #[arg(long)]
    scratch: Option<PathBuf>,

    /// Seconds that the first connection may take
    #[arg(long, default_value_t = 30, value_name = "SECONDS")]
    patience: u64,

    /// Seconds to hand everything back after SIGTERM, Ctrl-C or a spot notice
    #[arg(long, default_value_t = 60, value_name = "SECONDS")]
    grace: u64,

    /// End after so many seconds without a trial, for jobs that are started when there is work [default: never]
    #[arg(long, value_name = "SECONDS", value_parser = clap::value_parser!(u64).range(1..=86_400))]
    exit_when_idle: Option<u64>,

    /// Where the notice that this machine will be taken away comes from: aws, gcp or azure (their metadata services),
    /// a path (by being there) or an http:// URL (by having something to say) [default: nowhere]
    #[arg(long, value_name = "WHERE")]
    spot_notice: Option<Source>,

    /// Seconds between two checkpoints of a trial; each epoch makes one too
    #[arg(long, default_value = "300", value_name = "SECONDS", value_parser = super::seconds)]
    checkpoint_interval: Duration,

    /// Where to answer for health, in plain HTTP; port 0 takes a free one [default: nowhere]
    #[arg(long, value_name = "HOST:PORT")]
    http: Option<SocketAddr>,

    /// Trials that may train in one pack [default: 16 on CUDA, 1 on a CPU]
    #[arg(long, value_parser = clap::value_parser!(u32).range(1..=1024))]
    lanes: Option<u32>,

    /// Seconds between two samples of the machine's load (MLflow's system metrics); 0 takes none
    #[arg(
        long,
        env = "MLFLOW_SYSTEM_METRICS_SAMPLING_INTERVAL",
        default_value_t = 10.0,
        value_name = "SECONDS",
        value_parser = sampling
    )]
    system_metrics_interval: f64,

    /// Drain when standard input closes, as it does when the parent process is gone
    #[arg(long, hide = true)]
    until_stdin_closes: bool,

    /// Follow a script of STEPSxMILLISECONDS[,hang=STEP][,fail=PERCENT][,evaluations=COUNT] instead of training; for tests
    #[arg(long, hide = true, value_name = "SCRIPT")]
    scripted: Option<ScriptedTrainer>,
}

impl Join {
    /// Runs the command.
    ///
    /// # Errors
    /// One sentence for the terminal, with its exit code.
    pub(super) fn run(self) -> Result<Exit, CliError> {
        let runtime = super::runtime()?;
        let served = runtime.block_on(self.serve());
        // A training that stops at its next step must not hold the process.
        runtime.shutdown_timeout(Duration::from_millis(100));
        served
    }

    async fn serve(self) -> Result<Exit, CliError> {
        let coordinator = self.dial.coordinator(&self.url, |name| std::env::var(name).ok())?;
        let standing = watch::Sender::default();
        if let Some(address) = self.http {
            // Before a device is opened, which may take longer than probes wait.
            web::serve(address, standing.subscribe()).await?;
        }
        let (device, make) = self.trainer()?;
        let root = self.scratch.clone().unwrap_or_else(std::env::temp_dir);
        let claimed = Scratch::claim(&root).map_err(|error| {
            CliError::failure(format!("scratch directory {} cannot be used: {error}", root.display()))
        })?;
        let scratch = claimed.path().to_owned();
        let (handle, events) = Runtime::start(&device.name, scratch.clone(), self.checkpoint_interval, make)
            .map_err(|error| CliError::failure(format!("no thread for {}: {error}", device.name)))?;
        let hostname = hostname();
        let process = std::process::id();
        let hello = v1::Hello {
            worker: format!("{hostname}-{process}-{:08x}", rand::random::<u32>()),
            hostname,
            process,
            version: env!("CARGO_PKG_VERSION").to_owned(),
            devices: vec![v1::Device {
                max_lanes: self.lanes.unwrap_or_else(|| if device.name.starts_with("cuda") { 16 } else { 1 }),
                ..device
            }],
            slots: 1,
            held: Vec::new(),
        };
        let options = SessionOptions {
            connector: Connector::network(coordinator),
            hello,
            patience: Duration::from_secs(self.patience),
            grace: Duration::from_secs(self.grace),
            exit_when_idle: self.exit_when_idle.map(Duration::from_secs),
            scratch,
            bounds: Bounds::default(),
            vitals: Some(self.system_metrics_interval)
                .filter(|seconds| *seconds > 0.0)
                .map(Duration::from_secs_f64),
            standing,
        };
        let drain = leave::reason(self.spot_notice, self.until_stdin_closes)?;
        let served = session::serve(options, rand::random::<f64>, handle, events, drain).await;
        served.map(|()| Exit::Success).map_err(|error| {
            let exit = match &error {
                SessionError::Unreachable { .. } => Exit::Unreachable,
                SessionError::Refused { refusal: Refusal::NotAllowed, .. } => Exit::Refused,
                SessionError::Refused { refusal: Refusal::NotUnderstood, .. } => Exit::Unreachable,
                SessionError::GraceSpent(_) | SessionError::Stuck { .. } => Exit::Failure,
            };
            CliError { exit, message: error.to_string() }
        })
    }

    fn trainer(&self) -> Result<(v1::Device, MakeTrainer), CliError> {
        if let Some(script) = self.scripted {
            let device = v1::Device {
                name: "scripted".to_owned(),
                memory_bytes: machine::memory().available,
                ..Default::default()
            };
            return Ok((device, Box::new(move || Ok(Box::new(script)))));
        }
        self.torch_trainer()
    }

    #[cfg(feature = "torch")]
    fn torch_trainer(&self) -> Result<(v1::Device, MakeTrainer), CliError> {
        use crate::{
            devices::Found,
            torch::{DeviceChoice, Options, TorchTrainer},
        };

        let choice: DeviceChoice = self
            .device
            .parse()
            .map_err(|why| CliError::usage(format!("--device is `{}`, {why}", self.device)))?;
        // Here and not on the training thread alone: a worker without its device must not take a trial.
        let found = Found::describe(choice.open()?);
        let device = v1::Device {
            name: found.name,
            model: found.model,
            memory_bytes: found.free_bytes,
            precisions: found.precisions.into_iter().map(str::to_owned).collect(),
            max_lanes: 0,
        };
        let options = Options { device: choice, threads: self.threads, ..Options::default() };
        let make: MakeTrainer = Box::new(move || Ok(Box::new(TorchTrainer::new(options)?)));
        Ok((device, make))
    }

    #[cfg(not(feature = "torch"))]
    fn torch_trainer(&self) -> Result<(v1::Device, MakeTrainer), CliError> {
        Err(CliError::usage(
            "this worker was built without libtorch and cannot train: build it with the `torch` feature",
        ))
    }
}

impl From<WebError> for CliError {
    fn from(error: WebError) -> Self {
        Self { exit: Exit::InUse, message: error.to_string() }
    }
}

/// Reads a number of seconds that may be 0.
fn sampling(text: &str) -> Result<f64, String> {
    let right = |seconds: &f64| *seconds == 0.0 || (0.1..=86_400.0).contains(seconds);
    let number = text.parse().ok().filter(right);
    number.ok_or_else(|| format!("{text} must be 0 or a number of seconds from 0.1 to 86400"))
}

fn hostname() -> String {
    let name = std::fs::read_to_string("/proc/sys/kernel/hostname").unwrap_or_default();
    let name = name.trim();
    if name.is_empty() { "localhost".to_owned() } else { name.to_owned() }
}
