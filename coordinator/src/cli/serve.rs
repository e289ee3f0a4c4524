//! `distilsweep serve`: a coordinator for workers and commands elsewhere.

use std::{
    net::{Ipv4Addr, SocketAddr},
    path::{Path, PathBuf},
    time::Duration,
};

use clap::Args;
use distilsweep_proto::{examples, exit::Exit};
use tokio::signal::unix::{SignalKind, signal};

use super::{CliError, connect, mlflow::Recording};
use crate::{
    access::{Access, TlsFiles, TokenError, Tokens},
    server::{CHECKPOINT_RETENTION, Entry, HANG_TIMEOUT_MS, MAX_WORKERS, Server, ServerOptions},
};

/// Seconds of a day.
const DAY: u64 = 24 * 3600;

/// Arguments of `serve`.
#[derive(Debug, Args)]
#[command(after_help = examples![
    "distilsweep serve",
    "distilsweep serve --listen 0.0.0.0:7070 --client-token-file clients --worker-token-file workers \\",
    "    --tls-cert cert.pem --tls-key key.pem",
    "distilsweep serve --store s3://bucket/sweeps --mlflow http://mlflow:5000",
])]
pub(super) struct Serve {
    /// Where to listen; port 0 takes a free one
    #[arg(long, value_name = "HOST:PORT", default_value = "127.0.0.1:7070")]
    listen: SocketAddr,

    /// The state directory
    #[arg(long, value_name = "DIR", default_value = ".distilsweep")]
    state: PathBuf,

    /// URL under which workers publish checkpoints and models: file:, s3:, gs: or az: [default: below the state directory]
    #[arg(long, value_name = "URL", value_parser = super::files::store)]
    store: Option<String>,

    /// Seconds without a word after which a worker's trials go to others
    #[arg(long, value_name = "SECONDS", default_value_t = 30, value_parser = clap::value_parser!(u64).range(1..=86_400))]
    lease_timeout: u64,

    /// Seconds that a trial may stand still before it is taken for hung, at least; more where its steps are slow
    #[arg(long, value_name = "SECONDS", default_value_t = HANG_TIMEOUT_MS / 1000,
        value_parser = clap::value_parser!(u64).range(1..=86_400))]
    hang_timeout: u64,

    /// Days for which the checkpoints of trials stay that ended without a result, for `sweep retry`
    #[arg(long, value_name = "DAYS", default_value_t = CHECKPOINT_RETENTION.as_secs() / DAY,
        value_parser = clap::value_parser!(u64).range(0..=36_500))]
    checkpoint_retention: u64,

    /// Where to serve the pages, and to answer for health and metrics, in plain HTTP [default: 127.0.0.1 and the port after --listen's]
    #[arg(long, value_name = "HOST:PORT")]
    http: Option<SocketAddr>,

    /// Where to tell KEDA's external scaler how many trials want a worker, in plain gRPC [default: nowhere]
    #[arg(long, value_name = "HOST:PORT")]
    scaler: Option<SocketAddr>,

    /// File with the tokens of clients, one a line, each with an optional name and a colon before it [default: the token in DISTILSWEEP_CLIENT_TOKEN]
    #[arg(long, value_name = "FILE", env = "DISTILSWEEP_CLIENT_TOKEN_FILE", hide_env = true)]
    client_token_file: Option<PathBuf>,

    /// The same for workers [default: the token in DISTILSWEEP_WORKER_TOKEN]
    #[arg(long, value_name = "FILE", env = "DISTILSWEEP_WORKER_TOKEN_FILE", hide_env = true)]
    worker_token_file: Option<PathBuf>,

    /// PEM file with the certificate to serve, and those between it and its authority
    #[arg(long, value_name = "FILE", requires = "tls_key")]
    tls_cert: Option<PathBuf>,

    /// PEM file with its private key
    #[arg(long, value_name = "FILE", requires = "tls_cert")]
    tls_key: Option<PathBuf>,

    /// PEM file with the authority behind the certificates that clients and workers must show
    #[arg(long, value_name = "FILE", requires = "tls_cert")]
    tls_client_ca: Option<PathBuf>,

    /// Serve other machines though tokens or TLS are missing: whoever reaches the address may use it
    #[arg(long)]
    insecure: bool,

    /// Workers that may be connected at a time
    #[arg(long, value_name = "COUNT", default_value_t = MAX_WORKERS, value_parser = workers)]
    max_workers: usize,

    #[command(flatten)]
    recording: Recording,
}

impl Serve {
    pub(super) async fn run(self) -> Result<Exit, CliError> {
        allow_many_connections();
        let mlflow = self.recording.client()?;
        let access = Access {
            clients: tokens(self.client_token_file.as_deref(), "DISTILSWEEP_CLIENT_TOKEN")?,
            workers: tokens(self.worker_token_file.as_deref(), "DISTILSWEEP_WORKER_TOKEN")?,
        };
        if let (Some(clients), Some(workers)) = (&access.clients, &access.workers) {
            clients.check_apart(workers)?;
        }
        let tls = self.tls_cert.zip(self.tls_key).map(|(cert, key)| TlsFiles {
            cert,
            key,
            client_ca: self.tls_client_ca,
        });
        let http = self.http.unwrap_or_else(|| {
            let port = self.listen.port();
            (Ipv4Addr::LOCALHOST, if port == 0 { 0 } else { port.wrapping_add(1) }).into()
        });
        let server = Server::start(ServerOptions {
            listen: self.listen,
            store_url: self.store,
            lease_timeout_ms: self.lease_timeout * 1000,
            hang_timeout_ms: self.hang_timeout * 1000,
            checkpoint_retention: Duration::from_secs(self.checkpoint_retention * DAY),
            mlflow,
            service: true,
            entry: Entry::Shared { access, tls, insecure: self.insecure },
            http: Some(http),
            scaler: self.scaler,
            max_workers: self.max_workers,
            ..ServerOptions::private(self.state, connect::user())
        })
        .await?;
        tracing::info!(url = server.url, http = server.http, scaler = server.scaler, "serving");
        let handler =
            |kind| signal(kind).map_err(|error| CliError::failure(format!("no signal handler: {error}")));
        let (mut terminate, mut interrupt) =
            (handler(SignalKind::terminate())?, handler(SignalKind::interrupt())?);
        let mut changes = server.engine.changes();
        tokio::select! {
            _ = terminate.recv() => {}
            _ = interrupt.recv() => {}
            // The engine ends by itself only when it cannot write its state.
            () = async { while changes.changed().await.is_ok() {} } => {}
        }
        tracing::info!("stopping: workers train on and come back to the next coordinator on this state");
        server.stop().await?;
        Ok(Exit::Success)
    }
}

/// Raises the limit on open files as far as it goes: each worker holds one, and the usual limit is a thousand.
fn allow_many_connections() {
    use rustix::process::{Resource, Rlimit, getrlimit, setrlimit};
    let limit = getrlimit(Resource::Nofile);
    if let Err(error) = setrlimit(Resource::Nofile, Rlimit { current: limit.maximum, ..limit }) {
        tracing::warn!(%error, files = limit.current, "the limit on open files cannot be raised");
    }
}

/// Tokens from a file, else from a variable, else none.
fn tokens(file: Option<&Path>, variable: &str) -> Result<Option<Tokens>, CliError> {
    if let Some(path) = file {
        let text = std::fs::read_to_string(path).map_err(|error| {
            CliError::new(Exit::Usage, format!("{} cannot be read: {error}", path.display()))
        })?;
        return Ok(Some(Tokens::parse(&text, &path.display().to_string())?));
    }
    match std::env::var(variable) {
        Ok(text) if !text.trim().is_empty() => Ok(Some(Tokens::parse(&text, variable)?)),
        Ok(_) | Err(_) => Ok(None),
    }
}

impl From<TokenError> for CliError {
    fn from(error: TokenError) -> Self {
        Self::new(Exit::Usage, error.to_string())
    }
}

/// Reads a number of workers: as many as permits can be counted.
fn workers(text: &str) -> Result<usize, String> {
    let most = tokio::sync::Semaphore::MAX_PERMITS;
    let count = text.parse().ok().filter(|count| (1..=most).contains(count));
    count.ok_or_else(|| format!("{text} must be a number of workers, at least 1"))
}
