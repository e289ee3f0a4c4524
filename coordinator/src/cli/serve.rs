//! `distilsweep serve`: a coordinator for workers and commands elsewhere.

use std::{net::SocketAddr, path::PathBuf};

use clap::Args;
use distilsweep_proto::exit::Exit;
use tokio::signal::unix::{SignalKind, signal};

use super::{CliError, connect, mlflow::Recording};
use crate::server::{HANG_TIMEOUT_MS, Server, ServerOptions};

/// Arguments of `serve`.
#[derive(Debug, Args)]
pub(super) struct Serve {
    /// Where to listen; port 0 takes a free one
    #[arg(long, value_name = "HOST:PORT", default_value = "127.0.0.1:7070")]
    listen: SocketAddr,

    /// The state directory
    #[arg(long, value_name = "DIR", default_value = ".distilsweep")]
    state: PathBuf,

    /// URL under which workers publish models [default: below the state directory]
    #[arg(long, value_name = "URL")]
    store: Option<String>,

    /// Seconds without a word after which a worker's trials go to others
    #[arg(long, value_name = "SECONDS", default_value_t = 30, value_parser = clap::value_parser!(u64).range(1..=86_400))]
    lease_timeout: u64,

    /// Seconds that a trial may stand still before it is taken for hung, at least; more where its steps are slow
    #[arg(long, value_name = "SECONDS", default_value_t = HANG_TIMEOUT_MS / 1000,
        value_parser = clap::value_parser!(u64).range(1..=86_400))]
    hang_timeout: u64,

    #[command(flatten)]
    recording: Recording,
}

impl Serve {
    pub(super) async fn run(self) -> Result<Exit, CliError> {
        allow_many_connections();
        let mlflow = self.recording.client()?;
        let server = Server::start(ServerOptions {
            state: self.state,
            listen: self.listen,
            store_url: self.store,
            lease_timeout_ms: self.lease_timeout * 1000,
            hang_timeout_ms: self.hang_timeout * 1000,
            mlflow,
            user: connect::user(),
            service: true,
        })
        .await?;
        tracing::info!(url = server.url, "serving");
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
