//! A coordinator as a whole: engine, listener, deadlines and the way to MLflow, started and stopped together.

use std::{
    io,
    net::SocketAddr,
    path::{Path, PathBuf},
};

use tokio::{
    net::TcpListener,
    sync::watch,
    task::{JoinHandle, JoinSet},
};
use tonic::transport::server::TcpIncoming;
use url::Url;

use crate::{
    engine::{self, EngineError, EngineHandle, EngineOptions, EngineOutbox},
    grpc,
    mlflow::{client::Client, drain::drain},
    store::StoreError,
};

/// A trial that stands still is given at least this long, in milliseconds.
pub const HANG_TIMEOUT_MS: u64 = 120_000;

/// Name of the file in the state directory that says where its coordinator listens.
const ADDRESS_FILE: &str = "address";

/// What a coordinator needs to know.
#[derive(Debug)]
pub struct ServerOptions {
    /// Its state directory; made where it is missing.
    pub state: PathBuf,
    /// Where to listen; port 0 takes a free one.
    pub listen: SocketAddr,
    /// Where workers publish; below the state directory when left out.
    pub store_url: Option<String>,
    /// A worker's leases end when it was not heard of for this long.
    pub lease_timeout_ms: u64,
    /// A trial that stands still for at least this long is taken for hung.
    pub hang_timeout_ms: u64,
    /// Where to record, if anywhere yet.
    pub mlflow: Option<Client>,
    /// Who is recorded as the user of runs.
    pub user: String,
    /// Whether this is a service rather than somebody's machine.
    pub service: bool,
}

/// Why a coordinator did not start.
#[derive(Debug, thiserror::Error)]
pub enum ServerError {
    /// Its state cannot be used.
    #[error(transparent)]
    Store(#[from] StoreError),
    /// Its address is taken, or not of this machine.
    #[error(
        "cannot listen on {address}: {source}: choose another with --listen HOST:PORT, port 0 takes a free one"
    )]
    Listen {
        /// As asked for.
        address: SocketAddr,
        /// Why.
        source: io::Error,
    },
}

/// A running coordinator.
#[derive(Debug)]
pub struct Server {
    /// Its engine.
    pub engine: EngineHandle,
    /// Where it listens.
    pub url: String,
    shutdown: watch::Sender<bool>,
    drainer: Option<JoinHandle<()>>,
    tasks: JoinSet<()>,
    address_file: PathBuf,
}

impl Server {
    /// Starts a coordinator on a state directory.
    ///
    /// # Errors
    /// Where the directory or the address cannot be used; then nothing is left running.
    pub async fn start(options: ServerOptions) -> Result<Self, ServerError> {
        let address = options.listen;
        let listener =
            TcpListener::bind(address).await.map_err(|source| ServerError::Listen { address, source })?;
        let local = listener.local_addr().map_err(|source| ServerError::Listen { address, source })?;
        let url = format!("http://{local}");
        let unusable = |source| StoreError::Directory { path: options.state.clone(), source };
        std::fs::create_dir_all(&options.state).map_err(unusable)?;
        let state = options.state.canonicalize().map_err(unusable)?;
        let store_url = options.store_url.unwrap_or_else(|| file_url(&state.join("trials")));
        let new_id = format!("{:016x}", rand::random::<u64>());
        let engine = engine::start(
            &state,
            &new_id,
            EngineOptions {
                lease_timeout_ms: options.lease_timeout_ms,
                hang_timeout_ms: options.hang_timeout_ms,
                store_url,
                user: options.user,
                service: options.service,
            },
        )?;
        let address_file = state.join(ADDRESS_FILE);
        std::fs::write(&address_file, format!("{url}\n")).map_err(unusable)?;

        let (shutdown, stopping) = watch::channel(false);
        let mut tasks = JoinSet::new();
        tasks.spawn(engine.clone().keep_ticking());
        let mlflow_url = options.mlflow.as_ref().map(|client| client.address().to_owned());
        let router = grpc::router(engine.clone(), mlflow_url.unwrap_or_default());
        tasks.spawn(async move {
            // An acknowledgement or an assignment is small and awaited: it must not wait for more to send.
            let incoming = TcpIncoming::from(listener).with_nodelay(Some(true));
            if let Err(error) = router.serve_with_incoming(incoming).await {
                tracing::error!(%error, "the listener ended");
            }
        });
        let drainer = options.mlflow.map(|client| {
            let outbox = EngineOutbox::new(engine.clone());
            tokio::spawn(async move {
                if let Err(error) = drain(&outbox, &client, rand::random::<f64>, until(stopping)).await {
                    tracing::debug!(%error, "no more is told to MLflow");
                }
            })
        });
        Ok(Self { engine, url, shutdown, drainer, tasks, address_file })
    }

    /// Stops in order: MLflow's drainer between two calls, streams, then the engine after its last commit.
    ///
    /// # Errors
    /// Why the engine had stopped by itself, where it had.
    pub async fn stop(mut self) -> Result<(), EngineError> {
        self.shutdown.send_replace(true);
        if let Some(drainer) = self.drainer.take() {
            let _ = drainer.await;
        }
        self.tasks.shutdown().await;
        let stopped = self.engine.stop().await;
        let _ = std::fs::remove_file(&self.address_file);
        stopped
    }
}

async fn until(mut stopping: watch::Receiver<bool>) {
    let _ = stopping.wait_for(|stopping| *stopping).await;
}

/// Where the coordinator of a state directory listens, if one left word of it. It may be gone.
pub fn address_of(state: &Path) -> Option<String> {
    let text = std::fs::read_to_string(state.join(ADDRESS_FILE)).ok()?;
    Some(text.trim().to_owned()).filter(|url| !url.is_empty())
}

fn file_url(path: &Path) -> String {
    // An absolute path always makes one.
    Url::from_file_path(path).map(|url| url.to_string()).unwrap_or_default()
}
