//! The command line: parse, run, one sentence on failure, an exit code.

mod connect;
mod data;
mod events;
mod files;
mod fleet;
mod hub;
mod mending;
mod mlflow;
mod order;
mod origin;
mod results;
mod run;
mod serve;
mod sweep;
mod terminal;
mod trial;
mod watch;
mod worker;

use clap::{Parser, Subcommand};
use distilsweep_proto::{
    exit::Exit,
    health::{Health, HealthError},
};

use crate::{engine::EngineError, naming::Unnamed, server::ServerError, store::StoreError};

/// One file of hyperparameters in, fine-tuned DistilBERTs out, ranked and recorded in MLflow.
#[derive(Debug, Parser)]
#[command(name = "distilsweep", version, after_help = EXIT_CODES)]
pub struct Cli {
    #[command(subcommand)]
    command: Command,
}

const EXIT_CODES: &str = "\
Exit codes:
  0    done
  1    a fault of this program or its surroundings
  2    the command line makes no sense
  3    a sweep file, data set or model is at fault
  4    nobody answers where the coordinator should be
  5    a port or state directory is in use
  6    the sweep ended, and not all its trials have a result
  7    the coordinator does not let it in, or cannot be trusted: token or certificate
  130  ended by Ctrl-C or SIGTERM; the same command goes on";

#[derive(Debug, Subcommand)]
enum Command {
    /// Run a sweep on this machine, from its file to its ranking
    Run(run::Run),
    /// Serve as coordinator for workers and commands on other machines
    Serve(serve::Serve),
    /// Submit, show and steer sweeps
    #[command(subcommand)]
    Sweep(sweep::Sweep),
    /// Stop a trial, or try one again
    #[command(subcommand)]
    Trial(trial::Trial),
    /// List workers, or have one end
    #[command(subcommand)]
    Worker(worker::Worker),
    /// Show the ranking of a sweep
    Results(results::Results),
    /// Look for models and data sets on the Hugging Face Hub
    #[command(subcommand)]
    Hub(hub::HubCommand),
    /// Look at a data set, or at the tokens of a text
    #[command(subcommand)]
    Data(data::Data),
    /// Send MLflow what it lacks, or compare what it holds with what was recorded
    #[command(subcommand)]
    Mlflow(mlflow::Mlflow),
    /// Ask a coordinator or worker on this machine for its health, as a container's probe
    Health(Health),
}

/// What goes wrong, for the terminal.
#[derive(Debug, PartialEq, Eq, thiserror::Error)]
#[error("{message}")]
pub struct CliError {
    /// The exit code.
    pub exit: Exit,
    /// One sentence; of a sweep file one a problem, each on its line.
    pub message: String,
}

impl CliError {
    fn new(exit: Exit, message: impl Into<String>) -> Self {
        Self { exit, message: message.into() }
    }

    fn failure(message: impl Into<String>) -> Self {
        Self::new(Exit::Failure, message)
    }
}

impl From<StoreError> for CliError {
    fn from(error: StoreError) -> Self {
        let exit = match error {
            StoreError::InUse(_) => Exit::InUse,
            StoreError::Absent(_) => Exit::BadInput,
            StoreError::Newer { .. }
            | StoreError::Directory { .. }
            | StoreError::Database { .. }
            | StoreError::Record(_) => Exit::Failure,
        };
        Self::new(exit, error.to_string())
    }
}

impl From<Unnamed> for CliError {
    fn from(error: Unnamed) -> Self {
        // As where a coordinator says it.
        Self::new(Exit::BadInput, error.to_string())
    }
}

impl From<EngineError> for CliError {
    fn from(error: EngineError) -> Self {
        match error {
            EngineError::Store(error) => error.into(),
            EngineError::Panicked(_) => Self::failure(error.to_string()),
        }
    }
}

impl From<ServerError> for CliError {
    fn from(error: ServerError) -> Self {
        match error {
            ServerError::Store(error) => error.into(),
            ServerError::Listen { .. } => Self::new(Exit::InUse, error.to_string()),
            ServerError::Open { .. } | ServerError::Tls(_) => Self::new(Exit::Usage, error.to_string()),
        }
    }
}

impl From<HealthError> for CliError {
    fn from(error: HealthError) -> Self {
        Self::new(error.exit(), error.to_string())
    }
}

impl From<tonic::Status> for CliError {
    fn from(status: tonic::Status) -> Self {
        let exit = match status.code() {
            tonic::Code::InvalidArgument | tonic::Code::NotFound => Exit::BadInput,
            tonic::Code::Unavailable => Exit::Unreachable,
            tonic::Code::Unauthenticated | tonic::Code::PermissionDenied => Exit::Refused,
            _ => Exit::Failure,
        };
        Self::new(exit, status.message())
    }
}

impl Cli {
    /// What is logged when `RUST_LOG` says nothing: a service tells what happens, a command only what goes wrong.
    pub fn default_log_level(&self) -> &'static str {
        match self.command {
            Command::Serve(_) => "info",
            Command::Run(_)
            | Command::Sweep(_)
            | Command::Trial(_)
            | Command::Worker(_)
            | Command::Results(_)
            | Command::Hub(_)
            | Command::Data(_)
            | Command::Mlflow(_)
            | Command::Health(_) => "warn",
        }
    }

    /// Whether it serves others until it is told to stop.
    pub fn is_service(&self) -> bool {
        matches!(self.command, Command::Serve(_))
    }

    /// Runs the chosen command.
    ///
    /// # Errors
    /// What to print, with the exit code.
    pub fn run(self) -> Result<Exit, CliError> {
        let runtime = tokio::runtime::Builder::new_multi_thread()
            .worker_threads(2)
            .enable_all()
            .build()
            .map_err(|error| CliError::failure(format!("no runtime: {error}")))?;
        runtime.block_on(async {
            match self.command {
                Command::Run(run) => Box::pin(run.run()).await,
                Command::Serve(serve) => serve.run().await,
                Command::Sweep(sweep) => sweep.run().await,
                Command::Trial(trial) => trial.run().await,
                Command::Worker(worker) => worker.run().await,
                Command::Results(results) => results.run().await,
                Command::Hub(hub) => hub.run().await,
                Command::Data(data) => data.run().await,
                Command::Mlflow(mlflow) => mlflow.run().await,
                Command::Health(health) => {
                    println!("{}", health.ask().await?);
                    Ok(Exit::Success)
                }
            }
        })
    }
}
