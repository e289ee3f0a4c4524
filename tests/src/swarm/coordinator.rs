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

use crate::{mlflow::free_port, process::Process, wait::until};

/// First argument by which this program becomes `distilsweep`.
const COORDINATOR: &str = "coordinator";

/// Where this program was started as a coordinator: runs it as `distilsweep`, and answers how it ended.
pub fn coordinator() -> Option<ExitCode> {
    let mut arguments = std::env::args_os().skip(1).peekable();
    arguments.peek().filter(|first| *first == COORDINATOR)?;
    let cli = Cli::parse_from(arguments);
    tracing_subscriber::fmt()
        .with_env_filter(cli.begin())
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
    /// Where it answers for its health.
    pub(super) http: String,
    pid: Pid,
    /// What it was started with, address included.
    arguments: Vec<String>,
    /// Ends before its directory goes.
    process: Process,
    directory: TempDir,
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

    /// Starts one on a free port with these arguments besides, and waits until it serves.
    pub(super) fn start(directory: TempDir, lease_timeout: u64, extra: &[String]) -> anyhow::Result<Self> {
        let mut arguments = vec!["--listen".to_owned(), format!("127.0.0.1:{}", free_port()?)];
        arguments.extend(["--http".to_owned(), "127.0.0.1:0".to_owned()]);
        arguments.extend(["--lease-timeout".to_owned(), lease_timeout.to_string()]);
        arguments.extend_from_slice(extra);
        Self::serve(directory, arguments)
    }

    fn serve(directory: TempDir, arguments: Vec<String>) -> anyhow::Result<Self> {
        let state = Self::state(&directory);
        let mut command = Command::new(std::env::current_exe()?);
        command.args([COORDINATOR, "serve"]).args(&arguments).arg("--state").arg(&state);
        command.env_remove("MLFLOW_TRACKING_URI");
        let mut process = Process::start("coordinator", command, directory.path())?;
        let said = |file: &str| {
            let text = std::fs::read_to_string(state.join(file)).ok();
            text.filter(|url| url.ends_with('\n')).map(|url| url.trim().to_owned())
        };
        let url = until("the coordinator's address", Duration::from_secs(30), || {
            anyhow::ensure!(process.is_running()?, "the coordinator ended at once: {}", process.err());
            Ok(said("address"))
        })?;
        // Left before the other.
        let http = said("http-address").context("where it answers for its health")?;
        let pid = process.pid()?;
        Ok(Self { url, http, pid, arguments, process, directory })
    }

    /// Kills it and starts another on the same state and address after this long.
    pub(super) fn restart(mut self, away: Duration) -> anyhow::Result<Self> {
        self.process.kill()?;
        // Its word that it serves is its successor's to give.
        std::fs::remove_file(Self::state(&self.directory).join("address"))?;
        std::thread::sleep(away);
        Self::serve(self.directory, self.arguments)
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
