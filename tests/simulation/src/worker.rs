//! A worker's process: its session as it is, the scripted trainer on a task, and its crashes.

use std::{path::Path, sync::Arc, time::Duration};

use distilsweep_proto::{
    dial::{CONNECT_TIMEOUT, KEEPALIVE_INTERVAL, KEEPALIVE_TIMEOUT},
    v1,
};
use distilsweep_worker::{
    ledger::Bounds,
    link::Connector,
    runtime::{Packs, Runtime},
    scripted::ScriptedTrainer,
    session::{self, SessionError, SessionOptions},
};
use futures::FutureExt;
use hyper_util::rt::TokioIo;
use rand::{RngExt, SeedableRng, rngs::StdRng};
use tempfile::TempDir;
use tokio::{
    sync::watch,
    task::{AbortHandle, JoinHandle, spawn_local},
    time::sleep,
};
use tonic::transport::Endpoint;

use crate::network::{Line, Network};

/// How the workers of a simulation are.
#[derive(Clone, Debug)]
pub(crate) struct WorkerOptions {
    /// What every trial does.
    pub(crate) script: ScriptedTrainer,
    /// Trials of a pack at most.
    pub(crate) lanes: u32,
    /// Time between two checkpoints of a trial.
    pub(crate) checkpoint_interval: Duration,
    /// How long a drain may take.
    pub(crate) grace: Duration,
}

/// A worker that lives.
#[derive(Debug)]
pub(crate) struct Worker {
    session: JoinHandle<Result<(), SessionError>>,
    trainer: AbortHandle,
    drain: watch::Sender<Option<String>>,
    _scratch: TempDir,
}

impl Worker {
    /// Starts one below `root`.
    ///
    /// # Errors
    /// Where it gets no directory.
    pub(crate) fn start(
        name: &str,
        root: &Path,
        options: &WorkerOptions,
        network: &Network,
        line: &Line,
        seed: u64,
    ) -> anyhow::Result<Self> {
        let scratch = tempfile::tempdir_in(root)?;
        let (runtime, packs, events) = Runtime::queue(scratch.path().to_owned(), options.checkpoint_interval);
        let trainer = spawn_local(train(packs, options.script)).abort_handle();
        let hello = v1::Hello {
            worker: name.to_owned(),
            devices: vec![v1::Device {
                name: "scripted".to_owned(),
                memory_bytes: 1 << 30,
                max_lanes: options.lanes,
                ..v1::Device::default()
            }],
            slots: 1,
            ..v1::Hello::default()
        };
        let session = SessionOptions {
            vitals: None,
            standing: watch::Sender::default(),
            connector: connector(network.clone(), line.clone())?,
            hello,
            // The coordinator may be away when a worker starts.
            patience: Duration::from_secs(3600),
            grace: options.grace,
            exit_when_idle: None,
            scratch: scratch.path().to_owned(),
            // So few that whoever is cut off for some seconds writes reports to its disk.
            bounds: Bounds { reports: 4, window: 3, ..Bounds::default() },
        };
        let (drain, draining) = watch::channel(None);
        let mut random = StdRng::seed_from_u64(seed);
        let session = session::serve(session, move || random.random(), runtime, events, draining);
        Ok(Self { session: tokio::spawn(session), trainer, drain, _scratch: scratch })
    }

    /// Tells it to drain, as SIGTERM does.
    pub(crate) fn drain(&self) {
        self.drain.send_replace(Some("the worker was told to stop".to_owned()));
    }

    /// Waits until it ends by itself.
    ///
    /// # Errors
    /// Where it could not hand everything back in time.
    pub(crate) async fn ended(&mut self) -> Result<(), SessionError> {
        match (&mut self.session).await {
            Ok(ended) => ended,
            Err(error) if error.is_panic() => std::panic::resume_unwind(error.into_panic()),
            // Nobody else aborts it.
            Err(_) => Ok(()),
        }
    }
}

/// The process is gone: what it had in memory is lost, and its connections close.
impl Drop for Worker {
    fn drop(&mut self) {
        self.session.abort();
        self.trainer.abort();
    }
}

fn connector(network: Network, line: Line) -> anyhow::Result<Connector> {
    let endpoint = Endpoint::from_static("http://simulated")
        .connect_timeout(CONNECT_TIMEOUT)
        .keep_alive_while_idle(true)
        .http2_keep_alive_interval(KEEPALIVE_INTERVAL)
        .keep_alive_timeout(KEEPALIVE_TIMEOUT);
    let network = Arc::new((network, line));
    Ok(Connector::new("http://simulated".to_owned(), move || {
        let (endpoint, network) = (endpoint.clone(), Arc::clone(&network));
        async move {
            let connect = tower::service_fn(move |_| {
                let network = Arc::clone(&network);
                async move { network.0.connect(&network.1).await.map(TokioIo::new) }
            });
            endpoint.connect_with_connector(connect).await
        }
        .boxed()
    }))
}

/// What the training thread does, by simulated time.
async fn train(mut packs: Packs, script: ScriptedTrainer) {
    while let Some(mut pack) = packs.next().await {
        let (jobs, observers) = pack.parts();
        let mut script = script.begin(jobs, observers);
        while let Some(step_time) = script.before_step() {
            sleep(step_time).await;
            script.step();
        }
    }
}
