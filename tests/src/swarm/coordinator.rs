//! The coordinator under load: this program started again as `distilsweep serve`, and what the system says of it.

use std::{
    io::IsTerminal,
    path::PathBuf,
    process::{Command, ExitCode},
    time::Duration,
};

use anyhow::Context;
use clap::Parser;
use distilsweep::cli::Cli;
use rustix::process::Pid;
use tempfile::TempDir;

use crate::{process::Process, wait::until};

/// First argument by which this program becomes `distilsweep`.
const COORDINATOR: &str = "coordinator";

/// Where this program was started as a coordinator: runs it as `distilsweep`, and answers how it ended.
pub fn coordinator() -> Option<ExitCode> {
    let mut arguments = std::env::args_os().skip(1).peekable();
    arguments.peek().filter(|first| *first == COORDINATOR)?;
    let cli = Cli::parse_from(arguments);
    tracing_subscriber::fmt()
        .with_env_filter(cli.default_log_level())
        .with_ansi(std::io::stderr().is_terminal())
        .with_writer(std::io::stderr)
        .with_target(false)
        .init();
    Some(match cli.run() {
        Ok(exit) => exit.into(),
        Err(error) => {
            eprintln!("error: {error}");
            error.exit.into()
        }
    })
}

/// A coordinator on a state directory that goes with it.
#[derive(Debug)]
pub(super) struct Coordinator {
    /// Where it listens.
    pub(super) url: String,
    pid: Pid,
    /// Ends before its directory goes.
    _process: Process,
    _directory: TempDir,
}

impl Coordinator {
    /// A directory for one. On a disk: the system's directory for temporary files is often memory.
    pub(super) fn directory() -> anyhow::Result<TempDir> {
        Ok(tempfile::Builder::new().prefix("distilsweep-swarm-").tempdir_in(".")?)
    }

    /// The state directory in it.
    pub(super) fn state(directory: &TempDir) -> PathBuf {
        directory.path().join("state")
    }

    /// Starts one on a free port, and waits until it serves.
    pub(super) fn start(directory: TempDir, lease_timeout: u64) -> anyhow::Result<Self> {
        let state = Self::state(&directory);
        let mut command = Command::new(std::env::current_exe()?);
        command.args([COORDINATOR, "serve", "--listen", "127.0.0.1:0"]);
        command.args(["--lease-timeout", &lease_timeout.to_string()]).arg("--state").arg(&state);
        command.env_remove("MLFLOW_TRACKING_URI");
        let mut process = Process::start("coordinator", command, directory.path())?;
        let address = state.join("address");
        let url = until("the coordinator's address", Duration::from_secs(30), || {
            anyhow::ensure!(process.is_running()?, "the coordinator ended at once: {}", process.err());
            Ok(std::fs::read_to_string(&address).ok().filter(|url| url.ends_with('\n')))
        })?;
        let pid = process.pid()?;
        Ok(Self { url: url.trim().to_owned(), pid, _process: process, _directory: directory })
    }

    /// Processor time that it has used, of user and system.
    pub(super) fn cpu_seconds(&self) -> anyhow::Result<f64> {
        let stat = self.proc("stat")?;
        // The name of the program, in parentheses, may hold blanks.
        let (_, fields) = stat.rsplit_once(')').context("a line of /proc/PID/stat")?;
        let ticks =
            fields.split_whitespace().skip(11).take(2).map(str::parse::<u64>).sum::<Result<u64, _>>()?;
        Ok(ticks as f64 / rustix::param::clock_ticks_per_second() as f64)
    }

    /// The most memory that it has held, in MiB.
    pub(super) fn peak_mb(&self) -> anyhow::Result<f64> {
        let status = self.proc("status")?;
        let peak = status
            .lines()
            .find_map(|line| line.strip_prefix("VmHWM:"))
            .and_then(|text| text.trim().strip_suffix(" kB"))
            .context("VmHWM in /proc/PID/status")?;
        Ok(peak.trim().parse::<f64>()? / 1024.0)
    }

    fn proc(&self, file: &str) -> anyhow::Result<String> {
        let path = format!("/proc/{}/{file}", self.pid);
        std::fs::read_to_string(&path).with_context(|| path)
    }
}
