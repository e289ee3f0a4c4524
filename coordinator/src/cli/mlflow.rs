//! Where sweeps are recorded, and `distilsweep mlflow sync`.

use std::{path::PathBuf, time::Duration};

use clap::{Args, Subcommand};
use distilsweep_proto::exit::Exit;

use super::{CliError, connect};
use crate::{
    engine::EngineOutbox,
    mlflow::{
        client::Client,
        drain::{Drained, drain_until_empty},
        settings::Settings,
    },
    server::{Server, ServerOptions},
    store::Reader,
};

/// Where to record.
#[derive(Clone, Debug, Args)]
pub(super) struct Recording {
    /// MLflow's tracking server, http://host:port [default: MLFLOW_TRACKING_URI]
    #[arg(long, value_name = "URI")]
    mlflow: Option<String>,
}

impl Recording {
    /// A client of the named server, if one is named.
    pub(super) fn client(&self) -> Result<Option<Client>, CliError> {
        let environment = |name: &str| std::env::var(name).ok();
        let usage = |error: String| CliError::new(Exit::Usage, error);
        let settings = match &self.mlflow {
            Some(address) => Settings::at(address, environment).map(Some),
            None => Settings::from_env(environment),
        };
        settings
            .map_err(|error| usage(error.to_string()))?
            .map(|settings| Client::new(&settings).map_err(|error| usage(error.to_string())))
            .transpose()
    }
}

/// Commands about MLflow.
#[derive(Debug, Subcommand)]
pub(super) enum Mlflow {
    /// Tell MLflow what it has not been told, and end
    Sync(Sync),
}

/// Arguments of `mlflow sync`.
#[derive(Debug, Args)]
pub(super) struct Sync {
    /// The state directory
    #[arg(long, value_name = "DIR", default_value = ".distilsweep")]
    state: PathBuf,

    /// Seconds that it may take
    #[arg(long, value_name = "SECONDS", default_value_t = 300)]
    timeout: u64,

    #[command(flatten)]
    recording: Recording,
}

impl Mlflow {
    pub(super) async fn run(self) -> Result<Exit, CliError> {
        let Self::Sync(sync) = self;
        let client = sync.recording.client()?.ok_or_else(|| {
            CliError::new(
                Exit::Usage,
                "no MLflow server is named: give --mlflow URI or set MLFLOW_TRACKING_URI",
            )
        })?;
        Reader::open(&sync.state)?;
        client.check().await.map_err(|error| CliError::failure(error.to_string()))?;
        let server = Server::start(ServerOptions::private(sync.state, connect::user())).await?;
        let drained = drain(&server, &client, Duration::from_secs(sync.timeout)).await;
        server.stop().await?;
        drained
    }
}

/// Tells MLflow everything, within a time.
async fn drain(server: &Server, client: &Client, limit: Duration) -> Result<Exit, CliError> {
    let outbox = EngineOutbox::new(server.engine.clone());
    let deadline = tokio::time::Instant::now() + limit;
    match drain_until_empty(&outbox, client, rand::random::<f64>, deadline).await {
        Ok(Drained::Empty) => {
            eprintln!("MLflow at {} has been told everything", client.address());
            Ok(Exit::Success)
        }
        Ok(Drained::Waiting(Some(why))) => Err(CliError::failure(why.to_string())),
        Ok(Drained::Waiting(None)) => Err(CliError::failure(format!(
            "MLflow at {} was not told everything within {} s: the same command goes on",
            client.address(),
            limit.as_secs()
        ))),
        Err(error) => Err(CliError::failure(error.to_string())),
    }
}
