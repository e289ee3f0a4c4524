//! A coordinator as a whole: engine, listeners, deadlines and the way to MLflow, started and stopped together.

mod admission;

use std::{
    io::{self, Write as _},
    net::{Ipv4Addr, SocketAddr},
    os::unix::fs::OpenOptionsExt,
    path::{Path, PathBuf},
    time::Duration,
};

use distilsweep_proto::{
    dial::Bearer,
    v1::{sweeps_server, workers_server},
};
use futures::{FutureExt, future::BoxFuture};
use tokio::{
    net::{TcpListener, TcpSocket},
    sync::watch,
    task::{JoinHandle, JoinSet},
};
use tonic::transport::server::TcpIncoming;
use tonic_health::{ServingStatus, server::HealthReporter};
use url::Url;

use crate::{
    access::TlsError,
    engine::{self, EngineError, EngineHandle, EngineOptions, EngineOutbox, EngineStopped},
    garbage,
    grpc::{self, Rate},
    mlflow::{client::Client, drain::drain},
    store::StoreError,
    supervise::{Patience, supervise},
    web,
};

pub use admission::Entry;
use admission::{Admission, admission};

/// A trial that stands still is given at least this long, in milliseconds.
pub const HANG_TIMEOUT_MS: u64 = 120_000;

/// The checkpoints of a trial that ended without a result stay for a week, where nobody says.
pub const CHECKPOINT_RETENTION: Duration = Duration::from_secs(7 * 24 * 3600);

/// Name of the file in the state directory that says where its coordinator listens.
const ADDRESS_FILE: &str = "address";
/// The same for health and metrics.
const HTTP_FILE: &str = "http-address";
/// Name of the file in the state directory with a client's token, for the commands of whoever may read the state.
const TOKEN_FILE: &str = "client-token";

/// How often the health service looks at the engine.
const HEALTH_PERIOD: Duration = Duration::from_secs(1);

/// Connections that wait to be taken, as far as the system allows. The usual 128 overflow when a thousand workers come
/// at once, and each that is dropped tries again only a second later, health checks and commands among them.
const BACKLOG: u32 = 4096;

/// Workers that are connected at a time, where nobody says.
pub const MAX_WORKERS: usize = 20_000;

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
    /// How long the checkpoints of trials stay that ended without a result.
    pub checkpoint_retention: Duration,
    /// Where to record, if anywhere yet.
    pub mlflow: Option<Client>,
    /// Who is recorded as the user of runs.
    pub user: String,
    /// Whether this is a service rather than somebody's machine.
    pub service: bool,
    /// Who may call.
    pub entry: Entry,
    /// Where to answer for health and metrics, and to serve the pages, in plain HTTP; port 0 takes a free one.
    pub http: Option<SocketAddr>,
    /// Where to tell KEDA how many workers the queue wants, in plain gRPC; port 0 takes a free one.
    pub scaler: Option<SocketAddr>,
    /// Workers that are connected at a time.
    pub max_workers: usize,
    /// What one worker may send.
    pub rate: Rate,
}

impl ServerOptions {
    /// A coordinator for one command and the processes that it starts: on loopback, with tokens of its own.
    pub fn private(state: PathBuf, user: String) -> Self {
        Self {
            state,
            listen: (Ipv4Addr::LOCALHOST, 0).into(),
            store_url: None,
            lease_timeout_ms: 30_000,
            hang_timeout_ms: HANG_TIMEOUT_MS,
            checkpoint_retention: CHECKPOINT_RETENTION,
            mlflow: None,
            user,
            service: false,
            entry: Entry::Private,
            http: None,
            scaler: None,
            max_workers: MAX_WORKERS,
            rate: Rate::default(),
        }
    }
}

/// Why a coordinator did not start.
#[derive(Debug, thiserror::Error)]
pub enum ServerError {
    /// Its state cannot be used.
    #[error(transparent)]
    Store(#[from] StoreError),
    /// Its address is taken, or not of this machine.
    #[error(
        "cannot listen on {address}: {source}: choose another with {flag} HOST:PORT, port 0 takes a free one"
    )]
    Listen {
        /// As asked for.
        address: SocketAddr,
        /// By which flag.
        flag: &'static str,
        /// Why.
        source: io::Error,
    },
    /// Other machines can reach it, and it lacks what keeps strangers out.
    #[error(
        "{address} can be reached from other machines and {} missing: without, strangers could start sweeps, join as \
         workers or read along; --insecure serves it so all the same", listed(.missing)
    )]
    Open {
        /// As asked for.
        address: SocketAddr,
        /// Flags that are missing.
        missing: Vec<&'static str>,
    },
    /// Its certificate cannot be served.
    #[error(transparent)]
    Tls(#[from] TlsError),
}

/// "a, b and c are", "a is".
fn listed(items: &[&str]) -> String {
    match items {
        [] => String::new(),
        [one] => format!("{one} is"),
        [first @ .., last] => format!("{} and {last} are", first.join(", ")),
    }
}

/// Starts a background task, each time that it is called.
type BackgroundTask = Box<dyn FnMut() -> BoxFuture<'static, ()> + Send>;

/// A running coordinator.
#[derive(Debug)]
pub struct Server {
    /// Its engine.
    pub engine: EngineHandle,
    /// Where it listens.
    pub url: String,
    /// Where its pages are, if it serves them.
    pub http: Option<String>,
    /// Where it answers KEDA, if it does.
    pub scaler: Option<String>,
    /// A client's token, where one is needed.
    pub client: Bearer,
    /// A worker's token, where this process made one up.
    pub worker: Bearer,
    shutdown: watch::Sender<bool>,
    drainer: Option<JoinHandle<()>>,
    tasks: JoinSet<()>,
    left_word: Vec<PathBuf>,
}

impl Server {
    /// Starts a coordinator on a state directory.
    ///
    /// # Errors
    /// Where the directory or the address cannot be used; then nothing is left running.
    pub async fn start(options: ServerOptions) -> Result<Self, ServerError> {
        let address = options.listen;
        let Admission { access, tls, client, worker } = admission(options.entry, address)?;
        if let Some(tls) = &tls {
            tls.check()?;
        }
        let listener = listen(address, "--listen")?;
        let local = listener.local_addr().map_err(unlistening(address, "--listen"))?;
        let url = format!("{}://{local}", if tls.is_some() { "https" } else { "http" });
        let http = match options.http {
            Some(address) => Some(listen(address, "--http")?),
            None => None,
        };
        let scaler = match options.scaler {
            Some(address) => Some(listen(address, "--scaler")?),
            None => None,
        };
        let unusable = |source| StoreError::Directory { path: options.state.clone(), source };
        std::fs::create_dir_all(&options.state).map_err(unusable)?;
        let state = options.state.canonicalize().map_err(unusable)?;
        let store_url = options.store_url.unwrap_or_else(|| file_url(&state.join("trials")));
        let (clients, user) = (access.clients.clone(), options.user.clone());
        let new_id = format!("{:016x}", rand::random::<u64>());
        let engine = engine::start(
            &state,
            &new_id,
            EngineOptions {
                lease_timeout_ms: options.lease_timeout_ms,
                hang_timeout_ms: options.hang_timeout_ms,
                store_url: store_url.clone(),
                user: options.user,
                service: options.service,
            },
        )?;
        let mlflow_url =
            options.mlflow.as_ref().map(|client| client.address().to_owned()).unwrap_or_default();
        let (router, health) = grpc::router(
            engine.clone(),
            grpc::Options {
                mlflow_url: mlflow_url.clone(),
                store_url: store_url.clone(),
                access,
                tls,
                rate: options.rate,
                max_workers: options.max_workers,
            },
        )?;
        let mut left_word = Vec::new();
        if let Some(token) = client.expose() {
            let path = state.join(TOKEN_FILE);
            write_secret(&path, token).map_err(unusable)?;
            left_word.push(path);
        }
        let mut leave_word = |name: &str, url: &str| {
            let path = state.join(name);
            std::fs::write(&path, format!("{url}\n")).map_err(unusable)?;
            left_word.push(path);
            Ok::<(), StoreError>(())
        };

        let (shutdown, stopping) = watch::channel(false);
        let mut tasks = JoinSet::new();
        let mut http_url = None;
        if let Some(listener) = http {
            let local = listener.local_addr().map_err(unlistening(address, "--http"))?;
            let url = format!("http://{local}");
            leave_word(HTTP_FILE, &url)?;
            http_url = Some(url);
            let of_pages = web::Options { clients, address: local, mlflow_url, user };
            let pages = web::pages(engine.clone(), stopping.clone(), of_pages);
            tasks.spawn(async move {
                if let Err(error) = axum::serve(listener, pages).await {
                    tracing::error!(%error, "the pages ended");
                }
            });
        }
        let mut scaler_url = None;
        if let Some(listener) = scaler {
            let local = listener.local_addr().map_err(unlistening(address, "--scaler"))?;
            scaler_url = Some(format!("http://{local}"));
            let router = grpc::scaler::router(engine.clone());
            tasks.spawn(async move {
                if let Err(error) = router.serve_with_incoming(TcpIncoming::from(listener)).await {
                    tracing::error!(%error, "the scaler ended");
                }
            });
        }
        leave_word(ADDRESS_FILE, &url)?;
        let background = |task, mut run: BackgroundTask| {
            let (meters, stopping) = (engine.meters().clone(), stopping.clone());
            supervise(task, Patience::default(), meters, stopping, move || run().map(Ok::<(), EngineStopped>))
        };
        let ticked = engine.clone();
        tasks.spawn(background("deadlines", Box::new(move || ticked.clone().keep_ticking().boxed())));
        let (collected, retention) = (engine.clone(), options.checkpoint_retention);
        let collect = move || garbage::collect(collected.clone(), store_url.clone(), retention).boxed();
        tasks.spawn(background("garbage_collection", Box::new(collect)));
        // Whoever asks before the engine was looked at is not told that there is no such service.
        tell(&health, ServingStatus::NotServing).await;
        let (watched, until_stopping) = (engine.clone(), stopping.clone());
        let report = move || tell_health(health.clone(), watched.clone(), until_stopping.clone()).boxed();
        tasks.spawn(background("health", Box::new(report)));
        tasks.spawn(async move {
            // An acknowledgement or an assignment is small and awaited: it must not wait for more to send.
            let incoming = TcpIncoming::from(listener).with_nodelay(Some(true));
            if let Err(error) = router.serve_with_incoming(incoming).await {
                tracing::error!(%error, "the listener ended");
            }
        });
        let drainer = options.mlflow.map(|client| {
            let outbox = EngineOutbox::new(engine.clone());
            let meters = engine.meters().clone();
            tokio::spawn(async move {
                let relay = || drain(&outbox, &client, rand::random::<f64>, until(stopping.clone()));
                supervise("mlflow_relay", Patience::default(), meters, stopping.clone(), relay).await;
            })
        });
        Ok(Self {
            engine,
            url,
            http: http_url,
            scaler: scaler_url,
            client,
            worker,
            shutdown,
            drainer,
            tasks,
            left_word,
        })
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
        for path in &self.left_word {
            let _ = std::fs::remove_file(path);
        }
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

/// The client's token that the coordinator of a state directory left for whoever may read it.
pub fn token_of(state: &Path) -> Option<Bearer> {
    let token = std::fs::read_to_string(state.join(TOKEN_FILE)).ok()?;
    Bearer::named(&token, TOKEN_FILE).ok()
}

/// Writes a file that nobody else may read.
fn write_secret(path: &Path, secret: &str) -> io::Result<()> {
    // One that was left behind may have been opened to others.
    match std::fs::remove_file(path) {
        Err(error) if error.kind() != io::ErrorKind::NotFound => return Err(error),
        Ok(()) | Err(_) => {}
    }
    let mut file = std::fs::File::options().write(true).create_new(true).mode(0o600).open(path)?;
    writeln!(file, "{secret}")
}

fn listen(address: SocketAddr, flag: &'static str) -> Result<TcpListener, ServerError> {
    let open = || {
        let socket = if address.is_ipv4() { TcpSocket::new_v4() } else { TcpSocket::new_v6() }?;
        // Connections of a coordinator that was here before may still be closing.
        socket.set_reuseaddr(true)?;
        socket.bind(address)?;
        socket.listen(BACKLOG)
    };
    open().map_err(unlistening(address, flag))
}

fn unlistening(address: SocketAddr, flag: &'static str) -> impl Fn(io::Error) -> ServerError {
    move |source| ServerError::Listen { address, flag, source }
}

/// Keeps the health service's word true: serving while the engine commits and nobody stops it.
async fn tell_health(health: HealthReporter, engine: EngineHandle, mut stopping: watch::Receiver<bool>) {
    let mut interval = tokio::time::interval(HEALTH_PERIOD);
    loop {
        let ready = web::is_ready(&engine, &stopping).await;
        let status = if ready { ServingStatus::Serving } else { ServingStatus::NotServing };
        tell(&health, status).await;
        tokio::select! {
            _ = interval.tick() => {}
            changed = stopping.changed() => if changed.is_err() { return },
        }
    }
}

async fn tell(health: &HealthReporter, status: ServingStatus) {
    for service in ["", sweeps_server::SERVICE_NAME, workers_server::SERVICE_NAME] {
        health.set_service_status(service, status).await;
    }
}

fn file_url(path: &Path) -> String {
    // An absolute path always makes one.
    Url::from_file_path(path).map(|url| url.to_string()).unwrap_or_default()
}
