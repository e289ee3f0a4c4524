//! The coordinator's process: its engine by turns, its services over the simulated network, and its crashes.

use std::{path::Path, time::Duration};

use anyhow::Context;
use distilsweep::{
    access::Access,
    engine::{self, EngineHandle, EngineOptions, NewSweep, Turns},
    grpc::{self, Rate},
    server::MAX_WORKERS,
    spec::{self, SweepSpec},
};
use distilsweep_proto::ids::WorkerId;
use tokio::{
    sync::watch,
    task::JoinSet,
    time::{sleep, timeout},
};
use tokio_stream::wrappers::UnboundedReceiverStream;

use crate::{
    network::{Ear, Network},
    witness::Witness,
};

/// A trial that stands still for this long is taken for hung: longer than any plan keeps a line slow.
const HANG_MS: u64 = 30_000;

/// Where in a turn a coordinator crashes.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(crate) enum Stage {
    /// What it decided is nowhere.
    BeforeCommit,
    /// What it decided is durable, and nobody has heard of it.
    BeforeActing,
    /// Between two turns.
    Idle,
}

/// A coordinator that lives.
#[derive(Debug)]
pub(crate) struct Coordinator {
    engine: EngineHandle,
    crash: watch::Sender<Option<Stage>>,
    tasks: JoinSet<()>,
    _ear: Ear,
}

impl Coordinator {
    /// Starts one on a state directory. A commit takes `commit_time`.
    ///
    /// # Errors
    /// Where the state cannot be used.
    pub(crate) fn start(
        directory: &Path,
        lease_timeout: Duration,
        commit_time: Duration,
        network: &Network,
        witness: Witness,
    ) -> anyhow::Result<Self> {
        let store_url = format!("file://{}", directory.join("trials").display());
        let options = EngineOptions {
            lease_timeout_ms: u64::try_from(lease_timeout.as_millis())?,
            hang_timeout_ms: HANG_MS,
            store_url: store_url.clone(),
            user: "simulation".to_owned(),
            service: false,
        };
        let (turns, engine) = engine::open(directory, "simulation", options)?;
        let (crash, crashes) = watch::channel(None);
        let (ear, incoming) = network.listen();
        let services = grpc::Options {
            mlflow_url: String::new(),
            store_url,
            access: Access::default(),
            tls: None,
            rate: Rate::default(),
            max_workers: MAX_WORKERS,
        };
        let (router, _health) = grpc::router(engine.clone(), services)?;
        let mut tasks = JoinSet::new();
        tasks.spawn(turn(turns, commit_time, crashes, witness));
        tasks.spawn(engine.clone().keep_ticking());
        tasks.spawn(async move {
            let _ = router.serve_with_incoming(UnboundedReceiverStream::new(incoming)).await;
        });
        Ok(Self { engine, crash, tasks, _ear: ear })
    }

    /// Hands a sweep in.
    ///
    /// # Errors
    /// Where it crashed meanwhile.
    pub(crate) async fn submit(&self, source: &str, random: u64) -> anyhow::Result<()> {
        let spec = sweep(source)?;
        let new = NewSweep {
            spec,
            source: source.to_owned(),
            file_name: "sweep.yaml".to_owned(),
            force_new: false,
        };
        self.engine.submit(new, random).await?;
        Ok(())
    }

    /// Tells it to drain a worker; one that it does not know is gone already.
    pub(crate) async fn drain(&self, worker: &str) {
        let _ = self.engine.drain(WorkerId::new(worker), "the simulation".to_owned()).await;
    }

    /// Ends the process at this stage of its next turn with something to commit, or soon where there is none.
    pub(crate) async fn crash(self, stage: Stage) {
        const SOON: Duration = Duration::from_secs(3);
        self.crash.send_replace(Some(stage));
        let crash = self.crash.clone();
        let _ = timeout(SOON, crash.closed()).await;
        let mut tasks = self.tasks;
        tasks.shutdown().await;
    }
}

/// Takes turns until the crash.
async fn turn(
    mut turns: Turns,
    commit_time: Duration,
    crashes: watch::Receiver<Option<Stage>>,
    witness: Witness,
) {
    loop {
        let Some(turn) = turns.next().await else { return };
        let crash = if turn.writes().is_empty() { None } else { *crashes.borrow() };
        if crash == Some(Stage::BeforeCommit) {
            return;
        }
        if !turn.writes().is_empty() {
            sleep(commit_time).await;
        }
        if let Err(error) = turns.commit(&turn) {
            panic!("a commit failed: {error}");
        }
        witness.committed(turn.writes());
        if crash == Some(Stage::BeforeActing) {
            return;
        }
        if !turns.act(turn) || crash == Some(Stage::Idle) {
            return;
        }
    }
}

/// Reads a sweep file.
///
/// # Errors
/// Where it is none.
pub(crate) fn sweep(source: &str) -> anyhow::Result<SweepSpec> {
    spec::parse(source)
        .map_err(|problems| anyhow::anyhow!("{}", problems.in_file("sweep.yaml")))
        .context("sweep")
}
