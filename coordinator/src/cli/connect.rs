//! Whom a command speaks to: a coordinator by its URL, the one that lives on a state directory, or, where none does,
//! one that is started on the directory for as long as the command takes. It is gRPC in each case.

use std::{net::Ipv4Addr, path::PathBuf, time::Duration};

use clap::Args;
use distilsweep_proto::{convert::root_cause, exit::Exit, v1::sweeps_client::SweepsClient};
use tonic::transport::{Channel, Endpoint};

use super::CliError;
use crate::{
    engine::EngineError,
    server::{self, Server, ServerOptions},
    store::Reader,
};

/// Which coordinator a command speaks to.
#[derive(Clone, Debug, Args)]
pub(super) struct Target {
    /// The coordinator, http://host:port
    #[arg(long, value_name = "URL", env = "DISTILSWEEP_COORDINATOR", conflicts_with = "state")]
    coordinator: Option<String>,

    /// The state directory
    #[arg(long, value_name = "DIR", default_value = ".distilsweep")]
    state: PathBuf,
}

/// A client, with the coordinator that was started for it, if one was.
#[derive(Debug)]
pub(super) struct Connection {
    pub(super) client: SweepsClient<Channel>,
    server: Option<Server>,
}

impl Target {
    /// Connects, without making a state directory where there is none.
    pub(super) async fn connect(&self) -> Result<Connection, CliError> {
        self.open(false).await
    }

    /// Connects, making the state directory where it is missing.
    pub(super) async fn connect_or_create(&self) -> Result<Connection, CliError> {
        self.open(true).await
    }

    async fn open(&self, create: bool) -> Result<Connection, CliError> {
        if let Some(url) = &self.coordinator {
            return Ok(Connection { client: connect(url).await?, server: None });
        }
        if let Some(url) = server::address_of(&self.state)
            && let Ok(client) = connect(&url).await
        {
            return Ok(Connection { client, server: None });
        }
        if !create {
            Reader::open(&self.state)?;
        }
        let server = Server::start(ServerOptions {
            state: self.state.clone(),
            listen: (Ipv4Addr::LOCALHOST, 0).into(),
            store_url: None,
            lease_timeout_ms: 30_000,
            hang_timeout_ms: server::HANG_TIMEOUT_MS,
            mlflow: None,
            user: user(),
            service: false,
        })
        .await?;
        Ok(Connection { client: connect(&server.url).await?, server: Some(server) })
    }
}

impl Connection {
    /// Ends what was started for the command.
    pub(super) async fn close(self) -> Result<(), EngineError> {
        match self.server {
            Some(server) => server.stop().await,
            None => Ok(()),
        }
    }
}

/// Connects to a coordinator.
pub(super) async fn connect(url: &str) -> Result<SweepsClient<Channel>, CliError> {
    let endpoint = Endpoint::from_shared(url.to_owned())
        .ok()
        .filter(|endpoint| endpoint.uri().scheme().is_some())
        .ok_or_else(|| {
            CliError::new(Exit::Usage, format!("`{url}` is no URL, it must be http://host:port"))
        })?;
    let channel = endpoint.connect_timeout(Duration::from_secs(5)).connect().await.map_err(|error| {
        let why = root_cause(&error);
        let message =
            format!("coordinator {url} cannot be reached: {why}: is `distilsweep serve` running there?");
        CliError::new(Exit::Unreachable, message)
    })?;
    Ok(SweepsClient::new(channel).max_decoding_message_size(64 << 20))
}

/// Who is recorded as the user of runs.
pub(super) fn user() -> String {
    ["MLFLOW_TRACKING_USERNAME", "USER", "LOGNAME"]
        .into_iter()
        .find_map(|name| std::env::var(name).ok().filter(|value| !value.is_empty()))
        .unwrap_or_else(|| "distilsweep".to_owned())
}
