//! A sweep from its start to its end, with the faults of a schedule in between.

use std::{fmt, net::SocketAddr, time::Duration};

use anyhow::Context;
use rustix::process::Signal;

use super::{EXTENSION, STEP_MS, STEPS, WORKERS, schedule::Schedule, strike::Strikes, verdict};
use crate::{
    fleet::{Coordinator, Scene, worker},
    mlflow::{Mlflow, free_port},
    process::Process,
    proxy::Proxy,
    sweep::{Ranking, forty_trials},
    wait::{now, until},
};

/// How long all of a sweep may take, or MLflow to be told, on a busy machine.
const PATIENCE: Duration = Duration::from_secs(180);
/// Seconds; silence of three is the end of a lease.
const LEASE: &[&str] = &["--lease-timeout", "2"];

/// What came of a seed.
#[derive(Clone, Copy, Debug)]
pub struct Outcome {
    /// From the sweep's start to its end.
    pub seconds: f64,
    /// Faults, all of which have happened.
    pub faults: usize,
    /// Attempts beyond the first of each trial.
    pub again: usize,
    /// Results that rest on a checkpoint.
    pub resumed: usize,
}

impl fmt::Display for Outcome {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        let Self { seconds, faults, again, resumed } = self;
        write!(
            f,
            "{seconds:5.1} s  {faults} faults, {again:2} more attempts, {resumed:2} results from checkpoints"
        )
    }
}

/// The processes of a sweep.
pub(super) struct Fleet {
    pub(super) scene: Scene,
    /// Where the coordinator listens, each time.
    listen: SocketAddr,
    pub(super) coordinator: Coordinator,
    pub(super) seats: Vec<Seat>,
    pub(super) mlflow: Option<Recorder>,
}

/// A worker and its way to the coordinator. When it ends another one takes its seat.
pub(super) struct Seat {
    pub(super) worker: Process,
    pub(super) proxy: Proxy,
    /// Connections that its predecessors asked for.
    asked: u64,
}

impl Seat {
    /// Whether the worker has come so far as to ask for a connection: before, a signal finds no handler.
    pub(super) fn is_up(&self) -> bool {
        self.proxy.counts().asked() > self.asked
    }
}

/// MLflow, which may be away.
pub(super) struct Recorder {
    pub(super) server: Mlflow,
    pub(super) port: u16,
}

impl Fleet {
    fn start(schedule: &Schedule) -> anyhow::Result<Self> {
        let scene = Scene::labelled(&format!("seed-{}-", schedule.seed))?;
        let mlflow = schedule.mlflow.then(|| Recorder::start(&scene)).transpose()?;
        let listen = SocketAddr::from(([127, 0, 0, 1], free_port()?));
        let coordinator = start_coordinator(&scene, listen, mlflow.as_ref())?;
        let seats = (0..WORKERS)
            .map(|_| {
                let proxy = Proxy::start(listen)?;
                Ok(Seat { worker: start_worker(&scene, &proxy.url(), STEP_MS)?, proxy, asked: 0 })
            })
            .collect::<anyhow::Result<Vec<Seat>>>()?;
        let connected = || Ok(seats.iter().all(|seat| seat.proxy.counts().passed > 0).then_some(()));
        until("workers that connect", PATIENCE, connected)?;
        Ok(Self { scene, listen, coordinator, seats, mlflow })
    }

    /// Another worker in a seat.
    pub(super) fn replace_worker(&mut self, seat: usize) -> anyhow::Result<()> {
        let seat = &mut self.seats[seat];
        seat.asked = seat.proxy.counts().asked();
        seat.worker = start_worker(&self.scene, &seat.proxy.url(), STEP_MS)?;
        Ok(())
    }

    /// The coordinator on the same state and address, its predecessor having ended.
    pub(super) fn restart_coordinator(&mut self) -> anyhow::Result<()> {
        self.coordinator = start_coordinator(&self.scene, self.listen, self.mlflow.as_ref())?;
        Ok(())
    }

    /// Waits for the sweep's end as a person does, and until MLflow knows all about it.
    fn finish(&self) -> anyhow::Result<Ranking> {
        let mut watch =
            self.scene.start("distilsweep", &["sweep", "watch", "--coordinator", &self.coordinator.url])?;
        let watched = watch.wait(PATIENCE).with_context(|| match self.coordinator.ranking(&self.scene) {
            Ok(ranking) => format!("the sweep does not end: {ranking:?}"),
            Err(error) => format!("the sweep does not end, and there is no ranking: {error:#}"),
        })?;
        anyhow::ensure!(
            watched.code == Some(0),
            "`sweep watch` of a sweep that should complete: {watched:?}"
        );
        if self.mlflow.is_none() {
            return self.coordinator.ranking(&self.scene);
        }
        self.coordinator.ranking_when(&self.scene, "an MLflow that knows all", |ranking| {
            ranking.messages_waiting() == Some(0)
        })
    }

    /// Tells all to stop: everybody has handed back what they held and ends well, and nobody is left.
    fn stop(mut self) -> anyhow::Result<Scene> {
        for seat in &mut self.seats {
            until("a worker that is up", PATIENCE, || Ok(seat.is_up().then_some(())))?;
            seat.worker.signal(Signal::TERM)?;
        }
        for seat in &mut self.seats {
            let ended = seat.worker.wait(PATIENCE)?;
            anyhow::ensure!(ended.code == Some(0), "a worker told to stop: {ended:?}");
        }
        self.coordinator.process.signal(Signal::TERM)?;
        let ended = self.coordinator.process.wait(PATIENCE)?;
        anyhow::ensure!(ended.code == Some(0), "the coordinator told to stop: {ended:?}");
        if let Some(mlflow) = self.mlflow {
            mlflow.server.stop()?;
        }
        let left = self.scene.processes()?;
        anyhow::ensure!(left.is_empty(), "processes are left: {left:?}");
        Ok(self.scene)
    }
}

impl Recorder {
    fn start(scene: &Scene) -> anyhow::Result<Self> {
        let port = free_port()?;
        Ok(Self { server: Mlflow::start_at(&scene.path("mlflow"), port)?, port })
    }
}

fn start_coordinator(
    scene: &Scene,
    listen: SocketAddr,
    mlflow: Option<&Recorder>,
) -> anyhow::Result<Coordinator> {
    let mut extra = LEASE.to_vec();
    if let Some(mlflow) = mlflow {
        extra.extend(["--mlflow", &mlflow.server.url]);
    }
    Coordinator::start(scene, &listen.to_string(), &extra)
}

fn start_worker(scene: &Scene, url: &str, step_ms: u64) -> anyhow::Result<Process> {
    let script = format!("{STEPS}x{step_ms}");
    worker(scene, url, &["--scripted", &script, "--checkpoint-interval", "0.3", "--scratch", "scratch"])
}

/// The extended sweep's results without any fault and at full speed: how long a step takes changes none.
///
/// # Errors
/// It does not complete.
pub fn undisturbed() -> anyhow::Result<Ranking> {
    let scene = Scene::new()?;
    let coordinator = Coordinator::start(&scene, "127.0.0.1:0", LEASE)?;
    let _workers = [start_worker(&scene, &coordinator.url, 0)?, start_worker(&scene, &coordinator.url, 0)?];
    let file = scene.write("grid.yaml", &forty_trials("grid", STEPS))?;
    coordinator.submit(&scene, &file)?;
    let extend = ["sweep", "extend", "grid", EXTENSION.0, "--coordinator", &coordinator.url];
    let extended = scene.run("distilsweep", &extend)?;
    anyhow::ensure!(extended.code == Some(0), "the sweep is not extended: {extended:?}");
    let ranking =
        coordinator.ranking_when(&scene, "an undisturbed sweep", |ranking| ranking.state() == "completed")?;
    verdict::is_whole(&ranking, EXTENSION.1)?;
    Ok(ranking)
}

/// Runs the sweep under the faults of a seed; it must end as the undisturbed one.
///
/// # Errors
/// A planned fault has not happened, or something was lost, done twice or left behind. The error shows the schedule.
pub fn survive(seed: u64, undisturbed: &Ranking) -> anyhow::Result<Outcome> {
    let schedule = Schedule::from_seed(seed);
    run(&schedule, undisturbed).with_context(|| schedule.to_string())
}

fn run(schedule: &Schedule, undisturbed: &Ranking) -> anyhow::Result<Outcome> {
    let mut fleet = Fleet::start(schedule)?;
    let file = fleet.scene.write("grid.yaml", &forty_trials("grid", STEPS))?;
    fleet.coordinator.submit(&fleet.scene, &file)?;
    let start = now();
    let mut strikes = Strikes::new(schedule);
    until("every planned fault", PATIENCE, || {
        Ok(strikes.advance(&mut fleet, start.elapsed())?.then_some(()))
    })
    .with_context(|| strikes.to_string())?;
    let ranking = fleet.finish()?;
    let seconds = start.elapsed().as_secs_f64();
    verdict::same_results(&ranking, undisturbed, schedule.trials())?;
    if let Some(mlflow) = &fleet.mlflow {
        verdict::mlflow_knows_all_once(&mlflow.server, &ranking)?;
    }
    let scene = fleet.stop()?;
    let (again, resumed) = verdict::nothing_lost_nothing_twice(&scene, &ranking)?;
    Ok(Outcome { seconds, faults: schedule.faults.len(), again, resumed })
}
