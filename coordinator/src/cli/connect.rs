//! Whom a command speaks to: a coordinator by its URL, the one that lives on a state directory, or, where none does,
//! one that is started on the directory for as long as the command takes. It is gRPC in each case.

use std::path::{Path, PathBuf};

use clap::Args;
use distilsweep_proto::{
    dial::{Coordinator, Dial, DialError, Line},
    limits::DOWN_BYTES,
    v1::sweeps_client::SweepsClient,
};
use tonic::Code;
use tonic_health::pb::{HealthCheckRequest, health_client::HealthClient};

use super::{CliError, mlflow::environment};
use crate::{
    engine::EngineError,
    mlflow::settings,
    server::{self, Server, ServerOptions},
    store::Reader,
};

/// A client of a coordinator.
pub(super) type Client = SweepsClient<Line>;

/// The state directory where none is named.
const STATE: &str = ".distilsweep";

/// Which coordinator a command speaks to.
#[derive(Clone, Debug, Args)]
pub(super) struct Target {
    /// The coordinator, http://host:port or https://host:port
    #[arg(long, value_name = "URL", env = "DISTILSWEEP_COORDINATOR", conflicts_with = "state")]
    coordinator: Option<String>,

    /// The state directory
    #[arg(long, value_name = "DIR", default_value = STATE)]
    state: PathBuf,

    #[command(flatten)]
    dial: Dial,
}

/// A client, with the coordinator that was started for it, if one was.
#[derive(Debug)]
pub(super) struct Connection {
    pub(super) client: Client,
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

    /// The options that name it, for a shell, each with a space before it.
    pub(super) fn arguments(&self) -> String {
        let quoted = |text: &str| format!("'{}'", text.replace('\'', r"'\''"));
        match &self.coordinator {
            Some(url) => format!(" --coordinator {}", quoted(url)),
            None if self.state == Path::new(STATE) => String::new(),
            None => format!(" --state {}", quoted(&self.state.to_string_lossy())),
        }
    }

    async fn open(&self, create: bool) -> Result<Connection, CliError> {
        let dial = |url: &str| self.dial.coordinator(url, |name| std::env::var(name).ok());
        if let Some(url) = &self.coordinator {
            return Ok(Connection { client: connect(&dial(url)?).await?, server: None });
        }
        if let Some(url) = server::address_of(&self.state) {
            let mut coordinator = dial(&url)?;
            if !coordinator.bearer.is_some() {
                coordinator.bearer = server::token_of(&self.state).unwrap_or_default();
            }
            match connect(&coordinator).await {
                Ok(client) => return Ok(Connection { client, server: None }),
                // It is gone, and its word was left behind.
                Err(DialError::Unreachable { .. }) => {}
                Err(error @ (DialError::Usage(_) | DialError::Refused { .. })) => return Err(error.into()),
            }
        }
        if !create {
            Reader::open(&self.state)?;
        }
        let server = Server::start(ServerOptions::private(self.state.clone(), user())).await?;
        Ok(Connection { client: connect_to(&server).await?, server: Some(server) })
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

/// Connects to a coordinator of this process.
pub(super) async fn connect_to(server: &Server) -> Result<Client, CliError> {
    let mut coordinator = Dial::default().coordinator(&server.url, |_| None)?;
    coordinator.bearer = server.client.clone();
    Ok(connect(&coordinator).await?)
}

/// Connects to a coordinator.
async fn connect(coordinator: &Coordinator) -> Result<Client, DialError> {
    let line = coordinator.connect().await?;
    // What the two sides think of each other's words and certificates shows with the first call.
    let asked = HealthClient::new(line.clone()).check(HealthCheckRequest::default()).await;
    if let Err(status) = asked
        && status.code() != Code::Unimplemented
        && let Some(error) = coordinator.failed(&status)
    {
        return Err(error);
    }
    Ok(SweepsClient::new(line).max_decoding_message_size(DOWN_BYTES))
}

impl From<DialError> for CliError {
    fn from(error: DialError) -> Self {
        Self::new(error.exit(), error.to_string())
    }
}

/// Who is recorded as the user of runs.
pub(super) fn user() -> String {
    settings::user(environment)
}
