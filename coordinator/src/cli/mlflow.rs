//! Where sweeps are recorded, and `distilsweep mlflow`.

use std::{path::PathBuf, time::Duration};

use clap::{Args, Subcommand};
use distilsweep_proto::{examples, exit::Exit, ids::SweepId, json::Json};
use tokio::time::Instant;

use super::{CliError, connect, mending, results, terminal};
use crate::{
    engine::EngineOutbox,
    mlflow::{
        client::Client,
        drain::{Drained, drain_until_empty},
        outbox::Outbox,
        settings::{self, Settings},
    },
    results::labels::counted,
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
    /// At this server, or where it is none, where the environment says.
    pub(super) fn at(mlflow: Option<String>) -> Self {
        Self { mlflow }
    }

    /// The same, but where neither a flag nor the environment names a server, this one.
    pub(super) fn or(&self, default: Option<&String>) -> Self {
        let named = self.mlflow.is_some() || environment("MLFLOW_TRACKING_URI").is_some();
        if named { self.clone() } else { Self::at(default.cloned()) }
    }

    /// A client of the server, which has to be named.
    pub(super) fn named(&self) -> Result<Client, CliError> {
        self.client()?.ok_or_else(|| {
            CliError::new(
                Exit::Usage,
                "no MLflow server is named: give --mlflow URI or set MLFLOW_TRACKING_URI",
            )
        })
    }

    /// A client of the named server, if one is named.
    pub(super) fn client(&self) -> Result<Option<Client>, CliError> {
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

/// The environment, and for a login that it does not have, the file that MLflow's own client reads.
pub(super) fn environment(name: &str) -> Option<String> {
    std::env::var(name).ok().filter(|text| !text.is_empty()).or_else(|| {
        settings::in_file(name, || {
            std::fs::read_to_string(std::env::home_dir()?.join(".mlflow/credentials")).ok()
        })
    })
}

/// Commands about MLflow.
#[derive(Debug, Subcommand)]
pub(super) enum Mlflow {
    /// Tell MLflow what it has not been told, and what it has lost
    Sync(Sync),
    /// Compare what MLflow holds of a sweep with what was recorded
    Verify(Verify),
}

/// Arguments of `mlflow sync`.
#[derive(Debug, Args)]
#[command(after_help = examples![
    "distilsweep mlflow sync --mlflow http://127.0.0.1:5000",
])]
pub(super) struct Sync {
    /// Id or name of the sweep, or what it alone begins with [default: every one]
    sweep: Option<String>,

    /// The state directory
    #[arg(long, value_name = "DIR", default_value = ".distilsweep")]
    state: PathBuf,

    /// Seconds that it may take
    #[arg(long, value_name = "SECONDS", default_value_t = 300)]
    timeout: u64,

    #[command(flatten)]
    recording: Recording,
}

/// Arguments of `mlflow verify`.
#[derive(Debug, Args)]
#[command(after_help = examples![
    "distilsweep mlflow verify emotion-lr --mlflow http://127.0.0.1:5000",
])]
pub(super) struct Verify {
    /// Id or name of the sweep, or what it alone begins with [default: the latest]
    #[arg(default_value = "", hide_default_value = true)]
    sweep: String,

    #[command(flatten)]
    json: Json,

    /// The state directory; its coordinator may be at work
    #[arg(long, value_name = "DIR", default_value = ".distilsweep")]
    state: PathBuf,

    #[command(flatten)]
    recording: Recording,
}

impl Mlflow {
    pub(super) async fn run(self) -> Result<Exit, CliError> {
        match self {
            Self::Sync(sync) => sync.run().await,
            Self::Verify(verify) => verify.run().await,
        }
    }
}

impl Sync {
    async fn run(self) -> Result<Exit, CliError> {
        let client = self.recording.named()?;
        let reader = Reader::open(&self.state)?;
        let sweeps = match &self.sweep {
            Some(sweep) => vec![reader.find(sweep)??],
            None => reader.sweeps()?.into_iter().map(|row| row.id).collect(),
        };
        client.check().await.map_err(|error| CliError::failure(error.to_string()))?;
        let server = Server::start(ServerOptions::private(self.state.clone(), connect::user())).await?;
        let synced = self.sync(&server, &client, &reader, &sweeps).await;
        server.stop().await?;
        synced
    }

    async fn sync(
        &self,
        server: &Server,
        client: &Client,
        reader: &Reader,
        sweeps: &[SweepId],
    ) -> Result<Exit, CliError> {
        let deadline = Instant::now() + Duration::from_secs(self.timeout);
        let gone = |error: &dyn std::error::Error| CliError::failure(error.to_string());
        server.engine.restore_refused().await.map_err(|error| gone(&error))?;
        let outbox = EngineOutbox::new(server.engine.clone());
        let drained = drain_until_empty(&outbox, client, rand::random::<f64>, deadline).await;
        emptied(drained.map_err(|error| gone(&error))?, client, self.timeout)?;
        let mut unmended = 0;
        for sweep in sweeps {
            let mended = mending::mend(client, reader, sweep, deadline).await?;
            let learned: Vec<_> = mended.learned.into_iter().collect();
            outbox.done(&[], &learned).await.map_err(|error| gone(&error))?;
            unmended += mended.left;
        }
        if unmended > 0 {
            let left = counted(unmended as u64, "difference");
            eprintln!("{left} cannot be mended: `distilsweep mlflow verify` says which");
            return Ok(Exit::Failure);
        }
        terminal::note(format_args!("MLflow at {} has been told everything", client.address()));
        Ok(Exit::Success)
    }
}

/// Whether everything was told.
pub(super) fn emptied(drained: Drained, client: &Client, seconds: u64) -> Result<(), CliError> {
    match drained {
        Drained::Empty => Ok(()),
        Drained::Waiting(Some(why)) => Err(CliError::failure(why.to_string())),
        Drained::Waiting(None) => Err(CliError::failure(format!(
            "MLflow at {} was not told everything within {seconds} s: the same command goes on",
            client.address(),
        ))),
    }
}

impl Verify {
    async fn run(self) -> Result<Exit, CliError> {
        let client = self.recording.named()?;
        let reader = Reader::open(&self.state)?;
        let sweep = reader.find(&self.sweep)??;
        let found = mending::look(&client, &reader, &sweep).await?;
        results::print(&match self.json.json {
            true => mending::json(&sweep, &found, client.address()),
            false => mending::shown(&sweep, &found, client.address()),
        });
        Ok(if found.is_sound() { Exit::Success } else { Exit::Failure })
    }
}
