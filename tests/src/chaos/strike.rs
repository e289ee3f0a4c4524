//! Doing the faults of a schedule to the processes, one at a time on each target, and seeing that each has happened.

use std::{fmt, io, net::TcpStream, time::Duration};

use anyhow::Context;
use rustix::process::Signal;

use super::{
    EXTENSION,
    drill::{Fleet, Recorder},
    errand::Errand,
    schedule::{Fault, Planned, Schedule, Target},
};
use crate::{
    mlflow::Mlflow,
    proxy::{Counts, Mode},
};

/// How large the coordinator's files may be while the disk is full: more than its log has, and less than the
/// write-ahead log of its database comes to.
const ROOM: u64 = 128 * 1024;

/// The faults of a schedule that are not over.
pub(super) struct Strikes {
    planned: Vec<Planned>,
    struck: Vec<Struck>,
}

/// A fault under way.
struct Struck {
    fault: Fault,
    since: Duration,
    /// What the worker's proxy had done before.
    before: Counts,
    /// Since when it is seen to have happened, where that takes a while.
    seen: Option<Duration>,
    /// The command that it takes, if it takes one.
    errand: Errand,
}

impl Strikes {
    pub(super) fn new(schedule: &Schedule) -> Self {
        Self { planned: schedule.faults.clone(), struck: Vec::new() }
    }

    /// Begins and mends what is due at `now`, counted from the sweep's start. True once all is over.
    pub(super) fn advance(&mut self, fleet: &mut Fleet, now: Duration) -> anyhow::Result<bool> {
        let mut later = Vec::new();
        for planned in std::mem::take(&mut self.planned) {
            let target = planned.fault.target();
            let waits = planned.at > now
                || self.struck.iter().any(|struck| struck.fault.target() == target)
                || later.iter().any(|earlier: &Planned| earlier.fault.target() == target);
            let before = fleet.counts(planned.fault);
            if waits || !strike(fleet, planned.fault)? {
                later.push(planned);
                continue;
            }
            self.struck.push(Struck {
                fault: planned.fault,
                since: now,
                before,
                seen: None,
                errand: Errand::default(),
            });
        }
        self.planned = later;
        let mut under_way = Vec::new();
        for mut struck in std::mem::take(&mut self.struck) {
            if !struck.is_over(fleet, now)? {
                under_way.push(struck);
            }
        }
        self.struck = under_way;
        Ok(self.planned.is_empty() && self.struck.is_empty())
    }
}

impl fmt::Display for Strikes {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        writeln!(f, "not shown to have happened:")?;
        self.struck.iter().try_for_each(|struck| writeln!(f, "  {} (under way)", struck.fault))?;
        self.planned.iter().try_for_each(|planned| writeln!(f, "  {}", planned.fault))
    }
}

/// Begins a fault; false where there is nothing to strike yet.
fn strike(fleet: &mut Fleet, fault: Fault) -> anyhow::Result<bool> {
    match fault {
        Fault::KillWorker { worker, .. } => fleet.seats[worker].worker.kill()?,
        Fault::StopWorker { worker, .. } => fleet.seats[worker].worker.signal(Signal::STOP)?,
        Fault::DrainWorker { worker } => {
            if !fleet.seats[worker].is_up() {
                return Ok(false);
            }
            fleet.seats[worker].worker.signal(Signal::TERM)?;
        }
        // Their commands run until they are followed.
        Fault::OrderDrain { worker } => return Ok(fleet.seats[worker].is_up()),
        Fault::Pause { .. } | Fault::Extend | Fault::StopTrial { .. } => {}
        Fault::KillCoordinator { .. } => fleet.coordinator.process.kill()?,
        Fault::StopCoordinator { .. } => fleet.coordinator.process.signal(Signal::STOP)?,
        Fault::FillDisk { .. } => fleet.coordinator.process.limit_files(ROOM)?,
        Fault::Cut { worker } | Fault::Refuse { worker, .. } => {
            let proxy = &fleet.seats[worker].proxy;
            if proxy.open() == 0 {
                return Ok(false);
            }
            if matches!(fault, Fault::Refuse { .. }) {
                proxy.set(Mode::Refuse);
            }
            proxy.cut();
        }
        Fault::Delay { worker, by, .. } => fleet.seats[worker].proxy.set(Mode::Delay(by)),
        Fault::BlackHole { worker, .. } => fleet.seats[worker].proxy.set(Mode::BlackHole),
        Fault::StopMlflow { .. } => fleet.recorder()?.server.tell_to_stop()?,
    }
    Ok(true)
}

impl Struck {
    /// Mends the fault once it is due and seen to have happened; true when that is done.
    fn is_over(&mut self, fleet: &mut Fleet, now: Duration) -> anyhow::Result<bool> {
        let due = |away: Duration| now >= self.since + away;
        let counts = fleet.counts(self.fault);
        match self.fault {
            Fault::KillWorker { worker, away } if due(away) => fleet.replace_worker(worker)?,
            Fault::KillCoordinator { away } if due(away) => fleet.restart_coordinator()?,
            Fault::StopWorker { worker, away } => {
                let process = &mut fleet.seats[worker].worker;
                if !process.is_stopped()? || !due(away) {
                    return Ok(false);
                }
                process.signal(Signal::CONT)?;
            }
            Fault::StopCoordinator { away } => {
                let process = &mut fleet.coordinator.process;
                if !process.is_stopped()? || !due(away) {
                    return Ok(false);
                }
                process.signal(Signal::CONT)?;
            }
            Fault::DrainWorker { worker } => {
                let Some(ended) = fleet.seats[worker].worker.ended()? else { return Ok(false) };
                anyhow::ensure!(ended.code == Some(0), "worker {worker} was told to drain: {ended:?}");
                fleet.replace_worker(worker)?;
            }
            Fault::OrderDrain { worker } => {
                if self.seen.is_none() {
                    // Followed, though the answer went with a coordinator that was killed.
                    let followed = self.errand.given && !fleet.seats[worker].worker.is_running()?;
                    self.seen = (followed || self.errand.drain(fleet, worker)?).then_some(now);
                    return Ok(false);
                }
                let Some(ended) = fleet.seats[worker].worker.ended()? else { return Ok(false) };
                anyhow::ensure!(ended.code == Some(0), "worker {worker} was told to drain: {ended:?}");
                fleet.replace_worker(worker)?;
            }
            Fault::Pause { away } => {
                let Some(seen) = self.seen else {
                    self.seen = self.errand.run(fleet, &["sweep", "pause", "grid"])?.map(|_| now);
                    return Ok(false);
                };
                return Ok(
                    now >= seen + away && self.errand.run(fleet, &["sweep", "resume", "grid"])?.is_some()
                );
            }
            Fault::StopTrial { away } => {
                let Some(seen) = self.seen else {
                    self.seen = self.errand.stop_trial(fleet)?.then_some(now);
                    return Ok(false);
                };
                return Ok(now >= seen + away && self.errand.retry_trial(fleet)?);
            }
            Fault::Extend => {
                return Ok(self.errand.run(fleet, &["sweep", "extend", "grid", EXTENSION.0])?.is_some());
            }
            Fault::FillDisk { away } => {
                let Some(seen) = self.seen else {
                    if let Some(ended) = fleet.coordinator.process.ended()? {
                        let said = ended.err.lines().last().unwrap_or_default();
                        let clear = ended.code == Some(1) && said.contains("coordinator.db");
                        anyhow::ensure!(clear, "the coordinator without room: {ended:?}");
                        self.seen = Some(now);
                    }
                    return Ok(false);
                };
                if now < seen + away {
                    return Ok(false);
                }
                fleet.restart_coordinator()?;
            }
            // Its proxy has counted what it cut.
            Fault::Cut { .. } => {}
            Fault::Refuse { worker, away } if due(away) && counts.refused > self.before.refused => {
                fleet.seats[worker].proxy.set(Mode::Pass);
            }
            Fault::Delay { worker, away, .. } if due(away) && counts.delayed > self.before.delayed => {
                fleet.seats[worker].proxy.set(Mode::Pass);
            }
            Fault::BlackHole { worker, away, cut } if due(away) && counts.held > self.before.held => {
                let proxy = &fleet.seats[worker].proxy;
                if cut {
                    proxy.cut();
                }
                proxy.set(Mode::Pass);
            }
            Fault::StopMlflow { away } => return self.mlflow_is_back(fleet, away, now),
            Fault::KillWorker { .. }
            | Fault::KillCoordinator { .. }
            | Fault::Refuse { .. }
            | Fault::Delay { .. }
            | Fault::BlackHole { .. } => return Ok(false),
        }
        Ok(true)
    }

    fn mlflow_is_back(&mut self, fleet: &mut Fleet, away: Duration, now: Duration) -> anyhow::Result<bool> {
        let directory = fleet.scene.path("mlflow");
        let recorder = fleet.recorder()?;
        let Some(seen) = self.seen else {
            let refuses = |port| {
                TcpStream::connect(("127.0.0.1", port))
                    .is_err_and(|error| error.kind() == io::ErrorKind::ConnectionRefused)
            };
            if recorder.server.has_ended()? && refuses(recorder.port) {
                self.seen = Some(now);
            }
            return Ok(false);
        };
        if now < seen + away {
            return Ok(false);
        }
        if recorder.server.has_ended()? {
            recorder.server = Mlflow::launch(&directory, recorder.port)?;
        }
        recorder.server.answers()
    }
}

impl Fleet {
    /// What the proxy on a fault's way has done.
    fn counts(&self, fault: Fault) -> Counts {
        match fault.target() {
            Target::Worker(worker) => self.seats[worker].proxy.counts(),
            Target::Coordinator | Target::Mlflow | Target::Sweep => Counts::default(),
        }
    }

    fn recorder(&mut self) -> anyhow::Result<&mut Recorder> {
        self.mlflow.as_mut().context("a schedule with MLflow's faults has an MLflow")
    }
}
