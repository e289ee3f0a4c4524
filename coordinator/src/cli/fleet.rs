//! Worker processes of this machine, kept running while a sweep does.

use std::{
    fs::File,
    path::{Path, PathBuf},
    process::{ExitStatus, Stdio},
    time::Duration,
};

use distilsweep_proto::dial::{Bearer, TOKEN_VARIABLE};
use tokio::process::{Child, Command};

use super::CliError;

/// How long a worker may take to hand its trials back.
const GRACE: Duration = Duration::from_secs(30);
/// Starts of a worker that ended by itself before the sweep is given up.
const MAX_STARTS: u32 = 10;

/// How to start workers.
#[derive(Clone, Debug)]
pub(super) struct WorkerOptions {
    /// The program.
    pub(super) program: PathBuf,
    /// The coordinator.
    pub(super) url: String,
    /// Handed over in the environment, which other users of the machine cannot read.
    pub(super) token: Bearer,
    /// Passed on as `--device`.
    pub(super) device: String,
    /// Passed on as `--threads`.
    pub(super) threads: usize,
    /// One GPU a worker: its number goes into `CUDA_VISIBLE_DEVICES`.
    pub(super) gpu_each: bool,
    /// Passed on as `--checkpoint-interval`.
    pub(super) checkpoint_interval: f64,
    /// Passed on as `--lanes`.
    pub(super) lanes: Option<u32>,
    /// Passed on as `--scripted`.
    pub(super) scripted: Option<String>,
    /// Directory for logs and scratch files.
    pub(super) state: PathBuf,
}

/// The processes. Dropping it kills what is left.
#[derive(Debug)]
pub(super) struct Workers {
    options: WorkerOptions,
    children: Vec<Child>,
    starts: u32,
}

impl Workers {
    /// Starts `count` workers.
    pub(super) fn start(options: WorkerOptions, count: usize) -> Result<Self, CliError> {
        let mut workers = Self { options, children: Vec::new(), starts: 0 };
        for number in 0..count {
            let child = workers.spawn(number)?;
            workers.children.push(child);
        }
        Ok(workers)
    }

    /// Starts again what ended by itself. An error where workers end as fast as they start.
    pub(super) fn tend(&mut self) -> Result<(), CliError> {
        for number in 0..self.children.len() {
            let Ok(Some(status)) = self.children[number].try_wait() else { continue };
            self.starts += 1;
            let log = self.log_path(number);
            if self.starts > MAX_STARTS {
                let message = format!(
                    "workers end again and again, the last with {}: see {}",
                    describe(status),
                    log.display()
                );
                return Err(CliError::failure(message));
            }
            tracing::warn!(worker = number, status = describe(status), log = %log.display(), "a worker ended, starting another");
            self.children[number] = self.spawn(number)?;
        }
        Ok(())
    }

    /// Tells all to hand back their trials, and waits for them.
    pub(super) async fn stop(mut self) {
        for child in &mut self.children {
            // Its standard input closes: the sign to drain.
            drop(child.stdin.take());
        }
        let all = async {
            for child in &mut self.children {
                let _ = child.wait().await;
            }
        };
        if tokio::time::timeout(GRACE, all).await.is_err() {
            tracing::warn!("a worker did not stop within {} s and was killed", GRACE.as_secs());
        }
    }

    fn spawn(&self, number: usize) -> Result<Child, CliError> {
        let WorkerOptions { program, url, device, threads, gpu_each, scripted, state, .. } = &self.options;
        let failed = |what: &Path, error: std::io::Error| {
            CliError::failure(format!("worker {number} cannot be started: {}: {error}", what.display()))
        };
        let log_path = self.log_path(number);
        let logs = log_path.parent().unwrap_or(state);
        std::fs::create_dir_all(logs).map_err(|error| failed(logs, error))?;
        let log = File::options()
            .create(true)
            .append(true)
            .open(&log_path)
            .map_err(|error| failed(&log_path, error))?;
        let mut command = Command::new(program);
        command
            .args(["join", url, "--device", device, "--until-stdin-closes"])
            .args(["--threads", &threads.to_string()])
            // Orphans have nobody to hand back to, and should be gone soon; others need the time to publish what they
            // have.
            .args(["--grace", "20"])
            .args(["--checkpoint-interval", &self.options.checkpoint_interval.to_string()])
            .arg("--scratch")
            .arg(state.join("scratch"))
            .stdin(Stdio::piped())
            .stdout(Stdio::null())
            .stderr(log)
            // Ctrl-C on the terminal is for the parent, which then tells its workers.
            .process_group(0)
            .kill_on_drop(true);
        if let Some(lanes) = self.options.lanes {
            command.args(["--lanes", &lanes.to_string()]);
        }
        if let Some(script) = scripted {
            command.args(["--scripted", script]);
        }
        for (name, _) in std::env::vars_os() {
            // This program's own are for coordinators elsewhere, and MLflow's for this program alone.
            if name.to_str().is_some_and(|name| {
                ["DISTILSWEEP_TLS_", "DISTILSWEEP_TOKEN", "MLFLOW_TRACKING_"]
                    .iter()
                    .any(|secret| name.starts_with(secret))
            }) {
                command.env_remove(name);
            }
        }
        if let Some(token) = self.options.token.expose() {
            command.env(TOKEN_VARIABLE, token);
        }
        if *gpu_each {
            command.env("CUDA_VISIBLE_DEVICES", number.to_string());
        }
        command.spawn().map_err(|error| failed(program, error))
    }

    fn log_path(&self, number: usize) -> PathBuf {
        self.options.state.join("logs").join(format!("worker-{number}.log"))
    }
}

fn describe(status: ExitStatus) -> String {
    status.to_string()
}

/// The worker program: `DISTILSWEEP_WORKER`, else beside this program, else on the path.
pub(super) fn program() -> PathBuf {
    const NAME: &str = "distilsweep-worker";
    if let Some(path) = std::env::var_os("DISTILSWEEP_WORKER").filter(|path| !path.is_empty()) {
        return path.into();
    }
    std::env::current_exe()
        .ok()
        .and_then(|path| Some(path.parent()?.join(NAME)))
        .filter(|path| path.exists())
        .unwrap_or_else(|| NAME.into())
}

/// Workers on a CPU that the machine's free memory holds; many where the system does not tell.
pub(super) fn that_fit_in_memory() -> usize {
    // An estimate for a base-size model in single precision: weights, gradients, two moments, the start and the best
    // (six times 0.25 GiB), and what a batch of 16 needs on the way.
    const WORKER_KIB: usize = 2 << 20;
    let text = std::fs::read_to_string("/proc/meminfo").unwrap_or_default();
    let available = text.lines().find_map(|line| {
        line.strip_prefix("MemAvailable:")?.split_whitespace().next()?.parse::<usize>().ok()
    });
    available.map_or(usize::MAX, |kib| kib / WORKER_KIB)
}

/// GPUs of this machine, by their device files.
pub(super) fn gpus() -> usize {
    let Ok(entries) = std::fs::read_dir("/dev") else { return 0 };
    entries
        .filter_map(|entry| entry.ok()?.file_name().into_string().ok())
        .filter(|name| name.strip_prefix("nvidia").is_some_and(|rest| rest.parse::<u32>().is_ok()))
        .count()
}
