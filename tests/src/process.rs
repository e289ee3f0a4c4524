//! One process under test: its output in files, killed when it is dropped.

use std::{
    fs::File,
    io::Read,
    os::unix::process::ExitStatusExt,
    path::{Path, PathBuf},
    process::{Child, ChildStdin, Command, ExitStatus, Stdio},
    time::Duration,
};

use anyhow::Context;
use rustix::process::{Pid, Resource, Rlimit, Signal, kill_process, prlimit};

use crate::wait::until;

/// Lines of each output that a test which fails shows.
const SHOWN: usize = 60;

/// A running or ended process.
#[derive(Debug)]
pub struct Process {
    name: String,
    child: Child,
    out: PathBuf,
    err: PathBuf,
}

/// How a process ended, and all that it printed.
#[derive(Debug)]
pub struct Finished {
    /// The exit code; none where a signal ended it.
    pub code: Option<i32>,
    /// The signal that ended it, if one did.
    pub signal: Option<i32>,
    /// Standard output.
    pub out: String,
    /// Standard error.
    pub err: String,
}

impl Process {
    /// Starts a process; its output goes to `NAME.out` and `NAME.err` in `logs`.
    ///
    /// # Errors
    /// The program cannot be started, or the files cannot be made.
    pub fn start(name: &str, command: Command, logs: &Path) -> anyhow::Result<Self> {
        Self::start_with(name, command, Stdio::null(), logs)
    }

    /// The same with a standard input that stays open until the second value is dropped.
    ///
    /// # Errors
    /// The program cannot be started, or the files cannot be made.
    pub fn start_fed(name: &str, command: Command, logs: &Path) -> anyhow::Result<(Self, ChildStdin)> {
        let mut process = Self::start_with(name, command, Stdio::piped(), logs)?;
        let input = process.child.stdin.take().context("its standard input is a pipe")?;
        Ok((process, input))
    }

    fn start_with(name: &str, mut command: Command, input: Stdio, logs: &Path) -> anyhow::Result<Self> {
        let (out, err) = (logs.join(format!("{name}.out")), logs.join(format!("{name}.err")));
        let child = command
            .stdin(input)
            .stdout(File::create(&out)?)
            .stderr(File::create(&err)?)
            .spawn()
            .with_context(|| format!("{name}: cannot start {command:?}"))?;
        Ok(Self { name: name.to_owned(), child, out, err })
    }

    /// Its process id.
    pub fn id(&self) -> u32 {
        self.child.id()
    }

    /// What it has printed to standard output so far.
    pub fn out(&self) -> String {
        read(&self.out)
    }

    /// What it has printed to standard error so far.
    pub fn err(&self) -> String {
        read(&self.err)
    }

    /// Whether it has not ended.
    ///
    /// # Errors
    /// The system does not tell.
    pub fn is_running(&mut self) -> anyhow::Result<bool> {
        Ok(self.child.try_wait()?.is_none())
    }

    /// Sends a signal.
    ///
    /// # Errors
    /// It has ended already.
    pub fn signal(&mut self, signal: Signal) -> anyhow::Result<()> {
        anyhow::ensure!(self.is_running()?, "{} has ended before it was sent {signal:?}", self.name);
        kill_process(self.pid()?, signal).with_context(|| format!("{}: {signal:?}", self.name))
    }

    /// Waits for its end.
    ///
    /// # Errors
    /// It does not end within `patience`.
    pub fn wait(&mut self, patience: Duration) -> anyhow::Result<Finished> {
        let name = self.name.clone();
        until(&format!("the end of {name}"), patience, || self.ended())
    }

    /// How it ended, where it has.
    ///
    /// # Errors
    /// The system does not tell.
    pub fn ended(&mut self) -> anyhow::Result<Option<Finished>> {
        let ended: Option<ExitStatus> = self.child.try_wait()?;
        Ok(ended.map(|status| Finished {
            code: status.code(),
            signal: status.signal(),
            out: self.out(),
            err: self.err(),
        }))
    }

    /// Whether it stands still after SIGSTOP.
    ///
    /// # Errors
    /// The system does not tell.
    pub fn is_stopped(&self) -> anyhow::Result<bool> {
        let stat = std::fs::read_to_string(format!("/proc/{}/stat", self.child.id()))?;
        // The program's name comes before, in parentheses, and may hold anything.
        Ok(stat.rsplit_once(") ").is_some_and(|(_, rest)| rest.starts_with('T')))
    }

    /// Lets no file that it writes grow beyond `bytes`, from now on: to it the disk is full.
    ///
    /// # Errors
    /// The system refuses.
    pub fn limit_files(&self, bytes: u64) -> anyhow::Result<()> {
        let limit = Rlimit { current: Some(bytes), maximum: Some(bytes) };
        prlimit(Some(self.pid()?), Resource::Fsize, limit)
            .with_context(|| format!("{}: a limit of its files", self.name))?;
        Ok(())
    }

    /// SIGKILL, and proof that it was that which ended it.
    ///
    /// # Errors
    /// It had ended before.
    pub fn kill(&mut self) -> anyhow::Result<()> {
        self.signal(Signal::KILL)?;
        let finished = self.wait(Duration::from_secs(10))?;
        anyhow::ensure!(
            finished.signal == Some(Signal::KILL.as_raw()),
            "{} ended by itself: {finished:?}",
            self.name
        );
        Ok(())
    }

    /// Its id.
    ///
    /// # Errors
    /// The system gave it one that no process has.
    pub fn pid(&self) -> anyhow::Result<Pid> {
        Pid::from_raw(i32::try_from(self.child.id())?).context("process ids are positive")
    }
}

impl Drop for Process {
    fn drop(&mut self) {
        // MLflow ends its children at SIGTERM, and at nothing harder.
        if let (Ok(true), Ok(pid)) = (self.is_running(), self.pid()) {
            let _ = kill_process(pid, Signal::TERM);
            // One that a failed test left standing still hears no other signal.
            let _ = kill_process(pid, Signal::CONT);
            if self.wait(Duration::from_secs(10)).is_err() {
                let _ = self.child.kill();
                let _ = self.child.wait();
            }
        }
        // The test runner shows this for tests that fail, and for no other.
        for (stream, text) in [("out", self.out()), ("err", self.err())] {
            let lines: Vec<&str> = text.lines().collect();
            let tail = &lines[lines.len().saturating_sub(SHOWN)..];
            eprintln!("--- {} {stream} (last {} lines)\n{}", self.name, tail.len(), tail.join("\n"));
        }
    }
}

fn read(path: &Path) -> String {
    let mut bytes = Vec::new();
    if let Ok(mut file) = File::open(path) {
        let _ = file.read_to_end(&mut bytes);
    }
    String::from_utf8_lossy(&bytes).into_owned()
}
